"""A private apt: Debian's packages of a fixed suite, checked by apt's own signatures.

It has its own sources, lists, cache and (empty) package state, so that it works
without root, on any Debian, and leaves the host's own apt alone. Proxies and
the like are the host's: its apt.conf is read as ever.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import unquote

from .errors import RigError
from .run import run

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from .manifest import Archive

_URI = re.compile(r"^'(?P<uri>[^']+)' (?P<file>\S+) \d+")


@dataclass(frozen=True, slots=True, order=True)
class Package:
    """One binary package in one version."""

    name: str
    version: str

    @property
    def file_pattern(self) -> str:
        # apt escapes the epoch's colon in file names.
        return f"{self.name}_{self.version.replace(':', '%3a')}_*.deb"


class PrivateApt:
    """apt-get over a folder of its own."""

    def __init__(self, folder: Path, archive: Archive) -> None:
        self._folder = folder
        self._archive = archive
        self._debs = folder / "debs"
        self._sources = folder / "sources"

    def prepare(self, *, refresh: bool = False) -> None:
        """Write the configuration and fetch the package lists, if there are none yet."""
        for name in ("lists/partial", "cache/archives/partial", "etc/none", "debs", "sources"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        (self._folder / "etc" / "guest.sources").write_text(self._source_list())
        (self._folder / "etc" / "apt.conf").write_text(self._configuration())
        if refresh or not any((self._folder / "lists").glob("*_Packages*")):
            self._apt("update", hint="is the Debian mirror reachable?")

    def closure(self, packages: Sequence[str], *, suite: str) -> list[Package]:
        """Return `packages` and all that they depend on, as `suite` has them."""
        text = self._apt("install", "--print-uris", "-qq", "-t", suite, *packages)
        found = (_URI.match(line) for line in text.splitlines())
        return [_package(match["file"]) for match in found if match]

    def download(self, packages: Iterable[Package]) -> list[Path]:
        """Fetch packages that are not here yet; return the paths of all, in order."""
        packages = list(packages)
        missing = [package for package in packages if not self._find(package)]
        if missing:
            wanted = [f"{package.name}={package.version}" for package in missing]
            try:
                self._apt("download", *wanted, folder=self._debs)
            except RigError:
                # A point release took away what the lists still name.
                self._apt("update")
                self._apt("download", *wanted, folder=self._debs)
        return [self._require(package) for package in packages]

    def download_source(self, name: str, *, suite: str) -> Path:
        """Fetch the upstream tarball of a source package; return its path."""
        folder = self._sources / name
        if not (found := _tarballs(folder)):
            folder.mkdir(exist_ok=True)
            # The tarball alone: of a backport that another one followed it is all that is left.
            self._apt("source", "--download-only", "--tar-only", "-t", suite, name, folder=folder)
            found = _tarballs(folder)
        if not found:
            raise RigError(f"source package {name!r} of {suite} has no upstream tarball")
        return found[0]

    def _find(self, package: Package) -> Path | None:
        return next(iter(self._debs.glob(package.file_pattern)), None)

    def _require(self, package: Package) -> Path:
        if path := self._find(package):
            return path
        raise RigError(f"apt-get download left no file for {package.name} {package.version}")

    def _apt(self, *arguments: str, folder: Path | None = None, hint: str | None = None) -> str:
        configuration = self._folder / "etc" / "apt.conf"
        return run(
            ["apt-get", "-q", "-c", str(configuration), *arguments], folder=folder, hint=hint
        )

    def _source_list(self) -> str:
        keyring = next((path for path in self._archive.keyrings if path.exists()), None)
        if keyring is None:
            raise RigError(
                f"none of {', '.join(map(str, self._archive.keyrings))} exists",
                hint="apt-get install debian-archive-keyring",
            )
        return (
            "Types: deb deb-src\n"
            f"URIs: {host_mirror() or self._archive.mirror}\n"
            f"Suites: {self._archive.suite} {self._archive.backports}\n"
            "Components: main\n"
            f"Architectures: {self._archive.architecture}\n"
            "Targets: Packages Sources\n"
            f"Signed-By: {keyring}\n"
        )

    def _configuration(self) -> str:
        folder = self._folder
        # The host's hooks (cache cleaners, desktop indexers) are not for this apt.
        hooks = ("APT::Update::Pre-Invoke", "APT::Update::Post-Invoke")
        cleared = "".join(f"#clear {name};\n#clear {name}-Success;\n" for name in hooks)
        settings = {
            "Dir::State": folder,
            "Dir::State::lists": folder / "lists",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "Dir::Etc::sourcelist": folder / "etc" / "guest.sources",
            "Dir::Etc::sourceparts": folder / "etc" / "none",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": folder / "etc" / "none",
            "APT::Architecture": self._archive.architecture,
            "APT::Install-Recommends": "false",
            # With an empty state nothing is to be locked, and nothing gets installed.
            "Debug::NoLocking": "true",
            # Its unprivileged user cannot write here when root runs it.
            "APT::Sandbox::User": "root",
        }
        return cleared + "".join(f'{name} "{value}";\n' for name, value in settings.items())


def host_mirror() -> str | None:
    """Return the Debian mirror of the host's own apt configuration, if it has one."""
    text = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(COMPONENT)"])
    for line in text.splitlines():
        uri, _, component = line.partition(" ")
        if component == "main" and re.search(r"/debian/?$", uri):
            return uri
    return None


def sha256(path: Path) -> str:
    """Return the SHA-256 digest of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def lock_entries(packages: Sequence[Package], debs: Sequence[Path]) -> list[dict[str, str]]:
    """Return what a lock file says of packages: name, version and the digest of the file."""
    return [
        {"package": package.name, "version": package.version, "sha256": sha256(deb)}
        for package, deb in zip(packages, debs, strict=True)
    ]


def unpack(debs: Iterable[Path], folder: Path) -> None:
    """Unpack packages over one another into `folder`."""
    for deb in debs:
        run(["dpkg-deb", "-x", str(deb), str(folder)])


def _tarballs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.orig.tar.*") if path.suffix != ".asc")


def _package(file_name: str) -> Package:
    name, version, _ = file_name.split("_")
    return Package(name, unquote(version))
