"""Two guests that share a device of the host: reservations between them, and another initiator.

The host is a guest, and the device LIO's: it keeps real reservations, and has two initiators, of
which one is what the back-end has and the other plays another host.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import pytest

from tests.harness import inside
from tests.harness.forwarding import Forwarding
from tests.harness.frontend import CHECK_CONDITION, GOOD, Response
from tests.harness.images import scsi_host as image
from tests.harness.persistent import (
    CLEAR,
    PREEMPT,
    READ_KEYS,
    READ_RESERVATION,
    REGISTER,
    REGISTER_AND_IGNORE,
    RELEASE,
    RESERVE,
)
from tests.harness.scsi_daemon import ScsiDaemon
from tests.harness.scsi_host import ScsiHost

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.harness.evidence import Collector
    from tests.harness.nested import OuterProcess

A, B, C = 0xAAAA, 0xBBBB, 0xCCCC
CONFLICT = 0x18
WRITE_REGISTRANTS, EXCLUSIVE = 5, 3
FIRST, SECOND = 0, 1  # guests; targets, too: what has two initiators is two devices
ANOTHER_SOCKET = "/run/scsi1.sock"
HELPER = "/run/pr-helper.sock"


class Shared:
    """The host, its back-end with two guests at one device, and the other initiator."""

    def __init__(self, host: ScsiHost) -> None:
        ours, theirs = host.add_reservable()
        self.host = host
        self._nodes = {FIRST: host.node(ours), SECOND: host.node(theirs)}
        self._forwarding: Forwarding | None = None

    def serve(self, options: str = "") -> ScsiDaemon:
        """Begin with a back-end anew, and both guests at it."""
        if self._forwarding is not None:
            self._forwarding.daemon.stop()
        lun = f"0:0={self._nodes[FIRST]},share=on{options}"
        daemon = ScsiDaemon(
            self.host,
            [f"{host}:0:{lun}" for host in (0, 1)],
            options=("--socket-path", f"1={ANOTHER_SOCKET}"),
        )
        daemon.start()
        self._forwarding = Forwarding(self.host, daemon, {}, {FIRST: self._nodes[FIRST]})
        self._forwarding.connect()
        self.host.inside.call(inside.connect_another, SECOND, ANOTHER_SOCKET)
        for _ in range(6):
            if self.ask(SECOND, "00" * 6).status == GOOD:
                break
        return daemon

    def ask(self, guest: int, cdb: str, data_out: bytes = b"", data_in: int = 0) -> Response:
        """Send a command of a guest."""
        if guest == FIRST:
            assert self._forwarding is not None
            return self._forwarding.ask(0, cdb, data_out=data_out, data_in=data_in)
        raw = bytes.fromhex(cdb)
        return self.host.inside.call(
            inside.scsi_of, guest, 0, raw, data_out=data_out, data_in=data_in
        )

    def out(
        self, guest: int, action: int, key: int = 0, other: int = 0, type_: int = 0
    ) -> Response:
        """Send PERSISTENT RESERVE OUT of a guest, once it has heard what there is to hear."""
        self.ask(guest, "00" * 6)
        return self.ask(guest, *_out(action, key, other, type_))

    def keys(self, guest: int) -> list[int]:
        """Ask for the keys that a guest is told."""
        self.ask(guest, "00" * 6)
        told = self.ask(guest, f"5e{READ_KEYS:02x}0000000000" + "0200" + "00", data_in=512)
        assert told.good, told
        return _keys(told.data)

    def writes(self, guest: int) -> bool:
        """Whether a guest may write, by the short road where that is open."""
        self.ask(guest, "00" * 6)
        told = self.ask(guest, "2a000000000000000100", bytes(512))
        assert told.status in {GOOD, CONFLICT}, told
        return told.status == GOOD

    def elsewhere(self, cdb: str, data_out: bytes = b"", data_in: int = 0) -> inside.Direct:
        """Send a command of the other host."""
        for _ in range(4):
            told = self.host.inside.call(
                inside.direct,
                self._nodes[SECOND],
                bytes.fromhex(cdb),
                data_out=data_out,
                data_in=data_in,
            )
            if told.status != CHECK_CONDITION:  # it has heard of what others did
                break
        return told

    def their_keys(self) -> list[int]:
        """Ask for the keys that the other host is told."""
        return _keys(self.elsewhere("5e000000000000020000", data_in=512).data)

    def forget(self) -> None:
        """Take all registrations away."""
        self.elsewhere(*_out(REGISTER_AND_IGNORE, 0, C))
        assert self.elsewhere(*_out(CLEAR, C)).status == GOOD


def _out(action: int, key: int, other: int = 0, type_: int = 0) -> tuple[str, bytes]:
    return f"5f{action:02x}{type_:02x}000000000018" + "00", struct.pack(">QQ8x", key, other)


def _keys(data: bytes) -> list[int]:
    (length,) = struct.unpack_from(">4xI", data)
    return list(struct.unpack_from(f">{length // 8}Q", data, 8))


@pytest.fixture(scope="module")
def shared(evidence: Collector) -> Iterator[Shared]:
    """The host with that device."""
    with ScsiHost(image()) as host, evidence.watch(host):
        host.boot()
        host.inside.start()
        made = Shared(host)
        made.serve()
        yield made


def test_guests_have_keys_of_their_own_and_other_hosts_see_one(shared: Shared) -> None:
    assert shared.out(FIRST, REGISTER, 0, A).good
    assert shared.out(SECOND, REGISTER, 0, B).good
    assert shared.keys(FIRST) == shared.keys(SECOND) == [A, B]
    assert shared.their_keys() == [A]
    shared.forget()


def test_what_a_guest_reserves_stops_the_other_guest_and_other_hosts(shared: Shared) -> None:
    assert shared.out(FIRST, REGISTER, 0, A).good
    assert shared.out(FIRST, RESERVE, A, type_=EXCLUSIVE).good
    assert (shared.writes(FIRST), shared.writes(SECOND)) == (True, False)
    write = ("2a000000000000000100", bytes(512))
    assert shared.elsewhere(*write).status == CONFLICT
    assert shared.out(FIRST, RELEASE, A, type_=EXCLUSIVE).good
    assert shared.writes(SECOND)
    assert shared.elsewhere(*write).status == GOOD
    shared.forget()


def test_guests_fence_each_other(shared: Shared) -> None:
    for guest, key in ((FIRST, A), (SECOND, B)):
        assert shared.out(guest, REGISTER, 0, key).good
    assert shared.out(FIRST, RESERVE, A, type_=WRITE_REGISTRANTS).good
    assert shared.writes(SECOND)
    assert shared.out(SECOND, PREEMPT, B, A, WRITE_REGISTRANTS).good
    assert shared.ask(FIRST, "00" * 6).sense_code == (6, 0x2A, 5)
    assert (shared.writes(FIRST), shared.writes(SECOND)) == (False, True)
    held = shared.elsewhere(f"5e{READ_RESERVATION:02x}0000000000020000", data_in=512).data
    assert (held[8:16], held[21]) == (B.to_bytes(8, "big"), WRITE_REGISTRANTS)
    shared.forget()


def test_a_guest_and_another_host_fence_each_other(shared: Shared) -> None:
    assert shared.elsewhere(*_out(REGISTER_AND_IGNORE, 0, C)).status == GOOD
    assert shared.elsewhere(*_out(RESERVE, C, 0, WRITE_REGISTRANTS)).status == GOOD
    assert not shared.writes(FIRST)
    assert shared.out(FIRST, REGISTER, 0, A).good
    assert sorted(shared.keys(FIRST)) == [A, C]
    assert shared.out(FIRST, PREEMPT, A, C, WRITE_REGISTRANTS).good
    assert (shared.writes(FIRST), shared.writes(SECOND)) == (True, False)
    assert shared.their_keys() == [A]

    assert shared.elsewhere(*_out(REGISTER_AND_IGNORE, 0, C)).status == GOOD
    assert shared.elsewhere(*_out(PREEMPT, C, A, WRITE_REGISTRANTS)).status == GOOD
    assert shared.keys(SECOND) == [C]
    assert (shared.writes(FIRST), shared.writes(SECOND)) == (False, False)
    shared.forget()


def test_a_daemon_that_ends_takes_its_registration_along_and_a_helper_asks_for_the_next(
    shared: Shared,
) -> None:
    assert shared.out(FIRST, REGISTER, 0, A).good
    assert shared.out(FIRST, RESERVE, A, type_=EXCLUSIVE).good
    daemon = shared.serve(f",pr-helper={HELPER}")
    assert shared.their_keys() == []
    assert shared.writes(SECOND)

    assert shared.out(FIRST, REGISTER, 0, A).sense_code == (4, 0x44, 0)
    assert f"pr-helper={HELPER}: command 5Eh: No such file or directory" in daemon.log()
    helper = _start_helper(shared.host)
    assert shared.out(FIRST, REGISTER, 0, A).good
    assert shared.keys(SECOND) == [A]
    assert shared.out(FIRST, RESERVE, A, type_=EXCLUSIVE).good
    assert not shared.writes(SECOND)
    assert shared.their_keys() == [A]

    shared.host.end(helper)
    shared.host.check(f"rm -f {HELPER}")
    _start_helper(shared.host)
    assert shared.out(SECOND, PREEMPT, 0, A).status == CONFLICT
    assert shared.out(FIRST, RELEASE, A, type_=EXCLUSIVE).good
    assert shared.writes(SECOND)
    shared.forget()


def _start_helper(host: ScsiHost) -> OuterProcess:
    helper = host.start(["qemu-pr-helper", "-k", HELPER])
    host.check(f"until test -S {HELPER}; do sleep 0.1; done")
    return helper
