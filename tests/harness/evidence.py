"""What a failed test leaves behind: `test-results/<test id>/`."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class Witness(Protocol):
    """Something that can tell what happened: a machine, a daemon."""

    def evidence(self) -> dict[str, str]:
        """Return file name = content."""


class Collector:
    """Knows all witnesses that live now, and writes down what they say."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._witnesses: list[Witness] = []
        self._last_words: list[dict[str, str]] = []

    @contextmanager
    def watch(self, witness: Witness) -> Iterator[None]:
        """Ask this one too; where an error ends it, ask before it is gone."""
        self._witnesses.append(witness)
        try:
            yield
        except BaseException:
            self._last_words.append(witness.evidence())
            raise
        finally:
            self._witnesses.remove(witness)

    def save(self, test_id: str, failure: str) -> Path:
        """Write the failure and all evidence into the test's own folder."""
        folder = self._root / re.sub(r"[^\w.\[\]-]+", "_", test_id)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "failure.txt").write_text(failure)
        told = [*self._last_words, *(witness.evidence() for witness in self._witnesses)]
        for number, files in enumerate(told):
            for name, content in files.items():
                (folder / f"{number}-{name}").write_text(content)
        self._last_words.clear()
        return folder
