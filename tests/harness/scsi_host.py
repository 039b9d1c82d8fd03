"""A guest that is a host with SCSI devices: QEMU's disk and CD, and whatever scsi_debug adds."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from images import qemus

from .machine import TCG, MachineSpec
from .nested import HOST_MODULES, OuterHost
from .remote import Remote

if TYPE_CHECKING:
    from types import TracebackType

    from images.build import GuestImage

_PORT = "inside"
#: The disk's and the CD's bytes.
DISK_BYTES, CD_BYTES = 64 << 20, 4 << 20
_DRIVER = "/sys/bus/pseudo/drivers/scsi_debug"
_ERRORS = "/sys/kernel/debug/scsi_debug"


class ScsiHost(OuterHost):
    """That guest, running; a context manager that ends it."""

    def __init__(self, image: GuestImage, *, counted: bool = False) -> None:
        """Describe it. `counted`: its clock counts instructions of its one processor.

        Then times in it do not depend on what else this machine does.
        """
        self._files = tempfile.TemporaryDirectory(prefix="vhost-pvscsi-scsi-host-")
        super().__init__(image, ports=(_PORT,), spec=self._spec(image, counted=counted))
        self.inside = Remote(self, _PORT)

    def _spec(self, image: GuestImage, *, counted: bool) -> MachineSpec:
        folder = Path(self._files.name)
        with (folder / "disk").open("wb") as disk:
            disk.truncate(DISK_BYTES)
        (folder / "cd").write_bytes(cd_contents())
        drives = (
            f"if=none,id=disk0,file={folder}/disk,format=raw,cache=unsafe",
            f"if=none,id=cd0,file={folder}/cd,format=raw,media=cdrom,readonly=on",
        )
        words = [word for drive in drives for word in ("-drive", drive)]
        if counted:
            words += ["-icount", "shift=1,sleep=off"]
        return MachineSpec(
            qemus.host() or qemus.find("7.2"),
            image,
            "q35-scsi-host",
            accelerator="tcg,thread=single" if counted else TCG,
            smp=1 if counted else None,
            cpu="max,-smap",
            memory_mib=1024,
            modules=(*HOST_MODULES, "virtio_scsi", "sg", "sd_mod", "sr_mod", "st", "ch"),
            extra=tuple(words),
        )

    def pull_disk(self) -> None:
        """Pull QEMU's own disk out, as a person would."""
        self._machine.qmp.execute("device_del", id="disk")

    def push_disk(self, *, scsi_id: int) -> None:
        """Put that disk in again, with its names and data, where that may be."""
        blocks = {"driver": "file", "filename": str(Path(self._files.name) / "disk")}
        self._machine.qmp.execute("blockdev-add", node_name="again", **blocks)
        self._machine.qmp.execute(
            "device_add",
            driver="scsi-hd",
            id="disk",
            bus="hba0.0",
            scsi_id=scsi_id,
            lun=0,
            drive="again",
            vendor="RIG",
            product="forwarded disk",
            serial="RIG-DISK-0",
            wwn=0x5000C500A0000001,
        )

    def load_scsi_debug(self, **parameters: int) -> None:
        """Have the simulated adapters, with none at first."""
        words = " ".join(f"{name}={value}" for name, value in parameters.items())
        self.shell(f"modprobe scsi_debug add_host=0 per_host_store=1 {words}")
        self.shell("mount -t debugfs debug /sys/kernel/debug")

    def add_simulated(self, **parameters: int) -> str:
        """Add an adapter with one device, set up by these; the device's h:c:t:l.

        Parameters that are not said are as they were left.
        """
        before = self._simulated()
        for name, value in parameters.items():
            self.shell(f"echo {value} >{_DRIVER}/{name}")
        self.shell(f"echo 1 >{_DRIVER}/add_host")
        (added,) = self._simulated() - before
        return added

    def remove_simulated(self) -> None:
        """Take the adapter away that came last, with its device."""
        self.shell(f"echo -1 >{_DRIVER}/add_host")

    def add_reservable(self, mib: int = 16) -> tuple[str, str]:
        """Add a disk with persistent reservations; its h:c:t:l as two initiators have it.

        It is LIO's, in memory and looped back: scsi_debug says GOOD to whatever is asked of it.
        """
        target = "/sys/kernel/config/target"
        self.shell(
            # It writes down, there, that it has nothing to write down.
            "mkdir -p /var/target/pr; modprobe tcm_loop; "
            "mount -t configfs configfs /sys/kernel/config; "
            f"mkdir -p {target}/core/rd_mcp_0/disk {target}/loopback && "
            f"echo rd_pages={mib << 8} >{target}/core/rd_mcp_0/disk/control && "
            f"echo 1 >{target}/core/rd_mcp_0/disk/enable && "
            f"echo RIG-SHARED-0 >{target}/core/rd_mcp_0/disk/wwn/vpd_unit_serial"
        )
        found = []
        for number in (1, 2):
            before = self._listed("LIO-ORG")
            name = f"naa.500140500000000{number}"
            port = f"{target}/loopback/{name}/tpgt_1"
            self.shell(
                f"mkdir -p {port} && echo {name} >{port}/nexus && mkdir {port}/lun/lun_0 && "
                f"ln -s {target}/core/rd_mcp_0/disk {port}/lun/lun_0/disk"
            )
            found += self._listed("LIO-ORG") - before
        first, second = found
        return first, second

    def make_multipath(self, *addresses: str) -> None:
        """Make /dev/mapper/mpatha of a disk that has these addresses."""
        self.shell("modprobe dm_multipath && modprobe dm_round_robin")
        nodes = [self.node(address, "sd").rpartition("/")[2] for address in addresses]
        numbers = " ".join(
            self.shell(f"cat /sys/block/{node}/dev").strip() + " 1" for node in nodes
        )
        sectors = self.shell(f"cat /sys/block/{nodes[0]}/size").strip()
        table = f"0 {sectors} multipath 0 0 1 1 round-robin 0 {len(nodes)} 1 {numbers}"
        uuid = f"mpath-3{self.wwn(addresses[0])}"
        self.map_device("mpatha", table, f"--uuid {uuid}")

    def map_device(self, name: str, table: str, options: str = "") -> None:
        """Make /dev/mapper/NAME. No udevd is there to make the node."""
        self.check(f"dmsetup create {name} {options} --table '{table}' && dmsetup mknodes")

    def wwn(self, address: str) -> str:
        """Return the NAA designator of a device, in hexadecimal digits."""
        told = self.shell(f"cat /sys/bus/scsi/devices/{address}/wwid").strip()
        return told.removeprefix("naa.")

    def delete(self, address: str) -> None:
        """Have the host forget a device, as if it had been pulled."""
        self.shell(f"echo 1 >/sys/bus/scsi/devices/{address}/delete")

    def set_simulated(self, **parameters: int) -> None:
        """Change what all simulated adapters do."""
        for name, value in parameters.items():
            self.shell(f"echo {value} >{_DRIVER}/{name}")

    def inject(self, address: str, rule: str) -> None:
        """Have a simulated device fail: a rule as scsi_debug's `error` takes it."""
        self.shell(f"echo '{rule}' >{_ERRORS}/{address}/error")

    def stop_injecting(self, address: str, rule: str) -> None:
        """Take a rule back: its type and its operation code."""
        kind, _, opcode, *_ = rule.split()
        self.shell(f"echo '- {kind} {opcode}' >{_ERRORS}/{address}/error")

    def _simulated(self) -> set[str]:
        return self._listed("scsi_debug")

    def _listed(self, what: str) -> set[str]:
        listed = self.shell("lsscsi").splitlines()
        return {line[1 : line.index("]")] for line in listed if what in line}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        self._files.cleanup()


def cd_contents() -> bytes:
    """Make what is on the CD: no two blocks are alike."""
    return b"".join(number.to_bytes(4, "big") * 512 for number in range(CD_BYTES // 2048))
