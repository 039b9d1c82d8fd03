"""A disk of the host that two paths lead to, forwarded by device-mapper: with one path, and none.

The host is a guest, the disk LIO's, and the map made by dmsetup: multipathd is not needed.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.harness.daemon import program
from tests.harness.forwarding import Forwarding
from tests.harness.images import scsi_host as image
from tests.harness.persistent import CLEAR, REGISTER_AND_IGNORE
from tests.harness.scsi_daemon import CONTROL, ScsiDaemon
from tests.harness.scsi_host import ScsiHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector

pytestmark = pytest.mark.long

#: A target, and SG nodes of the two paths beside it.
DISK, FIRST_PATH, SECOND_PATH = range(3)
MAP = "/dev/mapper/mpatha"
HELPER = "/run/pr-helper.sock"
KEY = 0xAAAA


@pytest.fixture(scope="module")
def paths(evidence: Collector) -> Iterator[Forwarding]:
    """The host, a disk with two paths, and a back-end that forwards to both of them as one."""
    with ScsiHost(image()) as host, evidence.watch(host):
        host.boot()
        host.inside.start()
        first, second = host.add_reservable()
        host.make_multipath(first, second)
        host.map_device("plain", "0 2048 error")
        host.start(["qemu-pr-helper", "-k", HELPER])
        host.check(f"until test -S {HELPER}; do sleep 0.1; done")
        daemon = ScsiDaemon(host, [f"0:0:{DISK}:0={MAP},forward=on,pr-helper={HELPER}"])
        daemon.start()
        nodes = {FIRST_PATH: host.node(first), SECOND_PATH: host.node(second)}
        made = Forwarding(host, daemon, {FIRST_PATH: first, SECOND_PATH: second}, nodes)
        made.connect_to(DISK)
        yield made


@pytest.mark.parametrize(
    ("cdb", "length"),
    [
        ("120000006000", 96),
        ("12018000ff00", 255),
        ("12018300ff00", 255),
        ("1201b200ff00", 255),
        ("25000000000000000000", 8),
        ("9e10000000000000000000000020" + "0000", 32),
        ("5e000000000000020000", 512),
        ("5e020000000000020000", 512),
        ("1a003f00ff00", 255),
    ],
)
def test_answers_are_those_of_a_path(paths: Forwarding, cdb: str, length: int) -> None:
    told = paths.ask(DISK, cdb, data_in=length)
    directly = [paths.direct(path, cdb, data_in=length) for path in (FIRST_PATH, SECOND_PATH)]
    assert told.good, told
    assert told.data[: length - told.resid] in [each.data for each in directly]


def test_an_error_is_the_devices_own(paths: Forwarding) -> None:
    told = paths.ask(DISK, "1201ee00ff00", data_in=255)
    directly = paths.direct(FIRST_PATH, "1201ee00ff00", data_in=255)
    assert (told.status, told.sense) == (directly.status, directly.sense)


def test_blocks_go_by_the_map(paths: Forwarding) -> None:
    written = bytes(range(256)) * 16
    assert paths.ask(DISK, "2a000000001000000800", data_out=written).good
    for path in (FIRST_PATH, SECOND_PATH):
        assert paths.direct(path, "28000000001000000800", data_in=4096).data == written
    assert paths.ask(DISK, "28000000001000000800", data_in=4096).data == written
    assert "blocks by /dev/dm-0" in paths.daemon.log()


def test_a_helper_registers_by_the_map(paths: Forwarding) -> None:
    # Debian's helper is built without multipath: it registers one path, whichever.
    register, clear = (f"5f{action:02x}0000000000001800" for action in (REGISTER_AND_IGNORE, CLEAR))
    told = paths.ask(DISK, register, data_out=struct.pack(">QQ8x", 0, KEY))
    assert told.good, told
    keys = paths.direct(FIRST_PATH, "5e000000000000020000", data_in=512).data[8:]
    assert set(struct.iter_unpack(">Q", keys)) == {(KEY,)}
    for path in (FIRST_PATH, SECOND_PATH):
        paths.direct(path, clear, data_out=struct.pack(">Q16x", KEY))
    assert paths.ask(DISK, "5e000000000000020000", data_in=8).data[4:8] == bytes(4)


def test_others_are_kept_from_the_map(paths: Forwarding) -> None:
    opening = f"import os; os.open({MAP!r}, os.O_RDONLY | os.O_EXCL)"
    assert "Device or resource busy" in paths.host.check(f'python3 -c "{opening}" 2>&1 || true')


def test_it_is_listed_with_its_name(paths: Forwarding) -> None:
    listed = paths.host.check(f"{program()} devices --control {CONTROL}").splitlines()
    (line,) = [line for line in listed if " multipath " in line]
    wwn = paths.host.wwn(paths.addresses[FIRST_PATH])
    assert line.split()[:2] == ["-", "multipath"]
    assert {"mpatha", "/dev/dm-0", wwn, f"0:0:{DISK}:0"} <= set(line.split())


@pytest.mark.parametrize(
    ("lun", "told"),
    [
        (f"{MAP},forward=on,road=sg", "a multipath device has no SG node, so road=sg cannot be"),
        (f"{MAP},forward=on,on-loss=remove", "a multipath device is not followed"),
        (f"{MAP},forward=on", "is mounted or in use by another program"),
        (
            "/dev/mapper/plain,forward=on",
            "a block device of device-mapper, but no multipath device",
        ),
    ],
)
def test_what_cannot_be_is_said(paths: Forwarding, lun: str, told: str) -> None:
    serve = f"{program()} serve --socket-path /run/refused.sock --control /run/refused.control"
    assert told in paths.host.check(f"{serve} --lun 0:0:0:0={lun} 2>&1 || true")


def test_it_goes_on_by_the_other_path(paths: Forwarding) -> None:
    block = b"\x5a" * 512
    for number in range(32):
        if number == 8:
            paths.host.delete(paths.addresses[FIRST_PATH])
        # Nobody tells the map that a path has failed before these, and one of both takes it.
        for _ in range(2):
            assert paths.ask(DISK, "35000000000000000000").good
            assert paths.ask(DISK, "120000006000", data_in=96).good
        cdb = f"{number:08x}000001" + "00"
        assert paths.ask(DISK, f"2a00{cdb}", data_out=block).good
        assert paths.ask(DISK, f"2800{cdb}", data_in=512).data == block
    assert "F" in paths.host.check("dmsetup status mpatha").split()


def test_without_a_path_commands_end_with_errors(paths: Forwarding) -> None:
    paths.host.delete(paths.addresses[SECOND_PATH])
    for cdb, length in (("28000000000000000100", 512), ("120000006000", 96), ("00" * 6, 0)):
        told = paths.ask(DISK, cdb, data_in=length)
        assert not told.good, told
