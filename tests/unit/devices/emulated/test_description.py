"""The geometry of a disk."""

import pytest

from vhost_pvscsi.devices.emulated.description import DiskGeometry


@pytest.mark.parametrize(("block_size", "exponent"), [(512, 3), (1024, 2), (2048, 1), (4096, 0)])
def test_physical_exponent(block_size, exponent):
    assert DiskGeometry(blocks=8, block_size=block_size).physical_exponent == exponent
