"""Commands of reservations (SPC-5; SPC-2 for RESERVE and RELEASE)."""

from __future__ import annotations

from vhost_pvscsi.scsi.codes import Opcode, PersistentIn, PersistentOut
from vhost_pvscsi.scsi.command import Command, Direction, layout, row


def _persistent(
    opcode: Opcode,
    actions: type[PersistentIn | PersistentOut],
    direction: Direction,
    **fields: tuple[int, int, int],
) -> tuple[Command, ...]:
    """The rows of PERSISTENT RESERVE IN or OUT.

    What stops them is no matter of the table: a RESERVE stops even its own nexus' (SPC-2
    5.5.2), and what a service action asks for decides on the rest.
    """
    title = opcode.name.replace("_", " ")
    return tuple(
        row(
            opcode,
            f"{title}, {action.name.replace('_', ' ')}",
            "SPC-5",
            10,
            layout(**fields),
            direction,
            service_action=action,
        )
        for action in actions
    )


# fmt: off
ROWS: tuple[Command, ...] = (
    # Reservations of extents and for third parties are gone since SPC-2; their bits are refused.
    row(Opcode.RESERVE_6, "RESERVE(6)", "SPC-2", 6, layout()),
    row(Opcode.RELEASE_6, "RELEASE(6)", "SPC-2", 6, layout()),
    row(Opcode.RESERVE_10, "RESERVE(10)", "SPC-2", 10, layout()),
    row(Opcode.RELEASE_10, "RELEASE(10)", "SPC-2", 10, layout()),
    *_persistent(
        Opcode.PERSISTENT_RESERVE_IN, PersistentIn, Direction.IN, allocation_length=(7, 0, 16),
    ),
    *_persistent(
        Opcode.PERSISTENT_RESERVE_OUT, PersistentOut, Direction.OUT,
        scope=(2, 4, 4), type=(2, 0, 4), parameter_list_length=(5, 0, 32),
    ),
)
# fmt: on
