"""Fault rules as text and as TOML, and what people are told when they are wrong."""

import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vhost_pvscsi.devices.faults import names
from vhost_pvscsi.devices.faults.file import load_rules
from vhost_pvscsi.devices.faults.parse import _KEYS, parse_rule, parse_rules
from vhost_pvscsi.devices.faults.rule import Extent
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.errors import ConfigurationError, DeviceError
from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.names import parse_commands
from vhost_pvscsi.scsi.request import Status
from vhost_pvscsi.scsi.sense import SenseCode

# -- how they are written


def test_a_rule_with_everything():
    rule = parse_rule(
        "opcode=read:lba=100-200:nth=3:every=2:times=4:probability=0.5:seed=7:"
        "delay=5ms:hang:status=check-condition:sense=3/11/00:short=4096"
    )
    assert rule.commands == {(0x08, None), (0x28, None), (0xA8, None), (0x88, None)}
    assert rule.lba == Extent(100, 200)
    assert (rule.nth, rule.every, rule.times, rule.probability, rule.seed) == (3, 2, 4, 0.5, 7)
    assert (rule.delay, rule.hang, rule.status) == (0.005, True, Status.CHECK_CONDITION)
    assert (rule.sense, rule.short) == (SenseCode(3, 0x11, 0), 4096)
    assert (rule.transport, rule.corrupt) == (None, 0)


@pytest.mark.parametrize(
    ("text", "nth", "every", "times"),
    [
        ("hang", 1, 1, None),
        ("nth=3:hang", 3, 1, 1),
        ("every=3:hang", 3, 3, None),
        ("nth=3:times=2:hang", 3, 1, 2),
        ("nth=3:every=1:hang", 3, 1, None),
        ("times=2:hang", 1, 1, 2),
    ],
)
def test_what_follows_from_nth_every_and_times(text, nth, every, times):
    rule = parse_rule(text)
    assert (rule.nth, rule.every, rule.times) == (nth, every, times)


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("100", 100, 100),
        ("0x64", 100, 100),
        ("100-200", 100, 200),
        ("100+8", 100, 107),
        ("100-", 100, None),
        ("0-0", 0, 0),
        ("0xffffffffffffffff", 2**64 - 1, 2**64 - 1),
    ],
)
def test_ranges_of_blocks(text, first, last):
    assert parse_rule(f"lba={text}:hang").lba == Extent(first, last)


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("READ(10)", {(0x28, None)}),
        ("read_10", {(0x28, None)}),
        ("write-10+0xee", {(0x2A, None), (0xEE, None)}),
        ("persistent-reserve-in", {(0x5E, None)} | {(0x5E, action) for action in range(4)}),
        ("persistent-reserve-in-read-keys", {(0x5E, 0)}),
        ("read-capacity", {(0x25, None), (0x9E, 0x10)}),
        ("0x9e", {(0x9E, None)}),
        ("0x9e/0x12", {(0x9E, 0x12)}),
    ],
)
def test_names_of_commands(text, keys):
    assert parse_rule(f"opcode={text}:hang").commands == keys


def test_every_name_of_the_table_is_a_name():
    for command in opcodes.TABLE:
        assert command.key in parse_commands(command.name)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("3/11/00", (3, 0x11, 0)),
        ("b/4b/0", (0xB, 0x4B, 0)),
        ("unrecovered-read-error", (3, 0x11, 0)),
        ("LOGICAL_UNIT_FAILURE", (4, 0x3E, 1)),
    ],
)
def test_names_of_sense_data(text, code):
    rule = parse_rule(f"sense={text}")
    assert (rule.sense, rule.status) == (SenseCode(*code), Status.CHECK_CONDITION)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "'' is not known", "a rule has opcode, lba"),
        ("opcode=read", "does nothing", "one of delay, hang"),
        ("opcode=raid:hang", "opcode=raid: 'raid' is no command", "read, write-10"),
        ("opcode:hang", "opcode has no value", "opcode=..."),
        ("opcode=+:hang", "'' is no command", "0x28"),
        ("opcode=0x128:hang", "'0x128' is no command", "0x28"),
        ("hang:hang", "hang is given twice", "say it once"),
        ("hang=on", "hang=on: hang takes no value", "hang alone"),
        ("lba=200-100:hang", "lba=200-100: '200-100' is no range", "100-200"),
        ("lba=x:hang", "lba=x: 'x' is no range", "100+8"),
        ("lba=1+0:hang", "'1+0' is no range", "100+8"),
        ("nth=0:hang", "nth=0: '0' is no number that fits", "1 to"),
        ("seed=-1:hang", "'-1' is no number that fits", "0 to"),
        ("probability=0:hang", "'0' is no probability", "0.01"),
        ("probability=1.1:hang", "'1.1' is no probability", "up to 1"),
        ("probability=nan:hang", "'nan' is no probability", "0.01"),
        ("delay=5", "delay=5: '5' is no delay", "500us, 30s"),
        ("delay=2h", "'2h' is no delay", "up to an hour"),
        ("status=bad", "status=bad: 'bad' is no status", "good, check-condition"),
        ("sense=3/11", "sense=3/11: '3/11' is no sense data", "3/11/00"),
        ("sense=9/00/00", "9 is no sense key", "one of 0, 1, 2"),
        ("transport=complete", "'complete' is no end of a delivery", "failure"),
        ("short=1k", "'1k' is no number that fits", "0 to"),
        ("transport=failure:status=busy", "transport goes with no other end", "delay and hang"),
        ("corrupt:sense=3/11/00", "corrupt and a status do not go together", "two rules"),
        ("opcode=inquiry:lba=5:hang", "lba does not apply", "read, write or verify"),
        ("opcode=unmap:lba=5:hang", "lba does not apply", "that name blocks"),
        ("opcode=0xee:lba=5:hang", "lba does not apply", "that name blocks"),
        ("opcode=compare-and-write:short=512", "short does not apply", "write-and-verify"),
        ("opcode=verify:corrupt", "corrupt does not apply", "read, write or inquiry"),
    ],
)
def test_mistakes_name_the_piece_and_what_would_be_right(text, message, hint):
    with pytest.raises(ConfigurationError) as caught:
        parse_rule(text)
    assert f"fault rule {text!r}: " in str(caught.value)
    assert message in str(caught.value)
    assert hint in caught.value.hint


_PIECES = st.one_of(
    st.sampled_from([*_KEYS, "hang", "corrupt", "short=4096", "opcode=read", "status=busy"]),
    st.builds("{}={}".format, st.sampled_from([*_KEYS]), st.text(max_size=8)),
    st.text(max_size=12),
)


@given(st.lists(_PIECES, max_size=5).map(":".join))
@example("nth=9223372036854775808:hang")
@example("probability=." + "1" * 20 + ":hang")
@example("lba=\u0663-\u0664:hang")
def test_any_text_is_a_rule_or_a_configuration_error(text):
    hint, said = "none needed", ""
    try:
        assert str(parse_rule(text)) == text
    except ConfigurationError as error:
        hint, said = error.hint, str(error)
    assert hint
    assert len(said) < 1000


# -- the page

PAGE = (Path(__file__).parents[3] / "docs" / "faults.md").read_text(encoding="utf-8")


def test_the_examples_of_the_page_are_rules():
    [toml] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    assert len(parse_rules(toml, of="faults.md")) == 2
    luns = re.findall(r"^--lun (\S+)$", PAGE, re.MULTILINE)
    assert sum(len(parse_lun(lun).options.faults) for lun in luns) == 3
    there = PAGE.split("\n## For those who come from elsewhere\n")[1]
    rules = re.findall(r"\| `([a-z][^`]*)` \|$", there, re.MULTILINE)
    assert len(rules) > 8
    for rule in rules:
        # Names in capitals stand for numbers; `times=1` does something only beside others.
        parse_rule(re.sub(r"\b(N|START|COUNT|BYTES)\b", "8", rule) + ":delay=1s")


def test_the_page_has_every_key_and_name():
    keys = PAGE.split("\n## Keys\n")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", keys, re.MULTILINE) == [*_KEYS]
    told = set(re.findall(r"`([^`]+)`", keys))
    assert told >= {*names.TRANSPORTS, *names.STATUSES, *names._MORE_SENSE}
    for name, triple in re.findall(r"`([a-z-]+)`\s+\(([0-9A-F/]+)\)", keys):
        assert names.parse_sense(name) == names.parse_sense(triple)


# -- rules files

TOML = """
[[rule]]
opcode = ["read", 0x2a]
lba = "100-200"
nth = 3
probability = 0.5
sense = "3/11/00"
short = 4096

[[rule]]
hang = true
corrupt = false
"""


def test_a_table_is_the_rule_of_the_same_keys():
    read, hang = parse_rules(TOML, of="f.toml")
    written = "opcode=read+0x2a:lba=100-200:nth=3:probability=0.5:sense=3/11/00:short=4096"
    assert read == parse_rule(written)
    assert hang == parse_rule("hang")
    assert parse_rule(str(read)) == read
    assert parse_rules("", of="f.toml") == ()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[rule]", "f.toml: is no TOML: "),
        ("x = 1", "f.toml: 'x' is no table [[rule]]"),
        ("rule = 1", "f.toml: rule is no table [[rule]]"),
        ("[rule]\nhang = true", "f.toml: rule is no table [[rule]]"),
        ("[[rule]]\nhang=true\n[[rule]]\nlba = 'x'\nhang=true", "f.toml: rule 2: lba=x: 'x' is"),
        ("[[rule]]\nhang = 1979-05-27", "f.toml: rule 1: hang has a value of no use"),
        ("[[rule]]\nopcode = []\nhang=true", "f.toml: rule 1: opcode has a value of no use"),
        ("[[rule]]\nopcode = true\nhang=true", "f.toml: rule 1: opcode has no value"),
        ("[[rule]]\nprobability = inf\nhang=true", "f.toml: rule 1: probability=inf: 'inf'"),
        ("[[rule]]\nopcode = -1\nhang=true", "'-0x1' is no command"),
    ],
)
def test_mistakes_in_a_file_name_file_rule_and_key(text, message):
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(text, of="f.toml")
    assert message in str(caught.value)
    assert caught.value.hint


_VALUES = st.recursive(
    st.one_of(st.booleans(), st.integers(-9, 300), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=4,
)


@given(st.lists(st.dictionaries(st.sampled_from([*_KEYS]), _VALUES, max_size=4), max_size=3))
def test_any_tables_are_rules_or_a_configuration_error(monkeypatch_toml, tables):
    with monkeypatch_toml(tables):
        hint = "none needed"
        try:
            assert len(parse_rules("", of="f")) == len(tables)
        except ConfigurationError as error:
            hint = error.hint
        assert hint


@pytest.fixture(scope="module")
def monkeypatch_toml():
    """Have the TOML reader give these tables: what it can give, without a writer of TOML."""

    def give(tables):
        patch = pytest.MonkeyPatch()
        patch.setattr(tomllib, "loads", lambda _: {"rule": tables})
        return _Undone(patch)

    class _Undone:
        def __init__(self, patch):
            self.patch = patch

        def __enter__(self):
            return self.patch

        def __exit__(self, *_):
            self.patch.undo()

    return give


def test_a_file_is_read(tmp_path):
    path = tmp_path / "f.toml"
    path.write_text(TOML)
    assert load_rules(path) == parse_rules(TOML, of="")


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (None, DeviceError, "No such file"),
        (b"\xff", ConfigurationError, "is no rules file"),
        (b"#" * ((1 << 20) + 1), ConfigurationError, "too long"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path, content, error, message):
    path = tmp_path / "f.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(error) as caught:
        load_rules(path)
    assert f"{path}: " in str(caught.value)
    assert message in str(caught.value)
    assert caught.value.hint


def test_options_of_a_lun(tmp_path):
    options = parse_lun(
        f"0:0:0:0=ram:1M,fault=hang,ro,fault=opcode=read:delay=1s,fault-file={tmp_path}/f"
    ).options
    assert [str(rule) for rule in options.faults] == ["hang", "opcode=read:delay=1s"]
    assert options.fault_file == tmp_path / "f"
    for text, message in (
        ("fault", "option 'fault' has no value"),
        ("fault-file=", "'' names nothing"),
        ("fault=x", "fault rule 'x': 'x' is not known"),
        ("fault-file=a,fault-file=b", "option 'fault-file' is given twice"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            parse_lun(f"0:0:0:0=ram:1M,{text}")
        assert message in str(caught.value)
