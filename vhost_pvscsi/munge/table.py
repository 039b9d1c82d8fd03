"""The table of all mungers, with ours in it: they are registered by being imported."""

from __future__ import annotations

from . import block_lengths, inquiry, operation_codes, protection, report_luns
from .registry import REGISTRY

__all__ = ["MODULES", "REGISTRY"]

MODULES = (block_lengths, inquiry, operation_codes, protection, report_luns)
