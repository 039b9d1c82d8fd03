"""The way of a request through munging and its unit."""

import logging
from dataclasses import replace

from vhost_pvscsi import pipeline
from vhost_pvscsi.devices.absent import AbsentUnit
from vhost_pvscsi.devices.emulated.description import DiskGeometry
from vhost_pvscsi.devices.emulated.disk import EmulatedDisk
from vhost_pvscsi.devices.identification import derive_identity
from vhost_pvscsi.identity import Address
from vhost_pvscsi.munge.registry import Registry
from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.request import Reply, Request, Service, Status
from vhost_pvscsi.translation import Table


class Broken(AbsentUnit):
    name = "broken.img"

    async def execute(self, request):
        raise RuntimeError("a bug")


async def executor(request):
    return Reply(transferred=0)


def disk():
    return EmulatedDisk("disk.img", derive_identity("x"), DiskGeometry(blocks=8), executor)


def table(unit):
    return Table(0).attach(Address(0, 0, 1, 3), unit, 1).attach(Address(0, 0, 1, 9), unit, 2)


def request(cdb, lun=3):
    return Request(nexus="a", target=1, lun=lun, cdb=bytes.fromhex(cdb).ljust(16, b"\0"))


REPORT_LUNS = "a0 00 00 000000 00000100 0000"


async def test_report_luns_follows_the_table_at_any_lun_of_the_target():
    tables = table(disk())
    for lun in (0, 3, 9, 12):
        reply = await pipeline.serve(request(REPORT_LUNS, lun), tables.resolve(1, lun))
        assert reply.data.hex() == "000000100000000000030000000000000009000000000000"


async def test_an_absent_target_stays_absent():
    reply = await pipeline.serve(request(REPORT_LUNS), table(disk()).resolve(0, 0))
    assert reply.service is Service.ABSENT_TARGET
    assert reply.data == b""


async def test_lun_0_that_is_not_there_answers_inquiry():
    reply = await pipeline.serve(request("12 00 00 00 24 00", 0), table(disk()).resolve(1, 0))
    assert reply.data[0] == 0x7F


async def test_a_bug_of_ours_costs_one_command_and_is_logged(caplog):
    with caplog.at_level(logging.ERROR):
        reply = await pipeline.serve(request("28 00"), table(Broken()).resolve(1, 3))
    assert reply.status is Status.CHECK_CONDITION
    assert (reply.sense[2], reply.sense[12:14].hex()) == (4, "4400")
    assert "0:0:1:3 (broken.img): command 28 00" in caplog.text
    assert "a bug" in caplog.text


async def test_an_inbound_munger_may_answer_by_itself():
    registry = Registry()
    denied = Reply(status=Status.BUSY)
    registry.on_request(0x28)(lambda request, mapping: denied)
    mapping = table(Broken()).resolve(1, 3)
    assert await pipeline.serve(request("28"), mapping, registry) is denied


def test_a_munger_moves_its_opcode_to_the_long_road():
    unit = disk()
    registry = Registry()
    assert pipeline.short_road_opcodes(unit, registry=registry) == opcodes.MEDIUM_OPCODES
    registry.on_reply(0x28)(lambda request, reply, mapping: reply)
    assert pipeline.short_road_opcodes(unit, registry=registry) == opcodes.MEDIUM_OPCODES - {0x28}
    assert pipeline.short_road_opcodes(unit) == opcodes.MEDIUM_OPCODES


async def test_a_third_partys_mungers_are_around_ours():
    registry, told = Registry(), []

    def ours(function):
        function.__module__ = "vhost_pvscsi.munge.some"
        return function

    @registry.on_request(0x12)
    @ours
    def our_request(request, mapping):
        told.append(("ours asked", request.cdb[4]))
        return replace(request, cdb=bytes.fromhex("120000002400"))

    @registry.on_reply(0x12)
    @ours
    def our_reply(request, reply, mapping):
        told.append(("ours replies to", request.cdb[4]))
        return replace(reply, data=b"ours")

    @registry.on_request(0x12)
    def their_request(request, mapping):
        told.append(("theirs asked", request.cdb[4]))
        return replace(request, cdb=bytes.fromhex("120000000800"))

    @registry.on_reply(0x12)
    def their_reply(request, reply, mapping):
        told.append(("theirs replies to", request.cdb[4]))
        return replace(reply, data=reply.data + b" and theirs")

    reply = await pipeline.serve(
        request("12 00 00 00 05 00"), table(disk()).resolve(1, 3), registry
    )
    assert reply.data == b"ours and theirs"
    assert told == [
        ("theirs asked", 5),
        ("ours asked", 8),
        ("ours replies to", 8),
        ("theirs replies to", 5),
    ]


async def test_what_our_layer_answers_is_a_units_reply_to_theirs():
    registry = Registry()

    def refuse(request, mapping):
        return Reply(status=Status.BUSY)

    refuse.__module__ = "vhost_pvscsi.munge.some"
    registry.on_request(0x12)(refuse)
    registry.on_reply(0x12)(lambda request, reply, mapping: replace(reply, data=b"seen"))
    reply = await pipeline.serve(request("12"), table(Broken()).resolve(1, 3), registry)
    assert (reply.status, reply.data) == (Status.BUSY, b"seen")


async def test_a_munger_that_raises_costs_one_command_and_is_named(caplog):
    registry = Registry()

    @registry.on_reply(0x12)
    def fails(request, reply, mapping):
        raise SystemExit("at once")

    with caplog.at_level(logging.ERROR):
        reply = await pipeline.serve(request("12"), table(disk()).resolve(1, 3), registry)
    assert reply.sense[12:14].hex() == "4400"
    assert "fails of" in caplog.text
    assert "has raised SystemExit: at once" in caplog.text
    assert "bug of ours" not in caplog.text


async def test_what_fails_again_and_again_is_logged_once_a_while(caplog):
    registry = Registry()

    @registry.on_reply(0x12)
    def fails(request, reply, mapping):
        raise SystemExit("at once")

    registry.on_reply(0x00)(fails)
    with caplog.at_level(logging.ERROR):
        for cdb in ("12", "12", "12", "00"):
            reply = await pipeline.serve(request(cdb), table(disk()).resolve(1, 3), registry)
            assert reply.sense[12:14].hex() == "4400"
    assert len(caplog.records) == 2
