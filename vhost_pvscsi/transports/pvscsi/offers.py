"""What this back-end offers to a pvSCSI front-end, and what each message needs."""

from __future__ import annotations

from vhost_pvscsi.wire.pvscsi_socket import SEGMENTS_SHIFT, Ability, Feature, Kind
from vhost_pvscsi.wire.vhost_user import ProtocolFeature
from vhost_pvscsi.wire.vscsiif import MAX_SEGMENTS

ABILITIES = Ability.GRANT_TABLE | Ability.TRANSLATED | Ability.INFLIGHT

FEATURES = Feature.SG_GRANT | Feature.PROTOCOL_FEATURES

#: As GET_FEATURES answers: with the most segments that a request may have.
OFFERED = int(FEATURES) | MAX_SEGMENTS << SEGMENTS_SHIFT

OFFERED_PROTOCOL = (
    ProtocolFeature.REPLY_ACK
    | ProtocolFeature.BACKEND_REQ
    | ProtocolFeature.RESET_DEVICE
    | ProtocolFeature.CONFIGURE_MEM_SLOTS
)

#: Requests that belong to an extension: it must have been acknowledged.
EXTENSIONS: dict[Kind, ProtocolFeature] = {
    Kind.SET_BACKEND_REQ_FD: ProtocolFeature.BACKEND_REQ,
    Kind.RESET_DEVICE: ProtocolFeature.RESET_DEVICE,
    Kind.GET_MAX_MEM_SLOTS: ProtocolFeature.CONFIGURE_MEM_SLOTS,
    Kind.ADD_MEM_REG: ProtocolFeature.CONFIGURE_MEM_SLOTS,
    Kind.REM_MEM_REG: ProtocolFeature.CONFIGURE_MEM_SLOTS,
}

#: What stands for an ability that is declared and not offered.
INSTEAD: dict[Ability, str] = {
    Ability.GNTDEV: "share the guest's grant table (GRANT_TABLE), or put frame numbers in place of"
    " grant references (TRANSLATED)",
    Ability.EVENT_CHANNEL: "give eventfds: SET_VRING_KICK and SET_VRING_CALL",
}

#: How the pages that a guest lends may be found: a front-end needs one of them.
GRANTS = Ability.GRANT_TABLE | Ability.TRANSLATED

#: Requests that need an ability of both ends.
NEEDED_ABILITY: dict[Kind, Ability] = {
    Kind.SET_GRANT_TABLE: Ability.GRANT_TABLE,
    Kind.SET_INFLIGHT: Ability.INFLIGHT,
    Kind.SET_EVENT_CHANNEL: Ability.EVENT_CHANNEL,
}
