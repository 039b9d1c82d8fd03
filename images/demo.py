"""The demo: `./demo`. A guest does I/O on two LUNs of ours, and says what it saw."""

from __future__ import annotations

import os
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from tests.harness import acceleration, disks
from tests.harness.daemon import Daemon
from tests.harness.errors import HarnessError
from tests.harness.machine import Backend, Machine, MachineSpec

from . import build, qemus
from .errors import RigError

if TYPE_CHECKING:
    from collections.abc import Iterator

_IMAGE_SIZE = 256 << 20
_WRITTEN_MIB = 24
#: What an ext2/3/4 superblock has in its s_magic (Linux kernel, filesystems/ext4/super.rst).
_EXT_MAGIC_AT, _EXT_MAGIC = 1024 + 0x38, b"\x53\xef"


class DemoError(Exception):
    """The guest saw something else than it should."""


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that was done, and how long it took."""

    what: str
    seconds: float


class Story:
    """Tells what goes on, while it goes on, and sums it up."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._steps: list[Step] = []

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Show that something is being done; time it."""
        began = time.monotonic()
        if not self._console.is_terminal:
            self._console.print(f"{what} ...")
        with self._console.status(f"{what} ..."):
            yield
        took = time.monotonic() - began
        self._steps.append(Step(what, took))
        self._console.print(f"[green]done[/]  {what}  [dim]{took:.1f} s[/]")

    def note(self, text: str) -> None:
        """Tell something."""
        self._console.print(text, markup=False, soft_wrap=True)

    def summary(self) -> None:
        """Print all steps and their times."""
        table = Table("step", "seconds", title="what was done", title_justify="left")
        table.columns[1].justify = "right"
        for step in self._steps:
            table.add_row(step.what, f"{step.seconds:.1f}")
        self._console.print(table)


def _use(machine: Machine, image: Path, story: Story) -> None:
    listing = machine.console.check("lsscsi -s")
    story.note(listing.rstrip())
    for target in (0, 1):
        disk = disks.find(machine, target)
        with story.step(f"{disk.node}: ext4 made, {_WRITTEN_MIB} MiB of random data written"):
            disk.make_file_system(_WRITTEN_MIB)
        with story.step(f"{disk.node}: file system checked, data read back and compared"):
            disk.verify_file_system()
    with image.open("rb") as file:
        file.seek(_EXT_MAGIC_AT)
        if file.read(2) != _EXT_MAGIC:
            raise DemoError(f"{image} holds no file system, though the guest made one")
    used = image.stat().st_blocks * 512 >> 20
    story.note(f"{image.name} holds the guest's file system, {used} MiB in use on the host")


def _play(folder: Path, story: Story) -> None:
    with story.step("guest image (kernel and initramfs from Debian's packages)"):
        guest = build.build(report=lambda text: story.note(f"  {text}"))
    with story.step("which QEMU, and is there a KVM that works"):
        qemu = qemus.host() or qemus.find("7.2")
        accelerator, why = acceleration.choose(qemu, guest)
    story.note(f"QEMU {qemu.version}, {accelerator}: {why}")
    image = folder / "disk.img"
    image.touch()
    os.truncate(image, _IMAGE_SIZE)
    socket = folder / "scsi0.sock"
    luns = [f"0:0:0:0={image}", "0:0:1:0=ram:64M"]
    with Daemon(folder, sockets=[socket], luns=luns) as daemon:
        story.note(f"back-end: vhost-pvscsi {' '.join(daemon.command_line()[1:])}")
        spec = MachineSpec(
            qemu, guest, "q35-vhost-user-scsi", (Backend(socket),), accelerator=accelerator
        )
        with Machine(spec) as machine:
            with story.step("guest booted"):
                machine.boot()
            try:
                _use(machine, image, story)
            except (HarnessError, DemoError):
                story.note(machine.console_log()[-3000:])
                story.note(daemon.log()[-3000:])
                raise


def main() -> int:
    """Play the demo; return its exit status."""
    story = Story()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="vhost-pvscsi-demo-") as name:
            _play(Path(name), story)
    except (RigError, HarnessError, DemoError) as error:
        story.note(f"error: {error}")
        return 1
    story.summary()
    story.note(f"all well, in {time.monotonic() - began:.1f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
