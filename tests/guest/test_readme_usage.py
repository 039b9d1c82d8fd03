"""The README's example of use, as it stands there: a PC boots from the LUN that it serves."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.harness import processes
from tests.harness.boot_sector import GREETING, HEARING, boot_sector
from tests.harness.daemon import program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from images.qemus import Qemu

pytestmark = pytest.mark.guest

README = Path(__file__).resolve().parents[2] / "README.md"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
SOCKET = "/tmp/scsi0.sock"
#: From the start of QEMU to the boot sector's greeting: the firmware alone, under TCG.
DEADLINE = 60.0


def commands() -> list[list[str]]:
    text = "".join(BLOCK.findall(README.read_text(encoding="utf-8"))).replace("\\\n", " ")
    lines = text.splitlines()
    assert all(line.startswith("$ ") for line in lines)
    return [shlex.split(line[2:]) for line in lines]


@pytest.fixture
def serving(short_folder: Path) -> Iterator[Path]:
    """The socket of the README's daemon, on an image made as the README makes it."""
    make, serve, _ = commands()
    assert serve[0] == program().name
    subprocess.run(make, cwd=short_folder, check=True)
    image = short_folder / make[-1]
    with image.open("r+b") as file:
        file.write(boot_sector())
    socket = short_folder / "scsi0.sock"
    words = [word.replace(SOCKET, str(socket)) for word in serve[1:]]
    words = [word.replace(f"={image.name}", f"={image}") for word in words]
    daemon = processes.start([str(program()), *words], stderr=subprocess.PIPE)
    said = processes.LogPump(daemon.stderr, short_folder / "readme-daemon.log")
    try:
        wait_for(said, "listening on")
        yield socket
    finally:
        status = processes.end(daemon)
        said.close()
    assert status == 0, said.text()


def wait_for(output: processes.LogPump, text: str) -> None:
    if not output.wait_for(lambda line: text in line, count=1, timeout=DEADLINE):
        pytest.fail(f"waited {DEADLINE:g} s for {text!r}; there came:\n{output.text()[-3000:]}")


def test_a_pc_boots_from_the_lun(serving: Path, qemu: Qemu) -> None:
    words = [word.replace(SOCKET, str(serving)) for word in commands()[2][1:]]
    # Firmware looks there first, as the README says; the rest is for us to hear it.
    words = [f"{word},bootindex=1" if "vhost-user-scsi-pci" in word else word for word in words]
    words += HEARING
    machine = processes.start(
        [*qemu.command, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        environment={**os.environ, **qemu.environment},
    )
    heard = processes.LogPump(machine.stdout, serving.with_name("qemu.log"))
    try:
        wait_for(heard, GREETING.decode().strip())
    finally:
        processes.end(machine)
        heard.close()
