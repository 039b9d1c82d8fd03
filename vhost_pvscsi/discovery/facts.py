"""Facts: what was read of one device, and what it comes to. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from vhost_pvscsi.identity import HostAddress

from .device import BLOCK, MULTIPATH, MULTIPATH_UUID, HostDevice, Nodes, Usage

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

#: Of /sys/block/*/size, whatever the device's blocks are.
_SECTOR = 512

#: Peripheral device types (SPC-5 6.6.2), by the names that Linux and lsscsi's users know.
TYPES: Mapping[int, str] = {
    0x00: "disk",
    0x01: "tape",
    0x02: "printer",
    0x03: "processor",
    0x04: "worm",
    0x05: "cd",
    0x06: "scanner",
    0x07: "optical",
    0x08: "changer",
    0x09: "communications",
    0x0C: "raid",
    0x0D: "enclosure",
    0x0E: "rbc",
    0x0F: "card-reader",
    0x11: "osd",
    0x14: "zbc",
    0x1E: "well-known",
}

#: Files of sysfs: standard INQUIRY data, and VPD pages by their codes.
INQUIRY: Mapping[int | None, str] = {
    None: "inquiry",
    0x80: "vpd_pg80",
    0x83: "vpd_pg83",
    0xB0: "vpd_pgb0",
    0xB1: "vpd_pgb1",
    0xB2: "vpd_pgb2",
}

#: scsi_id's letters before an EUI-64 and an NAA designator (SPC-5 7.7.6.1).
_EUI64, _NAA = "2", "3"

#: Classes of sysfs in which a SCSI device has nodes.
NODE_CLASSES = ("scsi_generic", "block", "scsi_tape", "scsi_changer", "bsg")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of a device, as it was read."""

    name: str  #: in sysfs: `h:c:t:l`, or a block device's name
    attributes: Mapping[str, bytes]  #: files of its folder in sysfs, those that could be read
    nodes: Mapping[str, Sequence[str]] = field(default_factory=dict)  #: class -> DEVNAMEs
    sectors: int | None = None  #: of its block device, 512 bytes each
    properties: Mapping[str, str] = field(default_factory=dict)  #: udev's, of all its nodes
    links: Sequence[str] = ()
    numbers: Sequence[str] = ()  #: of its nodes and partitions, `b8:1` or `c21:0`
    holders: Sequence[str] = ()  #: block devices that are made of it
    incarnation: int = 0  #: number of its folder in sysfs


def describe(facts: Facts) -> HostDevice:
    """Make a device of what was read of it."""
    made = describe_scsi(facts) if HostAddress.match(facts.name) else describe_block(facts)
    usage = Usage(holders=tuple(sorted(facts.holders)))
    numbers = frozenset(facts.numbers)
    return replace(made, numbers=numbers, usage=usage, incarnation=facts.incarnation)


def describe_scsi(facts: Facts) -> HostDevice:
    """Make a device of what was read of a SCSI device."""
    code = _text(facts.attributes, "type")
    kind = TYPES.get(int(code), f"type-{int(code):02x}h") if code.isdigit() else "unknown"
    nodes = _nodes(facts.nodes)
    return HostDevice(
        address=HostAddress.match(facts.name),
        type=kind,
        vendor=_text(facts.attributes, "vendor"),
        product=_text(facts.attributes, "model"),
        revision=_text(facts.attributes, "rev"),
        serial=_serial(facts),
        wwn=_wwn(facts),
        nodes=nodes,
        state=_text(facts.attributes, "state"),
        # A drive without a medium is as large as the last one that was in it.
        size=facts.sectors * _SECTOR if facts.sectors else None,
        links=tuple(sorted(facts.links)),
        inquiry={
            page: facts.attributes[name]
            for page, name in INQUIRY.items()
            if facts.attributes.get(name)
        },
    )


def describe_block(facts: Facts) -> HostDevice:
    """Make a device of what was read of a block device that is no SCSI device."""
    properties = facts.properties
    product = _text(facts.attributes, "device/model") or _text(facts.attributes, "dm/name")
    return HostDevice(
        address=None,
        type=MULTIPATH if _text(facts.attributes, "dm/uuid").startswith(MULTIPATH_UUID) else BLOCK,
        vendor="",
        product=product,
        revision=_text(facts.attributes, "device/firmware_rev"),
        serial=_text(facts.attributes, "serial")
        or _text(facts.attributes, "device/serial")
        or properties.get("ID_SERIAL_SHORT", ""),
        wwn=_wwn(facts),
        nodes=Nodes(block=f"/dev/{facts.name.replace('!', '/')}"),
        size=facts.sectors * _SECTOR if facts.sectors else None,
        links=tuple(sorted(facts.links)),
    )


def hex_name(text: str) -> str:
    """Make the digits of a WWN of `naa.5000...`, `0x5000...`, `wwn-0x5000...` or the digits alone.

    "" if it is no such thing.
    """
    found = re.fullmatch(
        r"(?:naa\.|eui\.|wwn-)?(?:0x)?((?:[0-9a-f]{16}){1,2})", text.strip().lower(), re.ASCII
    )
    return found[1] if found else ""


def _text(attributes: Mapping[str, bytes], name: str) -> str:
    """What an attribute says, as far as it can be printed: devices may say anything."""
    text = attributes.get(name, b"").decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else " " for letter in text).strip()


def _serial(facts: Facts) -> str:
    # VPD page 80h as the kernel read it when the device came (SPC-5 7.7.10).
    page = facts.attributes.get("vpd_pg80", b"")
    if len(page) > 4 and page[1] == 0x80:
        length = int.from_bytes(page[2:4], "big")
        serial = _text({"serial": page[4 : 4 + length].strip(b"\0 ")}, "serial")
        if serial:
            return serial
    properties = facts.properties
    for name in ("SCSI_IDENT_SERIAL", "ID_SCSI_SERIAL"):
        if properties.get(name):
            return properties[name]
    # Of ata_id and usb_id it is the serial number, of scsi_id a WWN with a digit before it.
    short = properties.get("ID_SERIAL_SHORT", "")
    return "" if properties.get("ID_BUS") == "scsi" else short


def _wwn(facts: Facts) -> str:
    uuid = _text(facts.attributes, "dm/uuid")
    if uuid.startswith((MULTIPATH_UUID + _EUI64, MULTIPATH_UUID + _NAA)):
        return hex_name(uuid[len(MULTIPATH_UUID) + 1 :])
    # The kernel's own choice among the designators of VPD page 83h.
    for name in ("wwid", "device/wwid"):
        if found := hex_name(_text(facts.attributes, name)):
            return found
    for name in ("ID_WWN_WITH_EXTENSION", "ID_WWN"):
        if found := hex_name(facts.properties.get(name, "")):
            return found
    return ""


def _nodes(names: Mapping[str, Sequence[str]]) -> Nodes:
    def first(kind: str, pattern: str) -> str:
        found = [name for name in names.get(kind, ()) if re.fullmatch(pattern, name, re.ASCII)]
        return f"/dev/{min(found)}" if found else ""

    return Nodes(
        sg=first("scsi_generic", r"sg[0-9]+"),
        sd=first("block", r"sd[a-z]+"),
        sr=first("block", r"sr[0-9]+"),
        st=first("scsi_tape", r"st[0-9]+"),
        nst=first("scsi_tape", r"nst[0-9]+"),
        sch=first("scsi_changer", r"sch[0-9]+"),
        bsg=first("bsg", r"bsg/[0-9:]+"),
    )
