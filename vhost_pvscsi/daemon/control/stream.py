"""Bytes from a client to JSON objects: QMP's framing, without I/O.

Objects follow each other with white space between them or none (QEMU's docs/interop/qmp-spec.rst,
"General Definitions"). As in QEMU an object's end is found by counting brackets, each byte once:
however slowly a large one arrives, it is parsed one time. What cannot begin an object is skipped
to the end of its line, or to the next object; a byte FFh, which no JSON has, ends whatever has
begun ("JSON parsing errors").
"""

from __future__ import annotations

import json
import math
import re
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The longest object a client may send, in bytes.
MAX_LENGTH = 1 << 20
#: The deepest: no command's arguments come near it, and Python's parser recurses.
MAX_DEPTH = 64

_SPACE = re.compile(rb"[ \t\r\n]*")
_GARBAGE = re.compile(rb"[^{\n]*")
_BRACKET = re.compile(rb'["{}\[\]\xff]')
#: In a string: its end, an escape, or what JSON does not allow in one.
_IN_STRING = re.compile(rb'["\\\x00-\x1f\xff]')


class Malformed:
    """In place of an object: what was wrong."""

    def __init__(self, problem: str) -> None:
        self.problem = problem


class Overlong(Malformed):
    """An object longer than MAX_LENGTH: there is no way on for this client."""


class Stream:
    """The bytes of one client that make no whole object yet, at most MAX_LENGTH of them."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._seen = 0  #: bytes of it that have been looked at
        self._depth = 0  #: brackets open there
        self._deepest = 0
        self._string = False  #: a string is open there
        self._skipping = False  #: the rest of a line of garbage

    def feed(self, data: bytes) -> Iterator[dict[str, object] | Malformed]:
        """Take bytes; what they complete, in order. Nothing follows an `Overlong`."""
        self._buffer += data
        while (length := self._next()) is not None:
            piece = bytes(self._buffer[:length])
            del self._buffer[:length]
            deepest, self._deepest, self._seen, self._depth = self._deepest, 0, 0, 0
            self._string = False
            if piece:
                yield _parse(piece, deepest)
        if len(self._buffer) > MAX_LENGTH:
            self._buffer.clear()
            yield Overlong(f"JSON parse error, an object is longer than {MAX_LENGTH} bytes")

    def _next(self) -> int | None:
        """How many bytes make the next piece; None: more must come."""
        if not self._depth:
            skip = _GARBAGE if self._skipping else _SPACE
            match = skip.match(self._buffer)
            assert match is not None  # either may match nothing
            del self._buffer[: match.end()]
            if not self._buffer:
                return None
            was, self._skipping = self._skipping, False
            if was:
                return 0
            if self._buffer[0] != ord("{"):
                self._skipping = True
                return 1
        return self._end_of_object()

    def _end_of_object(self) -> int | None:
        while True:
            wanted = _IN_STRING if self._string else _BRACKET
            match = wanted.search(self._buffer, self._seen)
            if match is None:
                self._seen = len(self._buffer)
                return None
            self._seen = match.end()
            byte = match[0]
            if byte == b"\\":
                if self._seen == len(self._buffer):
                    self._seen -= 1  # what it escapes has not come
                    return None
                self._seen += 1
            elif byte == b'"':
                self._string = not self._string
            elif byte in b"{[":
                self._depth += 1
                self._deepest = max(self._deepest, self._depth)
            elif byte in b"}]":
                self._depth -= 1
                if not self._depth:
                    return self._seen
            else:
                # FFh, or a string that goes over its line's end.
                return self._seen


def _parse(piece: bytes, deepest: int) -> dict[str, object] | Malformed:
    if not piece.startswith(b"{"):
        return Malformed("JSON parse error, QMP input must be a JSON object")
    if deepest > MAX_DEPTH:
        return Malformed(f"JSON parse error, nested deeper than {MAX_DEPTH} levels")
    try:
        value = json.loads(
            piece.decode(),
            object_pairs_hook=_members,
            parse_constant=_no_constant,
            parse_float=_float,
        )
    except ValueError as error:
        return Malformed(f"JSON parse error, {error}")
    assert isinstance(value, dict)  # it begins with a brace
    return value


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member is there twice")
    return members


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _float(text: str) -> float:
    # An id is sent back: what a float cannot hold would go out as no JSON.
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is out of range")
    return value
