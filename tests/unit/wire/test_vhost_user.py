"""The vhost-user messages, as bytes and as values."""

from __future__ import annotations

import contextlib
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.errors import ProtocolError
from vhost_pvscsi.wire.vhost_user import (
    HEADER_SIZE,
    BackEndKind,
    Body,
    Header,
    Kind,
    MemoryRegion,
    MemorySlot,
    MemoryTable,
    Message,
    Nothing,
    Number,
    VringAddress,
    VringFile,
    VringState,
    check_descriptors,
    encode,
    parse,
    parse_header,
)

REGION = MemoryRegion(0x1_0000_0000, 0x20_0000, 0x7F00_0000_0000, 0x1000)
REGION_BYTES = struct.pack("<QQQQ", 0x1_0000_0000, 0x20_0000, 0x7F00_0000_0000, 0x1000)

#: One of each: written by hand from vhost-user.rst.
EXAMPLES: list[tuple[Kind, Body, bytes]] = [
    (Kind.GET_FEATURES, Nothing(), b""),
    (Kind.SET_FEATURES, Number(1 << 32), struct.pack("<Q", 1 << 32)),
    (Kind.SET_OWNER, Nothing(), b""),
    (Kind.RESET_OWNER, Nothing(), b""),
    (Kind.SET_MEM_TABLE, MemoryTable(()), bytes(8)),
    (
        Kind.SET_MEM_TABLE,
        MemoryTable((REGION, REGION)),
        struct.pack("<II", 2, 0) + 2 * REGION_BYTES,
    ),
    (Kind.SET_VRING_NUM, VringState(2, 128), struct.pack("<II", 2, 128)),
    (
        Kind.SET_VRING_ADDR,
        VringAddress(2, 0, descriptor=1, used=2, available=3, log=4),
        struct.pack("<IIQQQQ", 2, 0, 1, 2, 3, 4),
    ),
    (Kind.SET_VRING_BASE, VringState(2, 65535), struct.pack("<II", 2, 65535)),
    (Kind.GET_VRING_BASE, VringState(255, 0), struct.pack("<II", 255, 0)),
    (Kind.SET_VRING_KICK, VringFile(3, no_descriptor=False), struct.pack("<Q", 3)),
    (Kind.SET_VRING_CALL, VringFile(3, no_descriptor=True), struct.pack("<Q", 0x103)),
    (Kind.SET_VRING_ERR, VringFile(255, no_descriptor=True), struct.pack("<Q", 0x1FF)),
    (Kind.GET_PROTOCOL_FEATURES, Nothing(), b""),
    (Kind.SET_PROTOCOL_FEATURES, Number(9), struct.pack("<Q", 9)),
    (Kind.GET_QUEUE_NUM, Nothing(), b""),
    (Kind.SET_VRING_ENABLE, VringState(0, 1), struct.pack("<II", 0, 1)),
    (Kind.SET_BACKEND_REQ_FD, Nothing(), b""),
    (Kind.RESET_DEVICE, Nothing(), b""),
    (Kind.GET_MAX_MEM_SLOTS, Nothing(), b""),
    (Kind.ADD_MEM_REG, MemorySlot(REGION), bytes(8) + REGION_BYTES),
    (Kind.REM_MEM_REG, MemorySlot(REGION), bytes(8) + REGION_BYTES),
    (Kind.SET_STATUS, Number(8), struct.pack("<Q", 8)),
    (Kind.GET_STATUS, Nothing(), b""),
]
KNOWN = {kind for kind, _, _ in EXAMPLES}


@pytest.mark.parametrize(("kind", "body", "payload"), EXAMPLES)
def test_message_is_laid_out_as_specified(kind: Kind, body: Body, payload: bytes) -> None:
    message = parse(Header(kind, 1, len(payload)), payload)
    assert message == Message(kind, body)
    assert encode(message) == struct.pack("<III", kind, 1, len(payload)) + payload


WRONG_LENGTHS = [(kind, payload + b"\0") for kind, _, payload in EXAMPLES] + [
    (kind, payload[:-1]) for kind, _, payload in EXAMPLES if payload
]


@pytest.mark.parametrize(("kind", "payload"), WRONG_LENGTHS)
def test_payload_of_another_length_is_refused(kind: Kind, payload: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"^{kind.name}: payload of {len(payload)} bytes"):
        parse(Header(kind, 1, len(payload)), payload)


def test_the_path_to_a_mistake_is_named() -> None:
    cut = struct.pack("<II", 1, 0) + REGION_BYTES[:-1]
    with pytest.raises(ProtocolError, match=r"regions -> offset.*expected 8, found 7"):
        parse(Header(Kind.SET_MEM_TABLE, 1, len(cut)), cut)


def test_a_table_of_nine_regions_is_refused() -> None:
    payload = struct.pack("<II", 9, 0) + 9 * REGION_BYTES
    with pytest.raises(ProtocolError, match="count_of_at_most_8"):
        parse(Header(Kind.SET_MEM_TABLE, 1, len(payload)), payload)


def test_reserved_bits_beside_a_vring_index_are_refused() -> None:
    payload = struct.pack("<Q", 0x200)
    with pytest.raises(ProtocolError, match="reserved"):
        parse(Header(Kind.SET_VRING_KICK, 1, 8), payload)


@pytest.mark.parametrize("request_", [0, 44, 0x5000, 0xFFFF_FFFF])
def test_unknown_request_is_refused(request_: int) -> None:
    with pytest.raises(ProtocolError, match=f"request {request_}: no such request"):
        parse(Header(request_, 1, 0), b"")


@pytest.mark.parametrize("kind", sorted(set(Kind) - KNOWN))
def test_request_of_a_feature_not_offered_is_refused(kind: Kind) -> None:
    with pytest.raises(ProtocolError, match=f"^{kind.name}: .*not offered"):
        parse(Header(kind, 1, 0), b"")


def test_every_number_has_a_name() -> None:
    assert sorted(Kind) == list(range(1, 44))
    assert sorted(BackEndKind) == list(range(1, 11))


@pytest.mark.parametrize("version", [0, 2, 3])
def test_other_protocol_versions_are_refused(version: int) -> None:
    with pytest.raises(ProtocolError, match=f"GET_FEATURES: protocol version {version}"):
        parse_header(struct.pack("<III", 1, version, 0))


def test_a_reply_is_no_request() -> None:
    with pytest.raises(ProtocolError, match="a reply to nothing"):
        parse_header(struct.pack("<III", 1, 1 | 4, 0))


def test_need_reply_is_kept() -> None:
    header = parse_header(struct.pack("<III", Kind.SET_OWNER, 1 | 8, 0))
    assert parse(header, b"").need_reply


@pytest.mark.parametrize(
    ("message", "allowed"),
    [
        (Message(Kind.GET_FEATURES), {0}),
        (Message(Kind.SET_MEM_TABLE, MemoryTable(())), {0}),
        (Message(Kind.SET_MEM_TABLE, MemoryTable((REGION, REGION))), {2}),
        (Message(Kind.SET_VRING_KICK, VringFile(0, no_descriptor=False)), {1}),
        (Message(Kind.SET_VRING_KICK, VringFile(0, no_descriptor=True)), {0}),
        (Message(Kind.SET_VRING_NUM, VringState(0, 1)), {0}),
        (Message(Kind.ADD_MEM_REG, MemorySlot(REGION)), {1}),
        (Message(Kind.REM_MEM_REG, MemorySlot(REGION)), {0, 1}),
        (Message(Kind.SET_BACKEND_REQ_FD), {1}),
    ],
)
def test_descriptors_are_counted(message: Message, allowed: set[int]) -> None:
    refused = set()
    for count in range(10):
        with contextlib.suppress(ProtocolError):
            check_descriptors(message, count)
            continue
        refused.add(count)
    assert refused == set(range(10)) - allowed


def test_replies() -> None:
    number = encode(Message(Kind.GET_FEATURES, Number(7), reply=True))
    assert number == struct.pack("<IIIQ", 1, 5, 8, 7)
    acknowledgement = encode(Message(Kind.SET_MEM_TABLE, Number(0), reply=True))
    assert acknowledgement == struct.pack("<IIIQ", 5, 5, 8, 0)
    base = encode(Message(Kind.GET_VRING_BASE, VringState(2, 9), reply=True))
    assert base == struct.pack("<IIIII", 11, 5, 8, 2, 9)


@given(st.integers(0, 50), st.binary(max_size=300))
def test_any_payload_is_a_message_or_a_protocol_error(request_: int, payload: bytes) -> None:
    header = Header(request_, 1, len(payload))
    try:
        message = parse(header, payload)
    except ProtocolError:
        return
    # Padding apart, the value has all that the bytes had.
    again = encode(message)
    assert len(again) == HEADER_SIZE + len(payload)
    assert parse(header, again[HEADER_SIZE:]) == message


@given(st.binary(min_size=HEADER_SIZE, max_size=HEADER_SIZE))
def test_any_header_is_one_or_a_protocol_error(data: bytes) -> None:
    try:
        header = parse_header(data)
    except ProtocolError:
        return
    assert struct.pack("<III", header.request, header.flags, header.size) == data
