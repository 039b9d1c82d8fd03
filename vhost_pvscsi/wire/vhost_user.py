"""The vhost-user socket protocol: messages as bytes and as values.

Everything here is little-endian. That is the machine's own order on every host we run on,
which is what vhost-user.rst, "Message Specification" asks for.
"""

from __future__ import annotations

import enum
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from construct import (
    Array,
    BitsInteger,
    BitStruct,
    ByteSwapped,
    Check,
    Const,
    ConstructError,
    Container,
    Flag,
    Int32ul,
    Int64ul,
    Padding,
    Rebuild,
    Struct,
    Terminated,
    len_,
    this,
)

from vhost_pvscsi.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Callable

#: vhost-user.rst, "Header": three u32.
HEADER_SIZE = 12

#: Regions one SET_MEM_TABLE may name (vhost-user.rst, "Multiple Memory regions description").
MAX_TABLE_REGIONS = 8

#: A vring index travels in 8 bits beside its descriptor (vhost-user.rst, "Vring descriptor index").
MAX_QUEUES = 256


class Kind(enum.IntEnum):
    """What a front-end may ask (vhost-user.rst, "Front-end message types")."""

    GET_FEATURES = 1  #: which virtio feature bits the back-end has
    SET_FEATURES = 2  #: those the guest's driver acknowledged
    SET_OWNER = 3  #: a session begins
    RESET_OWNER = 4  #: deprecated; to be ignored
    SET_MEM_TABLE = 5  #: the whole of guest memory, a descriptor for each region
    SET_LOG_BASE = 6  #: where to log dirty pages
    SET_LOG_FD = 7  #: eventfd that tells of new log entries
    SET_VRING_NUM = 8  #: size of a ring
    SET_VRING_ADDR = 9  #: where a ring's three parts are
    SET_VRING_BASE = 10  #: the next available index to take
    GET_VRING_BASE = 11  #: stop a ring; say where it stopped
    SET_VRING_KICK = 12  #: eventfd by which the guest tells of new buffers; starts the ring
    SET_VRING_CALL = 13  #: eventfd by which the guest is told of used buffers
    SET_VRING_ERR = 14  #: eventfd for errors
    GET_PROTOCOL_FEATURES = 15  #: which extensions of this protocol the back-end has
    SET_PROTOCOL_FEATURES = 16  #: those the front-end will use
    GET_QUEUE_NUM = 17  #: how many queues the back-end has
    SET_VRING_ENABLE = 18  #: let the back-end take from a ring, or not
    SEND_RARP = 19  #: network devices: announce a migrated guest
    NET_SET_MTU = 20  #: network devices
    SET_BACKEND_REQ_FD = 21  #: socket for messages of the back-end's own
    IOTLB_MSG = 22  #: address translations of a virtual IOMMU
    SET_VRING_ENDIAN = 23  #: byte order of a legacy ring
    GET_CONFIG = 24  #: read the device's config space
    SET_CONFIG = 25  #: write it
    CREATE_CRYPTO_SESSION = 26  #: crypto devices
    CLOSE_CRYPTO_SESSION = 27  #: crypto devices
    POSTCOPY_ADVISE = 28  #: migration with late page copies: get ready
    POSTCOPY_LISTEN = 29  #: register the memory with userfaultfd
    POSTCOPY_END = 30  #: all pages have arrived
    GET_INFLIGHT_FD = 31  #: shared memory that notes requests in flight
    SET_INFLIGHT_FD = 32  #: the same, handed back after a reconnect
    GPU_SET_SOCKET = 33  #: display devices
    RESET_DEVICE = 34  #: disable all rings, reset the device
    VRING_KICK = 35  #: a kick without an eventfd
    GET_MAX_MEM_SLOTS = 36  #: how many regions ADD_MEM_REG may build up
    ADD_MEM_REG = 37  #: one more region, with its descriptor
    REM_MEM_REG = 38  #: one region less
    SET_STATUS = 39  #: the virtio device status
    GET_STATUS = 40  #: read it back
    GET_SHARED_OBJECT = 41  #: a dma-buf that another device exported
    SET_DEVICE_STATE_FD = 42  #: channel for the device's state in a migration
    CHECK_DEVICE_STATE = 43  #: did that transfer work


class BackEndKind(enum.IntEnum):
    """What a back-end may ask (vhost-user.rst, "Back-end message types")."""

    IOTLB_MSG = 1  #: a translation is missing
    CONFIG_CHANGE_MSG = 2  #: the config space changed
    VRING_HOST_NOTIFIER_MSG = 3  #: let the guest write doorbells directly
    VRING_CALL = 4  #: a call without an eventfd
    VRING_ERR = 5  #: an error without an eventfd
    SHARED_OBJECT_ADD = 6  #: publish a dma-buf
    SHARED_OBJECT_REMOVE = 7  #: withdraw it
    SHARED_OBJECT_LOOKUP = 8  #: find one
    SHMEM_MAP = 9  #: map a file into a device's shared memory
    SHMEM_UNMAP = 10  #: take that mapping away


class HeaderFlag(enum.IntFlag):
    """Bits of a header's flags beside the version in bits 0 and 1."""

    REPLY = 1 << 2
    NEED_REPLY = 1 << 3


VERSION = 1
VERSION_MASK = 0b11


class Feature(enum.IntFlag):
    """Virtio feature bits that matter here (virtio 1.2, 5.6.3 and 6; vhost-user.rst)."""

    SCSI_INOUT = 1 << 0  #: a request may have data in both directions
    SCSI_HOTPLUG = 1 << 1  #: LUNs may come and go, told by events
    SCSI_CHANGE = 1 << 2  #: changes of a LUN's parameters are told by events
    SCSI_T10_PI = 1 << 3  #: protection information travels with the data
    NOTIFY_ON_EMPTY = 1 << 24  #: legacy
    LOG_ALL = 1 << 26  #: vhost: log writes to guest memory
    ANY_LAYOUT = 1 << 27  #: legacy: descriptors may be cut anywhere
    INDIRECT_DESC = 1 << 28
    EVENT_IDX = 1 << 29
    PROTOCOL_FEATURES = 1 << 30  #: vhost-user: extensions are negotiated, rings begin disabled
    VERSION_1 = 1 << 32
    ACCESS_PLATFORM = 1 << 33
    RING_PACKED = 1 << 34
    IN_ORDER = 1 << 35
    ORDER_PLATFORM = 1 << 36
    NOTIFICATION_DATA = 1 << 38
    RING_RESET = 1 << 40


class ProtocolFeature(enum.IntFlag):
    """Extensions of this protocol (vhost-user.rst, "Protocol features")."""

    MQ = 1 << 0
    LOG_SHMFD = 1 << 1
    RARP = 1 << 2
    REPLY_ACK = 1 << 3
    NET_MTU = 1 << 4
    BACKEND_REQ = 1 << 5
    CROSS_ENDIAN = 1 << 6
    CRYPTO_SESSION = 1 << 7
    PAGEFAULT = 1 << 8
    CONFIG = 1 << 9
    BACKEND_SEND_FD = 1 << 10
    HOST_NOTIFIER = 1 << 11
    INFLIGHT_SHMFD = 1 << 12
    RESET_DEVICE = 1 << 13
    INBAND_NOTIFICATIONS = 1 << 14
    CONFIGURE_MEM_SLOTS = 1 << 15
    STATUS = 1 << 16
    XEN_MMAP = 1 << 17
    SHARED_OBJECT = 1 << 18
    DEVICE_STATE = 1 << 19
    GET_VRING_BASE_INFLIGHT = 1 << 20
    GPA_ADDRESSES = 1 << 21
    SHMEM = 1 << 22
    GET_VRING_BASE_SKIP_DRAIN = 1 << 23


@dataclass(frozen=True, slots=True)
class Header:
    """The first 12 bytes of every message."""

    request: int
    flags: int
    size: int  #: of the payload that follows

    @property
    def need_reply(self) -> bool:
        """The front-end wants to know how a message without a reply of its own ended."""
        return bool(self.flags & HeaderFlag.NEED_REPLY)


@dataclass(frozen=True, slots=True)
class Nothing:
    """An empty payload."""


@dataclass(frozen=True, slots=True)
class Number:
    """One u64: feature bits, a count, a status, the end of a request."""

    value: int


@dataclass(frozen=True, slots=True)
class VringState:
    """A ring and a number that belongs to it."""

    index: int
    value: int


@dataclass(frozen=True, slots=True)
class VringAddress:
    """Where a ring is, in the front-end's own addresses."""

    index: int
    flags: int  #: bit 0: log writes to the used ring
    descriptor: int
    used: int
    available: int
    log: int  #: guest address of the used ring, for the log


@dataclass(frozen=True, slots=True)
class VringFile:
    """A ring and whether an eventfd comes with the message."""

    index: int
    no_descriptor: bool


@dataclass(frozen=True, slots=True)
class MemoryRegion:
    """A piece of guest memory, somewhere in a file that the front-end shares."""

    guest_address: int
    size: int
    user_address: int  #: where the front-end itself has it mapped
    offset: int  #: in the file


@dataclass(frozen=True, slots=True)
class MemoryTable:
    """All of guest memory."""

    regions: tuple[MemoryRegion, ...]


@dataclass(frozen=True, slots=True)
class MemorySlot:
    """One region to add or to remove."""

    region: MemoryRegion


Body = Nothing | Number | VringState | VringAddress | VringFile | MemoryTable | MemorySlot


@dataclass(frozen=True, slots=True)
class Message:
    """A request of a front-end, or our reply to it."""

    kind: Kind
    body: Body = Nothing()
    need_reply: bool = False
    reply: bool = False


@dataclass(frozen=True, slots=True)
class Shape:
    """The layout of a payload and the value it becomes. Their field names are the same.

    The shapes of payloads that both socket protocols have are public.
    """

    layout: Any  # construct has no types
    make: Callable[[Container], Any]  # one of the values
    descriptors: range = range(1)  # how many may come along; none


HEADER = Struct("request" / Int32ul, "flags" / Int32ul, "size" / Int32ul)

_REGION = Struct(
    "guest_address" / Int64ul,
    "size" / Int64ul,
    "user_address" / Int64ul,
    "offset" / Int64ul,
)


def _region(fields: Container) -> MemoryRegion:
    return MemoryRegion(fields.guest_address, fields.size, fields.user_address, fields.offset)


NOTHING = Shape(Struct(Terminated), lambda _: Nothing())
NUMBER = Shape(Struct("value" / Int64ul, Terminated), lambda c: Number(c.value))
STATE = Shape(
    Struct("index" / Int32ul, "value" / Int32ul, Terminated),
    lambda c: VringState(c.index, c.value),
)
ADDRESS = Shape(
    Struct(
        "index" / Int32ul,
        "flags" / Int32ul,
        "descriptor" / Int64ul,
        "used" / Int64ul,  # before `available`: not the order in which virtio lays them out
        "available" / Int64ul,
        "log" / Int64ul,
        Terminated,
    ),
    lambda c: VringAddress(c.index, c.flags, c.descriptor, c.used, c.available, c.log),
)
FILE = Shape(
    Struct(
        "word"  # a u64: the index in bits 0 to 7, bit 8 set where no descriptor comes
        / ByteSwapped(
            BitStruct(
                "reserved" / Const(0, BitsInteger(55)),
                "no_descriptor" / Flag,
                "index" / BitsInteger(8),
            )
        ),
        Terminated,
    ),
    lambda c: VringFile(c.word.index, c.word.no_descriptor),
    descriptors=range(2),
)
TABLE = Shape(
    Struct(
        "count" / Rebuild(Int32ul, len_(this.regions)),
        "count_of_at_most_8" / Check(this.count <= MAX_TABLE_REGIONS),
        Padding(4),
        "regions" / Array(this.count, _REGION),
        Terminated,
    ),
    lambda c: MemoryTable(tuple(_region(r) for r in c.regions)),
    descriptors=range(MAX_TABLE_REGIONS + 1),
)
_SLOT_LAYOUT = Struct(Padding(8), "region" / _REGION, Terminated)
ADD_SLOT = Shape(_SLOT_LAYOUT, lambda c: MemorySlot(_region(c.region)), range(1, 2))
# The descriptor is of no use, but front-ends have sent one (vhost-user.rst, REM_MEM_REG).
REMOVE_SLOT = Shape(_SLOT_LAYOUT, lambda c: MemorySlot(_region(c.region)), range(2))
SOCKET = Shape(Struct(Terminated), lambda _: Nothing(), range(1, 2))

#: Payloads of the requests that this back-end knows. Of the others it offers no feature.
_REQUESTS: dict[Kind, Shape] = {
    Kind.GET_FEATURES: NOTHING,
    Kind.SET_FEATURES: NUMBER,
    Kind.SET_OWNER: NOTHING,
    Kind.RESET_OWNER: NOTHING,
    Kind.SET_MEM_TABLE: TABLE,
    Kind.SET_VRING_NUM: STATE,
    Kind.SET_VRING_ADDR: ADDRESS,
    Kind.SET_VRING_BASE: STATE,
    Kind.GET_VRING_BASE: STATE,
    Kind.SET_VRING_KICK: FILE,
    Kind.SET_VRING_CALL: FILE,
    Kind.SET_VRING_ERR: FILE,
    Kind.GET_PROTOCOL_FEATURES: NOTHING,
    Kind.SET_PROTOCOL_FEATURES: NUMBER,
    Kind.GET_QUEUE_NUM: NOTHING,
    Kind.SET_VRING_ENABLE: STATE,
    Kind.SET_BACKEND_REQ_FD: SOCKET,
    Kind.RESET_DEVICE: NOTHING,
    Kind.GET_MAX_MEM_SLOTS: NOTHING,
    Kind.ADD_MEM_REG: ADD_SLOT,
    Kind.REM_MEM_REG: REMOVE_SLOT,
    Kind.SET_STATUS: NUMBER,
    Kind.GET_STATUS: NOTHING,
}

#: Requests whose reply is no u64.
_REPLIES: dict[Kind, Shape] = {Kind.GET_VRING_BASE: STATE}


def parse_header(data: bytes) -> Header:
    """Read a header of a front-end (vhost-user.rst, "Header").

    Raises:
        ProtocolError: the version is not 1, or it says that it is a reply.
    """
    try:
        fields = HEADER.parse(data)
    except ConstructError as error:
        raise ProtocolError(f"message header: {error}") from error
    header = Header(fields.request, fields.flags, fields.size)
    if header.flags & VERSION_MASK != VERSION:
        raise ProtocolError(
            f"{request_name(header.request)}: protocol version"
            f" {header.flags & VERSION_MASK}, not {VERSION}"
        )
    if header.flags & HeaderFlag.REPLY:
        raise ProtocolError(f"{request_name(header.request)}: a reply to nothing we asked")
    return header


def parse(header: Header, payload: bytes) -> Message:
    """Turn a request's payload into a value.

    Raises:
        ProtocolError: an unknown request, one of a feature that we do not offer, or a payload
            that is not laid out as vhost-user.rst says, to the byte.
    """
    name = request_name(header.request)
    try:
        kind = Kind(header.request)
    except ValueError as error:
        raise ProtocolError(f"{name}: no such request") from error
    shape = _REQUESTS.get(kind)
    if shape is None:
        raise ProtocolError(f"{name}: belongs to a feature that was not offered")
    try:
        body = shape.make(shape.layout.parse(payload))
    except ConstructError as error:
        text = " ".join(str(error).split())
        raise ProtocolError(f"{name}: payload of {len(payload)} bytes: {text}") from error
    return Message(kind, body, need_reply=header.need_reply)


def check_descriptors(message: Message, count: int) -> None:
    """Refuse a message that came with too few or too many descriptors.

    Raises:
        ProtocolError: `count` is not what this message carries.
    """
    wanted = descriptors_of(message.body, _REQUESTS[message.kind].descriptors)
    check_count(message.kind.name, count, wanted)


def descriptors_of(body: object, otherwise: range) -> range:
    """How many descriptors come with a body: as it says itself, or as its message does."""
    match body:
        case MemoryTable(regions):
            return range(len(regions), len(regions) + 1)
        case VringFile(_, no_descriptor):
            return range(1) if no_descriptor else range(1, 2)
        case _:
            return otherwise


def check_count(name: str, count: int, wanted: range) -> None:
    """Refuse a number of descriptors that a message of that name does not carry.

    Raises:
        ProtocolError: it is not one of `wanted`.
    """
    if count not in wanted:
        limits = f"{wanted[0]}" if len(wanted) == 1 else f"{wanted[0]} to {wanted[-1]}"
        raise ProtocolError(f"{name}: {count} descriptors came with it, not {limits}")


def encode(message: Message) -> bytes:
    """Build the bytes of a request or a reply."""
    shape = _REPLIES.get(message.kind, NUMBER) if message.reply else _REQUESTS[message.kind]
    fields = asdict(message.body)
    payload: bytes = shape.layout.build({"word": fields} if shape is FILE else fields)
    flags = VERSION
    if message.reply:
        flags |= HeaderFlag.REPLY
    if message.need_reply:
        flags |= HeaderFlag.NEED_REPLY
    header: bytes = HEADER.build({"request": message.kind, "flags": flags, "size": len(payload)})
    return header + payload


def request_name(request: int) -> str:
    """What a log line calls a request."""
    try:
        return Kind(request).name
    except ValueError:
        return f"request {request}"
