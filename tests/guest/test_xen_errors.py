"""What goes wrong on a pvSCSI disk, as a stock guest's driver tells of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import disks
from tests.harness.xen_daemon import BAD, BAD_BLOCK, HANGING, HUNG_BLOCK, SHORT_BLOCK

if TYPE_CHECKING:
    from tests.harness.inner_guest import InnerGuest

pytestmark = [pytest.mark.guest, pytest.mark.xen]


def test_a_medium_error_comes_with_its_sense_data(xen_guest: InnerGuest) -> None:
    disk = disks.find(xen_guest, BAD)
    told = xen_guest.console.run(disk.reading(BAD_BLOCK))
    assert told.status != 0
    assert "Medium Error" in told.output
    assert "Unrecovered read error" in told.output
    xen_guest.console.check(disk.reading(BAD_BLOCK + 1))


def test_a_short_transfer_has_a_residual(xen_guest: InnerGuest) -> None:
    disk = disks.find(xen_guest, BAD)
    assert "Received 512 bytes of data" in xen_guest.console.check(disk.reading(SHORT_BLOCK, 8))
    assert "Received 4096 bytes of data" in xen_guest.console.check(disk.reading(0, 8))


def test_a_command_that_takes_too_long_is_aborted(xen_guest: InnerGuest) -> None:
    disk = disks.find(xen_guest, HANGING)
    told = xen_guest.console.run(f"{disk.reading(HUNG_BLOCK)} --timeout=2")
    assert "DID_TIME_OUT" in told.output, told.output
    # Linux goes on to a reset where an abort fails, and that leaves a unit attention.
    xen_guest.console.check(f"sg_turs {disk.generic}")


def test_a_reset_ends_a_read_that_hangs(xen_guest: InnerGuest) -> None:
    disks.find(xen_guest, HANGING).check_reset(HUNG_BLOCK, timeout=60)
