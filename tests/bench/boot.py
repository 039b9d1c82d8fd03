"""How long a Linux guest takes from QEMU's start to the end of `lsscsi`, by the number of its LUNs.

    python -m tests.bench.boot [COUNT ...]

Ours beside QEMU's own virtio-scsi, in the same run, one after the other. It judges nothing.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from tests.harness import images
from tests.harness.daemon import Daemon
from tests.harness.machine import Backend, Machine, MachineSpec
from tests.harness.verbs import Verbs

COUNTS = (1, 500)
ROUNDS = 2
_QEMU = "10"
_MEMORY_MIB = 512
#: For the slowest of them: several hundred disks, each of which Linux asks a dozen things.
_PATIENCE = 600.0


def ours(count: int) -> float:
    """Measure with our LUNs."""
    with tempfile.TemporaryDirectory(prefix="vp-") as name:
        folder = Path(name)
        control = folder / "control"
        daemon = Daemon(
            folder, sockets=[folder / "0.sock"], luns=[], options=["--control", str(control)]
        )
        with daemon:
            with Verbs(control).client() as client:
                for lun in range(count):
                    client.execute("scsi-attach", pdev="null:64M", vdev=f"0:0:0:{lun}")
            return _measure("q35-vhost-user-scsi", count, backends=(Backend(daemon.socket),))


def qemus(count: int) -> float:
    """Measure with disks of QEMU's own adapter."""
    extra: list[str] = []
    for lun in range(1, count):  # the first is in the machine's file
        extra += ["-blockdev", f"null-co,node-name=n{lun},size={64 << 20},read-zeroes=on"]
        extra += ["-device", f"scsi-hd,drive=n{lun},bus=scsi0.0,channel=0,scsi-id=0,lun={lun}"]
    return _measure("q35-virtio-scsi", count, extra=tuple(extra))


def _measure(
    config: str, count: int, *, backends: tuple[Backend, ...] = (), extra: tuple[str, ...] = ()
) -> float:
    spec = MachineSpec(
        images.qemu(_QEMU),
        images.guest(),
        config,
        backends=backends,
        memory_mib=_MEMORY_MIB,
        extra=extra,
    )
    began = time.monotonic()
    with Machine(spec) as machine:
        machine.boot(timeout=_PATIENCE)
        seen = len(machine.console.check("lsscsi", timeout=_PATIENCE).splitlines())
        took = time.monotonic() - began
    if seen != count:
        raise SystemExit(f"{config}: the guest shows {seen} LUNs, not {count}")
    return took


def main() -> None:
    """Measure and print a table."""
    counts = tuple(map(int, sys.argv[1:])) or COUNTS
    print("| LUNs | ours, s | QEMU's virtio-scsi, s |\n|---|---|---|")
    for count in counts:
        rounds = [(ours(count), qemus(count)) for _ in range(ROUNDS)]
        cells = (" ".join(f"{took:.1f}" for took in column) for column in zip(*rounds, strict=True))
        print(f"| {count} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
