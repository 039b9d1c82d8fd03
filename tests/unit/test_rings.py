"""Descriptions of rings, held against the engine's own numbers."""

from __future__ import annotations

from vhost_pvscsi import _engine
from vhost_pvscsi.rings import RingKind


def test_kinds_of_rings_have_the_engines_numbers() -> None:
    assert [(kind.name, kind.value) for kind in RingKind] == [
        ("CONTROL", _engine.QUEUE_CONTROL),
        ("EVENT", _engine.QUEUE_EVENT),
        ("REQUEST", _engine.QUEUE_REQUEST),
    ]
