"""A daemon without any privilege is given devices while it runs, by root and its verb."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import pytest

from tests.harness import inside, tape
from tests.harness.daemon import program
from tests.harness.errors import HarnessError
from tests.harness.images import scsi_host as image
from tests.harness.scsi_host import ScsiHost
from tests.harness.xen_daemon import PATIENCE

if TYPE_CHECKING:
    from tests.harness.evidence import Collector

pytestmark = [pytest.mark.guest, pytest.mark.long]

NOBODY = "65534"
FOLDER = "/run/of-nobody"
SOCKET, CONTROL = f"{FOLDER}/s", f"{FOLDER}/c"
GUEST = 1  # of the front-end
DISK, TAPE = 0, 1  # targets


def test_root_hands_devices_to_a_daemon_that_may_open_none(evidence: Collector) -> None:
    with ScsiHost(image()) as host, evidence.watch(host):
        host.boot()
        host.inside.start()
        host.load_scsi_debug(dev_size_mb=8, delay=0)
        addresses = {DISK: host.add_simulated(ptype=0), TAPE: host.add_simulated(ptype=1)}
        nodes = {target: host.node(address) for target, address in addresses.items()}
        host.check(f"mkdir {FOLDER}; chown {NOBODY}:{NOBODY} {FOLDER}")
        without = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"]
        serve = [str(program()), "serve", "--socket-path", SOCKET, "--control", CONTROL]
        daemon = host.start([*without, *serve])
        host.wait_for_line(daemon, "listening on", timeout=PATIENCE)

        def attach(*words: str) -> str:
            command = [str(program()), "scsi-attach", "--control", CONTROL, *words]
            return host.check(shlex.join(command), timeout=PATIENCE)

        with pytest.raises(HarnessError, match="Permission denied"):
            attach(nodes[DISK], f"0:0:{DISK}:0")
        for target, address in addresses.items():
            attach("--pass", address, f"0:0:{target}:0")

        host.inside.call(inside.connect_another, GUEST, SOCKET)

        def ask(target: int, cdb: bytes, *, out: bytes = b"", room: int = 0) -> bytes:
            told = host.inside.call(inside.scsi_of, GUEST, target, cdb, data_out=out, data_in=room)
            assert told.good, told
            return told.data

        for target in addresses:
            ready = (host.inside.call(inside.scsi_of, GUEST, target, bytes(6)) for _ in range(6))
            assert any(told.good for told in ready)
        data = b"sent" * 1024
        assert ask(DISK, bytes.fromhex("2a000000020000000800"), out=data) == b""
        assert ask(DISK, bytes.fromhex("28000000020000000800"), room=len(data)) == data
        ask(TAPE, tape.REWIND)
        ask(TAPE, tape.write_6(len(data)), out=data)
        ask(TAPE, tape.REWIND)
        # scsi_debug keeps that much of a block.
        assert ask(TAPE, tape.read_6(len(data)), room=len(data))[:4] == data[:4]
        # Who has opened the tape kept others out, and they stay so now that it has ended.
        with pytest.raises(HarnessError, match="busy"):
            host.inside.call(inside.direct, nodes[TAPE], bytes(6))
