"""The pvSCSI socket protocol: a pvSCSI ring (Xen's vscsiif.h) handed over by vhost-user's framing.

docs/pvscsi-socket.md is its text. Messages that mean the same as vhost-user's have its numbers
and payloads; those of pvSCSI's own are numbered from 0x5000 up.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from construct import (
    Array,
    Check,
    Const,
    ConstructError,
    Int16ul,
    Int32ul,
    Int64ul,
    PaddedString,
    Rebuild,
    Struct,
    Terminated,
    len_,
    this,
)

from vhost_pvscsi.errors import ProtocolError

from . import vhost_user
from .vhost_user import (
    HEADER,
    VERSION,
    Header,
    HeaderFlag,
    Nothing,
    Shape,
)

if TYPE_CHECKING:
    from construct import Container

#: What HELLO negotiates. A change that an older end cannot ignore makes it one more.
PROTOCOL_VERSION = 1

#: LUNs in one answer to GET_LUNS; the next ones are asked for by identifier.
MAX_LUNS = 31

#: Bytes of a unit's name, of UTF-8, padded with zeros.
NAME_SIZE = 112


class Kind(enum.IntEnum):
    """What a front-end may ask. Below 0x5000: as vhost-user.rst has it."""

    GET_FEATURES = 1  #: which `Feature` bits the back-end has
    SET_FEATURES = 2  #: those that the guest was told of
    SET_OWNER = 3  #: a session begins
    SET_MEM_TABLE = 5  #: the whole of guest memory, a descriptor for each region
    GET_VRING_BASE = 11  #: let what was taken end, stop, say where
    SET_VRING_KICK = 12  #: eventfd by which the guest tells of new requests
    SET_VRING_CALL = 13  #: eventfd by which the guest is told of responses
    SET_VRING_ERR = 14  #: eventfd for errors
    GET_PROTOCOL_FEATURES = 15  #: which extensions of this protocol the back-end has
    SET_PROTOCOL_FEATURES = 16  #: those the front-end will use
    SET_VRING_ENABLE = 18  #: start the ring, pause it, let it go on
    SET_BACKEND_REQ_FD = 21  #: socket for messages of the back-end's own
    RESET_DEVICE = 34  #: end all commands early and stop the ring
    GET_MAX_MEM_SLOTS = 36  #: how many regions ADD_MEM_REG may build up
    ADD_MEM_REG = 37  #: one more region, with its descriptor
    REM_MEM_REG = 38  #: one region less
    HELLO = 0x5000  #: the first message: version, and what this end can do
    SET_GRANT_TABLE = 0x5001  #: the guest's grant table, in shared memory
    SET_RING = 0x5002  #: where the ring's page is
    SET_EVENT_CHANNEL = 0x5003  #: an event channel in place of the two eventfds
    SET_INFLIGHT = 0x5004  #: memory that outlives the back-end: what is in flight
    GET_LUNS = 0x5005  #: what is attached
    LUN_STATE = 0x5006  #: what the guest made of a LUN


class BackEndKind(enum.IntEnum):
    """What a back-end tells, on the socket of SET_BACKEND_REQ_FD."""

    LUN_ADD = 0x5100  #: a LUN was attached
    LUN_REMOVE = 0x5101  #: a LUN was taken away


class Ability(enum.IntFlag):
    """Flags of HELLO: what may be used where both ends have it."""

    GRANT_TABLE = 1 << 0  #: grants of a version 1 table in shared memory
    TRANSLATED = 1 << 1  #: the front-end puts frame numbers in place of grant references
    GNTDEV = 1 << 2  #: grants of a real Xen; reserved for the bridge
    EVENT_CHANNEL = 1 << 3  #: SET_EVENT_CHANNEL; reserved for the bridge
    INFLIGHT = 1 << 4  #: SET_INFLIGHT


class Feature(enum.IntFlag):
    """Feature bits; beside them a number, see `SEGMENTS_SHIFT`."""

    SG_GRANT = 1 << 0  #: xenstore's feature-sg-grant: segments in granted pages
    PROTOCOL_FEATURES = 1 << 30  #: as vhost-user's; here always there


#: Bits 32 to 47 of the features: segments of one request with SG_GRANT, xenstore's number.
SEGMENTS_SHIFT = 32
SEGMENTS_MASK = 0xFFFF


class RingPlace(enum.IntEnum):
    """How SET_RING names the page."""

    GRANT = 0  #: a grant reference
    ADDRESS = 1  #: a guest address


class LunState(enum.IntEnum):
    """What the guest made of a LUN."""

    CONNECTED = 1  #: it was found; device state 4 in xenstore
    FAILED = 2  #: it was not found; device state 6 after an add
    REMOVED = 3  #: it was let go; device state 6 after a removal


class Acknowledgement(enum.IntEnum):
    """What is answered to NEED_REPLY."""

    DONE = 0
    REFUSED = 1  #: the front-end broke the rules, and the connection ends
    GUEST_FAULT = 2  #: the guest's ring cannot be used; nothing has changed


@dataclass(frozen=True, slots=True)
class Hello:
    """HELLO and the answer to it."""

    version: int
    abilities: int


@dataclass(frozen=True, slots=True)
class GrantTable:
    """A version 1 grant table: entries of 8 bytes (flags u16, domid u16, frame u32)."""

    offset: int  #: in the file
    size: int  #: in bytes
    version: int
    back_end: int  #: domid that entries must grant to
    front_end: int  #: domid of the guest, for the log


@dataclass(frozen=True, slots=True)
class RingPage:
    """Where the ring is."""

    place: RingPlace
    where: int  #: grant reference or guest address


@dataclass(frozen=True, slots=True)
class EventChannel:
    """A port that is bound on the descriptor of /dev/xen/evtchn that comes along."""

    port: int


@dataclass(frozen=True, slots=True)
class InflightArea:
    """Shared memory for what is in flight."""

    offset: int  #: in the file
    size: int


@dataclass(frozen=True, slots=True)
class LunsFrom:
    """Asks for LUNs with this identifier or a higher one."""

    first: int


@dataclass(frozen=True, slots=True)
class Lun:
    """A LUN: its identifier, its v-dev, and what is there."""

    id: int  #: names it from its attachment to its end, and nothing else ever
    host: int
    channel: int
    target: int
    lun: int
    name: str  #: p-dev and p-devname of xenstore


@dataclass(frozen=True, slots=True)
class Luns:
    """Some of what is attached, by identifier, and how many more come after them."""

    luns: tuple[Lun, ...]
    remaining: int


@dataclass(frozen=True, slots=True)
class LunReport:
    """What the guest made of a LUN."""

    id: int
    state: LunState


@dataclass(frozen=True, slots=True)
class LunName:
    """A LUN that is gone."""

    id: int


Body = (
    vhost_user.Body
    | Hello
    | GrantTable
    | RingPage
    | EventChannel
    | InflightArea
    | LunsFrom
    | Lun
    | Luns
    | LunReport
    | LunName
)


#: The body of a message that has none.
NOTHING = Nothing()


@dataclass(frozen=True, slots=True)
class Message:
    """A request of a front-end, or our reply to it."""

    kind: Kind
    body: Body = NOTHING
    need_reply: bool = False
    reply: bool = False


_ZERO32 = Const(0, Int32ul)

_LUN_LAYOUT = Struct(
    "id" / Int32ul,
    "host" / Int16ul,
    "channel" / Int16ul,
    "target" / Int16ul,
    "lun" / Int16ul,
    "reserved" / _ZERO32,
    "name" / PaddedString(NAME_SIZE, "utf8"),
)


def _lun(fields: Container) -> Lun:
    return Lun(fields.id, fields.host, fields.channel, fields.target, fields.lun, str(fields.name))


_HELLO = Shape(
    Struct("version" / Int32ul, "reserved" / _ZERO32, "abilities" / Int64ul, Terminated),
    lambda c: Hello(c.version, c.abilities),
)
_GRANT_TABLE = Shape(
    Struct(
        "offset" / Int64ul,
        "size" / Int64ul,
        "version" / Int32ul,
        "back_end" / Int16ul,
        "front_end" / Int16ul,
        Terminated,
    ),
    lambda c: GrantTable(c.offset, c.size, c.version, c.back_end, c.front_end),
    range(1, 2),
)
_RING = Shape(
    Struct("place" / Int32ul, "reserved" / _ZERO32, "where" / Int64ul, Terminated),
    lambda c: RingPage(RingPlace(c.place), c.where),
)
_EVENT_CHANNEL = Shape(
    Struct("port" / Int32ul, "reserved" / _ZERO32, Terminated),
    lambda c: EventChannel(c.port),
    range(1, 2),
)
_INFLIGHT = Shape(
    Struct("offset" / Int64ul, "size" / Int64ul, Terminated),
    lambda c: InflightArea(c.offset, c.size),
    range(1, 2),
)
_LUNS_FROM = Shape(
    Struct("first" / Int32ul, "reserved" / _ZERO32, Terminated), lambda c: LunsFrom(c.first)
)
_LUNS = Shape(
    Struct(
        "count" / Rebuild(Int32ul, len_(this.luns)),
        "count_of_at_most_31" / Check(this.count <= MAX_LUNS),
        "remaining" / Int32ul,
        "luns" / Array(this.count, _LUN_LAYOUT),
        Terminated,
    ),
    lambda c: Luns(tuple(_lun(each) for each in c.luns), c.remaining),
)
_LUN_REPORT = Shape(
    Struct("id" / Int32ul, "state" / Int32ul, Terminated),
    lambda c: LunReport(c.id, LunState(c.state)),
)
_LUN_ADD = Shape(Struct(*_LUN_LAYOUT.subcons, Terminated), _lun)
_LUN_REMOVE = Shape(
    Struct("id" / Int32ul, "reserved" / _ZERO32, Terminated), lambda c: LunName(c.id)
)

_REQUESTS: dict[Kind, Shape] = {
    Kind.GET_FEATURES: vhost_user.NOTHING,
    Kind.SET_FEATURES: vhost_user.NUMBER,
    Kind.SET_OWNER: vhost_user.NOTHING,
    Kind.SET_MEM_TABLE: vhost_user.TABLE,
    Kind.GET_VRING_BASE: vhost_user.STATE,
    Kind.SET_VRING_KICK: vhost_user.FILE,
    Kind.SET_VRING_CALL: vhost_user.FILE,
    Kind.SET_VRING_ERR: vhost_user.FILE,
    Kind.GET_PROTOCOL_FEATURES: vhost_user.NOTHING,
    Kind.SET_PROTOCOL_FEATURES: vhost_user.NUMBER,
    Kind.SET_VRING_ENABLE: vhost_user.STATE,
    Kind.SET_BACKEND_REQ_FD: vhost_user.SOCKET,
    Kind.RESET_DEVICE: vhost_user.NOTHING,
    Kind.GET_MAX_MEM_SLOTS: vhost_user.NOTHING,
    Kind.ADD_MEM_REG: vhost_user.ADD_SLOT,
    Kind.REM_MEM_REG: vhost_user.REMOVE_SLOT,
    Kind.HELLO: _HELLO,
    Kind.SET_GRANT_TABLE: _GRANT_TABLE,
    Kind.SET_RING: _RING,
    Kind.SET_EVENT_CHANNEL: _EVENT_CHANNEL,
    Kind.SET_INFLIGHT: _INFLIGHT,
    Kind.GET_LUNS: _LUNS_FROM,
    Kind.LUN_STATE: _LUN_REPORT,
}

#: Requests whose reply is no u64.
_REPLIES: dict[Kind, Shape] = {
    Kind.GET_VRING_BASE: vhost_user.STATE,
    Kind.HELLO: _HELLO,
    Kind.GET_LUNS: _LUNS,
}

_BACK_END: dict[BackEndKind, Shape] = {
    BackEndKind.LUN_ADD: _LUN_ADD,
    BackEndKind.LUN_REMOVE: _LUN_REMOVE,
}


def parse(header: Header, payload: bytes) -> Message:
    """Turn a request's payload into a value.

    Raises:
        ProtocolError: an unknown request, or a payload that is not laid out as
            docs/pvscsi-socket.md says, to the byte.
    """
    name = request_name(header.request)
    try:
        kind = Kind(header.request)
    except ValueError as error:
        raise ProtocolError(f"{name}: no such request of a pvSCSI front-end") from error
    shape = _REQUESTS[kind]
    try:
        body = shape.make(shape.layout.parse(payload))
    except (ConstructError, ValueError) as error:
        text = " ".join(str(error).split())
        raise ProtocolError(f"{name}: payload of {len(payload)} bytes: {text}") from error
    return Message(kind, body, need_reply=header.need_reply)


def check_descriptors(message: Message, count: int) -> None:
    """Refuse a message that came with too few or too many descriptors.

    Raises:
        ProtocolError: `count` is not what this message carries.
    """
    wanted = vhost_user.descriptors_of(message.body, _REQUESTS[message.kind].descriptors)
    vhost_user.check_count(message.kind.name, count, wanted)


def encode(message: Message) -> bytes:
    """Build the bytes of a request or a reply."""
    if message.reply:
        shape = _REPLIES.get(message.kind, vhost_user.NUMBER)
    else:
        shape = _REQUESTS[message.kind]
    flags = VERSION
    if message.reply:
        flags |= HeaderFlag.REPLY
    if message.need_reply:
        flags |= HeaderFlag.NEED_REPLY
    return _frame(message.kind, flags, _payload(shape, message.body))


def parse_reply(kind: Kind, payload: bytes) -> Body:
    """Turn the payload of a reply into a value; for the other end."""
    shape = _REPLIES.get(kind, vhost_user.NUMBER)
    body: Body = shape.make(shape.layout.parse(payload))
    return body


def encode_notice(kind: BackEndKind, body: Lun | LunName) -> bytes:
    """Build a message of the back-end's own."""
    return _frame(kind, VERSION, _payload(_BACK_END[kind], body))


def parse_notice(header: Header, payload: bytes) -> tuple[BackEndKind, Body]:
    """Turn a message of the back-end's own into a value; for the other end."""
    kind = BackEndKind(header.request)
    shape = _BACK_END[kind]
    body: Body = shape.make(shape.layout.parse(payload))
    return kind, body


def request_name(request: int) -> str:
    """What a log line calls a request."""
    try:
        return Kind(request).name
    except ValueError:
        return vhost_user.request_name(request)


def cut_name(name: str) -> str:
    """Shorten a unit's name to what a LUN entry has room for, from its end, by whole characters.

    The end of a path says more than its beginning.
    """
    data = name.encode(errors="replace").replace(b"\0", b"?")
    return data[-NAME_SIZE:].decode(errors="ignore")


def _payload(shape: Shape, body: Body) -> bytes:
    fields = asdict(body)
    if shape is vhost_user.FILE:
        fields = {"word": fields}
    payload: bytes = shape.layout.build(fields)
    return payload


def _frame(request: int, flags: int, payload: bytes) -> bytes:
    header: bytes = HEADER.build({"request": request, "flags": flags, "size": len(payload)})
    return header + payload
