"""The group of all verbs, each of which brings in what it needs when it is asked for.

A client of a running daemon is often started, by scripts and by a shell that completes a word, and
shall not wait for the daemon's own code to be read.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from collections.abc import Mapping


class Program(click.Group):
    """A group some of whose commands are imported when they are first asked for."""

    def __init__(self, *arguments: Any, late: Mapping[str, str] = {}, **options: Any) -> None:
        """`late` has the place of each such command: its name = "module:attribute"."""
        super().__init__(*arguments, **options)
        self._late = late

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the names of all, in order."""
        return sorted({*super().list_commands(ctx), *self._late})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Return one, imported first if it is late; None: there is none of that name."""
        place = self._late.get(cmd_name)
        if place is None:
            return super().get_command(ctx, cmd_name)
        module, _, attribute = place.partition(":")
        found: click.Command = getattr(importlib.import_module(module), attribute)
        return found
