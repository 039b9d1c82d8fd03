"""A guest of 512 bytes: a boot sector that greets, and how to hear it."""

from __future__ import annotations

GREETING = b"booted from the LUN\n"

#: QEMU's words by which the greeting comes to its standard output, and nothing else does.
HEARING = (
    *("-display", "none", "-monitor", "none", "-serial", "none"),
    *("-debugcon", "stdio", "-global", "isa-debugcon.iobase=0x402"),
)


def boot_sector() -> bytes:
    """A PC's boot sector that writes the greeting to QEMU's debug port (0402h), then halts."""
    code = b"".join(bytes((0xB0, byte, 0xBA, 0x02, 0x04, 0xEE)) for byte in GREETING)
    return (code + b"\xf4\xeb\xfd").ljust(510, b"\0") + b"\x55\xaa"
