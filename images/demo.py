"""The demo: `./demo`. A guest does I/O on two LUNs of ours, and says what it saw."""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import click

from tests.harness import acceleration
from tests.harness.daemon import Daemon
from tests.harness.errors import HarnessError
from tests.harness.machine import Backend, Machine, MachineSpec

from . import build, demo_xen, qemus
from .errors import RigError
from .story import Story
from .use import DemoError, look_at, make_image, telling, use


def play(folder: Path, story: Story) -> None:
    """Play it with a guest that has virtio-scsi."""
    with story.step("guest image (kernel and initramfs from Debian's packages)"):
        guest = build.build(report=story.detail)
    with story.step("which QEMU, and is there a KVM that works"):
        qemu = qemus.host() or qemus.find("7.2")
        accelerator, why = acceleration.choose(qemu, guest)
    story.note(f"QEMU {qemu.version}, {accelerator}: {why}")
    image = make_image(folder)
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
            with telling(story, machine.console_log, daemon.log):
                use(machine, story)
                look_at(image, story)


@click.command(context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--xen", is_flag=True, help="A guest of emulated Xen, with a pvSCSI host of ours.")
def main(xen: bool) -> None:
    """Boot a guest on two LUNs of ours; it uses them and says what it saw."""
    story = Story()
    began = time.monotonic()
    try:
        with tempfile.TemporaryDirectory(prefix="vhost-pvscsi-demo-") as name:
            (demo_xen.play if xen else play)(Path(name), story)
    except (RigError, HarnessError, DemoError) as error:
        story.note(f"error: {error}")
        sys.exit(1)
    story.summary()
    story.note(f"all well, in {time.monotonic() - began:.1f} s")


if __name__ == "__main__":
    main(prog_name="./demo")
