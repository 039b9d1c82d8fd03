"""Rules files: read whole, and bounded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError, DeviceError

from .parse import parse_rules

if TYPE_CHECKING:
    from pathlib import Path

    from .rule import Rule

#: Largest file that is read, in bytes: thousands of rules.
MAX_FILE = 1 << 20


def load_rules(path: Path) -> tuple[Rule, ...]:
    """Read the rules of a file.

    Raises:
        DeviceError: it cannot be read.
        ConfigurationError: it is no rules file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE + 1)
    except OSError as error:
        raise DeviceError(
            f"{path}: {error.strerror or error}", hint="fault-file= is a file of fault rules, TOML"
        ) from error
    if len(content) > MAX_FILE:
        raise ConfigurationError(
            f"{path}: is no rules file: too long", hint=f"at most {MAX_FILE} bytes"
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ConfigurationError(
            f"{path}: is no rules file: {error}", hint="TOML, in UTF-8"
        ) from error
    return parse_rules(text, of=str(path))
