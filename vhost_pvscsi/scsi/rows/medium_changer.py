"""Commands of medium changers (SMC-3), but for those that every kind of unit has."""

from __future__ import annotations

from vhost_pvscsi.scsi.codes import ChangerOpcode, Opcode
from vhost_pvscsi.scsi.command import Barrier, Command, Direction, layout, row

# What moves anything is a conflict with whatever another nexus holds (SMC-3, "Reservations").
_MOVES = Barrier.WRITE
#: Cartridges are files, but what a drive has of one may have to be written first.
_MOVING = 600

# fmt: off
ROWS: tuple[Command, ...] = (
    row(
        ChangerOpcode.INITIALIZE_ELEMENT_STATUS, "INITIALIZE ELEMENT STATUS", "SMC-3", 6,
        layout(), timeout=_MOVING, barrier=_MOVES,
    ),
    row(
        ChangerOpcode.OPEN_CLOSE_IMPORT_EXPORT_ELEMENT, "OPEN/CLOSE IMPORT/EXPORT ELEMENT",
        "SMC-3", 6, layout(element_address=(2, 0, 16), action_code=(4, 0, 5)), barrier=_MOVES,
    ),
    row(
        Opcode.PREVENT_ALLOW_MEDIUM_REMOVAL, "PREVENT ALLOW MEDIUM REMOVAL", "SMC-3", 6,
        layout(prevent=(4, 0, 2)), barrier=_MOVES, harmless={"prevent": 0},
    ),
    row(
        ChangerOpcode.POSITION_TO_ELEMENT, "POSITION TO ELEMENT", "SMC-3", 10,
        layout(
            medium_transport_address=(2, 0, 16), destination_address=(4, 0, 16), invert=(8, 0, 1),
        ), barrier=_MOVES,
    ),
    row(
        ChangerOpcode.INITIALIZE_ELEMENT_STATUS_WITH_RANGE,
        "INITIALIZE ELEMENT STATUS WITH RANGE", "SMC-3", 10,
        layout(
            fast=(1, 1, 1), range=(1, 0, 1), starting_element_address=(2, 0, 16),
            number_of_elements=(6, 0, 16),
        ), timeout=_MOVING, barrier=_MOVES,
    ),
    row(
        ChangerOpcode.MOVE_MEDIUM, "MOVE MEDIUM", "SMC-3", 12,
        layout(
            medium_transport_address=(2, 0, 16), source_address=(4, 0, 16),
            destination_address=(6, 0, 16), invert=(10, 0, 1),
        ), timeout=_MOVING, barrier=_MOVES,
    ),
    row(
        ChangerOpcode.EXCHANGE_MEDIUM, "EXCHANGE MEDIUM", "SMC-3", 12,
        layout(
            medium_transport_address=(2, 0, 16), source_address=(4, 0, 16),
            first_destination_address=(6, 0, 16), second_destination_address=(8, 0, 16),
            inv1=(10, 1, 1), inv2=(10, 0, 1),
        ), timeout=_MOVING, barrier=_MOVES,
    ),
    row(
        # With CURDATA nothing moves, and no reservation stands in the way (SMC-3, that command).
        ChangerOpcode.READ_ELEMENT_STATUS, "READ ELEMENT STATUS", "SMC-3", 12,
        layout(
            voltag=(1, 4, 1), element_type_code=(1, 0, 4), starting_element_address=(2, 0, 16),
            number_of_elements=(4, 0, 16), curdata=(6, 1, 1), dvcid=(6, 0, 1),
            allocation_length=(7, 0, 24),
        ), Direction.IN, barrier=_MOVES, harmless={"curdata": 1},
    ),
)
# fmt: on
