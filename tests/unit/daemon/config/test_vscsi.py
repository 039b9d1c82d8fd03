"""Xen's lines, as they stand in the files of its users."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from vhost_pvscsi.daemon.config.vscsi import load_domain, parse_item, parse_line
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("text", "address", "pdev"),
    [
        ("/dev/sdb,0:0:1:0", "0:0:1:0", "/dev/sdb"),
        ("8:0:0:0,0:0:1:0", "0:0:1:0", "8:0:0:0"),
        ("/dev/disk/by-id/x , 1:0:2:3", "1:0:2:3", "/dev/disk/by-id/x"),
        ("a,,b.img,0:0:0:0,ro,cache=none", "0:0:0:0", "a,,b.img,ro,cache=none"),
    ],
)
def test_an_item_is_read(text: str, address: str, pdev: str) -> None:
    assert parse_item(text) == (Address.parse(address), pdev)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("/dev/sdb", "is not PDEV,VDEV"),
        ("", "is not PDEV,VDEV"),
        (",0:0:0:0", "is not PDEV,VDEV"),
        ("/dev/sdb,0:0:0", "is not host:channel:target:lun"),
        ("8:0:0:0,host", "a whole physical host"),
        ("/dev/sdb,0:0:0:0,feature-host", "a whole physical host"),
        ("/dev/sdb,0:0:0:0,feature-host=1", "a whole physical host"),
        ("naa.5001405abcdef012:0,0:0:0:0", "is a LUN of the kernel's target"),
    ],
)
def test_what_cannot_be_served_is_refused(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said) as caught:
        parse_item(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "items"),
    [
        ("vscsi=['a,0:0:0:0', \"b,0:0:1:0\" ]", ["a,0:0:0:0", "b,0:0:1:0"]),
        ("vscsi = []", []),
        ("['a,0:0:0:0',]", ["a,0:0:0:0"]),
        ("a,0:0:0:0", ["a,0:0:0:0"]),
        ("vscsi='a,0:0:0:0'", ["a,0:0:0:0"]),
    ],
)
def test_a_line_is_read(text: str, items: list[str]) -> None:
    assert parse_line(text) == items


DOMAIN = """\
# vscsi = [ 'no,0:0:0:0' ]
name = "guest"
memory = 0x200
kernel = /no/python/at all
disk = [ 'phy:/dev/vg/x,xvda,w' ]
vscsi = [ 'old,0:0:0:0' ]
  vscsi = [
    'a],0:0:0:0', # ] first
    "b,0:0:1:0"
  ]
vif = [ '' ]; on_crash = "destroy"
"""


def test_a_domain_is_looked_through_and_not_carried_out(tmp_path: Path) -> None:
    path = tmp_path / "guest.cfg"
    path.write_text(DOMAIN)
    assert load_domain(path) == [("a],0:0:0:0", 8), ("b,0:0:1:0", 9)]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("name = 'x'\n", "has no line vscsi"),
        ("\nvscsi = [ 'a,0:0:0:0'\n", ":2: is no list of texts"),
        ("vscsi = [ __import__('os').abort() ]\n", ":1: is no list of texts"),
        ("vscsi = [ f'{1}' ]", ":1: is no list of texts"),
        ("vscsi = " + "[" * 100_000, ":1: is no list of texts"),
        ("vscsi = [" + "(" * 5000 + "]", ":1: is no list of texts"),
    ],
)
def test_a_domain_without_a_good_line_is_told_so(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "guest.cfg"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=said):
        load_domain(path)
