"""The back-end in a guest that plays a host whose devices come and go, with a front-end."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from . import inside
from .daemon import program
from .scsi_daemon import CONTROL, PATIENCE, SOCKET

if TYPE_CHECKING:
    from pathlib import Path

    from .frontend import Response
    from .nested import OuterProcess
    from .scsi_host import ScsiHost

_HOST = f"""
[[control]]
path = "{CONTROL}"

[[host]]
number = 0
socket-path = "{SOCKET}"
"""
TEST_UNIT_READY = "00" * 6

#: Files of Debian's packages go where a merged /usr has them.
_UDEVD = """
set -e
for folder in bin lib; do cp -a {files}/$folder/. /usr/$folder/; done
cp -a {files}/usr/. /usr/
mkdir -p /etc/udev
/lib/systemd/systemd-udevd --daemon
export SYSTEMD_IGNORE_CHROOT=1
udevadm trigger
udevadm settle --timeout=120
"""


def start_udevd(host: ScsiHost, files: Path) -> None:
    """Have udevd there, with Debian's rules, and wait until it knows all devices."""
    host.check(_UDEVD.format(files=shlex.quote(str(files))), timeout=PATIENCE)


@dataclass(slots=True)
class Followed:
    """The host with the back-end, its events, and a front-end."""

    host: ScsiHost
    events: OuterProcess
    daemon: OuterProcess
    heard: int = 0  #: lines of events that have been looked at

    @classmethod
    def start(cls, host: ScsiHost, config: str = "") -> Self:
        """Start all of it; `config` is what the configuration file has beside host and control."""
        host.inside.start()
        host.shell(f"cat >/run/c.toml <<'end'\n{_HOST}{config}\nend")
        serve = [str(program()), "serve", "--config", "/run/c.toml"]
        daemon = host.start(serve)
        host.wait_for_line(daemon, "listening on", timeout=PATIENCE)
        events = host.start([str(program()), "events", "--json", "--control", str(CONTROL)])
        made = cls(host, events, daemon)
        host.inside.call(inside.connect, str(SOCKET))
        # Nothing says that `events` listens; whoever hears of the first of these hears the rest.
        for lun in range(100):
            made.tell("scsi-attach", "ram:1M", f"0:0:0:{lun}")
            if host.check(f"cat {events.log}"):
                break
        made.heard = len(host.check(f"cat {events.log}").splitlines())
        return made

    def listed(self, target: int) -> dict[str, Any]:
        """Return what `scsi-list --json` says of LUN 0 of a target."""
        luns = json.loads(self.tell("scsi-list", "--json"))
        return next(lun for lun in luns if lun["vdev"] == f"0:0:{target}:0")

    def tell(self, *words: str) -> str:
        """Type a verb in the host."""
        verb, *rest = words
        line = shlex.join([str(program()), verb, "--control", str(CONTROL), *rest])
        return self.host.check(line, timeout=PATIENCE)

    def ask(self, target: int, cdb: str, *, data_out: bytes = b"", data_in: int = 0) -> Response:
        """Send a command through the back-end."""
        call, arguments = self.host.inside.call, (target, 0, bytes.fromhex(cdb))
        return call(inside.scsi, *arguments, data_out=data_out, data_in=data_in)

    def settle(self, target: int) -> list[tuple[int, int, int]]:
        """Ask until a LUN is ready; what it said before."""
        said = []
        for _ in range(6):
            told = self.ask(target, TEST_UNIT_READY)
            if told.good:
                return said
            said.append(told.sense_code)
        raise AssertionError(f"target {target} does not become ready: {said}")

    def hear(self, name: str) -> dict[str, Any]:
        """Wait for the next event of that name; its data."""
        line = f"tail -n +{self.heard + 1} -f -s 0.1 {self.events.log} | grep -n -m 1 {name}"
        number, _, text = self.host.check(line, timeout=PATIENCE).partition(":")
        self.heard += int(number)
        return dict(json.loads(text)["data"])
