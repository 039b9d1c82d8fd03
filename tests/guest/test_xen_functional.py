"""The test that our patches add to QEMU's own, run as QEMU's `meson test` runs it."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from images import qemu_device
from tests.harness.xen_daemon import PATIENCE

if TYPE_CHECKING:
    from images.qemu_device import DeviceModule
    from tests.harness.nested import OuterHost

pytestmark = [pytest.mark.guest, pytest.mark.xen]

_TEST = qemu_device.FOLDER / "patches" / "parts" / "test_x86_64_kvm_xen_vscsi.py"
#: Where the outer guest can write.
_WORK = "/run/functional"


def test_functional_test_of_the_patches(xen_host: OuterHost, xen_device: DeviceModule) -> None:
    binary = f"{_WORK}/qemu-system-x86_64"
    variables = {
        "PYTHONPATH": ":".join(map(str, qemu_device.functional_tests())),
        "PYTHONDONTWRITEBYTECODE": "1",
        "QEMU_BUILD_ROOT": _WORK,
        "QEMU_TEST_QEMU_BINARY": binary,
    }
    wrapper = f'#!/bin/sh\nexec env {xen_device.paste_line} "$@"\n'
    xen_host.check(
        f"mkdir -p {_WORK}; printf %s {shlex.quote(wrapper)} >{binary}; chmod +x {binary}"
    )
    words = [*(f"{name}={value}" for name, value in variables.items()), sys.executable, str(_TEST)]
    said = xen_host.check(f"cd {_WORK}; {shlex.join(['env', *words])} 2>&1", timeout=PATIENCE)
    tests = [line for line in said.splitlines() if line.startswith(("ok ", "not ok "))]
    assert len(tests) == 3, said
    assert all(line.startswith("ok ") and "SKIP" not in line for line in tests), said
