"""The pytest plugin's part for emulated Xen: `xen_host -> xen_backend -> xen_spec -> xen_guest`.

The host is booted once a session; whoever asks for it first waits a quarter of a minute.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from . import images
from .machine import Backend, MachineSpec
from .nested import OuterHost
from .xen_daemon import SOCKET
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


@pytest.fixture(scope="module")
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


@pytest.fixture(scope="module")
def xen_guest(
    xen_host: OuterHost,
    xen_backend: object,
    xen_spec: MachineSpec,
    xen_device: DeviceModule,
    evidence: Collector,
) -> Iterator[XenGuest]:
    """Stage: a booted Xen guest. The module has a fixture `xen_backend` that listens."""
    guest = XenGuest(xen_host, xen_spec, environment=xen_device.environment)
    with guest, evidence.watch(guest):
        yield guest.boot()
