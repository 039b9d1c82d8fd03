"""A CD in a stock Linux guest: mounted, ejected from inside, changed from outside."""

from __future__ import annotations

import re
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest

from images import boot_disk
from tests.harness import images
from tests.harness.verbs import Verbs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.harness.machine import Machine

pytestmark = pytest.mark.guest

#: Hear the kernel's events of the drive, from now on. What it has been told before, by opening it,
#: is drained first: the kernel says nothing of a change while it has another one to see to.
LISTEN = """
cat > /tmp/heard <<'END'
#!/bin/sh
env | grep ^DISK_ >> /tmp/events
END
chmod +x /tmp/heard
: > /tmp/events
(uevent /tmp/heard > /dev/null 2>&1 & echo $! > /tmp/listener)
until grep -q " $(cat /tmp/listener) " /proc/net/netlink; do :; done
until sg_raw -r 8 /dev/sr0 4a 01 00 00 10 00 00 00 08 00 2>&1 | grep -q "00 06 04 5a 00"; do :; done
dd if=/dev/sr0 of=/dev/null bs=2048 count=1 2> /dev/null
echo 200 > /sys/block/sr0/events_poll_msecs
"""
#: Polled in the guest: the event itself is waited for.
HEARD = "for n in $(seq 600); do grep -q {name}=1 /tmp/events && exit 0; sleep 0.1; done; exit 1"


@pytest.fixture(scope="module")
def qemu_version() -> str:
    return "10"


@pytest.fixture(scope="module")
def discs(short_folder: Path) -> dict[str, Path]:
    """Two small discs, each with a file that says which it is."""
    images.boot_disk()
    made = {}
    for name in ("first", "second"):
        folder = short_folder / name
        folder.mkdir()
        (folder / "which").write_text(name)
        (folder / "much").write_bytes(name.encode() * 200_000)
        made[name] = short_folder / f"{name}.iso"
        boot_disk.make_disc(folder, made[name], "-V", name.upper())
    return made


@pytest.fixture(scope="module")
def luns(discs: dict[str, Path]) -> list[str]:
    return ["0:0:0:0=ram:16M", f"0:0:1:0=cd:{discs['first']}"]


@pytest.fixture(scope="module")
def control(short_folder: Path) -> Path:
    return short_folder / "control"


@pytest.fixture(scope="module")
def daemon_options(control: Path) -> list[str]:
    return ["--control", str(control)]


@pytest.fixture(scope="module")
def verb(control: Path) -> Verbs:
    return Verbs(control)


@pytest.fixture(scope="module")
def cd(guest: Machine) -> Machine:
    guest.console.check("modprobe sr_mod; modprobe isofs; modprobe sg; test -b /dev/sr0")
    return guest


@contextmanager
def mounted(guest: Machine) -> Iterator[None]:
    guest.console.check("mount -t iso9660 -o ro /dev/sr0 /mnt")
    yield
    guest.console.check("umount /mnt")


def which(guest: Machine) -> str:
    with mounted(guest):
        return guest.console.check("cat /mnt/which")


def test_linux_knows_the_drive(cd: Machine) -> None:
    assert "cd/dvd  VHPVSCSI VIRTUAL CD/DVD" in cd.console.check("lsscsi")
    features = cd.console.check("sg_get_config /dev/sr0")
    assert "Current profile: CD-ROM" in features
    for name in ("Core", "Morphing", "Removable media", "Random readable", "CD read"):
        assert f"{name} feature" in features, features
    assert "PDT=5" in cd.console.check("sg_inq /dev/sr0")
    known = cd.console.check("cat /proc/sys/dev/cdrom/info")
    for can in ("close tray", "open tray", "lock tray", "read DVD"):
        assert re.search(rf"Can {can}:\s+1", known, re.IGNORECASE), known
    assert re.search(r"Can write CD-R:\s+0", known)


def test_what_is_on_the_disc_is_read_and_nothing_is_written(
    cd: Machine, discs: dict[str, Path]
) -> None:
    with mounted(cd):
        assert cd.console.check("cat /mnt/which") == "first"
        assert cd.console.check("wc -c < /mnt/much").strip() == str(200_000 * len("first"))
    sectors = discs["first"].stat().st_size // 2048
    assert cd.console.check("cat /sys/block/sr0/size").strip() == str(sectors * 4)
    digest = cd.console.check(f"dd if=/dev/sr0 bs=2048 count={sectors} 2>/dev/null | md5sum")
    theirs = cd.console.check(
        f"sg_dd if=/dev/sg1 bs=2048 count={sectors} of=- 2>/dev/null | md5sum"
    )
    assert digest == theirs
    assert cd.console.run("mount -t iso9660 -o rw /dev/sr0 /mnt && test -w /mnt/which").status != 0
    cd.console.run("umount /mnt")
    assert cd.console.run("dd if=/dev/zero of=/dev/sr0 count=1").status != 0


def test_a_guest_ejects_and_loads_its_disc(cd: Machine, verb: Verbs) -> None:
    with verb.client() as client:
        cd.console.check("eject /dev/sr0")
        told = client.wait_event("MEDIUM_CHANGED", timeout=60)["data"]
        assert (told["loaded"], told["by"]) == (False, "guest")
        assert cd.console.run("sg_turs /dev/sg1").status != 0
        cd.console.check("eject -t /dev/sr0")
        assert client.wait_event("MEDIUM_CHANGED", timeout=60)["data"]["loaded"]
        assert which(cd) == "first"
        cd.console.check("eject /dev/sr0")
        assert not client.wait_event("MEDIUM_CHANGED", timeout=60)["data"]["loaded"]
        # Linux closes the tray when the drive is opened.
        assert which(cd) == "first"
        assert client.wait_event("MEDIUM_CHANGED", timeout=60)["data"]["loaded"]


def test_a_disc_that_is_changed_outside_is_another_one_inside(
    cd: Machine, verb: Verbs, discs: dict[str, Path]
) -> None:
    cd.console.check(LISTEN)
    verb("medium-insert", "0:0:1:0", str(discs["second"]))
    cd.console.check(HEARD.format(name="DISK_MEDIA_CHANGE"), timeout=120)
    assert which(cd) == "second"
    size = discs["second"].stat().st_size // 512
    assert cd.console.check("cat /sys/block/sr0/size").strip() == str(size)


def test_a_disc_that_is_mounted_stays_until_the_guest_gives_it(
    cd: Machine, verb: Verbs, discs: dict[str, Path]
) -> None:
    with mounted(cd):
        assert "its guest keeps the medium in" in verb("medium-eject", "0:0:1:0", status=1)
        cd.console.check(HEARD.format(name="DISK_EJECT_REQUEST"), timeout=120)
        assert cd.console.check("cat /mnt/which") == "second"
    # What udev's rule does of itself when it hears of it.
    with verb.client() as client:
        cd.console.check("eject /dev/sr0")
        assert not client.wait_event("MEDIUM_CHANGED", timeout=60)["data"]["loaded"]
    verb("medium-insert", "0:0:1:0", str(discs["first"]))
    assert which(cd) == "first"


def test_a_disc_that_is_taken_by_force_fails_what_has_mounted_it(
    cd: Machine, verb: Verbs, discs: dict[str, Path]
) -> None:
    with mounted(cd):
        verb("medium-eject", "0:0:1:0", "--force")
        cd.console.run("echo 3 > /proc/sys/vm/drop_caches")
        assert cd.console.run("cat /mnt/much > /dev/null").status != 0
    verb("medium-insert", "0:0:1:0", str(discs["second"]))
    assert which(cd) == "second"
    cd.console.check("kill $(cat /tmp/listener)")
