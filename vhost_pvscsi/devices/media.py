"""Units whose medium operators change: what the control socket needs of one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@runtime_checkable
class TakesMedia(Protocol):
    """A drive that a file can be put in, and taken out of."""

    @property
    def medium_path(self) -> Path | None:
        """The file that is in it; None: it is empty."""

    @property
    def loaded(self) -> bool:
        """Whether a guest can use what is in it."""

    async def insert_file(self, path: Path, *, read_only: bool, force: bool) -> None:
        """Put a file in, in the place of what is in it; guests are told.

        `force`: even if a guest prevents that what is in it is taken out.

        Raises:
            ConfigurationError: the file is no medium for it. Nothing has changed.
            DeviceError: the file cannot be opened. Nothing has changed.
            DeviceBusyError: as `eject`, or another program has the file. Nothing has changed.
        """

    async def eject(self, *, force: bool) -> None:
        """Take out what is in it; guests are told.

        Raises:
            DeviceBusyError: a guest prevents it, and has been asked to eject it by itself where
                its kind of unit has a way to ask.
        """

    def watch_media(self, tell: Callable[[str], None]) -> None:
        """Call `tell` with "guest" when a guest's command has loaded or ejected the medium."""
