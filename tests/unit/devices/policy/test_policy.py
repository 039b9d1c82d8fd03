"""Which commands a LUN takes."""

import pytest

from vhost_pvscsi.devices.policy.policy import DEFAULT, Policy, parse_allowed, parse_denied
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.pages import DeviceType

DISK, TAPE, CD = DeviceType.DISK, DeviceType.TAPE, DeviceType.CD


def test_what_is_emulated_decides_for_itself():
    assert DEFAULT.refusal(None, 0xC0, None) is None
    assert DEFAULT.refusal(None, 0x3B, None) is None


@pytest.mark.parametrize(
    ("kind", "opcode", "action", "refused"),
    [
        (DISK, 0x28, None, False),
        (DISK, 0x04, None, True),  # FORMAT UNIT
        (DISK, 0x3B, None, True),  # WRITE BUFFER: firmware
        (DISK, 0x48, None, True),  # SANITIZE
        (DISK, 0x85, None, True),  # ATA PASS-THROUGH(16)
        (DISK, 0xA1, None, True),  # ATA PASS-THROUGH(12)
        (CD, 0xA1, None, False),  # the same code is BLANK there
        (DISK, 0xC0, None, True),
        (DISK, 0x9E, 0x10, False),
        (DISK, 0x9E, 0x1F, True),
        (DISK, 0xA4, 0x0A, True),  # SET TARGET PORT GROUPS
        (TAPE, 0x91, None, False),  # SPACE(16)
        (TAPE, 0x92, None, False),  # LOCATE(16)
        (TAPE, 0x8C, None, False),  # READ ATTRIBUTE
        (TAPE, 0xB5, None, False),  # SECURITY PROTOCOL OUT: encryption
        (TAPE, 0x5F, 0x01, False),
        (TAPE, 0x3B, None, True),
        (DeviceType.CHANGER, 0xA5, None, False),  # MOVE MEDIUM
        (DeviceType.CHANGER, 0xB8, None, False),
        (DeviceType.CHANGER, 0x28, None, True),
        (DeviceType.NONE, 0x12, None, False),
        (DeviceType.NONE, 0x28, None, True),
    ],
)
def test_what_holds_for_devices_of_the_host(kind, opcode, action, refused):
    refusal = DEFAULT.refusal(kind, opcode, action)
    assert (refusal is not None) is refused
    assert Policy(raw=True).refusal(kind, opcode, action) is None
    if refusal:
        assert refusal.rule == f"default of type {kind.name.lower()}"
        assert refusal.whole is (opcode not in (0x9E, 0xA4))


def test_all_that_our_disk_answers_would_pass_as_well():
    for command in opcodes.TABLE:
        assert DEFAULT.refusal(DISK, *command.key) is None


@pytest.mark.parametrize("forwarded_as", [None, DISK])
def test_a_service_action_counts_before_its_operation_code(forwarded_as):
    policy = Policy(
        denied=parse_denied("deny", "0xa3"), allowed=parse_allowed("allow", "0xa3/0x0c")
    )
    assert policy.refusal(forwarded_as, 0xA3, 0x0C) is None
    refusal = policy.refusal(forwarded_as, 0xA3, 0x0A)
    assert (refusal.rule, refusal.whole) == ("deny=maintenance-in", True)


def test_deny_wins_over_allow_and_raw():
    policy = Policy(raw=True, allowed=frozenset({(0x2A, None)}), denied=frozenset({(0x2A, None)}))
    assert policy.refusal(DISK, 0x2A, None).rule == "deny=write-10"
    assert policy.touches(0x2A)
    assert not policy.touches(0x28)


def test_allow_opens_what_the_type_does_not():
    policy = Policy(allowed=parse_allowed("allow", "0x3b+0xc0"))
    assert policy.refusal(DISK, 0x3B, None) is None
    assert policy.refusal(DISK, 0xC0, None) is None
    assert policy.refusal(DISK, 0xC1, None).rule == "default of type disk"


@pytest.mark.parametrize("word", ["inquiry", "report-luns", "0x03", "write-10+REQUEST SENSE"])
def test_without_some_commands_no_guest_gets_on(word):
    with pytest.raises(ConfigurationError, match="cannot be denied") as caught:
        parse_denied("deny", word)
    assert caught.value.hint


def test_what_is_no_command_is_said():
    with pytest.raises(ConfigurationError, match="'wrote' is no command"):
        parse_denied("deny", "wrote")
