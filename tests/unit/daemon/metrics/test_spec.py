"""`--metrics` as values."""

from __future__ import annotations

from pathlib import Path

import pytest

from vhost_pvscsi.daemon.metrics.spec import TcpSpec, UnixSpec, parse_metrics
from vhost_pvscsi.errors import ConfigurationError


@pytest.mark.parametrize(
    ("text", "spec"),
    [
        ("9744", TcpSpec("127.0.0.1", 9744)),
        ("0", TcpSpec("127.0.0.1", 0)),
        ("0.0.0.0:9744", TcpSpec("0.0.0.0", 9744)),
        ("localhost:65535", TcpSpec("localhost", 65535)),
        ("[::1]:9744", TcpSpec("::1", 9744)),
        ("unix:/run/m", UnixSpec(Path("/run/m"), 0o600)),
        ("unix:/run/a,,b", UnixSpec(Path("/run/a,b"), 0o600)),
        ("unix:/run/m,group=0", UnixSpec(Path("/run/m"), 0o660, 0)),
        ("unix:/run/m,mode=666,group=0", UnixSpec(Path("/run/m"), 0o666, 0)),
    ],
)
def test_what_can_be_asked_for(text: str, spec: object) -> None:
    assert parse_metrics(text) == spec


@pytest.mark.parametrize(
    "text",
    [
        *("", ":9744", "host:", "65536", "-1", "1:2:3", "::1:9744", "[::1]", "[]:1", "a b:1"),
        *("host:9744,mode=600", "9744 ", "/run/m", "host:123456"),
        *(
            "unix:",
            "unix:,mode=600",
            "unix:/m,mode=9",
            "unix:/m,group=nobody-has-this",
            "unix:/m,ro",
        ),
        *("unix:/m,mode", "unix:/m\0"),
    ],
)
def test_what_cannot_be_used_is_said_with_what_can(text: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_metrics(text)
    assert caught.value.hint


def test_addresses_are_said_as_they_are_typed() -> None:
    for text in ("127.0.0.1:9744", "[::1]:1", "unix:/run/m"):
        assert str(parse_metrics(text)) == text
