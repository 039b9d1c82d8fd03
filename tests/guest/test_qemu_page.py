"""The commands of docs/qemu.md, as they stand there: a PC boots from the LUN that they attach."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import xml.etree.ElementTree as ET
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

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "qemu.md").read_text(encoding="utf-8")
RUN = "/run/vhost-pvscsi"
DEADLINE = 60.0
QEMU_NAMESPACE = "{http://libvirt.org/schemas/domain/qemu/1.0}"


@pytest.fixture(scope="module")
def qemu_version() -> str:
    # reconnect-ms came with 9.2.
    return "10"


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


def commands(folder: Path) -> list[list[str]]:
    text = "".join(blocks("console")).replace("\\\n", " ").replace(RUN, str(folder))
    lines = text.splitlines()
    assert all(line.startswith("$ ") for line in lines)
    return [shlex.split(line[2:]) for line in lines]


def wait_for(output: processes.LogPump, text: str) -> None:
    if not output.wait_for(lambda line: text in line, count=1, timeout=DEADLINE):
        pytest.fail(f"waited {DEADLINE:g} s for {text!r}; there came:\n{output.text()[-3000:]}")


@pytest.fixture
def serving(short_folder: Path) -> Iterator[Path]:
    """The folder of the page's daemon, with the page's LUN attached; it has a boot sector."""
    serve, *others = commands(short_folder)[:-1]
    assert (serve[:2], serve[-1]) == (["vhost-pvscsi", "serve"], "&")
    daemon = processes.start([str(program()), *serve[1:-1]], stderr=subprocess.PIPE)
    assert daemon.stderr is not None
    said = processes.LogPump(daemon.stderr, short_folder / "page-daemon.log")
    environment = {
        **os.environ,
        "PATH": f"{program().parent}:{os.environ['PATH']}",
        "VHOST_PVSCSI_CONTROL": str(short_folder / "control"),
    }
    try:
        wait_for(said, "control socket")
        for command in others:
            subprocess.run(command, cwd=short_folder, env=environment, check=True, timeout=60)
        with (short_folder / "disk.img").open("r+b") as file:
            file.write(boot_sector())
        yield short_folder
    finally:
        status = processes.end(daemon)
        said.close()
    assert status == 0, said.text()


def greets(qemu: Qemu, words: list[str], folder: Path) -> None:
    machine = processes.start(
        [*qemu.command, *words, *HEARING],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        environment={**os.environ, **qemu.environment},
    )
    assert machine.stdout is not None
    heard = processes.LogPump(machine.stdout, folder / "qemu.log")
    try:
        wait_for(heard, GREETING.decode().strip())
    finally:
        processes.end(machine)
        heard.close()


def test_a_pc_boots_from_the_pages_lun(serving: Path, qemu: Qemu) -> None:
    name, *words = commands(serving)[-1]
    assert name == "qemu-system-x86_64"
    greets(qemu, words, serving)


def test_the_domains_arguments_start_a_guest(serving: Path, qemu: Qemu) -> None:
    """The snippet is XML; what it hands through goes with the memory that it asks for."""
    [snippet] = blocks("xml")
    domain = ET.fromstring(snippet)
    assert domain.find("memoryBacking/access[@mode='shared']") is not None
    handed = domain.findall(f"{QEMU_NAMESPACE}commandline/{QEMU_NAMESPACE}arg")
    words = [argument.attrib["value"].replace(RUN, str(serving)) for argument in handed]
    assert len(words) == 4
    # As libvirt has it for such a domain; firmware is to look at our disk first.
    memory = ["-machine", "q35,memory-backend=pc.ram", "-m", "1G"]
    memory += ["-object", "memory-backend-memfd,id=pc.ram,size=1G,share=on"]
    greets(qemu, [*memory, *words[:-1], f"{words[-1]},bootindex=1"], serving)
