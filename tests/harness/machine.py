"""One QEMU with one guest: command line, monitor, console, end."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Self

from . import processes
from .console import GuestConsole
from .errors import GuestLostError
from .qmp import Qmp

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence
    from types import TracebackType

    from images.build import GuestImage
    from images.qemus import Qemu

CONFIGS = Path(__file__).resolve().parents[2] / "qemu-configs"

TCG = "tcg,thread=multi"

#: Quiet and quick, and any crash ends QEMU instead of hanging it. With scan=sync and sd_mod
#: loaded last, all disks are there when the agent says that it is ready.
_KERNEL_WORDS = (
    "console=ttyS0 quiet loglevel=4 panic=-1 reboot=t tsc=reliable no_timer_check nokaslr "
    "random.trust_cpu=on mitigations=off cryptomgr.notests=1 rcupdate.rcu_expedited=1 "
    "scsi_mod.scan=sync"
)
_MODULES = ("virtio_pci", "virtio_scsi", "sg", "sd_mod")


def kernel_words(modules: Sequence[str] = _MODULES) -> str:
    """Return the command line of the guest's kernel, with the modules that init loads."""
    return f"{_KERNEL_WORDS} rig.mods={','.join(modules)}"


#: The first QEMUs whose vhost-user-scsi reconnects (features.md of QEMU: 8.2), and in which
#: the chardev counts milliseconds (9.2).
_RECONNECTS = (8, 2)
_RECONNECTS_MS = (9, 2)


@dataclass(frozen=True, slots=True)
class Backend:
    """A vhost-user socket as one of the machine's chardevs."""

    path: Path
    name: str = "scsi0"
    reconnect: bool = False


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """All that decides how a guest is started.

    Without an image firmware seeks one: SeaBIOS, or what `extra` puts in its place.
    """

    qemu: Qemu
    image: GuestImage | None
    config: str
    backends: tuple[Backend, ...] = ()
    accelerator: str = TCG
    memory_mib: int = 384
    smp: int | None = None
    queues: int | None = None
    modules: tuple[str, ...] = _MODULES
    cpu: str = "Nehalem"
    extra: tuple[str, ...] = ()

    def command_line(self) -> list[str]:
        """Return the command, but for the three channels that `Machine` adds."""
        memory = f"memory-backend-memfd,id=mem,size={self.memory_mib}M,share=on"
        # fmt: off
        command = [
            *self.qemu.command,
            "-nodefaults", "-no-user-config", "-no-reboot",
            "-display", "none",
            "-vga", "none",
            "-readconfig", str(CONFIGS / f"{self.config}.cfg"),
            "-accel", self.accelerator,
            "-cpu", "host" if self.accelerator.startswith("kvm") else self.cpu,
            "-m", f"{self.memory_mib}M",
            "-object", memory,
        ]
        # fmt: on
        if self.image is not None:
            command += ["-kernel", str(self.image.kernel), "-initrd", str(self.image.initramfs)]
            command += ["-append", kernel_words(self.modules)]
        if self.smp is not None:
            command += ["-smp", str(self.smp)]
        if self.queues is not None:
            command += ["-set", f"device.scsi0.num_queues={self.queues}"]
        for backend in self.backends:
            command += ["-chardev", self._chardev(backend)]
        return [*command, *self.extra]

    def _chardev(self, backend: Backend) -> str:
        text = f"socket,id={backend.name},path={backend.path}"
        if not backend.reconnect:
            return text
        if self.qemu.release < _RECONNECTS:
            raise ValueError(f"QEMU {self.qemu.version}'s vhost-user-scsi cannot reconnect")
        interval = "reconnect-ms=100" if self.qemu.release >= _RECONNECTS_MS else "reconnect=1"
        return f"{text},{interval}"


@dataclass(slots=True)
class _Channels:
    # Socket pairs, so that nobody has to wait for a socket to appear.
    ours: dict[str, socket.socket] = field(default_factory=dict)
    theirs: dict[str, socket.socket] = field(default_factory=dict)

    @classmethod
    def make(cls, names: Sequence[str]) -> Self:
        made = cls()
        for name in names:
            made.ours[name], made.theirs[name] = socket.socketpair()
        return made

    def descriptors(self) -> dict[str, int]:
        return {name: end.fileno() for name, end in self.theirs.items()}

    def close_theirs(self) -> None:
        for end in self.theirs.values():
            end.close()


class Machine:
    """A running QEMU; a context manager that leaves nothing behind.

    `ports` are channels of a virtio console beside the agent's, /dev/vport0pN in the guest.
    """

    def __init__(self, spec: MachineSpec, *, ports: Sequence[str] = ()) -> None:
        self.spec = spec
        self.ports: dict[str, socket.socket] = {}
        self._port_names = tuple(ports)
        self.boot_seconds = 0.0
        self._folder = Path(tempfile.mkdtemp(prefix="vhost-pvscsi-guest-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._console: GuestConsole | None = None
        self._qmp: Qmp | None = None
        self._boot_id = ""

    @property
    def console(self) -> GuestConsole:
        """Where to run commands in the guest."""
        if self._console is None:
            raise GuestLostError("the machine is not running")
        return self._console

    @property
    def qmp(self) -> Qmp:
        """QEMU's monitor."""
        if self._qmp is None:
            raise GuestLostError("the machine is not running")
        return self._qmp

    @property
    def pid(self) -> int:
        """QEMU's process id."""
        if self._process is None:
            raise GuestLostError("the machine is not running")
        return self._process.pid

    def boot(self, *, timeout: float = 60.0) -> Self:
        """Start QEMU and wait until the guest takes commands.

        Raises:
            GuestLostError: QEMU ended, or the guest did not come up in time.
        """
        began = time.monotonic()
        channels = _Channels.make(("agent", "monitor", *self._port_names))
        with (self._folder / "qemu.log").open("wb") as log:
            self._process = processes.start(
                [*self.spec.command_line(), *self._channel_options(channels)],
                stdout=log,
                stderr=log,
                environment={**os.environ, **self.spec.qemu.environment},
                descriptors=tuple(channels.descriptors().values()),
            )
        channels.close_theirs()
        self.ports = {name: channels.ours[name] for name in self._port_names}
        self._console = GuestConsole(channels.ours["agent"])
        try:
            self._boot_id = self._console.wait_ready(timeout=timeout)
            self._qmp = Qmp(channels.ours["monitor"])
        except GuestLostError as error:
            raise GuestLostError(f"{error}\n{self._last_words()}") from None
        self.boot_seconds = time.monotonic() - began
        return self

    def reboot(self, *, from_inside: bool = False, timeout: float = 60.0) -> None:
        """Reset the guest, QEMU stays; wait until it takes commands again."""
        before = self._boot_id
        self.qmp.execute("set-action", reboot="reset")
        if from_inside:
            self.console.send("reboot -f")
        else:
            self.qmp.execute("system_reset")
        self._boot_id = self.console.wait_ready(timeout=timeout)
        self.qmp.execute("set-action", reboot="shutdown")
        if self._boot_id == before:
            raise GuestLostError("the guest did not reboot")

    def console_log(self) -> str:
        """Return what the guest's kernel printed."""
        path = self._folder / "console.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def evidence(self) -> dict[str, str]:
        """Return what a failed test should leave of this machine."""
        log = self._folder / "qemu.log"
        return {
            "guest-console.log": self.console_log(),
            "guest-commands.log": self._console.transcript() if self._console else "",
            "qemu.log": log.read_text(errors="replace") if log.exists() else "",
            "qemu-command.sh": self.paste_line(),
        }

    def paste_line(self) -> str:
        """Return the command line, ready to paste, with the console on the terminal."""
        environment = [f"{key}={value}" for key, value in self.spec.qemu.environment.items()]
        return shlex.join([*environment, *self.spec.command_line(), "-serial", "mon:stdio"]) + "\n"

    def close(self) -> None:
        """End QEMU, whatever state it is in."""
        if self._qmp is not None:
            self._qmp.close()
            self._qmp = None
        if self._process is not None:
            processes.end(self._process)
        if self._console is not None:
            self._console.close()
        for port in self.ports.values():
            port.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _channel_options(self, channels: _Channels) -> list[str]:
        numbers = channels.descriptors()
        ports = ["-device", "virtio-serial-pci"] if self._port_names else []
        for name in self._port_names:
            ports += ["-chardev", f"socket,id={name},fd={numbers[name]}"]
            ports += ["-device", f"virtserialport,chardev={name},name={name}"]
        # fmt: off
        return [
            *ports,
            "-chardev", f"file,id=console,path={self._folder}/console.log",
            "-serial", "chardev:console",
            "-chardev", f"socket,id=agent,fd={numbers['agent']}",
            "-serial", "chardev:agent",
            "-chardev", f"socket,id=monitor,fd={numbers['monitor']}",
            "-mon", "chardev=monitor,mode=control",
        ]
        # fmt: on

    def _last_words(self) -> str:
        log = (self._folder / "qemu.log").read_text(errors="replace")
        return f"QEMU: {log[-2000:]}\nguest: {self.console_log()[-3000:]}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
