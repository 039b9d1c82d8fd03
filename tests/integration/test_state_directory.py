"""What guests save outlives the daemon, however that ends."""

from __future__ import annotations

import struct
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from tests.harness import commands as cdb
from tests.harness.answers import describe
from tests.harness.frontend import FrontEnd
from tests.harness.persistent import (
    APTPL,
    CLEAR,
    READ_KEYS,
    READ_RESERVATION,
    REGISTER,
    REGISTER_AND_IGNORE,
    REPORT_CAPABILITIES,
    RESERVE,
    out,
    told,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.harness.daemon import Daemon

    from .conftest import MakeDaemon

A, B = 0xA, 0xB
EXCLUSIVE_REGISTRANTS = 6

CACHING = bytes.fromhex("0812 04" + "00" * 17)
NO_WCE = bytes.fromhex("0812 00" + "00" * 17)
D_SENSE = bytes.fromhex("0a0a 061000000000ffff0000")


@pytest.fixture
def state(folder: Path) -> Path:
    """Where the daemons of a test keep what is saved."""
    return folder / "state"


@pytest.fixture
def start(make_daemon: MakeDaemon, image: Path, state: Path) -> Callable[[], Daemon]:
    """Start a daemon whose two hosts share an image."""

    def make() -> Daemon:
        luns = [f"{host}:0:0:0={image},share=on" for host in (0, 1)]
        return make_daemon(luns, "--state-directory", str(state), sockets=2)

    return make


@contextmanager
def guests(daemon: Daemon) -> Iterator[tuple[FrontEnd, FrontEnd]]:
    """Two front-ends that have heard what there was to hear."""
    with FrontEnd(daemon.sockets[0]) as a, FrontEnd(daemon.sockets[1]) as b:
        a.ready()
        b.ready()
        yield a, b


def select(guest: FrontEnd, *pages: bytes, save: bool = False) -> str:
    """MODE SELECT(6), and what became of it."""
    data = bytes(4) + b"".join(pages)
    command = bytes((0x15, 0x10 | save, 0, 0, len(data), 0))
    return describe(guest.scsi(0, 0, command, data_out=data))


def page(guest: FrontEnd, code: int) -> bytes:
    """A mode page's current values, without PS."""
    response = guest.scsi(0, 0, bytes((0x1A, 0x08, code, 0, 255, 0)), data_in=255)
    assert response.good, describe(response)
    data = response.data[4 : 255 - response.resid]
    return bytes((data[0] & 0x7F, *data[1:]))


def test_a_reservation_outlives_a_killed_daemon(start: Callable[[], Daemon]) -> None:
    daemon = start()
    with guests(daemon) as (a, _):
        assert told(a, REPORT_CAPABILITIES)[2:4] == bytes((0x1D, 0x80))
        assert out(a, REGISTER, 0, A, flags=APTPL) == "GOOD"
        assert out(a, RESERVE, A, type_=EXCLUSIVE_REGISTRANTS) == "GOOD"
        assert told(a, REPORT_CAPABILITIES)[2:4] == bytes((0x1D, 0x81))
        daemon.kill()
    daemon = start()
    with guests(daemon) as (a, b):
        assert told(b, READ_KEYS) == struct.pack(">IIQ", 0, 8, A)
        assert told(b, READ_RESERVATION)[8:] == struct.pack(">Q5xB2x", A, EXCLUSIVE_REGISTRANTS)
        read = cdb.read_10(0, 1)
        assert describe(b.scsi(0, 0, read, data_in=512)) == "RESERVATION CONFLICT"
        assert a.scsi(0, 0, read, data_in=512).good
        assert out(b, REGISTER, 0, B) == "GOOD", "the last APTPL, 0, is for all"
        assert told(a, REPORT_CAPABILITIES)[2:4] == bytes((0x1D, 0x80))
    daemon.stop()
    daemon = start()
    with guests(daemon) as (a, _):
        assert told(a, READ_KEYS) == bytes(8)


def test_what_was_given_up_does_not_come_back(start: Callable[[], Daemon]) -> None:
    daemon = start()
    with guests(daemon) as (a, _):
        assert out(a, REGISTER_AND_IGNORE, 0, A, flags=APTPL) == "GOOD"
        assert out(a, RESERVE, A, type_=1) == "GOOD"
        assert out(a, CLEAR, A) == "GOOD"
        daemon.kill()
    with guests(start()) as (a, _):
        assert told(a, READ_KEYS) == bytes(8)
        assert told(a, READ_RESERVATION) == bytes(8)


def test_what_cannot_be_kept_is_not_done(start: Callable[[], Daemon], state: Path) -> None:
    with guests(start()) as (a, _):
        assert out(a, REGISTER, 0, A, flags=APTPL) == "GOOD"
        [kept] = state.glob("*.json")
        kept.with_suffix(".new").mkdir()
        assert out(a, RESERVE, A, type_=1) == "4h/44h/00h"
        assert told(a, READ_RESERVATION) == struct.pack(">II", 1, 0)


def test_saved_mode_pages_outlive_a_killed_daemon(start: Callable[[], Daemon]) -> None:
    daemon = start()
    with guests(daemon) as (a, b):
        assert select(a, NO_WCE, D_SENSE, save=True) == "GOOD"
        assert describe(b.scsi(0, 0, bytes(6))) == "6h/2Ah/01h"
        daemon.kill()
    with guests(start()) as (a, _):
        assert page(a, 0x08) == NO_WCE
        assert page(a, 0x0A) == D_SENSE


def test_sense_is_in_one_format_on_both_roads(start: Callable[[], Daemon]) -> None:
    with guests(start()) as (a, b):
        for pages, response_code in (
            (D_SENSE, 0x72),
            (bytes.fromhex("0a0a02") + D_SENSE[3:], 0x70),
        ):
            assert select(a, pages) == "GOOD"
            b.ready()
            short = a.scsi(0, 0, cdb.read_16(1 << 40, 1), data_in=512)
            assert short.sense[0] & 0x7F == response_code
            long = a.scsi(0, 0, bytes((0x1A, 0, 0x02, 0, 255, 0)), data_in=255)
            assert long.sense[0] == response_code
            if response_code == 0x72:
                # Information descriptor: eight bytes, so that this LBA fits.
                assert short.sense.hex() == "720521000000000c" + "000a8000" + f"{1 << 40:016x}"


def test_a_damaged_state_stops_the_start_and_is_named(
    start: Callable[[], Daemon], state: Path, image: Path
) -> None:
    daemon = start()
    with guests(daemon) as (a, _):
        assert select(a, NO_WCE, save=True) == "GOOD"
    daemon.stop()
    [kept] = state.glob("*.json")
    kept.write_text("{")
    with pytest.raises(Exception, match="is not a unit's state"):
        start()
