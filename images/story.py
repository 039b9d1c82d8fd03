"""What a demo tells while it goes on."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, and how long it took."""

    what: str
    seconds: float


class Story:
    """Tells what goes on, while it goes on, and sums it up."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._steps: list[Step] = []

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show that something is being done; time it."""
        began = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(f"{what} ...")
        with self._console.status(f"{what} ..."):
            yield
        took = time.monotonic() - began
        self._steps.append(Step(what, took))
        self._console.print(f"[green]done[/]  {what}  [dim]{took:.1f} s[/]")

    def note(self, text: str) -> None:
        """Tell something."""
        self._console.print(text, markup=False, soft_wrap=True)

    def detail(self, text: str) -> None:
        """Tell something of the step that is being done."""
        self.note(f"  {text}")

    def summary(self) -> None:
        """Print all steps and their times."""
        table = Table("step", "seconds", title="what was done", title_justify="left")
        table.columns[1].justify = "right"
        for step in self._steps:
            table.add_row(step.what, f"{step.seconds:.1f}")
        self._console.print(table)
