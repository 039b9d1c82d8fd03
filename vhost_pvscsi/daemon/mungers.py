"""Loads the mungers of third parties, which register themselves when they are imported.

An installed package changes nothing by being there: what guests see is changed by what an
operator has named. A package offers mungers as entry points.
"""

from __future__ import annotations

import importlib.machinery
import importlib.metadata
import importlib.util
import logging
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.errors import ConfigurationError, DeviceError, VhostPvscsiError
from vhost_pvscsi.munge.registry import REGISTRY, Registry

from .config.settings import FileOrName

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from importlib.metadata import EntryPoint

log = logging.getLogger(__name__)

#: The entry points of packages that offer mungers.
GROUP = "vhost_pvscsi.mungers"

#: Whose lines are not where a stranger's mistake is: ours, the import system's.
_NOT_THEIRS = (Path(__file__).parents[1], Path(importlib.util.__file__).parent)
_HOW = "docs/munging.md shows how mungers are written"


def load_mungers(sources: Sequence[str], registry: Registry = REGISTRY) -> None:
    """Load files and packages, each once, in that order.

    Raises:
        DeviceError: a file cannot be read.
        ConfigurationError: what is named cannot be found or imported, or registers nothing.
    """
    known: set[Path | str] = set()
    for source in sources:
        is_file = FileOrName.is_file(source)
        one: Path | str = Path(source).resolve() if is_file else source
        if one not in known:
            known.add(one)
            (_load_file if is_file else _load_package)(source, registry)


def _load_file(source: str, registry: Registry) -> None:
    path = Path(source).resolve()
    try:
        with path.open("rb"):
            pass
    except OSError as error:
        raise DeviceError(
            f"mungers {source}: {error.strerror or error}", hint="--mungers FILE, of Python"
        ) from error
    # Dataclasses and others look their module up; the name is in no other module's way.
    name = f"munger_file_{path.stem}"
    while name in sys.modules:
        name += "_"
    loader = importlib.machinery.SourceFileLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    assert spec is not None  # it has its loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    _load(source, str(path), lambda: loader.exec_module(module), registry)


def _load_package(source: str, registry: Registry) -> None:
    point = _entry_point(source)
    _load(source, _provider(point), point.load, registry)


def _entry_point(name: str) -> EntryPoint:
    offered = importlib.metadata.entry_points(group=GROUP)
    found = [point for point in offered if point.name == name]
    if not found:
        names = sorted(set(offered.names))
        raise ConfigurationError(
            f"mungers {name!r}: no installed package offers them (entry points of {GROUP})",
            hint=f"offered are {', '.join(names)}" if names else f"a file is named ./{name}.py",
        )
    if len(found) > 1:
        providers = " and ".join(sorted(map(_provider, found)))
        raise ConfigurationError(
            f"mungers {name!r}: {providers} offer them", hint="uninstall one of them"
        )
    return found[0]


def _provider(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else point.value


def _load(source: str, origin: str, load: Callable[[], object], registry: Registry) -> None:
    before = len(registry.theirs)
    try:
        with registry.loading(origin):
            load()
    # What is imported is a stranger's, and may even call sys.exit().
    except (Exception, SystemExit) as error:
        hint = error.hint if isinstance(error, VhostPvscsiError) else None
        raise ConfigurationError(f"mungers {source}: {_told(error)}", hint=hint or _HOW) from error
    added = list(registry.theirs)[before:]
    if not added:
        raise ConfigurationError(
            f"mungers {source}: nothing is registered there",
            hint="functions with @inbound or @outbound of vhost_pvscsi.munge.registry",
        )
    told = ", ".join(f"{munger.command} ({munger.direction})" for munger in added)
    log.info("mungers of %s: %s", origin, told)


def _told(error: BaseException) -> str:
    """Say what went wrong, and in which line of what was loaded."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {error.msg}"
    frames = traceback.extract_tb(error.__traceback__)
    theirs = [frame for frame in frames if _is_theirs(frame.filename)]
    place = f"{theirs[-1].filename}:{theirs[-1].lineno}: " if theirs else ""
    if isinstance(error, VhostPvscsiError):
        return f"{place}{error}"
    return f"{place}{type(error).__name__}: {error}"


def _is_theirs(filename: str) -> bool:
    path = Path(filename)
    return path.is_absolute() and not any(path.is_relative_to(folder) for folder in _NOT_THEIRS)
