"""LogicalUnit: the one protocol that everything at an address satisfies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from vhost_pvscsi.medium import Medium
    from vhost_pvscsi.scsi.pages import DeviceType
    from vhost_pvscsi.scsi.request import Reply, Request
    from vhost_pvscsi.scsi.sense import SenseCode
    from vhost_pvscsi.sg import Device

    from .attention import Watcher
    from .faults.injector import Faults
    from .gates import Ender, Keeper


class LogicalUnit(Protocol):
    """Answers requests. Shared by all nexuses that it is attached to."""

    @property
    def name(self) -> str:
        """What messages call it: its PDEV."""

    @property
    def medium(self) -> Medium | None:
        """The engine's half of the unit, None where no command may take the short road."""

    @property
    def forwarded_as(self) -> DeviceType | None:
        """The type of the host's device that commands are forwarded to; None: it is emulated."""

    @property
    def block_size(self) -> int:
        """Bytes in a logical block, as its pages count them; 0: it has none that are known."""

    @property
    def medium_opcodes(self) -> frozenset[int]:
        """Opcodes that the medium executor finishes by itself while the gate is open."""

    async def execute(self, request: Request) -> Reply:
        """Answer one request; a mistake of the guest is a reply with sense, never an exception."""


class AttachableUnit(LogicalUnit, Protocol):
    """A unit that an operator attaches: it knows the nexuses that reach it."""

    @property
    def device(self) -> Device | None:
        """The host's device that the engine sends commands to; None: there is none."""

    @property
    def copied_opcodes(self) -> frozenset[int]:
        """Commands for that device whose data-out is to come up."""

    @property
    def faults(self) -> Faults:
        """The fault rules that are in force here; `execute` asks them about each command."""

    @property
    def notifications(self) -> int:
        """The asynchronous notifications that it can give (virtio 1.2, 5.6.6.2, a bit each)."""

    async def connect(self, nexus: str, keeper: Keeper, ender: Ender | None = None) -> None:
        """Take a mapping of a nexus into account, before it is put in service.

        `ender` ends the mapping's commands, for PREEMPT AND ABORT.
        """

    def disconnect(self, nexus: str, keeper: Keeper) -> None:
        """Forget a mapping of a nexus."""

    async def attend(
        self, code: SenseCode, *, nexus: str | None = None, but: str | None = None
    ) -> None:
        """Establish a unit attention for one nexus, or for all, `but` one."""

    def watch(self, nexus: str, watcher: Watcher) -> Callable[[], None]:
        """Tell `watcher` of each unit attention that begins or ends for a nexus; what ends that."""

    async def nexus_lost(self, nexus: str) -> bool:
        """Give up what ends with a nexus (SAM-5 6.3.4); True: something was given up.

        What commands of the nexus to other units do here has ended when this returns.
        """

    async def reset_device(self) -> None:
        """Reset what works on commands that cannot be taken back, so that they end."""

    async def reset(self) -> None:
        """Do a logical unit reset (SAM-5 6.3.3); its commands have been ended by the caller."""
