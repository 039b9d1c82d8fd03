"""The one error of these tools."""

from __future__ import annotations


class RigError(Exception):
    """Something the rig needs is missing or failed; `hint` says what would help."""

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def __str__(self) -> str:
        text = super().__str__()
        return f"{text}\nhint: {self.hint}" if self.hint else text
