"""Where things stand in TOML: every table, key and element, and in the right line."""

from __future__ import annotations

import tomllib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vhost_pvscsi.daemon.config.lines import lines_of

TEXT = '''\
# a comment = "no key"
vscsi = [
  'a,b', # ]
  "c ] \\" ]",

  [1, { x = 2 }] ]
[daemon]  # [not.a.table]
threads = 4
"log-level" = """
[a]
b = \\""" c
""""
'x.y' . z = { a = 1, b.c = [ 1,
  2 ] }
after = """two
""\\
  lines""\\"""" # a quote at its end
date = 1979-05-27T07:32:00Z
literal = \'\'\'
\\\'\'\'
last.one = -inf

[[host]]
number = 0
[ host . sub ]
z = 1
[[host]]
number = 1
[[host.more]]
[[host.more]]
z.y = "\\\\"
q = 2'''

PLACES = {
    (): 1,
    ("vscsi",): 2,
    ("vscsi", 0): 3,
    ("vscsi", 1): 4,
    ("vscsi", 2): 6,
    ("vscsi", 2, 1, "x"): 6,
    ("daemon",): 7,
    ("daemon", "threads"): 8,
    ("daemon", "log-level"): 9,
    ("daemon", "x.y"): 13,
    ("daemon", "x.y", "z", "b", "c", 1): 14,
    ("daemon", "after"): 15,
    ("daemon", "date"): 18,
    ("daemon", "literal"): 19,
    ("daemon", "last", "one"): 21,
    ("host",): 23,
    ("host", 0): 23,
    ("host", 0, "sub"): 25,
    ("host", 0, "sub", "z"): 26,
    ("host", 1): 27,
    ("host", 1, "number"): 28,
    ("host", 1, "more", 1): 30,
    ("host", 1, "more", 1, "z", "y"): 31,
    ("host", 1, "more", 1, "q"): 32,
}


def paths(value, at=()):
    yield at
    if isinstance(value, dict | list):
        for key, one in value.items() if isinstance(value, dict) else enumerate(value):
            yield from paths(one, (*at, key))


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_everything_has_its_line(end: str) -> None:
    text = TEXT.replace("\n", end)
    found = lines_of(text)
    assert {path: found[path] for path in PLACES} == PLACES
    assert set(found) == set(paths(tomllib.loads(text)))


BARE = st.text("ab1-_", min_size=1, max_size=4)
KEY = BARE | st.sampled_from(['"a.b"', "' ]'", '"\\u0041 #"', '"\'"'])
STRING = st.sampled_from(
    [
        '"x # ] \\" }"',
        "'a]\\'",
        '"""\n["a"]\n"" x\\"""y"""',
        "'''\n[[z]]\n'''",
        '""',
        "''",
        '""""a""""',
    ]
)
VALUE = st.recursive(
    STRING | st.sampled_from(["1", "true", "-1.5e3", "1979-05-27 07:32:00", "0x1F"]),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda some: "[ # ]\n " + " ,\n".join(some) + "\n ]")
        | st.lists(st.tuples(BARE, inner), max_size=3, unique_by=lambda pair: pair[0]).map(
            lambda pairs: "{" + ", ".join(f"{key} . z = {value}" for key, value in pairs) + "}"
        )
    ),
    max_leaves=6,
)
LINE = (
    st.tuples(st.lists(KEY, min_size=1, max_size=3), VALUE).map(
        lambda pair: f"{' . '.join(pair[0])} = {pair[1]} # c"
    )
    | st.lists(KEY, min_size=1, max_size=2).map(lambda keys: f"[ {'.'.join(keys)} ]")
    | st.lists(KEY, min_size=1, max_size=2).map(lambda keys: f"[[{'.'.join(keys)}]]")
    | st.just("")
)


@settings(max_examples=300, deadline=None)
@given(st.lists(LINE, max_size=12))
def test_nothing_is_found_that_is_not_there_and_nothing_missed(lines: list[str]) -> None:
    accepted: list[str] = []
    for line in lines:
        try:
            tomllib.loads("\n".join([*accepted, line]))
        except tomllib.TOMLDecodeError:
            continue
        accepted.append(line)
    text = "\n".join(accepted)
    found = lines_of(text)
    assert set(found) == set(paths(tomllib.loads(text)))
    # A line that begins with a key or header is that one's own.
    starts, at = {}, 1
    for line in accepted:
        starts[at] = line
        at += line.count("\n") + 1
    top = {line for path, line in found.items() if len(path) == 1}
    assert all(line in starts for line in top)
