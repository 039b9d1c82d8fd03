"""What can go wrong with a guest, told apart from a failed test."""

from __future__ import annotations


class HarnessError(Exception):
    """Root of the harness's errors."""


class GuestLostError(HarnessError):
    """QEMU ended, or the guest stopped answering."""


class CommandTimeoutError(HarnessError):
    """A command in the guest took too long; it was ended, the guest goes on."""


class CommandFailedError(HarnessError):
    """A command in the guest ended with a status that is not 0."""


class DaemonError(HarnessError):
    """The back-end did not start, or did not end as it should."""
