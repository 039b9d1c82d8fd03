"""Reads a configuration file: every table by the words of what it stands for on the command line.

Nothing is declared here: [daemon] has the options of `serve`, [[host]] those of host-attach,
[[control]] those of --control, [[lun]] those of --lun.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from vhost_pvscsi.control.commands import HOST_OPTIONS
from vhost_pvscsi.control.parameter import HOST, PATH, PDEV, VDEV
from vhost_pvscsi.daemon.control.spec import OPTIONS, ControlSpec, parse_control
from vhost_pvscsi.daemon.plan import Plan, PlannedHost, PlannedLun, plan_host, plan_lun
from vhost_pvscsi.devices.lun_options import OPTION_NAMES, parse_options
from vhost_pvscsi.devices.pdev import join_commas
from vhost_pvscsi.errors import ConfigurationError
from vhost_pvscsi.identity import Address

from .file import Document, load
from .mistakes import Mistake, MistakesError, not_known
from .notes import Notes
from .rules import read_rules
from .settings import read_setting
from .vscsi import parse_item

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import click

    from .notes import Place, Table

_TABLES = ("daemon", "control", "host", "lun", "vscsi", "auto-attach")


@dataclass(frozen=True, slots=True)
class Config:
    """What a file says; to be used when `check` has found nothing."""

    path: Path
    settings: Mapping[str, object] = field(default_factory=dict)  #: of serve, by member
    controls: Sequence[ControlSpec] = ()
    plan: Plan = field(default_factory=Plan)
    mistakes: Sequence[Mistake] = ()

    def check(self, hosts: Collection[int] = ()) -> None:
        """Find everything wrong with it; `hosts` are there beside its own.

        Raises:
            MistakesError: something is.
        """
        known = {*self.plan.hosts, *hosts}
        wrong = [
            Mistake(
                lun.place,
                f"LUN {address}: there is no virtual host {address.host}",
                f"a table [[host]] with number = {address.host}",
            )
            for address, lun in self.plan.luns.items()
            if address.host not in known
        ] + [
            Mistake(
                rule.place,
                f"[[auto-attach]] vdev {rule.vdev!r}: there is no virtual host {rule.host}",
                f"a table [[host]] with number = {rule.host}",
            )
            for rule in self.plan.rules
            if rule.host not in known
        ]
        if self.mistakes or wrong:
            raise MistakesError(sorted([*self.mistakes, *wrong], key=_by_line))


def read_config(path: Path, options: Sequence[click.Option]) -> Config:
    """Read a file; `options` are those of serve that it may set. What is wrong is in the result.

    Raises:
        DeviceError: the file cannot be read.
        MistakesError: it is no TOML.
    """
    return _Reader(load(path), options).read()


def _by_line(mistake: Mistake) -> int:
    line = mistake.place.rpartition(":")[2]
    return int(line) if line.isdigit() else 0


class _Reader:
    def __init__(self, document: Document, options: Sequence[click.Option]) -> None:
        self._document = document
        self._folder = document.folder
        self._options = {option.opts[0].removeprefix("--"): option for option in options}
        self._notes = Notes(document)
        self._hosts: dict[int, PlannedHost] = {}
        self._luns: dict[Address, PlannedLun] = {}
        self._sockets: dict[Path, str] = {}

    def read(self) -> Config:
        content = self._document.content
        for name in content:
            if name not in _TABLES:
                self._notes.wrong((name,), *not_known("", name, _TABLES))
        settings = self._settings(content.get("daemon", {}))
        controls = [self._control(at, table) for at, table in self._notes.tables("control")]
        for at, table in self._notes.tables("host"):
            self._host(at, table)
        for at, table in self._notes.tables("lun"):
            self._lun(at, table)
        self._vscsi(content.get("vscsi", []))
        rules = read_rules(self._document, self._notes)
        return Config(
            self._document.path,
            settings,
            [spec for spec in controls if spec is not None],
            Plan(self._hosts, self._luns, rules),
            self._notes.mistakes,
        )

    def _settings(self, table: object) -> dict[str, object]:
        settings: dict[str, object] = {}
        if not isinstance(table, dict):
            self._notes.wrong(("daemon",), "daemon is no table", "begin it with [daemon]")
            return settings
        for name, value in table.items():
            at = ("daemon", name)
            option = self._options.get(name)
            if option is None:
                self._notes.wrong(at, *not_known("[daemon] ", name, self._options))
                continue
            with self._notes.noting(at, "[daemon] "):
                settings[str(option.name)] = read_setting(option, value, self._folder)
        return settings

    def _control(self, at: Place, table: Table) -> ControlSpec | None:
        names = ("path", *(option.rstrip("=") for option in OPTIONS))
        table = self._notes.known(at, table, names)
        path = table.pop("path", None)
        words = self._notes.words(
            at, table.items(), lambda word: parse_control(join_commas(("x", word)))
        )
        if not isinstance(path, str):
            self._notes.wrong((*at, "path"), "[[control]] path is missing, or no text", PATH.right)
            return None
        self._one_socket((*at, "path"), self._folder / path)
        specs: list[ControlSpec] = []
        with self._notes.noting(at, "[[control]] "):
            specs.append(parse_control(join_commas((str(self._folder / path), *words))))
        return next(iter(specs), None)

    def _host(self, at: Place, table: Table) -> None:
        known = {option.name: option for option in HOST_OPTIONS}
        table = self._notes.known(at, table, ("number", *known))
        number = _number(table.pop("number", None))
        place = self._document.place(*at)
        if number is None:
            self._notes.wrong((*at, "number"), "[[host]] number is missing, or none", HOST.right)
            return
        if number in self._hosts:
            self._notes.wrong(
                (*at, "number"),
                f"virtual host {number} is there twice, first at {self._hosts[number].place}",
                "each host has a number of its own",
            )
        before = len(self._notes.mistakes)
        for name, value in table.items():
            with self._notes.noting((*at, name), "[[host]] "):
                known[name].read(value)
                if known[name].kind is PATH:
                    table[name] = str(self._folder / value)
        # Its LUNs are not wrong because it is.
        host = plan_host(number, {"socket-path": "unusable"}, place)
        if len(self._notes.mistakes) == before:
            with self._notes.noting(at, "[[host]] "):
                host = plan_host(number, table, place)
                self._one_socket((*at, "socket-path"), Path(table["socket-path"]))
        self._hosts.setdefault(number, host)

    def _lun(self, at: Place, table: Table) -> None:
        table = self._notes.known(at, table, ("vdev", "pdev", *OPTION_NAMES))
        vdev, pdev = table.pop("vdev", None), table.pop("pdev", None)
        words = self._notes.words(at, table.items(), lambda word: parse_options([word]))
        address = None
        if not isinstance(vdev, str):
            self._notes.wrong((*at, "vdev"), "[[lun]] vdev is missing, or no text", VDEV.right)
        else:
            with self._notes.noting((*at, "vdev"), "[[lun]] "):
                address = Address.parse(vdev)
        if not isinstance(pdev, str):
            self._notes.wrong((*at, "pdev"), "[[lun]] pdev is missing, or no text", PDEV.right)
            return
        try:
            lun = plan_lun(
                address or Address(0, 0, 0, 0),
                join_commas((pdev, *words)),
                self._folder,
                self._document.place(*at),
            )
        except ConfigurationError as error:
            # An option that does not go with this PDEV, or with another, is named so.
            name = next((name for name in table if f"option {name!r}" in str(error)), "pdev")
            self._notes.wrong((*at, name), f"[[lun]] {error}", error.hint)
        else:
            if address is not None:
                self._add((*at, "vdev"), address, lun)

    def _vscsi(self, items: object) -> None:
        if not isinstance(items, list) or not all(isinstance(item, str) for item in items):
            right = "vscsi = ['PDEV,VDEV[,option...]', ...]"
            self._notes.wrong(("vscsi",), "vscsi is no list of texts", right)
            return
        for number, item in enumerate(items):
            at = ("vscsi", number)
            with self._notes.noting(at):
                address, text = parse_item(item)
                lun = plan_lun(address, text, self._folder, self._document.place(*at))
                self._add(at, address, lun)

    def _add(self, at: Place, address: Address, lun: PlannedLun) -> None:
        first = self._luns.setdefault(address, lun)
        if first is not lun:
            self._notes.wrong(
                at,
                f"LUN {address} is there twice, first at {first.place}",
                "each LUN has an address of its own",
            )

    def _one_socket(self, at: Place, path: Path) -> None:
        place = self._document.place(*at)
        first = self._sockets.setdefault(path, place)
        if first != place:
            self._notes.wrong(
                at,
                f"{path} is a socket already, at {first}",
                "each socket has a path of its own",
            )


def _number(value: object) -> int | None:
    try:
        number = HOST.convert(value)
    except (TypeError, ValueError):
        return None
    assert isinstance(number, int)
    return number
