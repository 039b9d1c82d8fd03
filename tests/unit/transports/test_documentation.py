"""docs/vhost-user.md says what the code does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from vhost_pvscsi.transports.vhost_user.offers import (
    EXTENSIONS,
    OFFERED,
    OFFERED_PROTOCOL,
    TOLERATED,
)
from vhost_pvscsi.transports.vhost_user.session import LEGAL, State

if TYPE_CHECKING:
    from vhost_pvscsi.wire.vhost_user import Kind

TEXT = (Path(__file__).parents[3] / "docs" / "vhost-user.md").read_text()
ROWS = {
    cells[0]: cells
    for line in TEXT.splitlines()
    if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 4
}


def test_every_message_is_listed() -> None:
    known = {kind.name for kind in frozenset().union(*LEGAL.values())}
    assert {name for name in ROWS if name.isupper()} == known


@pytest.mark.parametrize("kind", sorted(frozenset().union(*LEGAL.values())))
def test_its_state_and_extension_are_right(kind: Kind) -> None:
    _, when, extension, _ = ROWS[kind.name]
    expected = EXTENSIONS.get(kind)
    assert extension == (expected.name if expected else "")
    assert ("after SET_FEATURES" in when) == (kind not in LEGAL[State.NEGOTIATING])
    assert ("while no ring" in when) == (kind not in LEGAL[State.RUNNING])


def test_what_is_offered_is_listed() -> None:
    for heading, bits in (
        ("virtio features", OFFERED),
        ("accepted without being offered", TOLERATED),
        ("protocol features", OFFERED_PROTOCOL),
    ):
        line = next(line for line in TEXT.splitlines() if line.startswith(f"| {heading} "))
        assert {bit.name for bit in bits} == set(re.findall(r"\b[A-Z][A-Z0-9_]+\b", line)) - {
            "QEMU"
        }
