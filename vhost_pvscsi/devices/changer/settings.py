"""What a changer's folder and its LUN's options say of it: changer.toml, checked as a whole."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.tape import auxiliary
from vhost_pvscsi.devices.tape.description import parse_capacity
from vhost_pvscsi.errors import AddressError, ConfigurationError
from vhost_pvscsi.identity import Address
from vhost_pvscsi.scsi.medium_changer import ElementType
from vhost_pvscsi.state import read_file

from .layout import MOST, Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

#: The file in a changer's folder that says what it is.
NAME = "changer.toml"
#: Largest file that is read, in bytes: a barcode for each cartridge of a large library.
MAX_FILE = 8 << 20

SLOTS, IMPORT_EXPORT, PICKS = 8, 1, 1


@dataclass(frozen=True, slots=True)
class ChangerSettings:
    """What a person says of a changer."""

    layout: Layout
    capacity: int | None = None  #: bytes of each cartridge; None: as its drive's LUN says
    barcodes: Mapping[str, str] = field(default_factory=dict)  #: by file; others: its stem
    protected: frozenset[str] = frozenset()  #: files that are write-protected


def count_of(kind: ElementType, name: str, value: object) -> int:
    """Check a number of elements.

    Raises:
        ConfigurationError: it is no number, or there cannot be so many.
    """
    least = 0 if kind is ElementType.IMPORT_EXPORT else 1
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= MOST[kind]:
        raise ConfigurationError(
            f"{name}: {value!r} is no number of elements", hint=f"{least} to {MOST[kind]}"
        )
    return value


def check_barcode(file: str, barcode: str) -> str:
    """Check what the cartridge of a file is called.

    Raises:
        ConfigurationError: it is no barcode.
    """
    try:
        return auxiliary.check_barcode(barcode)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"{file}: {error}",
            hint=f"{error.hint}; [barcodes] in {NAME} gives one to a file of another name",
        ) from error


def read_settings(folder: Path) -> Mapping[str, object]:
    """Read changer.toml of a folder; without one nothing is said.

    Raises:
        DeviceError: it cannot be read.
        ConfigurationError: it is no TOML, or a value cannot be used.
    """
    path = folder / NAME
    text = read_file(path, MAX_FILE)
    if text is None:
        return {}
    if len(text) > MAX_FILE:
        raise ConfigurationError(f"{path}: is too long", hint=f"at most {MAX_FILE} bytes")
    try:
        return _checked(tomllib.loads(text.decode("utf-8")))
    except ValueError as error:
        raise ConfigurationError(f"{path}: is no TOML: {error}") from error
    except ConfigurationError as error:
        raise ConfigurationError(f"{path}: {error}", hint=error.hint) from error


def settings_of(said: Mapping[str, object]) -> ChangerSettings:
    """Make settings of what was said, by `read_settings` or options, the latter over the former.

    Raises:
        ConfigurationError: two drives are one LUN.
    """

    def value(name: str, default: object) -> object:
        return said.get(name, default)

    drives = value("drives", ())
    assert isinstance(drives, tuple)  # of `_KEYS`, as all of these
    for address in drives:
        if drives.count(address) > 1:
            raise ConfigurationError(
                f"{address} is two drives", hint="each drive is a LUN of its own"
            )
    layout = Layout(
        slots=value("slots", SLOTS),  # type: ignore[arg-type]
        import_export=value("import-export", IMPORT_EXPORT),  # type: ignore[arg-type]
        picks=value("picks", PICKS),  # type: ignore[arg-type]
        drives=drives,
    )
    return ChangerSettings(
        layout,
        capacity=value("capacity", None),  # type: ignore[arg-type]
        barcodes=value("barcodes", {}),  # type: ignore[arg-type]
        protected=value("write-protected", frozenset()),  # type: ignore[arg-type]
    )


def _checked(table: Mapping[str, object]) -> Mapping[str, object]:
    for name in table:
        if name not in _KEYS:
            raise ConfigurationError(
                f"{name[:60]!r} is not known", hint=f"there is {', '.join(_KEYS)}"
            )
    return {name: _KEYS[name](name, value) for name, value in table.items()}


def _count(kind: ElementType) -> Callable[[str, object], int]:
    return lambda name, value: count_of(kind, name, value)


def _drives(name: str, value: object) -> tuple[Address, ...]:
    texts = _strings(name, value, hint='drives = ["0:0:1:0"], LUNs that are tape:')
    if len(texts) > MOST[ElementType.DATA_TRANSFER]:
        raise ConfigurationError(
            f"{name}: has {len(texts)} of them", hint=f"at most {MOST[ElementType.DATA_TRANSFER]}"
        )
    try:
        return tuple(Address.parse(text) for text in texts)
    except AddressError as error:
        raise ConfigurationError(f"{name}: {error}", hint=error.hint) from error


def _strings(name: str, value: object, *, hint: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ConfigurationError(f"{name}: {value!r} is no list of strings", hint=hint)
    return value


def _capacity(name: str, value: object) -> int:
    if not isinstance(value, str):
        raise ConfigurationError(f"{name}: {value!r} is no size", hint='capacity = "2G"')
    return parse_capacity(name, value)


def _barcodes(name: str, value: object) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ConfigurationError(
            f"{name}: {value!r} is no table", hint='[barcodes], with lines "FILE.tap" = "BARCODE"'
        )
    for file, barcode in value.items():
        if not isinstance(barcode, str):
            raise ConfigurationError(
                f"{name}: {file}: {barcode!r} is no string", hint='"FILE.tap" = "BARCODE"'
            )
        check_barcode(file, barcode)
    return value


def _protected(name: str, value: object) -> frozenset[str]:
    return frozenset(_strings(name, value, hint='write-protected = ["FILE.tap"]'))


#: Key of changer.toml -> what checks its value.
_KEYS: Mapping[str, Callable[[str, object], object]] = {
    "slots": _count(ElementType.STORAGE),
    "import-export": _count(ElementType.IMPORT_EXPORT),
    "picks": _count(ElementType.MEDIUM_TRANSPORT),
    "drives": _drives,
    "capacity": _capacity,
    "write-protected": _protected,
    "barcodes": _barcodes,
}
