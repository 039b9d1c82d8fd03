"""Rules of [[auto-attach]]: what they are about, and where it goes."""

from dataclasses import replace

import pytest

from tests.harness.host_devices import tape
from vhost_pvscsi.daemon.following.rules import Rule, check_pattern, check_template
from vhost_pvscsi.devices.lun_options import OnLoss
from vhost_pvscsi.devices.pdev import Kind, parse_pdev
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address

DEVICE = tape("3:0:5:2", 1, serial="HU19", wwn="5000c50015ea71ac", links=("/dev/tape/by-id/a-nst",))


def rule(vdev="0:0:{n}:0", words=(), **conditions):
    wanted = {
        name: (value,) if isinstance(value, str) else value for name, value in conditions.items()
    }
    return Rule(vdev, tuple(wanted.items()), words)


@pytest.mark.parametrize(
    ("conditions", "matches"),
    [
        ({"type": "tape"}, True),
        ({"type": "disk"}, False),
        ({"type": ("disk", "tape")}, True),
        ({"type": "*"}, True),
        ({"vendor": "HPE", "product": "LTO-*"}, True),
        ({"vendor": "HPE", "product": "LTO-8"}, False),
        ({"vendor": "hpe"}, False),
        ({"serial": "HU1[89]"}, True),
        ({"wwn": "5000c5*"}, True),
        ({"hctl": "3:0:*"}, True),
        ({"path": "/dev/tape/by-id/*"}, True),
        ({"path": "/dev/sg0"}, True),
        ({"path": "/dev/disk/*"}, False),
    ],
)
def test_all_conditions_hold(conditions, matches):
    assert rule(**conditions).matches(DEVICE) is matches


def test_what_is_no_scsi_device_is_never_meant():
    assert not rule(type="*").matches(replace(DEVICE, address=None, type="block"))


@pytest.mark.parametrize(
    ("template", "taken", "address"),
    [
        ("0:0:{n}:0", [], "0:0:0:0"),
        ("0:0:{n}:0", ["0:0:0:0", "0:0:1:0"], "0:0:2:0"),
        ("4:0:1{n}:7", [], "4:0:10:7"),
        ("1:0:0:{n}", ["1:0:0:0"], "1:0:0:1"),
        ("0:0:{target}:{lun}", [], "0:0:5:2"),
        ("0:0:{target}:{n}", ["0:0:5:0"], "0:0:5:1"),
    ],
)
def test_a_template_makes_the_first_free_address(template, taken, address):
    at = rule(template, type="*").address_for(
        DEVICE, [Address.parse(t) for t in taken].__contains__
    )
    assert str(at) == address


@pytest.mark.parametrize("template", ["0:0:{n}:0", "0:0:1:0", "0:0:{target}:{lun}"])
def test_a_template_may_have_no_free_address(template):
    assert rule(template, type="*").address_for(DEVICE, lambda _: True) is None


def test_an_address_beyond_the_last_target_is_none():
    there = tape("3:0:300:0", 1)
    assert rule("0:0:{target}:0", type="*").address_for(there, lambda _: False) is None


def test_its_lun_goes_and_comes_with_the_device():
    spec = parse_pdev(Address(0, 0, 0, 0), rule(type="*").pdev("serial:HU19"))
    assert (spec.kind, spec.options.on_loss) == (Kind.DEVICE, OnLoss.REMOVE)
    words = ("on-loss=offline", "ro")
    spec = parse_pdev(Address(0, 0, 0, 0), rule(words=words, type="*").pdev("serial:HU19"))
    assert (spec.options.on_loss, spec.options.read_only) == (OnLoss.OFFLINE, True)


@pytest.mark.parametrize("template", ["0:0:{n}:0", "12:0:{target}:{lun}", "0:0:1:0", "0:0:1{n}:0"])
def test_templates_that_can_be_used(template):
    assert check_template(template) == template


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("0:0:{x}:0", "{x} is not known"),
        ("0:0:{n", "makes no address"),
        ("0:0:1", "makes no address"),
        ("{n}:0:0:0", "the virtual host is no number"),
        ("0:1:{n}:0", "channel 1 is out of range"),
        ("", "makes no address"),
    ],
)
def test_templates_that_make_no_address_are_refused(template, said):
    with pytest.raises(ConfigurationError, match=said) as caught:
        check_template(template)
    assert caught.value.hint


def test_patterns_are_checked():
    assert check_pattern("wwn", "0x5000C50015EA71AC") == "5000c50015ea71ac"
    assert check_pattern("type", "t*") == "t*"
    for name, text in (("type", "streamer"), ("vendor", "")):
        with pytest.raises(ConfigurationError) as caught:
            check_pattern(name, text)
        assert caught.value.hint
