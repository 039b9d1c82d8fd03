"""The back-end under test in the outer guest, beside the QEMU that emulates Xen."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from .daemon import program

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from .nested import OuterHost, OuterProcess

#: Paths in the outer guest.
SOCKETS = (Path("/run/vscsi0.sock"), Path("/run/scsi1.sock"), Path("/run/vscsi2.sock"))
CONTROL = Path("/run/control.sock")
#: What anything may need under two emulations on a busy machine. Python's start alone takes 10 s.
PATIENCE = 300.0

_DISK = "/run/disk.img"
IMAGE, MEMORY, BAD, HANGING = 0, 1, 8, 9  #: Targets of LUNs, and what they are.
TAPE, SMALL_TAPE = 10, 11
CHANGER, LIBRARY_DRIVE = 12, 13
BAD_BLOCK, SHORT_BLOCK, HUNG_BLOCK = 1000, 2000, 3000
#: At all virtual hosts. The first is the Xen guest's, the second that of one with virtio.
LUNS = {
    IMAGE: f"{_DISK},share=on",
    MEMORY: "ram:64M,share=on,max-transfer=508K",
    BAD: f"ram:8M,share=on,fault=opcode=read:lba={BAD_BLOCK}:sense=3/11/00,"
    f"fault=opcode=read:lba={SHORT_BLOCK}:short=512",
    HANGING: f"ram:9M,share=on,fault=opcode=read:lba={HUNG_BLOCK}:hang",
}
#: At the Xen guest's alone, by VDEV; the second holds less than is written to it.
TAPES = {
    f"0:0:{TAPE}:0": "tape:/run/t.tap,create",
    f"0:0:{SMALL_TAPE}:0": "tape:/run/small.tap,create,capacity=1M",
}
_FOLDER, CARTRIDGE = "/run/library", "A1L8"
#: There too: a changer, and the drive that it loads.
LIBRARY = {
    f"0:0:{CHANGER}:0": f"changer:{_FOLDER},slots=2,drive=0:0:{LIBRARY_DRIVE}:0",
    f"0:0:{LIBRARY_DRIVE}:0": "tape:",
}


class OuterDaemon:
    """One `vhost-pvscsi serve`; it ends with the outer guest."""

    def __init__(
        self,
        host: OuterHost,
        luns: Mapping[int, str] = LUNS,
        *,
        more: Mapping[str, str] | None = None,
    ) -> None:
        """Prepare one that has those LUNs at all of its virtual hosts: target = PDEV.

        `more` are LUNs at one of them, VDEV = PDEV.
        """
        self._host = host
        self._luns = luns
        self._more = more or {}
        #: Places of the LUNs at the first virtual host, channel:target:lun.
        self.places = (
            *(f"0:{target}:0" for target in luns),
            *(vdev.removeprefix("0:") for vdev in self._more if vdev.startswith("0:")),
        )
        self._process: OuterProcess | None = None

    def start(self) -> None:
        """Start it and wait until it listens."""
        sockets = " ".join(map(str, SOCKETS))
        self._host.check(
            f"rm -f {sockets} {CONTROL}; truncate -s 64M {_DISK};"
            f"mkdir -p {_FOLDER}; touch {_FOLDER}/{CARTRIDGE}.tap"
        )
        command = [str(program()), "serve", "--control", str(CONTROL)]
        for host, socket in enumerate(SOCKETS):
            command += ["--socket-path", f"{host}={socket}"]
            for target, pdev in self._luns.items():
                command += ["--lun", f"{host}:0:{target}:0={pdev}"]
        for vdev, pdev in self._more.items():
            command += ["--lun", f"{vdev}={pdev}"]
        self._process = self._host.start(command)
        self.wait_for(f"listening on {SOCKETS[-1]}")

    def wait_for(self, text: str) -> None:
        """Wait until it has logged that text since its start."""
        assert self._process is not None
        self._host.wait_for_line(self._process, text, timeout=PATIENCE)

    def log(self) -> str:
        """Return what it has logged since its start."""
        assert self._process is not None
        return self._host.log(self._process)

    def kill(self) -> None:
        """End it without warning."""
        assert self._process is not None
        self._host.end(self._process, signal="KILL", timeout=PATIENCE)

    def stop(self) -> None:
        """Have it end in good order."""
        assert self._process is not None
        self._host.end(self._process, timeout=PATIENCE)

    @contextlib.contextmanager
    def held_up(self) -> Iterator[None]:
        """Keep it from running for a while: the slowest back-end there is."""
        assert self._process is not None
        self._host.check(f"kill -STOP {self._process.pid}")
        try:
            yield
        finally:
            self._host.check(f"kill -CONT {self._process.pid}")

    def tell(self, *words: str) -> str:
        """Run one of the program's verbs; return what it printed."""
        verb, *rest = words
        command = [str(program()), verb, "--control", str(CONTROL), *rest]
        return self._host.check(shlex.join(command), timeout=PATIENCE)
