"""An emulated tape over the engine's drive, without a ring: what it answers by itself."""

from __future__ import annotations

import contextlib

from tests.harness.emulated import Asked
from vhost_pvscsi.daemon.tapes import make_tape
from vhost_pvscsi.devices.pdev import parse_lun
from vhost_pvscsi.scsi.request import Reply


class _NoRing:
    """Says GOOD to what a ring would have the engine do."""

    async def execute(self, medium, request):
        return Reply()


class Drive(Asked):
    """The tape of a LUN, with nexuses "a" and "b", who have heard what there was to hear."""

    def __init__(self, pdev, memory=None):
        self.held = contextlib.ExitStack()
        spec = parse_lun(f"0:0:0:0={pdev}")
        self.tape = make_tape(spec, _NoRing(), lambda _naa, _held: memory, self.held, ())
        self.tape.begin()
        super().__init__(self.tape)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.held.close()
