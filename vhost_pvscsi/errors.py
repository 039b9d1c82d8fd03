"""Every error of this package, as one tree.

    VhostPvscsiError
    ├── ConfigurationError      a person gave a value that cannot be used (option, PDEV, VDEV)
    │   └── AddressError        a SCSI address that is malformed or out of range
    ├── ProtocolError           the peer on a socket broke the rules: ends that connection only
    │   └── StateError          a message that is not legal in the present state
    ├── RingError               the guest's ring is broken: ends that guest's adapter only
    ├── DeviceError             a host file or device cannot be opened, locked or read
    │   └── DeviceBusyError     another program, or another unit of ours, holds it
    ├── MungerError             a munger failed: costs the guest that one command
    └── ControlError            a running daemon refused what it was asked, or is not there

Errors carry facts as attributes and build their sentence from them. A `hint`
says in one line what would be right; the command line prints it below the error.

A guest's SCSI mistake is no exception: it is a `Reply` with sense data.
"""

#: Exit statuses of our programs: what was asked cannot be done here; it was asked wrongly.
REFUSED, MISUSE = 1, 2


class VhostPvscsiError(Exception):
    """Root of all errors that are ours; `hint` may hold one line of advice."""

    exit_status = REFUSED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.hint = hint

    def told(self) -> str:
        """Say it as a program does on standard error, with the advice if there is any."""
        return f"error: {self}" + (f"\nhint: {self.hint}" if self.hint else "")

    def line(self) -> str:
        """Say it in one line, for a log, with the advice if there is any."""
        return f"{self}" + (f" ({self.hint})" if self.hint else "")


class ConfigurationError(VhostPvscsiError):
    """A value given by a person cannot be used."""

    exit_status = MISUSE


class AddressError(ConfigurationError):
    """A SCSI address is malformed or out of range."""


class ProtocolError(VhostPvscsiError):
    """The peer sent something the protocol does not allow; its connection is closed."""


class StateError(ProtocolError):
    """A legal message came in a state in which it is not legal."""

    def __init__(self, event: str, state: str, required: str) -> None:
        super().__init__(f"{event} is not legal in state {state}: {required}")
        self.event = event
        self.state = state
        self.required = required


class RingError(VhostPvscsiError):
    """A guest's ring is broken; its adapter stops, no other is touched."""


class DeviceError(VhostPvscsiError):
    """A host file or device cannot be used."""


class DeviceBusyError(DeviceError):
    """A host file or device is held by another program or another unit."""


class MungerError(VhostPvscsiError):
    """A munger raised, or returned what is no answer; the guest's command fails."""


class ControlError(VhostPvscsiError):
    """A running daemon refused what it was asked, or cannot be reached."""
