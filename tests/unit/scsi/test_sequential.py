"""What tapes say of themselves, byte by byte (SSC-5)."""

from __future__ import annotations

import pytest

from vhost_pvscsi.devices.tape.description import TapeGeometry
from vhost_pvscsi.devices.tape.state import definitions
from vhost_pvscsi.scsi import mode, sequential, tape_logs
from vhost_pvscsi.scsi.names import parse_commands


def test_a_density_descriptor_has_52_bytes() -> None:
    data = sequential.density_support(writable=True, megabytes=2048)
    assert len(data) == 4 + 52
    assert int.from_bytes(data[:2], "big") == 2 + 52
    assert data[4:7] == bytes((0x80, 0x80, 0xA0))
    assert int.from_bytes(data[4 + 12 : 4 + 16], "big") == 2048
    assert data[4 + 16 : 4 + 24] == b"VHPVSCSI"


def test_a_medium_type_descriptor_has_56_bytes() -> None:
    # As sg_rep_density reads it, and an LTO drive's is.
    data = sequential.medium_types()
    assert data[:4] == bytes((0, 58, 0, 0))
    assert data[4:10] == bytes((0, 0, 0, 52, 1, 0x80))
    assert data[10:24] == bytes(14)
    assert data[24:] == b"VHPVSCSISIMH    SIMH tape image     "


def test_the_first_tape_alert_is_the_highest_bit_of_the_attribute() -> None:
    assert tape_logs.alert_mask({1, 3, 64}) == 0xA000_0000_0000_0001


def test_a_block_descriptor_is_read_as_it_was_written() -> None:
    data = sequential.block_descriptor(10_240)
    assert len(data) == 8
    given = sequential.BlockDescriptor.parse(data)
    assert (given.density, given.blocks, given.block_length) == (0x80, 0, 10_240)


@pytest.mark.parametrize(("protected", "buffered", "byte"), [
    (False, True, 0x10), (True, True, 0x90), (True, False, 0x80), (False, False, 0x00),
])  # fmt: skip
def test_the_header_tells_protection_and_buffered_mode(
    protected: bool, buffered: bool, byte: int
) -> None:
    assert sequential.device_specific(protected=protected, buffered=buffered) == byte
    assert sequential.buffered_mode(byte) == buffered


def test_mode_pages_have_the_lengths_of_the_standard() -> None:
    lengths = {one.key: len(one.default) for one in definitions()}
    assert lengths[0x01, 0] == 12
    assert lengths[0x0F, 0] == 16
    assert lengths[0x10, 0] == 16
    assert lengths[0x10, 1] == 32
    assert lengths[0x11, 0] == 8
    assert lengths[0x1C, 0] == 12
    everything = mode.choose_pages({d.key: d.default for d in definitions()}, 0x3F, 0)
    assert everything is not None
    assert everything[0] == 0x01


def test_there_are_64_tape_alerts_and_none_is_raised() -> None:
    flags = tape_logs.tape_alerts(frozenset())
    assert [one.code for one in flags] == list(range(1, 65))
    assert {one.value for one in flags} == {b"\0"}
    assert tape_logs.tape_alerts(frozenset({20}))[19].value == b"\1"


@pytest.mark.parametrize(
    ("capacity", "left"),
    [(256 << 10, 64 << 10), (64 << 20, 2 << 20), (100 << 30, 64 << 20)],
)
def test_a_warning_comes_before_the_end(capacity: int, left: int) -> None:
    warning = TapeGeometry(capacity).warning
    assert warning is not None
    assert capacity - warning == left


def test_a_tape_without_an_end_has_no_warning() -> None:
    assert TapeGeometry().warning is None


def test_commands_of_tapes_can_be_denied_by_name() -> None:
    assert parse_commands("erase") == frozenset({(0x19, None), (0x93, None)})
    assert parse_commands("write-filemarks") == frozenset({(0x10, None)})
    assert (0x11, None) in parse_commands("space")
