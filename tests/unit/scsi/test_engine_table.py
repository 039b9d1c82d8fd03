"""The opcode table and the engine's medium executor name the same commands."""

from vhost_pvscsi.engine import MEDIUM_OPCODES
from vhost_pvscsi.scsi import opcodes


def test_medium_commands_are_those_that_the_engine_implements():
    assert opcodes.MEDIUM_OPCODES == MEDIUM_OPCODES
