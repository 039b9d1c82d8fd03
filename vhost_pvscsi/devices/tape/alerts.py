"""TapeAlert: which flags are up, for whom (SSC-5, "TapeAlert application client interface").

A flag goes up when its cause is counted, and down for a nexus that has read the page, and for all
when the cartridge is loaded.
"""

from __future__ import annotations

from dataclasses import astuple, dataclass


@dataclass(frozen=True, slots=True)
class Causes:
    """How often each has happened since the drive was attached."""

    reads: int = 0  #: blocks that could not be read
    writes: int = 0  #: writes that failed
    protected: int = 0  #: writes of a protected tape
    prevented: int = 0  #: unloads while the removal was prevented
    memory: int = 0  #: auxiliary memories that could not be read


#: For each cause its flags (SSC-5, "TapeAlert flags").
_FLAGS = (
    frozenset({0x03, 0x04, 0x05}),  # hard error, media, read failure
    frozenset({0x03, 0x06}),  # hard error, write failure
    frozenset({0x09}),  # write protect
    frozenset({0x0A}),  # no removal
    frozenset({0x0F}),  # memory chip failure
)


class Alerts:
    """What was told to whom."""

    def __init__(self) -> None:
        self._at_load = Causes()
        self._told: dict[str, Causes] = {}

    def load(self, now: Causes) -> None:
        """Take all flags down: the cartridge was loaded."""
        self._at_load = now
        self._told.clear()

    def raised(self, now: Causes) -> frozenset[int]:
        """Return the flags that went up since the cartridge was loaded, whoever has read them."""
        return _risen(self._at_load, now)

    def tell(self, nexus: str, now: Causes) -> frozenset[int]:
        """Return the flags that are up for a nexus, and take them down for it."""
        before = self._told.get(nexus, self._at_load)
        self._told[nexus] = now
        return _risen(before, now)


def _risen(before: Causes, now: Causes) -> frozenset[int]:
    causes = zip(_FLAGS, astuple(before), astuple(now), strict=True)
    return frozenset[int]().union(*(flags for flags, old, new in causes if new > old))
