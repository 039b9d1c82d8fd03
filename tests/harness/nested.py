"""A guest that plays a host: an outer guest, whose root is our own host's.

QEMU and the back-end run in it as they are installed here, because it sees our file system,
read-only, by 9p. What they write lies in the guest's memory and ends with it.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from images import qemus

from .errors import HarnessError
from .machine import TCG, Machine, MachineSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from images.build import GuestImage

#: Nested SVM of TCG; with SMAP the outer kernel would take much longer.
_CPU = "max,-smap"
#: What sees our file system.
HOST_MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
#: Our file system in it, with a layer of memory over it.
_ROOT = "/outer"
#: What its processes write lies in a folder that the host does not have.
_LOGS = "/outer-logs"
_SETUP = f"""
set -e
mkdir -p /host /memory {_ROOT}
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 host /host
mount -t tmpfs memory /memory
mkdir /memory/upper /memory/work
mount -t overlay -o lowerdir=/host,upperdir=/memory/upper,workdir=/memory/work root {_ROOT}
for each in dev proc sys run; do mount --bind /$each {_ROOT}/$each; done
mkdir {_ROOT}{_LOGS}
"""
_KVM = """
modprobe kvm-amd || modprobe kvm-intel
test -c /dev/kvm
"""
#: Under two emulations, on a machine that others use too.
_BOOT_TIMEOUT = 600.0


@dataclass(frozen=True, slots=True)
class OuterProcess:
    """A program that runs in the outer guest."""

    pid: int
    #: What it writes: a path in our file system, as the outer guest sees it.
    log: str


class OuterHost:
    """The outer guest, running; a context manager that ends it with all that is in it."""

    def __init__(
        self, image: GuestImage, *, ports: Sequence[str], spec: MachineSpec | None = None
    ) -> None:
        """Describe it: one that has a KVM which emulates Xen, if `spec` names no other machine."""
        self._setup = _SETUP if spec else _SETUP + _KVM
        spec = spec or MachineSpec(
            qemus.host() or qemus.find("7.2"),
            image,
            "q35-host-root",
            accelerator=TCG,
            cpu=_CPU,
            memory_mib=1280,
            modules=HOST_MODULES,
        )
        self._machine = Machine(spec, ports=ports)
        self._ports = tuple(ports)
        self._started = 0

    @property
    def boot_seconds(self) -> float:
        """How long it took to come up."""
        return self._machine.boot_seconds

    def boot(self) -> Self:
        """Start it and give it our file system, and its KVM where it is to have one."""
        self._machine.boot(timeout=_BOOT_TIMEOUT)
        self._machine.console.check(self._setup, timeout=_BOOT_TIMEOUT)
        return self

    def port(self, name: str) -> tuple[socket.socket, str]:
        """Return our end of a port, a duplicate, and its device in the outer guest.

        What is left in it was said by a program that is gone.
        """
        found = self._machine.console.check(f"grep -l -x {name} /sys/class/virtio-ports/*/name")
        ours = self._machine.ports[name].dup()
        with contextlib.suppress(BlockingIOError):
            while ours.recv(1 << 16, socket.MSG_DONTWAIT):
                pass
        return ours, f"/dev/{Path(found.strip()).parent.name}"

    def check(self, command: str, *, timeout: float = 120.0) -> str:
        """Run a shell command in our file system; return what it printed."""
        return self._machine.console.check(_chrooted(["sh", "-c", command], {}), timeout=timeout)

    def shell(self, command: str, *, timeout: float = 60.0) -> str:
        """Run a command with the guest's own programs; return what it printed."""
        return self._machine.console.check(command, timeout=timeout)

    def node(self, address: str, kind: str = "sg") -> str:
        """Find a device's node by its h:c:t:l, as lsscsi shows it."""
        for line in self.shell("lsscsi -g").splitlines():
            if line.startswith(f"[{address}]"):
                found = re.search(rf"/dev/{kind}\w+", line)
                if found:
                    return found[0]
        raise HarnessError(f"{address} has no {kind} node:\n{self.shell('lsscsi -g')}")

    def start(
        self,
        command: Sequence[str],
        *,
        environment: Mapping[str, str] | None = None,
        when_gone: str = "/dev/null",
    ) -> OuterProcess:
        """Start a program that goes on; when it ends, the device `when_gone` is told `gone`."""
        self._started += 1
        log = f"{_LOGS}/{self._started}-{Path(command[0]).name}.log"
        program = f"{_chrooted(command, environment or {})} </dev/null >{_ROOT}{log} 2>&1"
        watched = f"({program}) & echo $! >pid; wait $!; echo gone >{when_gone}"
        line = f"cd /run; rm -f pid; mkfifo pid; ({watched}) >/dev/null 2>&1 & cat /run/pid"
        return OuterProcess(int(self._machine.console.check(line)), log)

    def log(self, process: OuterProcess) -> str:
        """Return what it has written."""
        return self.check(f"cat {process.log}")

    def wait_for_line(self, process: OuterProcess, text: str, *, timeout: float = 120.0) -> None:
        """Wait until it has written that text.

        Raises:
            HarnessError: it has not in time, or ended before.
        """
        # tail ends with the process, as GNU's does.
        follow = shlex.join(["tail", "-s", "0.1", "-n", "+1", f"--pid={process.pid}", "-f"])
        command = f"{follow} {process.log} | grep -q -m 1 -F {shlex.quote(text)}"
        try:
            self.check(command, timeout=timeout)
        except HarnessError as error:
            said = self.log(process)
            raise HarnessError(f"waited for {text!r} in vain: {error}\n{said}") from None

    def end(self, process: OuterProcess, *, signal: str = "TERM", timeout: float = 60.0) -> None:
        """Send it a signal and wait until it is gone."""
        gone = f"exec tail -s 0.1 --pid={process.pid} -f /dev/null"
        self.check(f"kill -{signal} {process.pid} 2>/dev/null; {gone}", timeout=timeout)

    def evidence(self) -> dict[str, str]:
        """Return what a failed test should leave of it and its processes."""
        try:
            text = self._machine.console.run(f"tail -c 20000 {_ROOT}{_LOGS}/*").output
        except HarnessError as error:
            text = str(error)
        told = {f"outer-{name}": what for name, what in self._machine.evidence().items()}
        return told | {"outer-processes.log": text}

    def close(self) -> None:
        """End it."""
        self._machine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _chrooted(command: Sequence[str], environment: Mapping[str, str]) -> str:
    words = [f"{name}={value}" for name, value in environment.items()]
    # The console's shell has a PATH of the guest's.
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return "exec " + shlex.join(["chroot", _ROOT, "/usr/bin/env", path, *words, *command])
