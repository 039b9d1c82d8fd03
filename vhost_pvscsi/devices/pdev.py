"""What a person writes to attach a LUN: `VDEV=PDEV[,option...]`."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.discovery.names import By, DeviceName, match_name
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address

from .lun_options import (
    BLOCK_SIZES,
    NO_OPTIONS,
    PATH_OPTIONS,
    USUAL_BLOCK,
    LunOptions,
    parse_options,
)
from .sizes import parse_size

if TYPE_CHECKING:
    from collections.abc import Iterable


class Kind(enum.Enum):
    """What a PDEV names."""

    PATH = "path"  #: an image file or a block device, behind an emulated disk
    DEVICE = "device"  #: a SCSI device of the host, that commands are forwarded to
    RAM = "ram"
    NULL = "null"
    TAPE = "tape"  #: a tape image
    CHANGER = "changer"  #: a folder of them
    CD = "cd"  #: a drive, with a disc image or a block device in it, or empty


@dataclass(frozen=True, slots=True)
class LunSpec:
    """A LUN as asked for; whether its file is there and fits is seen when it is opened."""

    address: Address
    pdev: str  #: as given, for messages
    kind: Kind
    path: Path | None  #: of PATH, TAPE, CD and CHANGER; None: the drive is empty
    size: int | None  #: bytes, of RAM and NULL
    options: LunOptions = NO_OPTIONS
    device: DeviceName | None = None  #: of DEVICE

    @property
    def identity_source(self) -> str:
        """What a unit that has no file is recognised by (see `derive_identity`)."""
        return f"{self.kind.value}:{self.address}"


def parse_lun(text: str) -> LunSpec:
    """Read `VDEV=PDEV[,option...]`; a comma in a path is written twice.

    Raises:
        ConfigurationError: any part of it cannot be used.
    """
    vdev, separator, rest = text.partition("=")
    if not separator or not rest:
        raise ConfigurationError(
            f"LUN {text!r} is not VDEV=PDEV[,option...]",
            hint="for example 0:0:1:0=disk.img,ro or 0:0:1:1=ram:64M",
        )
    return parse_pdev(Address.parse(vdev), rest)


def parse_pdev(address: Address, text: str) -> LunSpec:
    """Read `PDEV[,option...]` for an address.

    Raises:
        ConfigurationError: any part of it cannot be used.
    """
    pdev, *words = split_commas(text)
    options = parse_options(words)
    source = _parse_source(pdev, forward=options.forward)
    spec = LunSpec(address, pdev, source.kind, source.path, source.size, options, source.device)
    _check_options_apply(spec, frozenset(word.partition("=")[0] for word in words))
    if spec.device is not None and options.share and not options.keeps_apart:
        raise ConfigurationError(
            f"{pdev}: share=on with reservations=device would give each guest what another holds",
            hint="reservations=own keeps them apart, and is what share=on means if nothing is said",
        )
    if spec.size is not None:
        check_size(pdev, spec.size, options.block_size or USUAL_BLOCK)
    if spec.kind is Kind.TAPE and spec.path is None and options.create:
        raise ConfigurationError(
            f"{pdev} is an empty drive: there is nothing to create", hint="tape:FILE,create"
        )
    return spec


def split_commas(text: str) -> list[str]:
    """Split at single commas; `,,` is a comma of the word, as QEMU has it."""
    words = [""]
    for piece in re.split(r"(,,|,)", text):
        if piece == ",":
            words.append("")
        else:
            words[-1] += "," if piece == ",," else piece
    return words


def join_commas(words: Iterable[str]) -> str:
    """Make the text that `split_commas` splits into these words."""
    return ",".join(word.replace(",", ",,") for word in words)


def absolute_pdev(text: str, folder: Path) -> str:
    """Make the paths in `PDEV[,option...]` absolute; they are relative to `folder`.

    Raises:
        ConfigurationError: PDEV cannot be used.
    """
    pdev, *words = split_commas(text)
    if _parse_source(pdev).path is not None:  # nodes of devices are absolute
        kind = _parse_source(pdev).kind
        prefix = f"{kind.value}:" if kind in _PREFIXED else ""
        pdev = prefix + str(folder / pdev.removeprefix(prefix))
    for number, word in enumerate(words):
        name, _, value = word.partition("=")
        if name in PATH_OPTIONS:
            words[number] = f"{name}={folder / value}"
    return join_commas((pdev, *words))


def with_medium(text: str, path: Path | None) -> str:
    """Have another file behind the prefix in `PDEV[,option...]`, or none."""
    pdev, *words = split_commas(text)
    prefix, colon, _ = pdev.partition(":")
    return join_commas((f"{prefix}{colon}{path or ''}", *words))


def sent_descriptor(text: str) -> str | None:
    """Return NAME if PDEV of `PDEV[,option...]` is fd:NAME, which getfd has named; else None.

    Raises:
        ConfigurationError: it begins as a name of a device and is none.
    """
    name = match_name(split_commas(text)[0])
    if name is None or name.by is not By.DESCRIPTOR or name.value.isdecimal():
        return None
    return name.value


@dataclass(frozen=True, slots=True)
class _Source:
    """What PDEV itself says."""

    kind: Kind
    path: Path | None = None
    size: int | None = None
    device: DeviceName | None = None


def _parse_source(pdev: str, *, forward: bool | None = None) -> _Source:
    """Read PDEV; `forward` is what was said of a name that could be either kind of LUN."""
    prefix, colon, rest = pdev.partition(":")
    for kind in (Kind.RAM, Kind.NULL):
        if colon and prefix == kind.value:
            return _Source(kind, size=parse_size(rest, of=pdev))
    changer = bool(colon) and prefix == Kind.CHANGER.value
    if not (rest if changer else pdev) or "\0" in pdev:
        raise ConfigurationError(
            f"PDEV {pdev!r} names nothing",
            hint="an image file, a block device, a SCSI device of the host, tape:FILE, changer:DIR,"
            " cd:FILE, ram:SIZE or null:SIZE",
        )
    for kind in (Kind.TAPE, Kind.CD):
        if colon and prefix == kind.value:
            return _Source(kind, path=Path(rest) if rest else None)
    if changer:
        return _Source(Kind.CHANGER, path=Path(rest))
    name = match_name(pdev)
    if forward is None:
        forward = name is not None
    if forward:
        return _Source(Kind.DEVICE, device=name or DeviceName(By.NODE, pdev))
    if name is not None and name.by is not By.NODE:
        raise ConfigurationError(
            f"{pdev}: names a SCSI device, and forward=off is for block devices",
            hint="name its block device to have a disk emulated on it: /dev/disk/by-id/...",
        )
    return _Source(Kind.PATH, path=Path(pdev))


def check_size(pdev: str, size: int, block_size: int) -> None:
    """Check that a size makes whole blocks.

    Raises:
        ConfigurationError: it is nothing, or not a multiple of the block size.
    """
    if size == 0:
        raise ConfigurationError(
            f"{pdev}: is empty", hint=f"give it a size first: truncate -s 1G {pdev}"
        )
    if size % block_size:
        fitting = next((b for b in reversed(BLOCK_SIZES) if size % b == 0), None)
        raise ConfigurationError(
            f"{pdev}: its size {size} is not a multiple of the block size {block_size}",
            hint=f"block-size={fitting} would do" if fitting else "make it a multiple of 512",
        )


#: What a path follows.
_PREFIXED = frozenset({Kind.TAPE, Kind.CD, Kind.CHANGER})
_DISKS = frozenset({Kind.PATH, Kind.RAM, Kind.NULL})

#: Options that mean something for some kinds only: those, and what they are called.
_ONLY_FOR = {
    "latency": (frozenset({Kind.RAM, Kind.NULL}), "ram: and null:"),
    "cache": (frozenset({Kind.PATH}), "files and block devices"),
    "lock": (
        frozenset({Kind.PATH, Kind.TAPE, Kind.CD, Kind.DEVICE}),
        "files and block devices, and for devices that are forwarded",
    ),
    "forward": (frozenset({Kind.PATH, Kind.DEVICE}), "devices of the host"),
    "on-loss": (frozenset({Kind.DEVICE}), "SCSI devices that are forwarded"),
    "timeout": (frozenset({Kind.DEVICE}), "SCSI devices that are forwarded"),
    "reset": (frozenset({Kind.DEVICE}), "SCSI devices that are forwarded"),
    "identity": (frozenset({Kind.DEVICE}), "SCSI devices that are forwarded"),
    "share": (
        _DISKS | {Kind.TAPE, Kind.CHANGER, Kind.DEVICE},
        "emulated disks, tapes and changers, and SCSI devices that are forwarded",
    ),
    "road": (frozenset({Kind.DEVICE}), "SCSI devices that are forwarded"),
    "reservations": (frozenset({Kind.DEVICE}), "SCSI devices that are forwarded"),
    "pr-helper": (frozenset({Kind.DEVICE}), "SCSI devices that are forwarded"),
    "block-size": (_DISKS, "emulated disks, a forwarded device has its own"),
    "rotational": (_DISKS, "emulated disks"),
    "removable": (_DISKS, "emulated disks"),
    "max-transfer": (_DISKS | {Kind.DEVICE, Kind.TAPE}, "disks and tapes"),
    "capacity": (frozenset({Kind.TAPE, Kind.CHANGER}), "tape: and changer:"),
    "create": (frozenset({Kind.TAPE}), "tape:"),
    "compression": (frozenset({Kind.TAPE}), "tape:"),
    "slots": (frozenset({Kind.CHANGER}), "changer:"),
    "import-export": (frozenset({Kind.CHANGER}), "changer:"),
    "picks": (frozenset({Kind.CHANGER}), "changer:"),
    "drive": (frozenset({Kind.CHANGER}), "changer:"),
}


def _check_options_apply(spec: LunSpec, names: frozenset[str]) -> None:
    for name, (kinds, usable) in _ONLY_FOR.items():
        if name in names and spec.kind not in kinds:
            raise ConfigurationError(
                f"{spec.pdev}: option {name!r} does not apply", hint=f"{name}= is for {usable}"
            )
