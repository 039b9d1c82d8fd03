"""What a guest's /sys and /proc had on its devices, as files again."""

from __future__ import annotations

import json
from pathlib import Path

RECORDED = Path(__file__).parents[1] / "unit" / "discovery" / "recorded.json"


def lay_out(folder: Path) -> Path:
    """Write what was recorded below a folder; return that: its `sys` and `proc` are the guest's."""
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    for name, text in recorded["files"].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode("latin-1"))
    for name, target in recorded["links"].items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(target)
    return folder
