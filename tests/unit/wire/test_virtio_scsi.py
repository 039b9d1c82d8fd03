"""What the control and event rings carry, and the config space."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.errors import ProtocolError, RingError
from vhost_pvscsi.wire.virtio_scsi import (
    EVENTS_MISSED,
    Config,
    Event,
    EventType,
    LunAddress,
    NotificationRequest,
    ResetReason,
    TaskRequest,
    UnknownRequest,
    encode_event_lun,
    encode_lun,
    parse_control,
    parse_lun,
)

ADDRESSES = st.builds(LunAddress, st.integers(0, 255), st.integers(0, 16383))


@pytest.mark.parametrize(
    ("address", "command", "event"),
    [
        (LunAddress(0, 0), "0100400000000000", "0100000000000000"),
        (LunAddress(7, 255), "010740ff00000000", "010700ff00000000"),
        (LunAddress(255, 256), "01ff410000000000", "01ff410000000000"),
        (LunAddress(1, 16383), "01017fff00000000", "01017fff00000000"),
    ],
)
def test_lun_fields(address: LunAddress, command: str, event: str) -> None:
    assert encode_lun(address).hex() == command
    assert encode_event_lun(address).hex() == event


@given(ADDRESSES)
def test_a_lun_field_is_read_back(address: LunAddress) -> None:
    assert parse_lun(encode_lun(address)) == address
    assert parse_lun(encode_event_lun(address)) == address


@pytest.mark.parametrize(
    "field",
    [
        "0000400000000000",  # byte 0 must be 1
        "c101000000000000",  # the REPORT LUNS well known unit, which we do not have
        "0100010000000000",  # peripheral addressing with a bus number
        "0100800000000000",  # logical unit addressing
        "0100c10000000000",  # extended addressing
    ],
)
def test_other_lun_fields_name_nothing(field: str) -> None:
    assert parse_lun(bytes.fromhex(field)) is None


def test_task_management_request() -> None:
    data = struct.pack("<II8sQ", 0, 5, encode_lun(LunAddress(3, 300)), 2**64 - 1)
    assert parse_control(data) == TaskRequest(5, LunAddress(3, 300), 2**64 - 1)
    assert parse_control(data + b"more") == parse_control(data)


def test_task_management_of_no_lun() -> None:
    assert parse_control(struct.pack("<II8sQ", 0, 5, bytes(8), 1)) == TaskRequest(5, None, 1)


@pytest.mark.parametrize(("type_", "subscribe"), [(1, False), (2, True)])
def test_notification_request(type_: int, subscribe: bool) -> None:
    data = struct.pack("<I8sI", type_, encode_lun(LunAddress(0, 0)), 0x7E)
    assert parse_control(data) == NotificationRequest(subscribe, LunAddress(0, 0), 0x7E)


def test_unknown_control_type() -> None:
    assert parse_control(struct.pack("<I", 3)) == UnknownRequest(3)


@pytest.mark.parametrize(
    "data", [b"", bytes(3), bytes(23), struct.pack("<I", 1) + bytes(11), struct.pack("<I", 2)]
)
def test_short_control_request_breaks_the_ring(data: bytes) -> None:
    with pytest.raises(RingError, match=f"of {len(data)} bytes"):
        parse_control(data)


@given(st.binary(max_size=64))
def test_any_control_request_is_one_or_a_ring_error(data: bytes) -> None:
    try:
        request = parse_control(data)
    except RingError:
        assert len(data) < 24
    else:
        assert isinstance(request, TaskRequest | NotificationRequest | UnknownRequest)


def test_event() -> None:
    event = Event(EventType.TRANSPORT_RESET | EVENTS_MISSED, LunAddress(1, 2), ResetReason.RESCAN)
    assert event.encode().hex() == "01000080" + "0101000200000000" + "01000000"


def test_config_space() -> None:
    config = Config(num_queues=4)
    data = config.encode()
    assert data == struct.pack("<7IHHI", 4, 126, 0xFFFF, 128, 16, 96, 32, 0, 255, 16383)
    assert Config.parse(data) == config


@pytest.mark.parametrize("size", [0, 35, 37])
def test_config_space_of_another_size_is_refused(size: int) -> None:
    with pytest.raises(ProtocolError, match="config space"):
        Config.parse(bytes(size))
