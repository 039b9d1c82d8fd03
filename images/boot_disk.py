"""A disk and a disc that firmware boots: one image of each for a PC's BIOS and for UEFI.

A master boot record with one FAT partition that is active and marked as an EFI system
partition (UEFI 2.10, 5.2.2 "OS Types"). GRUB's core image lies behind the record, before
the partition; its EFI build is `/EFI/BOOT/BOOTX64.EFI` (3.5.1.1 "Removable Media Boot
Behavior"). Both load the guest's own kernel and initramfs from the partition.

The disc has the same by El Torito: GRUB for a BIOS that loads it without emulation, and a FAT file
system with GRUB's EFI build (UEFI 2.10, 13.3.2.1); kernel and initramfs are files of ISO 9660.

No root and no mount: the programs of GRUB, mtools and xorriso run out of their unpacked packages.
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
_BIOS_DISC = Loader("i386-pc", ("biosdisk", "iso9660", "linux", "boot"))
_EFI_DISC = Loader("x86_64-efi", ("iso9660", "linux", "boot"))
#: The file system that UEFI finds on the disc: GRUB alone.
_EFI_SIZE = 4 << 20


@dataclass(frozen=True, slots=True)
class BootDisk:
    """The built disk and disc, and the firmware that needs to be brought along."""

    image: Path
    disc: Path
    #: OVMF's code, to be mapped read-only, and its variables, to be copied for each machine.
    ovmf_code: Path
    ovmf_variables: Path


def build(
    guest: GuestImage, words: str, *, report: Callable[[str], None] = lambda _: None
) -> BootDisk:
    """Return the disk and disc that boot `guest` with `words` as its kernel's command line.

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
    return BootDisk(
        folder / "disk.img",
        folder / "disc.iso",
        firmware / "OVMF_CODE_4M.fd",
        firmware / "OVMF_VARS_4M.fd",
    )


def make_disc(files: Path, disc: Path, *options: str) -> None:
    """Make an image of a disc with what is in a folder; a boot disk was built before.

    ISO 9660 with Rock Ridge and Joliet; `options` are xorriso's as it plays mkisofs.
    """
    program = foreign.command(cache.root() / "boot-disk" / "unpacked", "usr/bin/xorriso")
    run([*program, "-as", "mkisofs", "-quiet", "-R", "-J", *options, "-o", str(disc), str(files)])


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
        core = self._grub(_BIOS, words, "hd0,msdos1").read_bytes()
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
                "EFI/BOOT/BOOTX64.EFI": self._grub(_EFI, words, "hd0,msdos1"),
            },
        )
        self._report("boot disc")
        self._build_disc(guest, words)

    def _build_disc(self, guest: GuestImage, words: str) -> None:
        files = self._folder / "disc"
        files.mkdir()
        # By links, which xorriso is told to follow: the kernel is large.
        for name, source in (("vmlinuz", guest.bzimage), ("initramfs.cpio", guest.initramfs)):
            (files / name).symlink_to(source)
        grub = self._grub(_BIOS_DISC, words, "cd", suffix="-eltorito")
        shutil.copyfile(grub, files / "bios.img")
        efi = files / "efi.img"
        with efi.open("wb") as file:
            os.truncate(file.fileno(), _EFI_SIZE)
        self._mtool(
            "mformat", "-i", str(efi), "-T", str(_EFI_SIZE // _SECTOR), "-h", "2", "-s", "32", "::"
        )
        self._copy(str(efi), {"EFI/BOOT/BOOTX64.EFI": self._grub(_EFI_DISC, words, "cd0")})
        # fmt: off
        make_disc(
            files, self._folder / "disc.iso", "-f",
            "-b", "bios.img", "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table",
            "-eltorito-alt-boot", "-e", "efi.img", "-no-emul-boot",
        )
        # fmt: on

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

    def _grub(self, loader: Loader, words: str, root: str, *, suffix: str = "") -> Path:
        """Make GRUB's image for one platform and medium; its configuration is part of it."""
        name = f"{loader.platform}{suffix}-{root}"
        configuration = self._folder / f"{name}.cfg"
        configuration.write_text(
            f"set root=({root})\n"
            f"linux /vmlinuz {words} rig.loader={loader.platform}\n"
            "initrd /initramfs.cpio\n"
            "boot\n"
        )
        output = self._folder / f"{name}.img"
        # fmt: off
        run([
            *foreign.command(self._unpacked, "usr/bin/grub-mkimage"),
            "--directory", str(self._platform(loader)), "--format", loader.platform + suffix,
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
        self._copy(drive, files)

    def _copy(self, drive: str, files: dict[str, Path]) -> None:
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
