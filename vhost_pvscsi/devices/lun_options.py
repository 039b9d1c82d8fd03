"""The options of a LUN: `name=value` each, as a person writes them behind a PDEV."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import AddressError, ConfigurationError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.scsi.medium_changer import ElementType

from .changer.settings import count_of
from .faults.parse import parse_rule
from .identification import check_serial, parse_wwn
from .policy.policy import Policy, parse_allowed, parse_denied
from .presentation import (
    PRODUCT_WIDTH,
    REVISION_WIDTH,
    VENDOR_WIDTH,
    Hidden,
    Presentation,
    check_text,
    parse_hidden,
)
from .sizes import parse_size
from .tape.description import parse_capacity

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vhost_pvscsi.scsi.names import CommandKeys

    from .faults.rule import Rule

BLOCK_SIZES = (512, 1024, 2048, 4096)
#: Bytes in a block where neither an operator nor a device has another wish.
USUAL_BLOCK = 512

_LATENCY_UNITS = {"us": 1, "ms": 1000, "s": 1_000_000}

#: Longer than any guest's own timeout; a command is still held when that strikes.
_MAX_LATENCY_US = 3600 * 1_000_000

#: What a guest may be told to move with one command: whole pages of its own. A disk of ours
#: takes less than this in any case, and is never said to take more than it does.
_PAGE = 4096
MAX_TRANSFER = 32 << 20


#: A week; SG counts milliseconds in 32 bits.
_MAX_TIMEOUT = 7 * 24 * 3600


class Cache(enum.Enum):
    """Cache modes, as QEMU's users know them."""

    NONE = "none"
    WRITEBACK = "writeback"
    WRITETHROUGH = "writethrough"
    DIRECTSYNC = "directsync"

    @property
    def direct(self) -> bool:
        """Whether the host's page cache is left aside."""
        return self in {Cache.NONE, Cache.DIRECTSYNC}

    @property
    def sync_writes(self) -> bool:
        """Whether every write is stable when it is answered; the guest sees no write cache."""
        return self in {Cache.WRITETHROUGH, Cache.DIRECTSYNC}


class Road(enum.Enum):
    """How READ and WRITE reach a disk that is forwarded."""

    SG = "sg"  #: as all its commands
    BLOCK = "block"  #: by its block device


class OnLoss(enum.Enum):
    """What becomes of a LUN whose device goes away."""

    OFFLINE = "offline"  #: it stays, and answers NOT READY
    REMOVE = "remove"  #: it goes, and comes when the device does


@dataclass(frozen=True, slots=True)
class LunOptions:
    """The options of a LUN, with what holds where nothing is said."""

    read_only: bool = False
    block_size: int | None = None  #: None: the device's own, or `USUAL_BLOCK`
    cache: Cache = Cache.WRITEBACK
    serial: str | None = None
    wwn: str | None = None
    share: bool = False
    lock: bool = True
    latency_us: int = 0
    rotational: bool | None = None  #: None: as the device is, or it is not
    removable: bool = False
    capacity: int | None = None  #: of a tape, or each of a changer's: bytes of its image
    slots: int | None = None  #: of a changer; None: as its folder says
    import_export: int | None = None
    picks: int | None = None
    drives: tuple[Address, ...] = ()
    create: bool = False  #: an image that is not there is made
    compression: bool = False  #: a tape's blocks are compressed until a guest has it else
    faults: tuple[Rule, ...] = ()
    fault_file: Path | None = None  #: of more rules, which come after
    vendor: str | None = None
    product: str | None = None
    revision: str | None = None
    hidden: Hidden = Hidden.NOTHING
    max_transfer: int | None = None  #: bytes in one command, as the guest is told
    raw: bool = False
    denied: tuple[CommandKeys, ...] = ()
    allowed: tuple[CommandKeys, ...] = ()
    forward: bool | None = None  #: to a SCSI device of the host; None: as PDEV's form says
    on_loss: OnLoss = OnLoss.OFFLINE
    timeout: float | None = None  #: seconds that most commands may take; None: as for the type
    reset_lun: bool = False  #: a reset that a guest asks for reaches the device
    own_identity: bool = False  #: a device is shown with names of ours, not its own
    road: Road | None = None  #: None: BLOCK where a block device was named
    own_reservations: bool | None = None  #: kept by us, apart; None: if shared
    pr_helper: Path | None = None  #: the socket of qemu-pr-helper, for persistent reservations

    @property
    def presentation(self) -> Presentation:
        """What of them concerns the address, and not the unit."""
        return Presentation(
            vendor=self.vendor,
            product=self.product,
            revision=self.revision,
            serial=self.serial,
            naa=None if self.wwn is None else parse_wwn(self.wwn),
            hidden=self.hidden,
            max_transfer=self.max_transfer,
            protected=self.read_only,
            policy=Policy(
                self.raw, frozenset().union(*self.allowed), frozenset().union(*self.denied)
            ),
        )

    @property
    def keeps_apart(self) -> bool:
        """Whether reservations of a device's guests are ours to keep."""
        return self.share if self.own_reservations is None else self.own_reservations

    @property
    def of_unit(self) -> LunOptions:
        """What of them LUNs have in common that share a unit."""
        return replace(self, **{member: getattr(NO_OPTIONS, member) for member in _OF_ADDRESS})


#: Nothing is said.
NO_OPTIONS = LunOptions()


def parse_options(words: list[str]) -> LunOptions:
    """Read options, `name=value` each; a switch may stand alone for `=on`.

    Raises:
        ConfigurationError: an option is unknown, said twice, or its value cannot be used.
    """
    values: dict[str, object] = {}
    several: dict[str, list[object]] = {}
    for word in words:
        name, has_value, text = word.partition("=")
        if name not in _OPTIONS:
            raise ConfigurationError(
                f"option {name!r} is not known", hint=f"options are {', '.join(_OPTIONS)}"
            )
        member, parse = _OPTIONS[name]
        if member in values and member not in _REPEATABLE:
            raise ConfigurationError(f"option {name!r} is given twice", hint="say it once")
        if not has_value and parse is not _switch:
            raise ConfigurationError(f"option {name!r} has no value", hint=f"{name}=...")
        value = parse(name, text if has_value else "on")
        if member in _REPEATABLE:
            several.setdefault(member, []).append(value)
            value = tuple(several[member])
        values[member] = value
    return LunOptions(**values)  # type: ignore[arg-type]  # each by the parser of its own row


def _switch(name: str, text: str) -> bool:
    if text not in {"on", "off"}:
        raise ConfigurationError(f"{name}={text}: {text!r} is no switch", hint=f"{name}=on or off")
    return text == "on"


def _block_size(name: str, text: str) -> int:
    known = {str(size): size for size in BLOCK_SIZES}
    if text not in known:
        raise ConfigurationError(
            f"{name}={text}: {text!r} is no block size", hint=f"one of {', '.join(known)}"
        )
    return known[text]


def _cache(name: str, text: str) -> Cache:
    try:
        return Cache(text)
    except ValueError:
        raise ConfigurationError(
            f"{name}={text}: {text!r} is no cache mode",
            hint=f"one of {', '.join(mode.value for mode in Cache)}",
        ) from None


def _road(name: str, text: str) -> Road:
    try:
        return Road(text)
    except ValueError:
        raise ConfigurationError(
            f"{name}={text}: {text!r} is no road",
            hint=f"one of {', '.join(each.value for each in Road)}",
        ) from None


def _on_loss(name: str, text: str) -> OnLoss:
    try:
        return OnLoss(text)
    except ValueError:
        raise ConfigurationError(
            f"{name}={text}: {text!r} is nothing that a LUN does",
            hint=f"one of {', '.join(each.value for each in OnLoss)}",
        ) from None


def _one_of(**values: bool) -> Callable[[str, str], bool]:
    def parse(name: str, text: str) -> bool:
        if text not in values:
            raise ConfigurationError(
                f"{name}={text}: {text!r} cannot be used", hint=f"one of {', '.join(values)}"
            )
        return values[text]

    return parse


def _timeout(name: str, text: str) -> float:
    match = re.fullmatch(r"([0-9]{1,7})s?", text, re.ASCII)
    timeout = int(match[1]) if match else 0
    if not 0 < timeout <= _MAX_TIMEOUT:
        raise ConfigurationError(
            f"{name}={text}: {text!r} is no time that a command may take",
            hint=f"seconds, 1 to {_MAX_TIMEOUT}: 30s",
        )
    return float(timeout)


def _latency(name: str, text: str) -> int:
    match = re.fullmatch(r"([0-9]{1,12})(us|ms|s)", text, re.ASCII)
    latency = int(match[1]) * _LATENCY_UNITS[match[2]] if match else -1
    if not 0 <= latency <= _MAX_LATENCY_US:
        raise ConfigurationError(
            f"{name}={text}: {text!r} is no latency",
            hint="a number with us, ms or s, up to an hour: 500us, 30s",
        )
    return latency


def _max_transfer(name: str, text: str) -> int:
    length = parse_size(text, of=name)
    if length % _PAGE or length > MAX_TRANSFER:
        raise ConfigurationError(
            f"{name}={text}: {text!r} is no length of a transfer",
            hint=f"a multiple of 4K, up to {MAX_TRANSFER >> 20}M: {name}=508K",
        )
    return length


def _serial(name: str, text: str) -> str:
    del name
    return check_serial(text)


def _wwn(name: str, text: str) -> str:
    del name
    return parse_wwn(text).hex()


def _count(kind: ElementType) -> Callable[[str, str], int]:
    def parse(name: str, text: str) -> int:
        number = re.fullmatch(r"[0-9]{1,9}", text, re.ASCII)
        return count_of(kind, name, int(text) if number else text)

    return parse


def _drive(name: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except AddressError as error:
        raise ConfigurationError(f"{name}={text}: {error}", hint=error.hint) from error


def _text(width: int) -> Callable[[str, str], str]:
    return lambda name, text: check_text(name, text, width)


def _fault(name: str, text: str) -> Rule:
    del name
    return parse_rule(text)


def _fault_file(name: str, text: str) -> Path:
    if not text or "\0" in text:
        raise ConfigurationError(
            f"{name}={text}: {text!r} names nothing", hint=f"{name}=PATH, a file of fault rules"
        )
    return Path(text)


def _pr_helper(name: str, text: str) -> Path:
    if not text or "\0" in text:
        raise ConfigurationError(
            f"{name}={text}: {text!r} names nothing",
            hint=f"{name}=PATH, where qemu-pr-helper listens: {name}=/run/qemu-pr-helper.sock",
        )
    return Path(text)


#: Option -> the member of `LunOptions`, and what reads its value.
_OPTIONS: Mapping[str, tuple[str, Callable[[str, str], object]]] = {
    "ro": ("read_only", _switch),
    "block-size": ("block_size", _block_size),
    "cache": ("cache", _cache),
    "serial": ("serial", _serial),
    "wwn": ("wwn", _wwn),
    "share": ("share", _switch),
    "lock": ("lock", _switch),
    "latency": ("latency_us", _latency),
    "rotational": ("rotational", _switch),
    "removable": ("removable", _switch),
    "capacity": ("capacity", parse_capacity),
    "create": ("create", _switch),
    "slots": ("slots", _count(ElementType.STORAGE)),
    "import-export": ("import_export", _count(ElementType.IMPORT_EXPORT)),
    "picks": ("picks", _count(ElementType.MEDIUM_TRANSPORT)),
    "drive": ("drives", _drive),
    "compression": ("compression", _switch),
    "fault": ("faults", _fault),
    "fault-file": ("fault_file", _fault_file),
    "vendor": ("vendor", _text(VENDOR_WIDTH)),
    "product": ("product", _text(PRODUCT_WIDTH)),
    "revision": ("revision", _text(REVISION_WIDTH)),
    "hide": ("hidden", parse_hidden),
    "max-transfer": ("max_transfer", _max_transfer),
    "deny": ("denied", parse_denied),
    "allow": ("allowed", parse_allowed),
    "raw": ("raw", _switch),
    "forward": ("forward", _switch),
    "on-loss": ("on_loss", _on_loss),
    "road": ("road", _road),
    "timeout": ("timeout", _timeout),
    "reset": ("reset_lun", _one_of(off=False, lun=True)),
    "identity": ("own_identity", _one_of(host=False, own=True)),
    "reservations": ("own_reservations", _one_of(device=False, own=True)),
    "pr-helper": ("pr_helper", _pr_helper),
}

#: All options by name, and those whose value is a path.
OPTION_NAMES = tuple(_OPTIONS)
PATH_OPTIONS = frozenset({"fault-file", "pr-helper"})

#: Members whose option may be given several times; each is a tuple of all values.
_REPEATABLE = frozenset({"faults", "denied", "allowed", "drives"})

#: Members in which LUNs that share a unit may differ.
_OF_ADDRESS = frozenset(
    {
        "read_only",
        "serial",
        "wwn",
        "vendor",
        "product",
        "revision",
        "hidden",
        "max_transfer",
        "raw",
        "denied",
        "allowed",
        "on_loss",
        "own_identity",
    }
)
