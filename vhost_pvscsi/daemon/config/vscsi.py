"""Xen's way to name LUNs: `vscsi = [ 'PDEV,VDEV[,option...]', ... ]` of a domain's configuration.

The options after VDEV are ours, and `feature-host` is Xen's only one.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from vhost_pvscsi.devices.pdev import join_commas, split_commas
from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from pathlib import Path

_FORM = "'PDEV,VDEV[,option...]', for example '/dev/disk/by-id/...,0:0:1:0'"
_LINE = "vscsi = ['PDEV,VDEV[,option...]', ...]"

#: Largest file that is read, in bytes.
_MAX_FILE = 1 << 20
#: Longest list, in characters.
_MAX_LINE = 1 << 16
_SHOWN = 60


def parse_item(text: str) -> tuple[Address, str]:
    """Read `PDEV,VDEV[,option...]`: the address, and PDEV with its options as we write them.

    Raises:
        ConfigurationError: any part of it cannot be used.
    """
    words = [word.strip() for word in split_commas(text)]
    if len(words) < 2 or not words[0]:
        raise ConfigurationError(f"vscsi {text[:_SHOWN]!r} is not PDEV,VDEV", hint=_FORM)
    pdev, vdev, *options = words
    if vdev == "host" or any(word.partition("=")[0] == "feature-host" for word in options):
        raise ConfigurationError(
            f"vscsi {text[:_SHOWN]!r}: a whole physical host (feature-host) is not served",
            hint="name each LUN: 'PDEV,VDEV'",
        )
    if re.fullmatch(r"naa\.[0-9a-f]+:[0-9]+", pdev, re.ASCII | re.IGNORECASE):
        raise ConfigurationError(
            f"vscsi {text[:_SHOWN]!r}: PDEV {pdev} is a LUN of the kernel's target, "
            "and those are not served",
            hint="name the device behind it: vhost-pvscsi devices",
        )
    return Address.parse(vdev), join_commas((pdev, *options))


def parse_line(text: str) -> list[str]:
    """Read `vscsi = [...]`, or one item alone, as typed on a command line.

    Raises:
        ConfigurationError: it is neither.
    """
    if re.match(r"\s*(vscsi\s*=|\[)", text):
        line = text if "=" in text.partition("[")[0] else f"vscsi = {text}"
        return [item for item, _ in _items(line.strip(), of=f"{text[:_SHOWN]!r}")]
    return [text]


def load_domain(path: Path) -> list[tuple[str, int]]:
    """Read the vscsi items of a Xen domain's configuration file, each with its line.

    The file is looked at and never carried out; whatever else is in it does not matter.

    Raises:
        DeviceError: it cannot be read.
        ConfigurationError: it has no such line, or that line cannot be used.
    """
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE + 1)
    except OSError as error:
        raise DeviceError(
            f"{path}: {error.strerror or error}",
            hint="--domain-config FILE, the configuration of a Xen domain",
        ) from error
    if len(data) > _MAX_FILE:
        raise ConfigurationError(f"{path}: is too long", hint=f"at most {_MAX_FILE} bytes")
    return _items(data.decode("utf-8", "surrogateescape"), of=str(path))


def _items(text: str, *, of: str) -> list[tuple[str, int]]:
    # xl's files look like Python and are none: only from the assignment on it has to be some.
    starts = list(re.finditer(r"^[ \t]*vscsi[ \t]*=(?!=)", text, re.MULTILINE))
    if not starts:
        raise ConfigurationError(f"{of}: has no line vscsi = [...]", hint=_LINE)
    # As in Python and xl: the last assignment is the one that holds.
    start = starts[-1]
    before = text.count("\n", 0, start.start())
    tree = _parse_list(text[start.end() :])
    if tree is None:
        raise ConfigurationError(f"{of}:{before + 1}: is no list of texts", hint=_LINE)
    return [(item, before + line) for item, line in tree]


def _parse_list(text: str) -> list[tuple[str, int]] | None:
    """Read a list of texts, or one text, at the start; what follows may be anything."""
    text = text[:_MAX_LINE].lstrip(" \t") + "\n"
    # Each "]" may be the list's end, or stand in a text or comment: the first that makes one is.
    for end in re.finditer(r"\]" if text.startswith("[") else r"\n", text):
        try:
            return _texts(ast.parse(text[: end.end()], mode="eval").body)
        except (SyntaxError, ValueError, RecursionError, MemoryError):
            continue
    return None


def _texts(value: ast.expr) -> list[tuple[str, int]] | None:
    elements = value.elts if isinstance(value, ast.List) else [value]
    items = []
    for element in elements:
        if not (isinstance(element, ast.Constant) and isinstance(element.value, str)):
            return None
        items.append((element.value, element.lineno))
    return items
