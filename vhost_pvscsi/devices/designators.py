"""VPD page 83h: which designators of a unit a guest is shown, and which others in their place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vhost_pvscsi.scsi.pages import Association, Designator, DesignatorType, text_field

from .presentation import PRODUCT_WIDTH, VENDOR_WIDTH, Hidden

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .presentation import Presentation

_HEAD = 4
#: Designators that are unique in the world (SPC-5 7.7.6.1): EUI-64, NAA, SCSI name string, UUID.
_WORLD_WIDE = frozenset({DesignatorType.EUI_64, DesignatorType.NAA, 0x8, 0xA})
#: Those that are, or hold, what the vendor calls the unit.
_VENDORS = frozenset({DesignatorType.VENDOR_SPECIFIC, DesignatorType.T10_VENDOR})


def renamed(body: bytes, shown: Presentation) -> bytes:
    """Make the page's body with the names of the attachment.

    A descriptor that reaches beyond the page's end is left out, with all behind it: there are
    guests that follow it (a device's page is no more to be trusted than a guest's command).
    """
    kept = b"".join(_kept(body, shown))
    if shown.naa is None:
        return kept
    return Designator(DesignatorType.NAA, shown.naa).pack() + kept


def _kept(body: bytes, shown: Presentation) -> Iterator[bytes]:
    for descriptor in descriptors(body):
        kind, association = descriptor[1] & 0x0F, descriptor[1] >> 4 & 0x03
        if kind in _WORLD_WIDE and _is_gone(association, shown):
            continue
        if association == Association.LOGICAL_UNIT and kind in _VENDORS:
            if Hidden.SERIAL in shown.hidden:
                continue
            if kind == DesignatorType.T10_VENDOR:
                yield _t10(descriptor, shown)
                continue
            if shown.serial is not None:
                continue
        yield descriptor


def descriptors(body: bytes) -> Iterator[bytes]:
    """Split a page's body into designation descriptors, as far as they are whole."""
    at = 0
    while at + _HEAD <= len(body):
        end = at + _HEAD + body[at + 3]
        if end > len(body):
            return
        yield body[at:end]
        at = end


def _is_gone(association: int, shown: Presentation) -> bool:
    if Hidden.WWN in shown.hidden:
        # The target device's name tells as well whose it is. A port's is needed to tell ports
        # apart, and says nothing of the unit.
        return association in {Association.LOGICAL_UNIT, Association.TARGET_DEVICE}
    return shown.naa is not None and association == Association.LOGICAL_UNIT


def _t10(descriptor: bytes, shown: Presentation) -> bytes:
    """Make the T10 vendor ID based designator; behind the vendor a product and a serial number.

    That is no rule, but what the standard recommends, and what most devices do (SPC-5 7.7.6.4).
    """
    old = descriptor[_HEAD:]
    vendor, product = old[:VENDOR_WIDTH], old[VENDOR_WIDTH:][:PRODUCT_WIDTH]
    rest = old[VENDOR_WIDTH + PRODUCT_WIDTH :]
    if shown.vendor is not None:
        vendor = text_field(shown.vendor, VENDOR_WIDTH)
    if shown.product is not None:
        product = text_field(shown.product, PRODUCT_WIDTH)
    if shown.serial is not None:
        product = product.ljust(PRODUCT_WIDTH)
        rest = shown.serial.encode("ascii", "replace")
    value = vendor + product + rest
    return descriptor[:3] + bytes([len(value[:255])]) + value[:255]
