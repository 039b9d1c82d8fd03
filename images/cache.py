"""Where built things lie, and how to tell that they are still right."""

from __future__ import annotations

import fcntl
import hashlib
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: The root of the working tree.
TREE = Path(__file__).resolve().parent.parent


def root() -> Path:
    """Return the cache's folder: `$VHOST_PVSCSI_CACHE`, or `build/cache` in the tree."""
    chosen = os.environ.get("VHOST_PVSCSI_CACHE")
    path = Path(chosen).resolve() if chosen else TREE / "build" / "cache"
    path.mkdir(parents=True, exist_ok=True)
    return path


def digest(*parts: str, files: Iterable[Path] = ()) -> str:
    """Return a name for a set of inputs: texts, and the contents of files."""
    sum_ = hashlib.sha256()
    for part in parts:
        sum_.update(part.encode() + b"\0")
    for path in sorted(files):
        sum_.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    return sum_.hexdigest()


def is_current(folder: Path, stamp: str) -> bool:
    """Tell whether `folder` was completed from the inputs that `stamp` names."""
    try:
        return (folder / "stamp").read_text() == stamp
    except FileNotFoundError:
        return False


def complete(folder: Path, stamp: str) -> None:
    """Note that `folder` is complete; the last step of whatever fills it."""
    (folder / "stamp").write_text(stamp)


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold one of the cache's locks, so that two builders do not make the same thing at once."""
    with (root() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
