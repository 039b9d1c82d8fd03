"""What all tests share; importable without root, KVM, QEMU or the compiled engine."""

from __future__ import annotations

import pytest
from hypothesis import settings

pytest_plugins = ["tests.harness.plugin", "tests.harness.xen_plugin"]

# A deadline for each example would measure how busy the machine is.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


# Before the hook of pytest-xdist that reads the marks.
@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of a module together where several processes share them: one boot each."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
