"""Values as typed: what each kind of parameter looks like on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from vhost_pvscsi.control.parameter import HOST, MAX_SECONDS, PATH, PDEV, QUEUES, RULES, SECONDS
from vhost_pvscsi.identity import MAX_HOST, MAX_REQUEST_QUEUES, Address

if TYPE_CHECKING:
    from collections.abc import Callable

    from vhost_pvscsi.control.parameter import Kind


def _pdev(text: str) -> str:
    """Read `PDEV[,option...]` as the daemon will; its paths are made absolute.

    What is relative is so to the folder of who types, which the daemon does not know.

    Raises:
        ConfigurationError: it cannot be used.
    """
    # All kinds of devices have their options there; other values do without them.
    from vhost_pvscsi.devices.pdev import absolute_pdev, parse_pdev  # noqa: PLC0415

    parse_pdev(Address(0, 0, 0, 0), text)
    return absolute_pdev(text, Path.cwd())


#: Kind -> what click reads it with.
TYPES: dict[Kind, click.ParamType[Any]] = {
    HOST: click.IntRange(0, MAX_HOST),
    SECONDS: click.FloatRange(0, MAX_SECONDS),
    QUEUES: click.IntRange(1, MAX_REQUEST_QUEUES),
    PATH: click.Path(path_type=Path),
}

#: Kind -> what makes JSON of that, where it is none yet; raises ConfigurationError.
AS_JSON: dict[Kind, Callable[[Any], object]] = {
    PATH: lambda path: str(path.absolute()),
    PDEV: _pdev,
    RULES: list,
}
