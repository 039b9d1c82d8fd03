"""A disk that firmware boots: one image for a PC's BIOS and for UEFI.

A master boot record with one FAT partition that is active and marked as an EFI system
partition (UEFI 2.10, 5.2.2 "OS Types"). GRUB's core image lies behind the record, before
the partition; its EFI build is `/EFI/BOOT/BOOTX64.EFI` (3.5.1.1 "Removable Media Boot
Behavior"). Both load the guest's own kernel and initramfs from the partition. No root and
no mount: GRUB's and mtools' programs run out of their unpacked packages.
"""

from __future__ import annotations

import json
import os
import shutil
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from . import archive, cache, foreign, manifest
from .build import private_apt
from .errors import RigError
from .run import run

if TYPE_CHECKING:
    from collections.abc import Callable

    from .build import GuestImage

_SECTOR = 512
_SIZE = 64 << 20
#: Where the partition begins; what is before it is GRUB's.
_PARTITION_AT = 1 << 20
_EFI_SYSTEM_PARTITION = 0xEF
_ACTIVE = 0x80
#: A boot record's code ends where the disk signature begins (UEFI 2.10, table 5.1).
_CODE_SIZE = 440
_PARTITIONS_AT = 446
#: Cylinder, head and sector of a partition that only its LBA describes.
_NO_GEOMETRY = b"\xfe\xff\xff"


@dataclass(frozen=True, slots=True)
class Loader:
    """One build of GRUB: its name, and what it must bring to load a kernel from FAT."""

    platform: str
    modules: tuple[str, ...]


_BIOS = Loader("i386-pc", ("biosdisk", "part_msdos", "fat", "linux", "boot"))
_EFI = Loader("x86_64-efi", ("part_msdos", "fat", "linux", "boot"))


@dataclass(frozen=True, slots=True)
class BootDisk:
    """The built disk, and the firmware that needs to be brought along."""

    image: Path
    #: OVMF's code, to be mapped read-only, and its variables, to be copied for each machine.
    ovmf_code: Path
    ovmf_variables: Path


def build(
    guest: GuestImage, words: str, *, report: Callable[[str], None] = lambda _: None
) -> BootDisk:
    """Return the disk that boots `guest` with `words` as its kernel's command line.

    GRUB adds `rig.loader=PLATFORM` and `rig.disk=SIGNATURE`, which tell in the guest by which
    road and from which disk it came up.
    """
    folder = cache.root() / "boot-disk"
    plan = manifest.load()
    stamp = cache.digest(
        words,
        plan.boot_suite,
        *plan.boot_packages,
        *plan.boot_kept,
        files=(Path(__file__), guest.bzimage, guest.initramfs),
    )
    with cache.lock("boot-disk"):
        if not cache.is_current(folder, stamp):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            _Builder(folder, plan, report).build(guest, words, bytes.fromhex(stamp[:8]))
            cache.complete(folder, stamp)
    firmware = folder / "unpacked" / "usr" / "share" / "OVMF"
    return BootDisk(folder / "disk.img", firmware / "OVMF_CODE_4M.fd", firmware / "OVMF_VARS_4M.fd")


class _Builder:
    def __init__(
        self, folder: Path, plan: manifest.Manifest, report: Callable[[str], None]
    ) -> None:
        self._folder = folder
        self._plan = plan
        self._report = report
        self._unpacked = folder / "unpacked"

    def build(self, guest: GuestImage, words: str, signature: bytes) -> None:
        words += f" rig.disk={signature.hex()}"
        self._report("boot disk, packages")
        self._unpack()
        self._report("boot disk")
        code = (self._platform(_BIOS) / "boot.img").read_bytes()
        core = self._grub(_BIOS, words).read_bytes()
        image = self._folder / "disk.img"
        with image.open("wb") as file:
            os.truncate(file.fileno(), _SIZE)
            # GRUB's boot record reads sector 1, and the core image's first sector reads
            # what follows it: this is where both look unless they are told otherwise.
            file.write(boot_record(code[:_CODE_SIZE], signature) + core)
            if file.tell() > _PARTITION_AT:
                raise RigError(f"GRUB's core image of {len(core)} bytes does not fit the disk")
        self._fill(
            image,
            {
                "vmlinuz": guest.bzimage,
                "initramfs.cpio": guest.initramfs,
                "EFI/BOOT/BOOTX64.EFI": self._grub(_EFI, words),
            },
        )

    def _unpack(self) -> None:
        apt = private_apt(self._plan)
        wanted = (*self._plan.boot_packages, *self._plan.boot_kept)
        packages = [
            package
            for package in apt.closure(self._plan.boot_packages, suite=self._plan.boot_suite)
            if package.name in wanted or package.name.startswith(("lib", "zlib"))
        ]
        debs = apt.download(packages)
        archive.unpack(debs, self._unpacked)
        lock = self._folder / "boot.lock.json"
        lock.write_text(json.dumps(archive.lock_entries(packages, debs), indent=1) + "\n")

    def _platform(self, loader: Loader) -> Path:
        return self._unpacked / "usr" / "lib" / "grub" / loader.platform

    def _grub(self, loader: Loader, words: str) -> Path:
        """Make GRUB's image for one platform; its configuration is part of it."""
        configuration = self._folder / f"{loader.platform}.cfg"
        configuration.write_text(
            "set root=(hd0,msdos1)\n"
            f"linux /vmlinuz {words} rig.loader={loader.platform}\n"
            "initrd /initramfs.cpio\n"
            "boot\n"
        )
        output = self._folder / f"{loader.platform}.img"
        # fmt: off
        run([
            *foreign.command(self._unpacked, "usr/bin/grub-mkimage"),
            "--directory", str(self._platform(loader)), "--format", loader.platform,
            "--prefix", "/", "--config", str(configuration), "--output", str(output),
            *loader.modules,
        ])
        # fmt: on
        return output

    def _fill(self, image: Path, files: dict[str, Path]) -> None:
        """Make the partition's file system with those files in it."""
        drive = f"{image}@@{_PARTITION_AT}"
        sectors = (_SIZE - _PARTITION_AT) // _SECTOR
        hidden = _PARTITION_AT // _SECTOR
        self._mtool("mformat", "-i", drive, "-T", str(sectors), "-H", str(hidden), "::")
        for name in ("EFI", "EFI/BOOT"):
            self._mtool("mmd", "-i", drive, f"::{name}")
        for name, source in files.items():
            self._mtool("mcopy", "-i", drive, str(source), f"::{name}")

    def _mtool(self, name: str, *arguments: str) -> None:
        run([*foreign.command(self._unpacked, f"usr/bin/{name}"), *arguments])


def boot_record(code: bytes, signature: bytes) -> bytes:
    """Return the master boot record: `code`, and one partition up to the disk's end.

    `signature` is the disk's, of 4 bytes (UEFI 2.10, table 5.1).
    """
    partition = struct.pack(
        "<B3sB3sII",
        _ACTIVE,
        _NO_GEOMETRY,
        _EFI_SYSTEM_PARTITION,
        _NO_GEOMETRY,
        _PARTITION_AT // _SECTOR,
        (_SIZE - _PARTITION_AT) // _SECTOR,
    )
    record = (code + signature).ljust(_PARTITIONS_AT, b"\0") + partition
    return record.ljust(_SECTOR - 2, b"\0") + b"\x55\xaa"
