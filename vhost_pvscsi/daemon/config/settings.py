"""The options of serve in a configuration file: their values, as TOML has them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from vhost_pvscsi.errors import ConfigurationError

from .mistakes import SHOWN

if TYPE_CHECKING:
    from pathlib import Path


class FileOrName(click.Path):
    """A file, told by a slash or by .py at its end; else the name of something else."""

    @staticmethod
    def is_file(text: str) -> bool:
        """Whether it names a file."""
        return "/" in text or text.endswith(".py")


def read_setting(option: click.Option, value: object, folder: Path) -> object:
    """Read the value of an option; a path is relative to `folder`.

    Raises:
        ConfigurationError: the option does not take it.
    """
    name = option.opts[0].removeprefix("--")
    if option.multiple:
        values = value if isinstance(value, list) else [value]
        return [_one(option, name, one, folder) for one in values]
    return _one(option, name, value, folder)


def _one(option: click.Option, name: str, value: object, folder: Path) -> object:
    kind, right = _kind(option)
    # true and false are integers to Python, and to nobody else.
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ConfigurationError(f"{name}: {str(value)[:SHOWN]!r} cannot be used", hint=right)
    if isinstance(option.type, click.Path):
        is_name = isinstance(option.type, FileOrName) and not option.type.is_file(str(value))
        return value if is_name else str(folder / str(value))
    try:
        option.type.convert(value, option, None)
    except click.BadParameter as error:
        raise ConfigurationError(f"{name}: {error.message}", hint=right) from None
    return value


def _kind(option: click.Option) -> tuple[type, str]:
    if option.is_flag:
        return bool, "true or false"
    if isinstance(option.type, click.IntRange):
        return int, f"a number, {option.type.min} to {option.type.max}"
    if isinstance(option.type, click.Choice):
        return str, f"one of {', '.join(map(str, option.type.choices))}, in quotes"
    return str, f"{option.metavar or 'text'}, in quotes"
