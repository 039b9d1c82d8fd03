"""Tape drives that keep data, a changer, a CD and a disk of a guest that plays a host.

They are tgt's, which somebody else wrote, and the guest's own iSCSI makes SCSI devices of them, on
loopback; images/iscsi.py has the programs.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from images import foreign

from . import images

if TYPE_CHECKING:
    from .nested import OuterHost

_PATIENCE = 300.0
_NAME = "iqn.2026-01.rig:library"
_FOLDER = "/run/tapes"
#: Cartridges in the slots of the changer, whose drive is empty; and the one in the drive beside it.
BARCODES = ("TAPE0001", "TAPE0002", "TAPE0003", "TAPE0004")
_BESIDE = "BESIDE01"
_DRIVE, _PICKER, _PORT, _FIRST_SLOT = 1, 100, 500, 1000  # element addresses

DISK, CD, TAPE, CHANGER = 1, 2, 3, 4  #: LUNs
TAPE_BESIDE = 5  #: LUN of a drive that no changer serves
LUNS = (DISK, CD, TAPE, CHANGER, TAPE_BESIDE)
DISK_MIB, CD_MIB = 16, 4


@dataclass(frozen=True, slots=True)
class Library:
    """The devices, as SG has them: by LUN, h:c:t:l and nodes."""

    host: OuterHost
    addresses: dict[int, str]

    def node(self, lun: int, kind: str = "sg") -> str:
        """Return a device's node."""
        return self.host.node(self.addresses[lun], kind)


def start(host: OuterHost, *, tape_mib: int = 16) -> Library:
    """Have them in that guest; they end with it. A cartridge holds `tape_mib`."""
    host.shell(
        "for each in crc32c_generic iscsi_tcp sd_mod sr_mod st sg ch; do modprobe $each; done"
    )
    files = images.iscsi()
    host.start([*foreign.command(files, "usr/sbin/tgtd"), "-f"])
    programs = {
        "tgtadm": foreign.command(files, "usr/sbin/tgtadm"),
        "tgtimg": foreign.command(files, "usr/sbin/tgtimg"),
        "iscsistart": foreign.command(files, "sbin/iscsistart"),
    }
    functions = "\n".join(
        f'{name}() {{ {shlex.join(command)} "$@"; }}' for name, command in programs.items()
    )
    host.check(f"set -e\n{functions}\n{_script(tape_mib)}", timeout=_PATIENCE)
    listed = host.shell("lsscsi").splitlines()
    [disk] = [line[1 : line.index("]")] for line in listed if " VIRTUAL-DISK " in line]
    nexus = disk.rpartition(":")[0]
    return Library(host, {lun: f"{nexus}:{lun}" for lun in LUNS})


def _script(tape_mib: int) -> str:
    """Write what fills the target, and what logs in."""
    new = "tgtadm --lld iscsi --mode logicalunit --op new --tid 1 --lun"
    update = f"tgtadm --lld iscsi --mode logicalunit --op update --tid 1 --lun {CHANGER} --params"
    lines = [
        # tgtd is there when it answers.
        "until tgtadm --lld iscsi --mode sys --op show >/dev/null 2>&1; do sleep 0.1; done",
        f"mkdir -p {_FOLDER} /run/lock/iscsi",
        f"tgtadm --lld iscsi --mode target --op new --tid 1 --targetname {_NAME}",
        "tgtadm --lld iscsi --mode target --op bind --tid 1 --initiator-address ALL",
        f"truncate -s {DISK_MIB}M /run/disk; truncate -s {CD_MIB}M /run/cd; : >/run/changer",
        *(
            f"tgtimg --op new --device-type tape --barcode {barcode} --size {tape_mib}"
            f" --type data --file {_FOLDER}/{barcode}"
            for barcode in (*BARCODES, _BESIDE)
        ),
        f"{new} {DISK} --backing-store /run/disk",
        f"{new} {CD} --device-type cd --backing-store /run/cd",
        f"{new} {TAPE} --device-type tape",
        f"{new} {TAPE_BESIDE} --device-type tape --backing-store {_FOLDER}/{_BESIDE}",
        f"{new} {CHANGER} --device-type changer --backing-store /run/changer",
        f"{update} media_home={_FOLDER}",
        f"{update} element_type=4,start_address={_DRIVE},quantity=1",
        f"{update} element_type=4,address={_DRIVE},tid=1,lun={TAPE}",
        f"{update} element_type=1,start_address={_PICKER},quantity=1",
        f"{update} element_type=2,start_address={_FIRST_SLOT},quantity={len(BARCODES)}",
        f"{update} element_type=3,start_address={_PORT},quantity=1",
        *(
            f"{update} element_type=2,address={_FIRST_SLOT + number},barcode={barcode},sides=1"
            for number, barcode in enumerate(BARCODES)
        ),
        f"tgtadm --lld iscsi --mode logicalunit --op update --tid 1 --lun {CHANGER}"
        " --params online=yes",
        f"iscsistart -i iqn.2026-01.rig:host -t {_NAME} -g 1 -a 127.0.0.1",
    ]
    return "\n".join(lines)
