"""The opcode table and the engine's medium executor say the same of the same commands."""

from vhost_pvscsi import _engine
from vhost_pvscsi.devices.emulated import description
from vhost_pvscsi.scsi import opcodes
from vhost_pvscsi.scsi.command import Access


def test_medium_commands_are_those_that_the_engine_implements():
    ours = {
        command.opcode: (command.access is not Access.READ, command.usage)
        for command in opcodes.TABLE
        if command.access is not Access.OTHER
    }
    assert ours == _engine.Medium.commands()


def test_commands_of_tapes_are_those_that_the_engine_implements():
    ours = {
        command.opcode: (command.access is not Access.READ, command.usage)
        for command in opcodes.SEQUENTIAL
        if command.access is not Access.OTHER
    }
    assert ours == _engine.Medium.tape_commands()


def test_commands_of_drives_are_those_that_the_engine_implements():
    ours = {
        command.opcode: (command.access is not Access.READ, command.usage)
        for command in opcodes.MULTIMEDIA
        if command.access is not Access.OTHER
    }
    assert ours == _engine.Medium.disc_commands()


def test_the_limits_that_vpd_page_b0_tells_are_the_engines():
    assert description.TRANSPORT_LIMIT == _engine.MAX_TRANSFER_BYTES
    assert description.MAX_UNMAP_BLOCKS == _engine.MAX_UNMAP_BLOCKS
    assert description.MAX_WRITE_SAME_BLOCKS == _engine.MAX_WRITE_SAME_BLOCKS
    assert description.MAX_UNMAP_DESCRIPTORS == _engine.MAX_UNMAP_DESCRIPTORS
