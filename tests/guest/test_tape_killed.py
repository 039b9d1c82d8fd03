"""A back-end that is killed, again and again, while a guest's tar writes a tape."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

    from tests.harness.daemon import Daemon
    from tests.harness.machine import Machine

pytestmark = [pytest.mark.guest, pytest.mark.long]

ROUNDS = 50
#: Writes two files that are acknowledged, and then one of zeros without an end; what fails ends it.
WRITER = """
cd /tmp/a
for n in $1 $(($1 + 1)); do
    echo $n >number
    tar -cf /dev/nst0 number data && echo $n >/tmp/acknowledged || exit
done
tar --checkpoint=1000 --checkpoint-action=exec='touch /tmp/writing' -cf /dev/nst0 endless
echo $? >/tmp/ended
"""


@pytest.fixture(scope="module")
def qemu_version() -> str:
    # The other one, 7.2, has no reconnect for vhost-user-scsi (it came in 8.2).
    return "10"


@pytest.fixture(scope="module")
def reconnect() -> bool:
    return True


@pytest.fixture(scope="module")
def luns(short_folder: Path) -> list[str]:
    # Compressed, what has no end takes no room.
    return [f"0:0:0:0=tape:{short_folder}/t.tap,create,compression=on"]


def test_a_kill_loses_nothing_before_the_last_filemark(guest: Machine, daemon: Daemon) -> None:
    guest.console.check(
        "set -e; modprobe st; mkdir /tmp/a; cd /tmp/a; head -c 200000 /dev/urandom >data;"
        f"truncate -s 100G endless; cat >/tmp/write <<'end'\n{WRITER}\nend"
    )
    mt = "mt -f /dev/nst0"
    for number in range(1, 2 * ROUNDS, 2):
        guest.console.check(
            f"set -e; rm -f /tmp/writing /tmp/ended; {mt} rewind; {mt} fsf {number - 1};"
            f"sh /tmp/write {number} </dev/null >/tmp/said 2>&1 &"
        )
        guest.console.wait_until("[ -e /tmp/writing ]")
        daemon.kill()
        daemon.start()
        # What was under way is not repeated, but ends: the drive was powered on.
        guest.console.wait_until("[ -e /tmp/ended ]")
        assert guest.console.check("cat /tmp/ended").strip() == "2"
        assert "Input/output error" in guest.console.check("cat /tmp/said")
        last = guest.console.check("cat /tmp/acknowledged").strip()
        assert last == f"{number + 1}"
        found = guest.console.check(f"{mt} rewind; {mt} fsf {number}; tar -xOf /dev/nst0 number")
        assert found.strip() == last
    told = guest.console.check("dmesg")
    assert told.count("Power-on or device reset occurred") >= ROUNDS
    # All of it is there still, in order.
    guest.console.check(
        f"set -e; mkdir /tmp/b; cd /tmp/b; for n in $(seq 1 {2 * ROUNDS}); do"
        f" {mt} asf $((n - 1)); tar -xf /dev/nst0; test $(cat number) = $n; cmp data /tmp/a/data;"
        " done",
        timeout=300,
    )
