"""Find a LUN of ours among the guest's block devices, and use it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .errors import GuestLostError

if TYPE_CHECKING:
    from .inner_guest import InnerGuest
    from .machine import Machine


@dataclass(frozen=True, slots=True)
class GuestDisk:
    """One SCSI disk as the guest sees it."""

    machine: Machine | InnerGuest
    name: str

    @property
    def node(self) -> str:
        """Its block device node."""
        return f"/dev/{self.name}"

    @property
    def generic(self) -> str:
        """Its node for plain SCSI commands, past the block layer."""
        found = self.machine.console.check(f"ls /sys/block/{self.name}/device/scsi_generic")
        return f"/dev/{found.strip()}"

    def queue_attribute(self, name: str) -> str:
        """Return what the kernel has in `/sys/block/*/queue/NAME`."""
        return self.machine.console.check(f"cat /sys/block/{self.name}/queue/{name}").strip()

    def attribute(self, name: str) -> str:
        """Return what the kernel has in `/sys/block/*/NAME`."""
        return self.machine.console.check(f"cat /sys/block/{self.name}/{name}").strip()

    def reading(self, lba: int, blocks: int = 1) -> str:
        """Return a command line that reads past the block layer (SBC-4, READ(10))."""
        address = " ".join(f"{byte:02x}" for byte in lba.to_bytes(4, "big"))
        length = blocks * int(self.queue_attribute("logical_block_size"))
        return f"sg_raw --request={length} {self.generic} 28 00 {address} 00 00 {blocks:02x} 00"

    def reset_while(self, reading: str) -> str:
        """Return one that resets the unit while `reading` hangs, and ends with its status."""
        busy = f"$(cat /sys/block/{self.name}/device/device_busy)"
        return (
            f"{reading} & reader=$!; until [ {busy} -gt 0 ]; do :; done;"
            f"sg_reset --no-esc --device {self.node} && wait $reader"
        )

    def check_reset(self, hanging: int, *, timeout: float) -> None:
        """Reset the unit while the read of a block hangs, and see that it is well after that."""
        console = self.machine.console
        ended = console.run(self.reset_while(self.reading(hanging)), timeout=timeout)
        assert "DID_RESET" in ended.output, ended.output
        told = console.run(f"sg_turs --verbose {self.generic}")
        assert "Bus device reset function occurred" in told.output
        console.check(self.reading(hanging + 1))

    def make_file_system(self, mebibytes: int, *, options: str = "") -> None:
        """Make an ext4 on it with one file of random data, and keep the file's digest."""
        self.machine.console.check(
            f"set -e; mkfs.ext4 -q -F {options} {self.node}; mount -t ext4 {self.node} /mnt;"
            f"dd if=/dev/urandom of=/mnt/data bs=1M count={mebibytes} 2>/dev/null;"
            "sha256sum /mnt/data > /mnt/sum; umount /mnt",
            timeout=120,
        )

    def verify_file_system(self) -> None:
        """Check that file system, and read the file back from the medium."""
        self.machine.console.check(
            f"set -e; e2fsck -f -n {self.node}; echo 3 > /proc/sys/vm/drop_caches;"
            f"mount -t ext4 {self.node} /mnt; sha256sum -c /mnt/sum; umount /mnt",
            timeout=120,
        )


def find(machine: Machine | InnerGuest, target: int, lun: int = 0) -> GuestDisk:
    """Return the disk at that target and LUN of the machine's only adapter.

    Raises:
        GuestLostError: the guest has no disk there.
    """
    listed = machine.console.run(f"ls -d /sys/bus/scsi/devices/*:0:{target}:{lun}/block/*")
    if listed.status != 0:
        seen = machine.console.run("lsscsi").output
        raise GuestLostError(f"the guest has no disk at 0:{target}:{lun}:\n{seen}")
    return GuestDisk(machine, listed.output.strip().rpartition("/")[2])


def queue_interrupts(machine: Machine) -> dict[str, int]:
    """Return interrupt number = count, of every request queue of the machine's adapters.

    Each queue has one of its own; Linux gives all of them the same name.
    """
    counts: dict[str, int] = {}
    for line in machine.console.check("cat /proc/interrupts").splitlines():
        if found := re.match(r"\s*(\d+):((?:\s+\d+)+)\s.*virtio\d+-request", line):
            counts[found[1]] = sum(map(int, found[2].split()))
    return counts
