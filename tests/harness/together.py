"""Which tests one process of pytest-xdist runs, so that what takes long to boot is booted once.

With `--dist loadfile` a module stays together; the modules of emulated Xen, which share fixtures of
a session, do so too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

if TYPE_CHECKING:
    from xdist.remote import Producer

_XEN = "test_xen_"


class _ByBoot(LoadFileScheduling):
    def _split_scope(self, nodeid: str) -> str:
        file = super()._split_scope(nodeid)
        return _XEN if file.rpartition("/")[2].startswith(_XEN) else file


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadFileScheduling | None:
    """Make it where modules are to stay together; elsewhere it is as xdist has it."""
    together = config.getvalue("dist") == "loadfile"
    return _ByBoot(config, log) if together else None
