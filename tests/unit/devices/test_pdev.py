"""LUN arguments as a person writes them, and what they are told when they are wrong."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vhost_pvscsi.devices.lun_options import Cache, LunOptions
from vhost_pvscsi.devices.pdev import Kind, absolute_pdev, parse_lun, split_commas, with_medium
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address


def test_a_path_with_the_defaults():
    spec = parse_lun("0:0:1:2=disk.img")
    assert spec.address == Address(0, 0, 1, 2)
    assert (spec.kind, spec.path, spec.size) == (Kind.PATH, Path("disk.img"), None)
    assert spec.options == LunOptions()
    assert spec.options.cache is Cache.WRITEBACK


def test_all_options_of_a_path():
    spec = parse_lun(
        "0:0:1:2=/d.img,ro,block-size=4096,cache=none,serial=S1,wwn=0x5000c50015ea71ac,"
        "share=on,lock=off,rotational=on,removable=on"
    )
    assert spec.options == LunOptions(
        read_only=True,
        block_size=4096,
        cache=Cache.NONE,
        serial="S1",
        wwn="5000c50015ea71ac",
        share=True,
        lock=False,
        rotational=True,
        removable=True,
    )


def test_a_drive_has_a_disc_or_none():
    spec = parse_lun("0:0:1:0=cd:debian.iso,serial=S1")
    assert (spec.kind, spec.path) == (Kind.CD, Path("debian.iso"))
    assert parse_lun("0:0:1:0=cd:").path is None
    absolute = absolute_pdev("cd:debian.iso,serial=S1", Path("/d"))
    assert absolute == "cd:/d/debian.iso,serial=S1"
    assert absolute_pdev("cd:,ro", Path("/d")) == "cd:,ro"
    assert with_medium(absolute, Path("/e,f.iso")) == "cd:/e,,f.iso,serial=S1"
    assert with_medium(absolute, None) == "cd:,serial=S1"


@pytest.mark.parametrize(
    ("text", "kind", "size"),
    [
        ("ram:64M", Kind.RAM, 64 << 20),
        ("ram:1g", Kind.RAM, 1 << 30),
        ("null:2T", Kind.NULL, 2 << 40),
        ("null:4096", Kind.NULL, 4096),
        ("null:8k", Kind.NULL, 8192),
    ],
)
def test_sizes_are_binary(text, kind, size):
    spec = parse_lun(f"0:0:0:0={text}")
    assert (spec.kind, spec.size, spec.path) == (kind, size, None)


@pytest.mark.parametrize(
    ("text", "latency"), [("500us", 500), ("20ms", 20_000), ("30s", 30_000_000), ("0us", 0)]
)
def test_latency_units(text, latency):
    assert parse_lun(f"0:0:0:0=null:1M,latency={text}").options.latency_us == latency


def test_a_switch_can_be_off():
    assert not parse_lun("0:0:0:0=a,ro=off").options.read_only


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("a,,b.img", "a,b.img"),
        ("a=b.img", "a=b.img"),
        (",,", ","),
        ("./ram:1", "./ram:1"),
        ("rams:1", "rams:1"),
        ("/dev/disk/by-id/x:y", "/dev/disk/by-id/x:y"),
    ],
)
def test_odd_paths(text, path):
    assert parse_lun(f"0:0:0:0={text},ro").path == Path(path)


@given(words=st.lists(st.text(min_size=1), min_size=1))
def test_doubled_commas_come_back_as_they_were(words):
    # A word that begins or ends with a comma runs into its neighbour, in QEMU too.
    words = [word.strip(",") or "x" for word in words]
    assert split_commas(",".join(word.replace(",", ",,") for word in words)) == words


def test_ids_of_ram_come_from_its_address():
    assert parse_lun("2:0:1:3=ram:1M").identity_source == "ram:2:0:1:3"


@pytest.mark.parametrize(
    ("cache", "direct", "sync"),
    [
        (Cache.NONE, True, False),
        (Cache.WRITEBACK, False, False),
        (Cache.WRITETHROUGH, False, True),
        (Cache.DIRECTSYNC, True, True),
    ],
)
def test_cache_modes_are_qemus(cache, direct, sync):
    assert (cache.direct, cache.sync_writes) == (direct, sync)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("disk.img", "LUN 'disk.img' is not VDEV=PDEV[,option...]", "0:0:1:0=disk.img,ro"),
        ("0:0:0:0=", "is not VDEV=PDEV", "0:0:1:0=disk.img,ro"),
        ("0:0:0:0=,ro", "PDEV '' names nothing", "ram:SIZE"),
        ("0:0:0=a", "'0:0:0' is not host:channel:target:lun", "four decimal numbers"),
        ("0:0:256:0=a", "target 256 is out of range", "0 to 255"),
        ("0:0:0:0=a,rw", "option 'rw' is not known", "options are ro, block-size"),
        ("0:0:0:0=a,", "option '' is not known", "options are"),
        ("0:0:0:0=a,ro,ro", "option 'ro' is given twice", "say it once"),
        ("0:0:0:0=a,ro=yes", "ro=yes: 'yes' is no switch", "ro=on or off"),
        ("0:0:0:0=a,serial", "option 'serial' has no value", "serial=..."),
        ("0:0:0:0=a,serial=", "serial number '' cannot be used", "36 printable"),
        ("0:0:0:0=a,wwn=12", "wwn '12' is not an NAA identifier", "16 hexadecimal"),
        ("0:0:0:0=a,block-size=520", "'520' is no block size", "512, 1024, 2048, 4096"),
        ("0:0:0:0=a,cache=unsafe", "'unsafe' is no cache mode", "none, writeback"),
        ("0:0:0:0=a,latency=1ms", "a: option 'latency' does not apply", "ram: and null:"),
        ("0:0:0:0=ram:1M,cache=none", "option 'cache' does not apply", "files and block devices"),
        ("0:0:0:0=null:1M,lock=on", "option 'lock' does not apply", "files and block devices"),
        ("0:0:0:0=null:1M,latency=5", "'5' is no latency", "us, ms or s"),
        ("0:0:0:0=null:1M,latency=2h", "'2h' is no latency", "up to an hour"),
        ("0:0:0:0=null:1M,latency=3601s", "'3601s' is no latency", "up to an hour"),
        ("0:0:0:0=ram:", "ram:: '' is not a size", "64M"),
        ("0:0:0:0=ram:0", "'0' is not a size", "64M"),
        ("0:0:0:0=ram:-1", "'-1' is not a size", "64M"),
        ("0:0:0:0=ram:1.5G", "'1.5G' is not a size", "64M"),
        ("0:0:0:0=ram:8388608T", "is not a size", "64M"),
        (
            "0:0:0:0=ram:1000",
            "size 1000 is not a multiple of the block size 512",
            "multiple of 512",
        ),
        ("0:0:0:0=ram:1536,block-size=4096", "block size 4096", "block-size=512 would do"),
    ],
)
def test_mistakes_name_the_value_and_what_would_be_right(text, message, hint):
    with pytest.raises(ConfigurationError) as caught:
        parse_lun(text)
    assert message in str(caught.value)
    assert hint in caught.value.hint


@given(st.text())
def test_any_text_is_a_lun_or_a_configuration_error(text):
    for candidate in (text, f"0:0:0:0={text}", f"0:0:0:0=null:1M,{text}"):
        hint = "none needed"
        try:
            parse_lun(candidate)
        except ConfigurationError as error:
            hint = error.hint
        assert hint


def test_the_length_of_a_transfer_is_the_addresses_own():
    options = parse_lun("0:0:1:2=ram:1M,max-transfer=508K").options
    assert options.presentation.max_transfer == 508 << 10
    assert options.of_unit == LunOptions()


@pytest.mark.parametrize("text", ["1000", "4097", "33M", "64M", "0", "-4K", "x", ""])
def test_a_length_of_a_transfer_that_cannot_be_is_refused(text):
    with pytest.raises(ConfigurationError, match="max-transfer"):
        parse_lun(f"0:0:1:2=ram:1M,max-transfer={text}")
