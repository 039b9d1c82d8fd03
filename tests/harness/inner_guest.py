"""A guest in the outer guest: console, monitor, reboot, end."""

from __future__ import annotations

import contextlib
import shlex
import time
from typing import TYPE_CHECKING, Self

from .console import GuestConsole
from .errors import GuestLostError, HarnessError
from .qmp import Qmp

if TYPE_CHECKING:
    from collections.abc import Mapping
    from types import TracebackType

    from .machine import MachineSpec
    from .nested import OuterHost, OuterProcess

_BOOT_TIMEOUT = 600.0
_GONE_TIMEOUT = 20.0
_QMP_TIMEOUT = 90.0


def ports(name: str) -> tuple[str, str]:
    """Return the ports of the outer guest that reach into an inner one of that name."""
    return f"{name}-agent", f"{name}-monitor"


class InnerGuest:
    """A running guest; a context manager that ends its QEMU."""

    def __init__(
        self,
        host: OuterHost,
        spec: MachineSpec,
        *,
        name: str,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare one; the host was given `ports(name)`."""
        self.spec = spec
        self._name = name
        self._printed = f"/outer-logs/{name}-console.log"
        self.boot_seconds = 0.0
        self._host = host
        self._environment = {**spec.qemu.environment, **(environment or {})}
        self._process: OuterProcess | None = None
        self._console: GuestConsole | None = None
        self._qmp: Qmp | None = None
        self._boot_id = ""

    @property
    def console(self) -> GuestConsole:
        """Where to run commands in the guest."""
        if self._console is None:
            raise GuestLostError(f"the {self._name} guest is not running")
        return self._console

    @property
    def qmp(self) -> Qmp:
        """Its QEMU's monitor."""
        if self._qmp is None:
            raise GuestLostError(f"the {self._name} guest is not running")
        return self._qmp

    def boot(self, *, timeout: float = _BOOT_TIMEOUT) -> Self:
        """Start its QEMU and wait until the guest takes commands."""
        began = time.monotonic()
        channels = (self._host.port(port) for port in ports(self._name))
        (agent, agent_device), (monitor, monitor_device) = channels
        # fmt: off
        options = [
            "-chardev", f"file,id=console,path={self._printed}",
            "-serial", "chardev:console",
            # A device that can be read and written is a pipe to QEMU.
            "-chardev", f"pipe,id=agent,path={agent_device}",
            "-serial", "chardev:agent",
            "-chardev", f"pipe,id=monitor,path={monitor_device}",
            "-mon", "chardev=monitor,mode=control",
        ]
        # fmt: on
        command = [*self.spec.command_line(), *options]
        self._process = self._host.start(
            command, environment=self._environment, when_gone=agent_device
        )
        self._console = GuestConsole(agent)
        try:
            self._boot_id = self._console.wait_ready(timeout=timeout)
            self._qmp = Qmp(monitor, timeout=_QMP_TIMEOUT)
        except HarnessError as error:
            raise GuestLostError(f"{error}\n{self._last_words()}") from None
        self.boot_seconds = time.monotonic() - began
        return self

    def reboot(self, *, command: str | None = None, timeout: float = _BOOT_TIMEOUT) -> None:
        """Reset the guest, or have it start anew by a command; QEMU stays.

        Returns when it takes commands again.
        """
        before = self._boot_id
        self.qmp.execute("set-action", reboot="reset")
        if command:
            self.console.send(command)
        else:
            self.qmp.execute("system_reset")
        self._boot_id = self.console.wait_ready(timeout=timeout)
        self.qmp.execute("set-action", reboot="shutdown")
        if self._boot_id == before:
            raise GuestLostError("the guest did not start anew")

    def log(self) -> str:
        """Return what its QEMU has written."""
        return self._host.log(self._process) if self._process else ""

    def evidence(self) -> dict[str, str]:
        """Return what a failed test should leave of this guest."""
        command = shlex.join([f"{k}={v}" for k, v in self._environment.items()])
        line = f"{command} {shlex.join(self.spec.command_line())}\n"
        return {
            f"{self._name}-commands.log": self._console.transcript() if self._console else "",
            f"{self._name}-qemu-command.sh": line,
        }

    def close(self) -> None:
        """End QEMU, whatever state it is in."""
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._process is not None:
            # Where the outer guest is lost, so is all that is in it.
            with contextlib.suppress(GuestLostError):
                self._host.end(self._process, signal="KILL")
                if self._console is not None:
                    self._console.wait_gone(timeout=_GONE_TIMEOUT)
            self._process = None
        if self._console is not None:
            self._console.close()
            self._console = None

    def _last_words(self) -> str:
        said = self._host.check(f"tail -c 3000 {self._printed}")
        return f"QEMU: {self.log()[-2000:]}\nguest: {said}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
