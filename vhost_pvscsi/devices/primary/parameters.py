"""The mode parameters of a unit as values: current, default, changeable, saved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.errors import DeviceError
from vhost_pvscsi.scsi import mode
from vhost_pvscsi.scsi.mode import PageControl

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from vhost_pvscsi.devices.nonvolatile import UnitMemory
    from vhost_pvscsi.scsi.mode import PageDefinition, PageKey


#: The name of the saved values in nonvolatile memory: page key in hexadecimal -> page.
SECTION = "mode-pages"

#: Both rings carry at most this many bytes of sense data.
MOST_SENSE = 96


class ModeParameters:
    """The mode pages of one unit.

    They are the unit's, shared by all nexuses (SPC-5 7.5.1). Without nonvolatile memory nothing
    can be saved, and no page says that it could.
    """

    def __init__(self, definitions: Iterable[PageDefinition], memory: UnitMemory | None) -> None:
        """Begin with the saved values, or the default ones.

        Raises:
            DeviceError: what is saved is not of these pages.
        """
        self.definitions: Mapping[PageKey, PageDefinition] = {d.key: d for d in definitions}
        self._memory = memory
        self._saved = self._restored()
        self.current: Mapping[PageKey, bytes] = self._saved

    @property
    def can_save(self) -> bool:
        """Whether there is nonvolatile memory."""
        return self._memory is not None

    @property
    def descriptor_sense(self) -> bool:
        """D_SENSE as it is now."""
        return mode.DESCRIPTOR_SENSE.read(self.current[mode.CONTROL])

    def reported(self, control: PageControl) -> Mapping[PageKey, bytes] | None:
        """All pages as MODE SENSE reports them; None: no values are saved here."""
        match control:
            case PageControl.CURRENT:
                pages = self.current
            case PageControl.CHANGEABLE:
                pages = {key: known.mask for key, known in self.definitions.items()}
            case PageControl.DEFAULT:
                pages = self.defaults
            case _:
                if not self.can_save:
                    return None
                pages = self._saved
        return {key: self._marked(key, page) for key, page in pages.items()}

    @property
    def defaults(self) -> Mapping[PageKey, bytes]:
        """The default values."""
        return {key: known.default for key, known in self.definitions.items()}

    @property
    def at_reset(self) -> Mapping[PageKey, bytes]:
        """What is current after a reset: the saved values, else the default ones (SPC-5 7.5.1)."""
        return self._saved

    async def save(self, pages: Mapping[PageKey, bytes]) -> None:
        """Save all pages that can be.

        Raises:
            OSError: they could not be written; those saved before are saved still.
        """
        assert self._memory is not None  # modes.py asks `can_save`
        kept = {
            _name(key): pages[key].hex()
            for key, known in self.definitions.items()
            if known.changeable
        }
        await self._memory.keep(SECTION, kept)
        self._saved = pages

    def _marked(self, key: PageKey, page: bytes) -> bytes:
        saveable = self.can_save and self.definitions[key].changeable
        return mode.saveable(page) if saveable else page

    def _restored(self) -> Mapping[PageKey, bytes]:
        kept = self._memory.section(SECTION) if self._memory else None
        if self._memory is None or kept is None:
            return self.defaults
        if not isinstance(kept, dict):
            raise _damaged(self._memory, repr(kept))
        pages = dict(self.defaults)
        for key, known in self.definitions.items():
            text = kept.get(_name(key))
            if text is None:
                continue
            page = _unhexed(text)
            if len(page) != len(known.default) or mode.page_key(page) != key:
                raise _damaged(self._memory, f"page {_name(key)}: {text!r}")
            # Another version, or other options of the LUN, may let less be changed.
            pages[key] = known.merged(page)
        return pages


def _name(key: PageKey) -> str:
    return bytes(key).hex()


def _unhexed(text: object) -> bytes:
    try:
        return bytes.fromhex(text) if isinstance(text, str) and text else b"\0"
    except ValueError:
        return b"\0"


def _damaged(memory: UnitMemory, what: str) -> DeviceError:
    return DeviceError(
        f"{memory.path}: saved mode pages cannot be read: {what}",
        hint="move it away, and the unit starts with nothing saved",
    )
