"""What a drive says of its disc: capacity, contents, tracks, structure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.devices.primary.state import truncated
from vhost_pvscsi.scsi import capacity, discs, sense
from vhost_pvscsi.scsi.discs import Profile, Structure, TrackAddress
from vhost_pvscsi.scsi.request import Reply, Request
from vhost_pvscsi.scsi.sense import check_condition, invalid_field

if TYPE_CHECKING:
    from vhost_pvscsi.scsi.cdb import Cdb

    from .disc import Disc
    from .state import DriveState

#: Formats of READ TOC/PMA/ATIP that a pressed disc has; PMA and ATIP are those of recordable ones.
_CONTENTS, _SESSIONS, _FULL = 0, 1, 2


def _wrong(cdb: Cdb, name: str) -> Reply:
    where = cdb.field(name)
    return invalid_field(where.byte, where.top_bit)


def _no_disc(drive: DriveState) -> Reply:
    return drive.not_ready() or check_condition(sense.MEDIUM_NOT_PRESENT)


async def read_capacity_10(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ CAPACITY (MMC-6 6.20)."""
    del request
    disc = drive.readable
    if disc is None:
        return _no_disc(drive)
    if cdb["lba"] and not cdb["pmi"]:
        return _wrong(cdb, "lba")
    return Reply(data=capacity.read_capacity_10(disc.blocks - 1, discs.SECTOR))


async def seek_10(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer SEEK (MMC-6 6.29): nothing moves, but the address has to be there."""
    del request
    disc = drive.readable
    if disc is None:
        return _no_disc(drive)
    if cdb["lba"] >= disc.blocks:
        return check_condition(sense.LBA_OUT_OF_RANGE, information=cdb["lba"])
    return Reply()


async def read_toc(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ TOC/PMA/ATIP (MMC-6 6.25); the full one is a CD's."""
    del request
    disc = drive.readable
    if disc is None:
        return _no_disc(drive)
    # As ATAPI had it first (SFF-8020i): in bits of CONTROL that are the vendor's now.
    wanted = cdb["format"] or cdb.raw[9] >> 6
    if wanted == _SESSIONS:
        return truncated(discs.sessions(msf=bool(cdb["msf"])), cdb)
    if wanted == _FULL and disc.profile is Profile.CD_ROM:
        if cdb["track"] > discs.SESSION:
            return _wrong(cdb, "track")
        return truncated(discs.full_contents(disc.blocks), cdb)
    if wanted != _CONTENTS:
        return _wrong(cdb, "format")
    data = discs.contents(disc.blocks, cdb["track"], msf=bool(cdb["msf"]))
    return _wrong(cdb, "track") if data is None else truncated(data, cdb)


async def read_disc_information(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ DISC INFORMATION (MMC-6 6.21): the standard one."""
    del request
    if drive.readable is None:
        return _no_disc(drive)
    if cdb["data_type"]:
        return _wrong(cdb, "data_type")
    return truncated(discs.information(), cdb)


async def read_track_information(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ TRACK INFORMATION (MMC-6 6.26); no track is open."""
    del request
    disc = drive.readable
    if disc is None:
        return _no_disc(drive)
    if cdb["open"]:
        return _wrong(cdb, "open")
    kind = cdb["address_type"]
    if kind not in set(TrackAddress):
        return _wrong(cdb, "address_type")
    if not discs.names_the_track(TrackAddress(kind), cdb["address"], disc.blocks):
        if kind == TrackAddress.BLOCK:
            return check_condition(sense.LBA_OUT_OF_RANGE, information=cdb["address"])
        return _wrong(cdb, "address")
    return truncated(discs.track_information(disc.blocks), cdb)


async def read_disc_structure(drive: DriveState, request: Request, cdb: Cdb) -> Reply:
    """Answer READ DISC STRUCTURE (MMC-6 6.22), of a DVD."""
    del request
    disc = drive.readable
    if disc is None:
        return _no_disc(drive)
    for wrong, name in (
        (cdb["media_type"], "media_type"),
        (cdb["format"] not in set(Structure), "format"),
        (cdb["layer"] >= discs.layers(disc.blocks), "layer"),
    ):
        if wrong:
            return _wrong(cdb, name)
    return _structure(disc, cdb)


def _structure(disc: Disc, cdb: Cdb) -> Reply:
    which = Structure(cdb["format"])
    if disc.profile is not Profile.DVD_ROM and which is not Structure.LIST:
        return check_condition(sense.INCOMPATIBLE_FORMAT)
    return truncated(discs.structure(which, disc.blocks), cdb)
