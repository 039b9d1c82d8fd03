"""A kernel image unpacked, modules picked."""

from __future__ import annotations

import gzip
import lzma
import struct
from typing import TYPE_CHECKING

import pytest

from images import kernel
from images.errors import RigError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

VMLINUX = b"\x7fELF" + bytes(range(256)) * 8


def bz_image(payload: bytes, *, setup_sectors: int = 4, offset: int = 64) -> bytes:
    head = bytearray((setup_sectors + 1) * 512)
    head[0x1F1] = setup_sectors
    head[0x202:0x206] = b"HdrS"
    struct.pack_into("<II", head, 0x248, offset, len(payload) + 4)
    return bytes(head) + bytes(offset) + payload + struct.pack("<I", len(VMLINUX))


@pytest.mark.parametrize(
    "compress", [gzip.compress, lambda data: lzma.compress(data, check=lzma.CHECK_CRC32)]
)
def test_payload_is_unpacked(tmp_path: Path, compress: Callable[[bytes], bytes]) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(bz_image(compress(VMLINUX)))
    assert kernel.extract_vmlinux(image) == VMLINUX


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (bytes(2048), "no bzImage"),
        (bz_image(b"????" * 8), "not known here: 3f3f3f3f3f3f"),
        (bz_image(gzip.compress(b"no kernel")), "does not hold an ELF kernel"),
    ],
)
def test_what_is_no_kernel_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    image = tmp_path / "vmlinuz"
    image.write_bytes(content)
    with pytest.raises(RigError, match=complaint):
        kernel.extract_vmlinux(image)


def module(path: Path, information: bytes) -> None:
    """Write the least ELF file that has a .modinfo section."""
    names = b"\0.modinfo\0.names\0"
    body = information + names
    headers = 64 + len(body)
    section = struct.Struct("<IIQQQQIIQQ")
    head = bytearray(64)
    head[:6] = b"\x7fELF\x02\x01"
    struct.pack_into("<Q", head, 0x28, headers)
    struct.pack_into("<HHH", head, 0x3A, section.size, 3, 2)
    table = section.pack(*[0] * 10)
    table += section.pack(1, 1, 0, 0, 64, len(information), 0, 0, 0, 0)
    table += section.pack(10, 3, 0, 0, 64 + len(information), len(names), 0, 0, 0, 0)
    path.write_bytes(bytes(head) + body + table)


def test_modules_come_with_what_they_need(tmp_path: Path) -> None:
    source, destination = tmp_path / "source", tmp_path / "destination"
    (source / "kernel").mkdir(parents=True)
    destination.mkdir()
    module(source / "kernel" / "sd-mod.ko", b"depends=scsi-mod,t10\0alias=scsi:t-0x00*\0")
    module(source / "kernel" / "scsi-mod.ko", b"depends=common\0softdep=pre: absent\0")
    module(source / "kernel" / "t10.ko", b"depends=common\0")
    module(source / "kernel" / "common.ko", b"depends=\0")
    module(source / "kernel" / "unwanted.ko", b"depends=\0")
    (source / "modules.builtin").write_text("kernel/fs/ext4.ko\n")
    for name in ("modules.order", "modules.builtin.modinfo"):
        (source / name).touch()
    modules = kernel.ModuleSet(source)
    modules.add(["sd_mod", "ext4"])
    modules.install(destination)
    assert sorted(path.name for path in destination.rglob("*.ko")) == [
        "common.ko",
        "scsi-mod.ko",
        "sd-mod.ko",
        "t10.ko",
    ]
    table = (destination / "modules.dep").read_text().splitlines()
    line = next(line for line in table if line.startswith("kernel/sd-mod.ko:"))
    needs = line.partition(":")[2].split()
    # modprobe loads from the end.
    assert needs[-1] == "kernel/common.ko"
    assert sorted(needs[:-1]) == ["kernel/scsi-mod.ko", "kernel/t10.ko"]
    assert "alias scsi:t-0x00* sd_mod" in (destination / "modules.alias").read_text()
    with pytest.raises(RigError, match="no module 'no_such'"):
        modules.add(["no_such"])
