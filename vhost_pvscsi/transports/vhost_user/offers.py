"""What this back-end offers to a front-end, and the limits that it names."""

from __future__ import annotations

from vhost_pvscsi.wire.vhost_user import Feature, Kind, ProtocolFeature

OFFERED = (
    Feature.VERSION_1
    | Feature.INDIRECT_DESC
    | Feature.EVENT_IDX
    | Feature.SCSI_HOTPLUG
    | Feature.SCSI_CHANGE
    | Feature.PROTOCOL_FEATURES
)

#: Bits that QEMU lets a guest acknowledge without asking the back-end. None of them changes
#: what is in a ring: RING_RESET reaches us as GET_VRING_BASE of one ring, ANY_LAYOUT says what
#: our rings take anyway, and ORDER_PLATFORM is about barriers of real hardware.
TOLERATED = Feature.RING_RESET | Feature.ANY_LAYOUT | Feature.ORDER_PLATFORM

OFFERED_PROTOCOL = (
    ProtocolFeature.MQ
    | ProtocolFeature.REPLY_ACK
    | ProtocolFeature.BACKEND_REQ
    | ProtocolFeature.RESET_DEVICE
    | ProtocolFeature.CONFIGURE_MEM_SLOTS
    | ProtocolFeature.STATUS
)

#: Requests that belong to an extension: it must have been acknowledged.
EXTENSIONS: dict[Kind, ProtocolFeature] = {
    Kind.GET_QUEUE_NUM: ProtocolFeature.MQ,
    Kind.SET_BACKEND_REQ_FD: ProtocolFeature.BACKEND_REQ,
    Kind.RESET_DEVICE: ProtocolFeature.RESET_DEVICE,
    Kind.GET_MAX_MEM_SLOTS: ProtocolFeature.CONFIGURE_MEM_SLOTS,
    Kind.ADD_MEM_REG: ProtocolFeature.CONFIGURE_MEM_SLOTS,
    Kind.REM_MEM_REG: ProtocolFeature.CONFIGURE_MEM_SLOTS,
    Kind.SET_STATUS: ProtocolFeature.STATUS,
    Kind.GET_STATUS: ProtocolFeature.STATUS,
}
