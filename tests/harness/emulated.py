"""An emulated disk without an engine: what it answers by itself, by its bytes."""

from __future__ import annotations

from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.identification import derive_identity
from vhost_pvscsi.scsi.request import Request, Service, Status

IDENTITY = derive_identity("file:/disk.img", serial="SERIAL1", wwn="5000c50015ea71ac")


def code_of(data):
    return data[2], data[12], data[13]


def is_good(reply):
    return (reply.service, reply.status) == (Service.COMPLETE, Status.GOOD)


class Switches:
    """The engine's half, as far as mode parameters reach it."""

    def __init__(self):
        self.sync_writes = None
        self.descriptor_sense = None

    def set_sync_writes(self, on):
        self.sync_writes = on

    def set_descriptor_sense(self, on):
        self.descriptor_sense = on


class Asked:
    """A unit with nexuses "a" and "b", who have heard what there was to hear."""

    def __init__(self, unit):
        self.unit = unit

    async def _keep(self, cause, shut):
        pass

    async def connected(self):
        for nexus in ("a", "b"):
            # A bound method is a new object each time.
            await self.unit.connect(nexus, self._keep)
            await self.ask("00", nexus=nexus)
        return self

    async def ask(self, cdb, data=b"", nexus="a"):
        return await self.unit.execute(
            Request(
                nexus=nexus,
                target=0,
                lun=0,
                cdb=bytes.fromhex(cdb).ljust(32, b"\0"),
                data_out=data,
                data_out_length=len(data),
            )
        )

    async def data(self, cdb):
        reply = await self.ask(cdb)
        assert (reply.service, reply.status, reply.sense) == (Service.COMPLETE, Status.GOOD, b"")
        return reply.data

    async def sense(self, cdb, data=b"", nexus="a"):
        reply = await self.ask(cdb, data, nexus)
        assert reply.status is Status.CHECK_CONDITION
        return reply.sense

    async def select(self, pages, *, save=False, descriptor=b"", nexus="a"):
        data = bytes((0, 0, 0, len(descriptor))) + descriptor + pages
        return await self.ask(f"15 1{int(save)} 00 00 {len(data):02x} 00", data, nexus)

    async def page(self, code, control=0):
        return (await self.data(f"1a 08 {control << 6 | code:02x} 00 ff 00"))[4:]


class Rig(Asked):
    """A disk so asked."""

    def __init__(self, memory=None, **geometry):
        self.flushed = 0
        self.flush_error = None
        self.medium = Switches()
        geometry = {"blocks": 0x2000, "write_cache_switchable": True} | geometry
        self.disk = EmulatedDisk(
            "disk.img",
            IDENTITY,
            DiskGeometry(**geometry),
            self._execute,
            medium=self.medium,
            flush=self._flush,
            memory=memory,
        )
        super().__init__(self.disk)

    async def _execute(self, request):
        raise AssertionError(request)

    async def _flush(self):
        self.flushed += 1
        if self.flush_error:
            raise self.flush_error
