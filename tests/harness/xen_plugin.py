"""The pytest plugin's part for emulated Xen: `xen_host -> xen_backend -> xen_spec -> xen_guest`.

All are there once a session, for the modules `tests/guest/test_xen_*.py`; whoever asks first waits
half a minute. `xen_host -> library` gives that host SCSI devices of its own, which are forwarded.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from . import emulated_xen, images, tgt
from .inner_guest import InnerGuest, ports
from .machine import Backend, MachineSpec
from .nested import OuterHost
from .xen_daemon import LIBRARY, SOCKETS, TAPES, OuterDaemon

if TYPE_CHECKING:
    from collections.abc import Iterator

    from images.qemu_device import DeviceModule

    from .evidence import Collector

XEN, VIRTIO = "xen", "virtio"  #: The guests in it, by name.
FORWARDED = 2  #: Target of the host's own devices, which have their LUNs of there.


def virtio_spec() -> MachineSpec:
    """Return a guest with vhost-user-scsi for the same back-end."""
    return MachineSpec(
        images.qemu("10"),
        images.guest(),
        "q35-vhost-user-scsi",
        backends=(Backend(SOCKETS[1]),),
        accelerator="kvm",
        memory_mib=256,
    )


@pytest.fixture(scope="session")
def xen_device() -> DeviceModule:
    """The QEMU that emulates Xen, and our device for it."""
    return images.xen_device()


@pytest.fixture(scope="session")
def xen_host(evidence: Collector) -> Iterator[OuterHost]:
    """Stage: a guest with a KVM that emulates Xen, booted."""
    with (
        OuterHost(images.xen_host(), ports=[*ports(XEN), *ports(VIRTIO)]) as host,
        evidence.watch(host),
    ):
        yield host.boot()


@pytest.fixture(scope="session")
def library(xen_host: OuterHost) -> tgt.Library:
    """Stage: tapes, changer, CD and disk of the Xen host itself."""
    return tgt.start(xen_host)


@pytest.fixture(scope="session")
def xen_backend(request: pytest.FixtureRequest, xen_host: OuterHost) -> OuterDaemon:
    """Stage: a back-end beside the Xen guest's QEMU.

    It has the library from its start where any test of the session wants that, else never.
    """
    more = {**TAPES, **LIBRARY}
    tests = (item for item in request.session.items if isinstance(item, pytest.Function))
    if any("library" in test.fixturenames for test in tests):
        more |= forwarded(request.getfixturevalue("library"))
    daemon = OuterDaemon(xen_host, more=more)
    daemon.start()
    return daemon


def forwarded(library: tgt.Library) -> dict[str, str]:
    """Forward the drive beside the changer to the Xen guest, the others to the one with virtio.

    Tests ask them without us, too, as nobody should where data counts.
    """
    guests = {lun: 0 if lun == tgt.TAPE_BESIDE else 1 for lun in tgt.LUNS}
    return {
        f"{guests[lun]}:0:{FORWARDED}:{lun}": f"{library.node(lun)},lock=off" for lun in tgt.LUNS
    }


@pytest.fixture(scope="session")
def xen_spec(xen_device: DeviceModule) -> MachineSpec:
    """Stage: a Xen guest with one pvSCSI host of ours."""
    return emulated_xen.spec(xen_device, SOCKETS[0])


@pytest.fixture(scope="session")
def xen_guest(
    xen_host: OuterHost,
    xen_backend: OuterDaemon,
    xen_spec: MachineSpec,
    evidence: Collector,
) -> Iterator[InnerGuest]:
    """Stage: a booted Xen guest with the LUNs of `xen_daemon.LUNS`."""
    guest = InnerGuest(xen_host, xen_spec, name=XEN)
    with guest, evidence.watch(guest):
        yield guest.boot()


@pytest.fixture(scope="session")
def virtio_guest(
    xen_host: OuterHost, xen_backend: OuterDaemon, evidence: Collector
) -> Iterator[InnerGuest]:
    """Stage: beside the Xen guest one with vhost-user-scsi, which has the same LUNs, and Bacula."""
    spec = replace(virtio_spec(), image=images.bacula_guest(), memory_mib=320)
    guest = InnerGuest(xen_host, spec, name=VIRTIO)
    with guest, evidence.watch(guest):
        yield guest.boot()
