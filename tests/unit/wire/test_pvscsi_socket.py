"""The messages of the pvSCSI socket, as bytes and as values."""

from __future__ import annotations

import contextlib
import re
import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vhost_pvscsi.errors import ProtocolError
from vhost_pvscsi.wire import vhost_user
from vhost_pvscsi.wire.pvscsi_socket import (
    NAME_SIZE,
    BackEndKind,
    Body,
    EventChannel,
    GrantTable,
    Hello,
    InflightArea,
    Kind,
    Lun,
    LunName,
    LunReport,
    Luns,
    LunsFrom,
    LunState,
    Message,
    RingPage,
    RingPlace,
    check_descriptors,
    cut_name,
    encode,
    encode_notice,
    parse,
    parse_notice,
    parse_reply,
    request_name,
)
from vhost_pvscsi.wire.vhost_user import (
    HEADER_SIZE,
    Header,
    MemoryRegion,
    MemorySlot,
    MemoryTable,
    Nothing,
    Number,
    VringFile,
    VringState,
    parse_header,
)

REGION = MemoryRegion(0x1_0000_0000, 0x20_0000, 0x1_0000_0000, 0x1000)
LUN = Lun(7, 1, 0, 3, 200, "/dev/tape/by-id/ä")
LUN_BYTES = struct.pack("<IHHHHI112s", 7, 1, 0, 3, 200, 0, "/dev/tape/by-id/ä".encode())

#: What is not vhost-user's: written by hand from docs/pvscsi-socket.md.
OWN: list[tuple[Kind, Body, bytes]] = [
    (Kind.HELLO, Hello(1, 0x13), struct.pack("<IIQ", 1, 0, 0x13)),
    (
        Kind.SET_GRANT_TABLE,
        GrantTable(0x1000, 0x40000, 1, 0, 9),
        struct.pack("<QQIHH", 0x1000, 0x40000, 1, 0, 9),
    ),
    (Kind.SET_RING, RingPage(RingPlace.GRANT, 8), struct.pack("<IIQ", 0, 0, 8)),
    (Kind.SET_RING, RingPage(RingPlace.ADDRESS, 1 << 40), struct.pack("<IIQ", 1, 0, 1 << 40)),
    (Kind.SET_EVENT_CHANNEL, EventChannel(5), struct.pack("<II", 5, 0)),
    (Kind.SET_INFLIGHT, InflightArea(0, 0xA000), struct.pack("<QQ", 0, 0xA000)),
    (Kind.GET_LUNS, LunsFrom(3), struct.pack("<II", 3, 0)),
    (Kind.LUN_STATE, LunReport(7, LunState.FAILED), struct.pack("<II", 7, 2)),
]

#: The others have vhost-user's numbers and payloads.
SHARED: list[tuple[Kind, vhost_user.Body]] = [
    (Kind.GET_FEATURES, Nothing()),
    (Kind.SET_FEATURES, Number(0x80_0000_0001)),
    (Kind.SET_OWNER, Nothing()),
    (Kind.SET_MEM_TABLE, MemoryTable((REGION,))),
    (Kind.GET_VRING_BASE, VringState(0, 0)),
    (Kind.SET_VRING_KICK, VringFile(0, no_descriptor=False)),
    (Kind.SET_VRING_CALL, VringFile(0, no_descriptor=True)),
    (Kind.SET_VRING_ERR, VringFile(0, no_descriptor=True)),
    (Kind.GET_PROTOCOL_FEATURES, Nothing()),
    (Kind.SET_PROTOCOL_FEATURES, Number(8)),
    (Kind.SET_VRING_ENABLE, VringState(0, 1)),
    (Kind.SET_BACKEND_REQ_FD, Nothing()),
    (Kind.RESET_DEVICE, Nothing()),
    (Kind.GET_MAX_MEM_SLOTS, Nothing()),
    (Kind.ADD_MEM_REG, MemorySlot(REGION)),
    (Kind.REM_MEM_REG, MemorySlot(REGION)),
]


@pytest.mark.parametrize(("kind", "body", "payload"), OWN)
def test_message_is_laid_out_as_documented(kind: Kind, body: Body, payload: bytes) -> None:
    message = parse(Header(kind, 1, len(payload)), payload)
    assert message == Message(kind, body)
    assert encode(message) == struct.pack("<III", kind, 1, len(payload)) + payload


@pytest.mark.parametrize(("kind", "body"), SHARED)
def test_message_that_means_the_same_has_the_same_bytes(kind: Kind, body: vhost_user.Body) -> None:
    theirs = vhost_user.encode(vhost_user.Message(vhost_user.Kind[kind.name], body))
    assert encode(Message(kind, body)) == theirs
    header = parse_header(theirs[:HEADER_SIZE])
    assert parse(header, theirs[HEADER_SIZE:]) == Message(kind, body)


def test_every_message_is_here() -> None:
    assert {kind for kind, *_ in OWN} | {kind for kind, _ in SHARED} == set(Kind)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [(kind, payload + b"\0") for kind, _, payload in OWN]
    + [(kind, payload[:-1]) for kind, _, payload in OWN],
)
def test_payload_of_another_length_is_refused(kind: Kind, payload: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"^{kind.name}: payload of {len(payload)} bytes"):
        parse(Header(kind, 1, len(payload)), payload)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        (Kind.HELLO, struct.pack("<IIQ", 1, 1, 0)),
        (Kind.SET_RING, struct.pack("<IIQ", 2, 0, 0)),
        (Kind.SET_RING, struct.pack("<IIQ", 0, 9, 0)),
        (Kind.GET_LUNS, struct.pack("<II", 0, 1)),
        (Kind.LUN_STATE, struct.pack("<II", 1, 0)),
        (Kind.LUN_STATE, struct.pack("<II", 1, 4)),
    ],
)
def test_reserved_and_unknown_values_are_refused(kind: Kind, payload: bytes) -> None:
    with pytest.raises(ProtocolError, match=f"^{kind.name}: payload"):
        parse(Header(kind, 1, len(payload)), payload)


@pytest.mark.parametrize("request_", [0, 4, 8, 9, 10, 17, 24, 39, 0x5007, 0x5100])
def test_requests_of_other_devices_are_refused(request_: int) -> None:
    with pytest.raises(ProtocolError, match="no such request of a pvSCSI front-end"):
        parse(Header(request_, 1, 0), b"")


@pytest.mark.parametrize(
    ("message", "allowed"),
    [
        (Message(Kind.HELLO, Hello(1, 0)), {0}),
        (Message(Kind.SET_GRANT_TABLE, GrantTable(0, 4096, 1, 0, 1)), {1}),
        (Message(Kind.SET_RING, RingPage(RingPlace.GRANT, 1)), {0}),
        (Message(Kind.SET_EVENT_CHANNEL, EventChannel(1)), {1}),
        (Message(Kind.SET_INFLIGHT, InflightArea(0, 1)), {1}),
        (Message(Kind.SET_MEM_TABLE, MemoryTable((REGION, REGION))), {2}),
        (Message(Kind.SET_VRING_KICK, VringFile(0, no_descriptor=False)), {1}),
        (Message(Kind.SET_VRING_CALL, VringFile(0, no_descriptor=True)), {0}),
        (Message(Kind.REM_MEM_REG, MemorySlot(REGION)), {0, 1}),
    ],
)
def test_descriptors_are_counted(message: Message, allowed: set[int]) -> None:
    accepted = set()
    for count in range(10):
        with contextlib.suppress(ProtocolError):
            check_descriptors(message, count)
            accepted.add(count)
    assert accepted == allowed


def test_replies() -> None:
    hello = encode(Message(Kind.HELLO, Hello(1, 3), reply=True))
    assert hello == struct.pack("<IIIIIQ", 0x5000, 5, 16, 1, 0, 3)
    luns = encode(Message(Kind.GET_LUNS, Luns((LUN,), 2), reply=True))
    assert luns == struct.pack("<IIIII", 0x5005, 5, 136, 1, 2) + LUN_BYTES
    assert parse_reply(Kind.GET_LUNS, luns[HEADER_SIZE:]) == Luns((LUN,), 2)
    base = encode(Message(Kind.GET_VRING_BASE, VringState(0, 0xFFFF_FFFF), reply=True))
    assert base == struct.pack("<IIIII", 11, 5, 8, 0, 0xFFFF_FFFF)
    refused = encode(Message(Kind.SET_VRING_ENABLE, Number(2), reply=True))
    assert refused == struct.pack("<IIIQ", 18, 5, 8, 2)


def test_messages_of_the_back_end() -> None:
    add = encode_notice(BackEndKind.LUN_ADD, LUN)
    assert add == struct.pack("<III", 0x5100, 1, 128) + LUN_BYTES
    assert parse_notice(Header(0x5100, 1, 128), LUN_BYTES) == (BackEndKind.LUN_ADD, LUN)
    remove = encode_notice(BackEndKind.LUN_REMOVE, LunName(7))
    assert remove == struct.pack("<IIIII", 0x5101, 1, 8, 7, 0)
    assert parse_notice(Header(0x5101, 1, 8), remove[HEADER_SIZE:])[1] == LunName(7)


def test_names_in_log_lines() -> None:
    assert request_name(0x5000) == "HELLO"
    assert request_name(8) == "SET_VRING_NUM"
    assert request_name(0x6000) == "request 24576"


@given(st.text())
@example("ä" * 57)
@example("a\0b")
@example("\ud800")
def test_any_name_fits_and_is_an_end_of_it(name: str) -> None:
    cut = cut_name(name)
    assert len(cut.encode()) <= NAME_SIZE
    assert name.encode(errors="replace").replace(b"\0", b"?").decode().endswith(cut)
    assert parse_notice(
        Header(0x5100, 1, 128), encode_notice(BackEndKind.LUN_ADD, Lun(1, 0, 0, 0, 0, cut))[12:]
    )[1] == Lun(1, 0, 0, 0, 0, cut)


@given(st.sampled_from(sorted(Kind)), st.binary(max_size=300))
def test_any_payload_is_a_message_or_a_protocol_error(kind: Kind, payload: bytes) -> None:
    try:
        message = parse(Header(kind, 1, len(payload)), payload)
    except ProtocolError:
        return
    again = encode(message)
    assert len(again) == HEADER_SIZE + len(payload)
    assert parse(Header(kind, 1, len(payload)), again[HEADER_SIZE:]) == message


TEXT = (Path(__file__).parents[3] / "docs" / "pvscsi-socket.md").read_text()


def test_the_document_has_every_message_with_its_number() -> None:
    rows = re.findall(r"^\| ([A-Z_]+) \| (0x[0-9a-f]+|\d+) \|", TEXT, re.MULTILINE)
    listed = {name: int(number, 0) for name, number in rows}
    assert listed == {kind.name: kind for kind in (*Kind, *BackEndKind)}
