"""manifest.toml as values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path

PATH = Path(__file__).with_name("manifest.toml")


@dataclass(frozen=True, slots=True)
class Archive:
    """Which Debian archive, and who signs it."""

    suite: str
    backports: str
    architecture: str
    mirror: str
    keyrings: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class XenHost:
    """The guest in which QEMU emulates Xen."""

    suite: str
    kernel_package: str
    kernel_modules: tuple[str, ...]
    qemu_version: str


@dataclass(frozen=True, slots=True)
class ScsiHost:
    """The guest that is a host with SCSI devices."""

    suite: str
    backports: str
    kernel_package: str
    kernel_modules: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that decides what the guest and the QEMUs are made of."""

    archive: Archive
    kernel_package: str
    kernel_modules: tuple[str, ...]
    programs: dict[str, tuple[str, ...]]
    links: dict[str, str]
    fio_source: str
    fio_configure: tuple[str, ...]
    qemu_suites: dict[str, str]
    qemu_wanted: tuple[str, ...]
    qemu_kept: tuple[str, ...]
    device_source: str
    device_headers: tuple[str, ...]
    boot_suite: str
    boot_packages: tuple[str, ...]
    boot_kept: tuple[str, ...]
    xen_host: XenHost
    scsi_host: ScsiHost


def load(path: Path = PATH) -> Manifest:
    """Read the manifest."""
    with path.open("rb") as file:
        raw = tomllib.load(file)
    archive = raw["archive"]
    return Manifest(
        archive=Archive(
            suite=archive["suite"],
            backports=archive["backports"],
            architecture=archive["architecture"],
            mirror=archive["mirror"],
            keyrings=tuple(Path(name) for name in archive["keyrings"]),
        ),
        kernel_package=raw["kernel"]["package"],
        kernel_modules=tuple(raw["kernel"]["modules"]),
        programs={name: tuple(files) for name, files in raw["programs"].items()},
        links=dict(raw["links"]),
        fio_source=raw["fio"]["source"],
        fio_configure=tuple(raw["fio"]["configure"]),
        qemu_suites={version: entry["suite"] for version, entry in raw["qemu"].items()},
        qemu_wanted=tuple(raw["qemu-packages"]["wanted"]),
        qemu_kept=tuple(raw["qemu-packages"]["kept"]),
        device_source=raw["qemu-device"]["source"],
        device_headers=tuple(raw["qemu-device"]["headers"]),
        boot_suite=raw["boot"]["suite"],
        boot_packages=tuple(raw["boot"]["packages"]),
        boot_kept=tuple(raw["boot"]["kept"]),
        xen_host=XenHost(
            suite=raw["xen-host"]["suite"],
            kernel_package=raw["xen-host"]["kernel"],
            kernel_modules=tuple(raw["xen-host"]["modules"]),
            qemu_version=raw["xen-host"]["qemu"],
        ),
        scsi_host=ScsiHost(
            suite=raw["scsi-host"]["suite"],
            backports=raw["scsi-host"]["backports"],
            kernel_package=raw["scsi-host"]["kernel"],
            kernel_modules=tuple(raw["scsi-host"]["modules"]),
        ),
    )
