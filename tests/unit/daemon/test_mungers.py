"""Loading mungers of third parties: from files, by name from packages, and what goes wrong."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from vhost_pvscsi.daemon.command import settings
from vhost_pvscsi.daemon.config.read import read_config
from vhost_pvscsi.daemon.mungers import GROUP, load_mungers
from vhost_pvscsi.errors import ConfigurationError, DeviceError, VhostPvscsiError
from vhost_pvscsi.munge import registry as registry_module
from vhost_pvscsi.munge.registry import Registry

HEAD = "from vhost_pvscsi.munge.registry import inbound, outbound\n"
GOOD = HEAD + "@inbound(0x28)\ndef mine(request, mapping):\n    return request\n"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Registry:
    """What mungers register in that are loaded by this test, in an empty folder."""
    own = Registry()
    monkeypatch.setattr(registry_module, "inbound", own.on_request)
    monkeypatch.setattr(registry_module, "outbound", own.on_reply)
    monkeypatch.chdir(tmp_path)
    return own


def failure(registry: Registry, source: str, text: str | None = None) -> VhostPvscsiError:
    if text is not None:
        Path(source).write_text(text, encoding="utf-8")
    with pytest.raises(VhostPvscsiError) as caught:
        load_mungers([source], registry)
    assert caught.value.hint
    return caught.value


def package(folder: Path, name: str, points: str, module: str) -> None:
    """Lay a package out as pip leaves it."""
    info = folder / f"{name}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(f"[{GROUP}]\n{points}\n")
    (folder / f"{name}_module.py").write_text(module)


def test_a_file_is_loaded_once_and_told(
    registry: Registry, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "a.py").write_text(GOOD)
    with caplog.at_level(logging.INFO):
        load_mungers(["a.py", "./a.py"], registry)
    assert [munger.origin for munger in registry.theirs] == [str(tmp_path / "a.py")]
    assert caplog.messages == [f"mungers of {tmp_path}/a.py: read-10 (inbound)"]


def test_a_file_needs_no_py_where_it_has_a_slash(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "mungers").write_text(GOOD)
    load_mungers(["./mungers"], registry)
    assert registry.munged_opcodes() == {0x28}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (HEAD + "def mine(:\n", "a.py:2: invalid syntax"),
        (HEAD + "\n1 / 0\n", "a.py:3: ZeroDivisionError: division by zero"),
        ("import sys\nsys.exit(0)\n", "a.py:2: SystemExit: 0"),
        ("import nosuch\n", "a.py:1: ModuleNotFoundError: No module named 'nosuch'"),
        (HEAD, "a.py: nothing is registered there"),
        ("", "a.py: nothing is registered there"),
        (HEAD + "@inbound(300)\ndef mine(r, m): ...\n", "a.py:2: munger"),
        (HEAD + "@inbound(1)\ndef mine(r): ...\n", "does not take 2 arguments"),
        (GOOD + GOOD, "a.py:6: munger"),
    ],
)
def test_what_is_wrong_in_a_file_is_told_with_its_line(
    registry: Registry, text: str, said: str
) -> None:
    error = failure(registry, "a.py", text)
    assert isinstance(error, ConfigurationError)
    assert str(error).startswith("mungers a.py: ")
    assert said in str(error)


def test_a_file_that_is_not_there(registry: Registry) -> None:
    error = failure(registry, "./none.py")
    assert isinstance(error, DeviceError)
    assert str(error) == "mungers ./none.py: No such file or directory"


def test_two_files_in_each_others_way_are_both_named(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(GOOD)
    load_mungers(["a.py"], registry)
    said = str(failure(registry, "b.py", GOOD))
    for word in (f"{tmp_path}/b.py:2", f"of {tmp_path}/a.py", "read-10 (28h)"):
        assert word in said


def test_a_package_is_loaded_by_the_name_it_offers(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "acme", "reads = acme_module\nbad = acme_nosuch", GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    said = str(failure(registry, "bad"))
    assert said == "mungers bad: ModuleNotFoundError: No module named 'acme_nosuch'"
    error = failure(registry, "read")
    assert "no installed package offers them" in str(error)
    assert error.hint == "offered are bad, reads"
    assert not registry.munged_opcodes()
    load_mungers(["reads"], registry)
    assert [munger.origin for munger in registry.theirs] == ["acme 1.2"]


def test_a_name_that_two_packages_offer_is_refused(
    registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package(tmp_path, "one", "both = one_module", GOOD)
    package(tmp_path, "two", "both = two_module", GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    assert str(failure(registry, "both")) == "mungers 'both': one 1.2 and two 1.2 offer them"


def test_the_file_of_serve_names_files_and_packages(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text('[daemon]\nmungers = ["a.py", "sub/b", "acme"]\n')
    told = read_config(path, settings()).settings["mungers"]
    assert told == [f"{tmp_path}/a.py", f"{tmp_path}/sub/b", "acme"]
