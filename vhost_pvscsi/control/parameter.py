"""Parameters of control commands: what may be given, as JSON, and what it is read as."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import MAX_HOST, MAX_REQUEST_QUEUES, Address

from .permissions import parse_group, parse_mode

if TYPE_CHECKING:
    from collections.abc import Callable

#: A day: longer than anybody waits for a command to end, and no overflow in any timer.
MAX_SECONDS = 86400
#: The longest `host:channel:target:lun` that can be right is much shorter.
_MAX_ADDRESS = 64
#: What `getfd` may call a descriptor: as QEMU has it nothing that could be one's number.
DESCRIPTOR_NAME = re.compile(r"[^\d\0][^\0]{0,63}")
#: How much of a wrong value an error repeats, in characters.
_SHOWN = 60


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of value."""

    word: str  #: what stands for it in help texts
    json: str  #: its JSON type, as JSON Schema names it
    right: str  #: what would be right, for errors
    convert: Callable[[Any], object]  #: raises ValueError or TypeError for what is not right


@dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a command. One that is not required has a `default` (None: nothing said)."""

    name: str
    kind: Kind
    help: str
    required: bool = True
    default: object = None
    positional: bool = False  #: on the command line: by its place, not by its name

    @property
    def member(self) -> str:
        """Its name as an identifier."""
        return self.name.replace("-", "_")

    def read(self, value: object) -> object:
        """Make a value of what came as JSON.

        Raises:
            ConfigurationError: it is not of this kind.
        """
        try:
            return self.kind.convert(value)
        except ConfigurationError:
            raise
        except (TypeError, ValueError):
            raise ConfigurationError(
                f"argument {self.name!r}: {_show(value)} cannot be used", hint=self.kind.right
            ) from None


def _show(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _host(value: object) -> int:
    # true and false are integers to Python, and to nobody else.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= MAX_HOST:
        raise ValueError
    return value


def _seconds(value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise TypeError
    if not 0 <= value <= MAX_SECONDS:
        raise ValueError
    return float(value)


def _switch(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError
    # What could be no file's name could be nothing else here either; UnicodeError is a ValueError.
    value.encode("utf-8", "surrogateescape")
    if not value or "\0" in value:
        raise ValueError
    return value


def _path(value: object) -> Path:
    return Path(_text(value))


def _vdev(value: object) -> Address:
    text = _text(value)
    if len(text) > _MAX_ADDRESS:
        raise ValueError
    return Address.parse(text)


def _rules(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError
    return tuple(_text(rule) for rule in value)


def _group(value: object) -> int:
    return parse_group("socket-group", _text(value))


def _mode(value: object) -> int:
    return parse_mode("socket-mode", _text(value))


def _fdname(value: object) -> str:
    text = _text(value)
    if not DESCRIPTOR_NAME.fullmatch(text):
        raise ValueError
    return text


def _queues(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError
    if not 1 <= value <= MAX_REQUEST_QUEUES:
        raise ValueError
    return value


HOST = Kind("HOST", "integer", f"the number of a virtual host, 0 to {MAX_HOST}", _host)
SECONDS = Kind("SECONDS", "number", f"a number of seconds, 0 to {MAX_SECONDS}", _seconds)
SWITCH = Kind("SWITCH", "boolean", "true or false", _switch)
PATH = Kind("PATH", "string", "a path", _path)
PDEV = Kind("PDEV", "string", "PDEV[,OPTION...], for example disk.img,ro or ram:64M", _text)
VDEV = Kind("VDEV", "string", "host:channel:target:lun, for example 0:0:1:0", _vdev)
ELEMENT = Kind("ELEMENT", "string", "slot:1, drive:0 or import-export:1", _text)
SOURCE = Kind("SOURCE", "string", "an element, like slot:1, or the barcode of what is there", _text)
CARTRIDGE = Kind("CARTRIDGE", "string", "a barcode, or a file's name", _text)
RULES = Kind("RULE", "array", 'a list of fault rules, for example ["opcode=read:hang"]', _rules)
GROUP = Kind("GROUP", "string", "a group, by name or number, as text", _group)
MODE = Kind("OCTAL", "string", 'three octal digits, as text: "660"', _mode)
FDNAME = Kind("NAME", "string", "a name that does not begin with a digit", _fdname)
QUEUES = Kind("N", "integer", f"a number, 1 to {MAX_REQUEST_QUEUES}", _queues)
