"""Debian's Bacula in a guest, on tapes and a changer that it has; see images/bacula.py."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from .errors import HarnessError

if TYPE_CHECKING:
    from collections.abc import Sequence

#: A job on a busy machine, under one emulation or two.
_PATIENCE = 600.0
_WORK = "/var/lib/bacula"
#: What is backed up, and where it is restored.
DATA, RESTORED = "/tmp/data", "/tmp/restored"

#: Where a job waits for an operator there is nobody.
_LONGEST_JOB = "Max Run Time = 8 minutes"

_DIRECTOR = f"""
Director {{ Name = rig-dir; Password = rig; QueryFile = /dev/null; Messages = all
  WorkingDirectory = {_WORK}; PidDirectory = /run; DirAddress = 127.0.0.1 }}
Messages {{ Name = all; Append = "{_WORK}/log" = all; Console = all }}
Catalog {{ Name = rig; dbname = bacula; dbuser = rig; dbpassword = "" }}
Client {{ Name = rig-fd; Address = 127.0.0.1; Catalog = rig; Password = rig }}
FileSet {{ Name = data; Include {{ Options {{ Signature = SHA1 }}; File = {DATA} }} }}
JobDefs {{ Name = any; Client = rig-fd; FileSet = data; Storage = tapes; Pool = Tapes
  Messages = all
  {_LONGEST_JOB}
}}
Job {{ Name = backup; Type = Backup; Level = Full; JobDefs = any }}
Job {{ Name = restore; Type = Restore; Where = {RESTORED}; JobDefs = any }}
"""
_FILE_DAEMON = f"""
FileDaemon {{ Name = rig-fd; FDAddress = 127.0.0.1; WorkingDirectory = {_WORK}
  PidDirectory = /run }}
Director {{ Name = rig-dir; Password = rig }}
Messages {{ Name = all; Director = rig-dir = all }}
"""
_STORAGE = f"""
Storage {{ Name = rig-sd; SDAddress = 127.0.0.1; WorkingDirectory = {_WORK}
  PidDirectory = /run }}
Director {{ Name = rig-dir; Password = rig }}
Messages {{ Name = all; Director = rig-dir = all }}
"""
_CONSOLE = "Director { Name = rig-dir; Address = 127.0.0.1; Password = rig }\n"

_CATALOG = f"""
sed -e s/XXX_DBNAME_XXX/bacula/ /usr/share/bacula-director/make_sqlite3_tables >{_WORK}/tables
sh {_WORK}/tables
"""
_FAILED = re.compile(r"^.*(Error:|Fatal error|ERR=|Intervention needed).*$", re.MULTILINE)


def make_data(console: Console, *, mebibytes: int = 2) -> None:
    """Make something to back up: files of all sizes, a folder, a link, a name with spaces."""
    console.check(
        f"set -e; rm -rf {DATA}; mkdir -p {DATA}/folder; cd {DATA}; ln -s folder link;"
        f" head -c {mebibytes << 20} /dev/urandom >large; cp -p /bin/busybox folder;"
        " for size in 1 4095 4096 65536 99999; do head -c $size large >folder/$size; done;"
        " : >empty; echo named >'with spaces'",
        timeout=_PATIENCE,
    )


class Console(Protocol):
    """Where to run commands in the guest: a `GuestConsole`."""

    def check(self, command: str, *, timeout: float = 60.0) -> str:
        """Run a command that must succeed; return what it printed."""


@dataclass(frozen=True, slots=True)
class Library:
    """What Bacula has to write on: nodes in the guest."""

    drives: Sequence[str]  #: not rewinding ones of st, in the order of the changer
    changer: str | None = None  #: an SG node
    #: Whether drives find the last block when they go back over a filemark and then over a block.
    backspaces: bool = True
    #: Whether drives say at the end of data that no block is there, so that Linux's st hears it.
    #: Where they do not, volumes end with two filemarks, and Bacula reads no further.
    ends: bool = True


class Bacula:
    """Director, storage and file daemon in one guest; they end with it, or by `stop`.

    A guest has one at a time. `start` makes an empty catalog, but what is on cartridges stays, and
    what has a label gets no other.
    """

    def __init__(self, console: Console, library: Library, *, volume_bytes: int = 0) -> None:
        """Describe it; the guest was booted from `images.bacula`.

        A volume is full after so many bytes, where they are said, else at its end.
        """
        self._console = console
        self._library = library
        self._volume_bytes = volume_bytes

    def start(self) -> None:
        """Write the configuration and an empty catalog, and start the three daemons."""
        self._configure()
        self._console.check(f"set -e; {_CATALOG}", timeout=_PATIENCE)
        for name in ("bacula-sd", "bacula-fd", "bacula-dir"):
            # A configuration it cannot read is told now, and not to a log.
            self._console.check(f"{name} -t -c {_conf(name)} && {name} -c {_conf(name)}")

    def stop(self) -> None:
        """End the three daemons, and wait until they are gone: drives are free then."""
        for name in ("dir", "sd", "fd"):
            self._console.check(
                f"pid=$(cat /run/bacula-{name}.*.pid) && kill $pid &&"
                " while [ -d /proc/$pid ]; do sleep 0.2; done",
                timeout=_PATIENCE,
            )
        # Bacula leaves the doors locked.
        for node in self._library.drives:
            self._console.check(f"mt -f {node} unlock")

    def tell(self, *commands: str, timeout: float = _PATIENCE) -> str:
        """Type commands at bconsole, and wait for the end of jobs; return what was said.

        Raises:
            HarnessError: something went wrong in Bacula's own words.
        """
        text = "\n".join([*commands, "wait", "messages", "quit", ""])
        line = f"printf %s {shlex.quote(text)} | bconsole -c {_conf('bconsole')}"
        said = self._console.check(line, timeout=timeout)
        if found := _FAILED.search(said):
            raise HarnessError(f"{commands}: Bacula says {found[0]!r}\n{said}")
        return said

    def label(self, names: Sequence[str] = (), *, slots: str = "") -> None:
        """Label cartridges: those of `slots` by their barcodes, else one in each by name.

        Without a changer it is the one cartridge in the drive.
        """
        if slots:
            said = self.tell(
                f"label barcodes storage=tapes pool=Tapes drive=0 slots={slots}", "yes"
            )
            wanted = len(_slots(slots))
        else:
            with_slots = (
                f"label storage=tapes pool=Tapes drive=0 slot={slot} volume={name}"
                for slot, name in enumerate(names, start=1 if self._library.changer else 0)
            )
            said = self.tell(*with_slots)
            wanted = len(names)
        labelled = said.count("3000 OK label")
        if labelled != wanted:
            raise HarnessError(f"{labelled} of {wanted} volumes were labelled\n{said}")

    def backup(self) -> list[str]:
        """Back `DATA` up; return the names of the volumes it went to."""
        said = self.tell("run job=backup yes")
        if "Backup OK" not in said:
            raise HarnessError(f"the backup did not end well\n{said}")
        volumes = re.search(r"Volume name\(s\): +(\S+)", said)
        return volumes[1].split("|") if volumes else []

    def restore(self) -> None:
        """Restore all that was backed up last, and compare it with what is there."""
        self._console.check(f"rm -rf {RESTORED}")
        said = self.tell("restore client=rig-fd fileset=data current select all done yes")
        if "Restore OK" not in said:
            raise HarnessError(f"the restore did not end well\n{said}")
        self._console.check(f"diff -r {DATA} {RESTORED}{DATA}", timeout=_PATIENCE)

    def test_drive(self, drive: int = 0) -> str:
        """Let btape test a drive with the cartridge in it, whose data is lost; what it said.

        The daemons are not running.

        Raises:
            HarnessError: it is not satisfied.
        """
        self._configure()
        answers = "printf 'test\\nquit\\n'"
        node = self._library.drives[drive]
        said = self._console.check(
            f"{answers} | btape -c {_conf('bacula-sd')} {node} 2>&1", timeout=_PATIENCE
        )
        if found := re.search(r"^.*(ERR=|failed|Error|not work|wrong).*$", said, re.MULTILINE):
            raise HarnessError(f"btape says {found[0]!r}\n{said}")
        return said

    def log(self) -> str:
        """Return what the director has logged."""
        return self._console.check(f"cat {_WORK}/log")

    def _configure(self) -> None:
        files = {
            "bacula-dir": _DIRECTOR + self._storage_and_pool(),
            "bacula-fd": _FILE_DAEMON,
            "bacula-sd": _STORAGE + self._devices(),
            "bconsole": _CONSOLE,
        }
        lines = [f"mkdir -p {_WORK}; rm -rf {_WORK}/*"]
        lines += [f"cat >{_conf(name)} <<'end'\n{text}\nend" for name, text in files.items()]
        self._console.check("\n".join(lines))

    def _storage_and_pool(self) -> str:
        return (
            "Storage { Name = tapes; Address = 127.0.0.1; Password = rig; Device = tapes\n"
            f"  Media Type = tape; Autochanger = {'yes' if self._library.changer else 'no'} }}\n"
            "Pool { Name = Tapes; Pool Type = Backup\n"
            f"  Maximum Volume Bytes = {self._volume_bytes}\n}}\n"
        )

    def _devices(self) -> str:
        if self._library.changer is None:
            return self._device("tapes", 0)
        names = [f"drive-{index}" for index in range(len(self._library.drives))]
        return "".join(
            [
                f"Autochanger {{ Name = tapes; Device = {', '.join(names)}\n"
                f"  Changer Device = {self._library.changer}\n"
                '  Changer Command = "/etc/bacula/scripts/mtx-changer %c %o %S %a %d" }\n',
                *(self._device(name, index) for index, name in enumerate(names)),
            ]
        )

    def _device(self, name: str, index: int) -> str:
        in_changer = "no" if self._library.changer is None else "yes"
        backspaces = "yes" if self._library.backspaces else "no"
        two_eof = "no" if self._library.ends else "yes"
        return (
            f"Device {{ Name = {name}; Archive Device = {self._library.drives[index]}\n"
            f"  Drive Index = {index}; Autochanger = {in_changer}; Media Type = tape\n"
            f"  AutomaticMount = yes; AlwaysOpen = yes; RemovableMedia = yes; RandomAccess = no\n"
            f"  BackwardSpaceRecord = {backspaces}; TwoEof = {two_eof} }}\n"
        )


def _conf(name: str) -> str:
    return f"/etc/bacula/{name}.conf"


def _slots(text: str) -> list[int]:
    found: list[int] = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return found
