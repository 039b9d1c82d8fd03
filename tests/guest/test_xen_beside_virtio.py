"""A Xen guest and one with virtio-scsi at the same time: one map, one set of units."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.harness import disks
from tests.harness.xen_daemon import IMAGE, LUNS, PATIENCE

if TYPE_CHECKING:
    from tests.harness.inner_guest import InnerGuest

pytestmark = [pytest.mark.guest, pytest.mark.xen]

WHO = ("sg_inq", "sg_vpd --page=di")
#: What one unit is asked. Not VPD B0h, where pvSCSI guests are told of shorter transfers.
QUESTIONS = (
    *WHO,
    "sg_luns",
    "sg_vpd --page=sn",
    "sg_vpd --page=bdc",
    "sg_vpd --page=lbpv",
    "sg_readcap --long",
    "sg_modes",
    "sg_opcodes",
)


def map_of(guest: InnerGuest) -> list[list[str]]:
    """Return what `lsscsi` says of each LUN of both, without the host's number and the node."""
    listed = (line.split() for line in guest.console.check("lsscsi").splitlines())
    places = ((place.strip("[]").split(":")[1:], said) for place, *said in listed)
    return sorted([*place, *said[:-1]] for place, said in places if int(place[1]) in LUNS)


def test_both_see_the_same_units(xen_guest: InnerGuest, virtio_guest: InnerGuest) -> None:
    assert map_of(xen_guest) == map_of(virtio_guest)
    assert len(map_of(xen_guest)) == len(LUNS)
    for target in LUNS:
        answers = []
        for guest in (xen_guest, virtio_guest):
            node = disks.find(guest, target).generic
            questions = QUESTIONS if target == IMAGE else WHO
            asked = "; ".join(f"{question} {node}" for question in questions)
            said = guest.console.check(f"set -e; {asked}", timeout=PATIENCE)
            answers.append(said.replace(node, "NODE"))
        assert answers[0] == answers[1], target


def test_what_one_writes_the_other_reads(xen_guest: InnerGuest, virtio_guest: InnerGuest) -> None:
    guests = (xen_guest, virtio_guest)
    for writer, reader in (guests, guests[::-1]):
        wrote, read = (disks.find(guest, IMAGE).node for guest in (writer, reader))
        length = "bs=64k count=8"
        said = writer.console.check(
            "set -e; dd if=/dev/urandom of=/tmp/shared bs=64k count=8 2>/dev/null;"
            f"dd if=/tmp/shared of={wrote} {length} oflag=direct 2>/dev/null; md5sum /tmp/shared"
        )
        got = reader.console.check(f"dd if={read} {length} iflag=direct 2>/dev/null | md5sum")
        assert got.split()[0] == said.split()[0]
