"""The pytest plugin's part for emulated Xen: `xen_host -> xen_backend -> xen_spec -> xen_guest`.

All are there once a session, for the modules `tests/guest/test_xen_*.py`; whoever asks first waits
half a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import images
from .machine import Backend, MachineSpec
from .nested import OuterHost
from .xen_daemon import SOCKET, OuterDaemon
from .xen_guest import ACCELERATOR, PORTS, XenGuest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from images.qemu_device import DeviceModule

    from .evidence import Collector


@pytest.fixture(scope="session")
def xen_device() -> DeviceModule:
    """The QEMU that emulates Xen, and our device for it."""
    return images.xen_device()


@pytest.fixture(scope="session")
def xen_host(evidence: Collector) -> Iterator[OuterHost]:
    """Stage: a guest with a KVM that emulates Xen, booted."""
    with OuterHost(images.xen_host(), ports=PORTS) as host, evidence.watch(host):
        yield host.boot()


@pytest.fixture(scope="session")
def xen_backend(xen_host: OuterHost) -> OuterDaemon:
    """Stage: a back-end beside the Xen guest's QEMU."""
    daemon = OuterDaemon(xen_host)
    daemon.start()
    return daemon


@pytest.fixture(scope="session")
def xen_spec(xen_device: DeviceModule) -> MachineSpec:
    """Stage: a Xen guest with one pvSCSI host of ours."""
    return MachineSpec(
        qemu=xen_device.qemu,
        image=images.xen_guest(),
        config="pc-xen-vscsi",
        backends=(Backend(SOCKET, "vscsi0", reconnect=True),),
        accelerator=ACCELERATOR,
        modules=("xen-scsifront", "sg", "sd_mod"),
    )


@pytest.fixture(scope="session")
def xen_guest(
    xen_host: OuterHost,
    xen_backend: OuterDaemon,
    xen_spec: MachineSpec,
    xen_device: DeviceModule,
    evidence: Collector,
) -> Iterator[XenGuest]:
    """Stage: a booted Xen guest with the LUNs of `xen_daemon.LUNS`."""
    guest = XenGuest(xen_host, xen_spec, environment=xen_device.environment)
    with guest, evidence.watch(guest):
        yield guest.boot()
