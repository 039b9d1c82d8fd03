"""QMP's framing: objects out of bytes, in any pieces."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.daemon.control.stream import MAX_DEPTH, MAX_LENGTH, Malformed, Overlong, Stream

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, width=32),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
).filter(lambda value: "Infinity" not in json.dumps(value))
OBJECTS = st.lists(st.dictionaries(st.text(), JSON, max_size=4), max_size=5)


def feed(*pieces: bytes) -> list[object]:
    stream = Stream()
    return [item for piece in pieces for item in stream.feed(piece)]


@given(OBJECTS, st.sampled_from(["", " ", "\n", "\r\n\t "]), st.booleans(), st.integers(1, 7))
def test_objects_come_out_as_they_went_in(
    objects: list[dict[str, object]], between: str, ascii_only: bool, size: int
) -> None:
    text = between.join(json.dumps(value, ensure_ascii=ascii_only) for value in objects)
    data = text.encode("utf-8", "surrogatepass")
    if "\ud800" <= max(text, default=" ") <= "\udfff":
        return
    assert feed(data) == objects
    assert feed(*(data[at : at + size] for at in range(0, len(data), size))) == objects


@given(st.lists(st.binary(max_size=40)), st.booleans())
def test_no_bytes_are_too_bad(pieces: list[bytes], ended: bool) -> None:
    stream = Stream()
    for piece in pieces:
        for item in stream.feed(piece):
            assert isinstance(item, dict | Malformed)
    # After FFh and a line's end all is well again, whatever was before.
    list(stream.feed(b"\xff\n" if ended else b'"\xff\n'))
    assert list(stream.feed(b'{"a": 1}'))[-1] == {"a": 1}


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        (b"garbage", "must be a JSON object"),
        (b"12", "must be a JSON object"),
        (b"[1]", "must be a JSON object"),
        (b'"text"', "must be a JSON object"),
        (b'{"id": 3 "execute": 5}', "delimiter"),
        (b'{"a": NaN}', "NaN is no JSON"),
        (b'{"a": 1e999}', "out of range"),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
        (b'{"a": 1, "a": 2}', "twice"),
        (b'{"a": "\xc3("}', "utf-8"),
        (b'{"a": "no end', "control character"),
        (b'{"a": [}}', "Expecting value"),
        (b'{"a": ' + b"[" * 100 + b"]" * 100 + b"}", f"deeper than {MAX_DEPTH}"),
    ],
)
def test_a_bad_line_is_one_error_and_the_next_is_read(line: bytes, problem: str) -> None:
    bad, good = feed(line + b"\n" + b'{"execute": "quit"}\n')
    assert isinstance(bad, Malformed)
    assert problem in bad.problem
    assert good == {"execute": "quit"}


def test_an_object_after_garbage_is_read_without_a_line_between() -> None:
    bad, good = feed(b'x{"a": 1}')
    assert isinstance(bad, Malformed)
    assert good == {"a": 1}


def test_what_never_ends_is_given_up() -> None:
    stream = Stream()
    items = list(stream.feed(b'{"a": "' + b"x" * (MAX_LENGTH - 7)))
    assert items == []
    [item] = stream.feed(b"x")
    assert isinstance(item, Overlong)
