"""Element status data and mode pages of changers, against bytes written down from SMC-3."""

import struct

import pytest

from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.medium_changer import (
    Element,
    ElementType,
    element_status,
    transport_geometry,
    volume_tag,
)
from vhost_pvscsi.scsi.pages import Designator, DesignatorType

#: CDB usage data from SMC-3's CDB figures: operation code, then the bits that this changer knows.
USAGE = {
    "INITIALIZE ELEMENT STATUS": "07 00 00 00 00 00",
    "OPEN/CLOSE IMPORT/EXPORT ELEMENT": "1b 00 ff ff 1f 00",
    "PREVENT ALLOW MEDIUM REMOVAL": "1e 00 00 00 03 00",
    "POSITION TO ELEMENT": "2b 00 ff ff ff ff 00 00 01 00",
    "INITIALIZE ELEMENT STATUS WITH RANGE": "37 03 ff ff 00 00 ff ff 00 00",
    "MOVE MEDIUM": "a5 00 ff ff ff ff ff ff 00 00 01 00",
    "EXCHANGE MEDIUM": "a6 00 ff ff ff ff ff ff ff ff 03 00",
    "READ ELEMENT STATUS": "b8 1f ff ff ff ff 03 ff ff ff 00 00",
}


@pytest.mark.parametrize("name", USAGE)
def test_the_bits_of_a_cdb_are_those_of_the_standard(name):
    (row,) = [command for command in opcodes.CHANGER if command.name == name]
    assert row.usage_data == bytes.fromhex(USAGE[name])


def test_a_descriptor_has_its_fields_where_they_belong():
    serial = Designator(DesignatorType.T10_VENDOR, b"VENDOR  SERIAL", ascii=True)
    element = Element(0x0101, ElementType.DATA_TRANSFER, volume="A1", source=0x0405, device=serial)
    data = element_status([element], tagged=True, identified=True, most=1000)
    descriptor = (
        bytes.fromhex("0101 09 00 0000 000000 80 0405")
        + b"A1".ljust(32)
        + bytes(4)
        + bytes.fromhex("02 01 00 0e")
        + b"VENDOR  SERIAL"
    )
    page = struct.pack(">BBHI", 4, 0x80, len(descriptor), len(descriptor))
    assert data == struct.pack(">HHI", 0x0101, 1, len(page) + len(descriptor)) + page + descriptor


@pytest.mark.parametrize(
    ("element", "flags"),
    [
        (Element(1, ElementType.MEDIUM_TRANSPORT), 0x00),
        (Element(1, ElementType.STORAGE), 0x08),
        (Element(1, ElementType.STORAGE, volume="A"), 0x09),
        (Element(1, ElementType.IMPORT_EXPORT), 0x38),
        (Element(1, ElementType.IMPORT_EXPORT, volume="A", by_operator=True), 0x3B),
        (Element(1, ElementType.DATA_TRANSFER, volume="A", accessible=False), 0x01),
        (Element(1, ElementType.DATA_TRANSFER, accessible=False, exception=(0x3B, 0x1A)), 0x04),
    ],
)
def test_flags_are_those_of_the_kind(element, flags):
    data = element_status([element], tagged=False, identified=False, most=1000)
    assert data[18] == flags
    assert data[20:22] == bytes(element.exception or (0, 0))


def test_descriptors_of_one_page_are_of_one_length():
    devices = (Designator(DesignatorType.NAA, bytes(8)), None, Designator(2, b"x" * 20))
    elements = [
        Element(256 + number, ElementType.DATA_TRANSFER, device=device)
        for number, device in enumerate(devices)
    ]
    data = element_status(elements, tagged=False, identified=True, most=1000)
    assert struct.unpack_from(">H", data, 10)[0] == 12 + 4 + 20
    assert len(data) == 8 + 8 + 3 * 36


@pytest.mark.parametrize("most", range(0, 200, 7))
def test_what_is_cut_is_a_beginning_and_counts_all(most):
    elements = [
        Element(1, ElementType.MEDIUM_TRANSPORT),
        *(Element(at, ElementType.STORAGE, volume=f"V{at}") for at in range(1024, 1028)),
    ]
    whole = element_status(elements, tagged=True, identified=False, most=1 << 24)
    assert struct.unpack_from(">HHI", whole) == (1, 5, len(whole) - 8)
    cut = element_status(elements, tagged=True, identified=False, most=most)
    assert len(cut) <= most
    assert whole.startswith(cut)


def test_a_volume_tag_is_blank_filled_and_of_what_is_empty_zeros():
    assert volume_tag("V00001L8") == b"V00001L8".ljust(32) + bytes(4)
    assert volume_tag(None) == bytes(36)


def test_each_transport_has_its_geometry():
    assert transport_geometry(3).default == bytes.fromhex("1e06 0000 0000 0000")
