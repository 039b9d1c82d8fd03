/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The conversation with the back-end: greeting, LUNs, a ring's start and end.
 *
 * The back-end may leave and another one take its place at any time. The guest
 * keeps its ring meanwhile; what it had asked for is in the in-flight area, so
 * that the next back-end can answer it.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"

#include "xen-vscsi.h"

/* Domain of back-ends that QEMU emulates. */
#define OWN_DOMAIN 0

static void send_plain(XenVscsi *s, uint32_t request, const void *payload,
                       uint32_t size)
{
    xen_vscsi_send(s, (XenVscsiMessage) {
        .request = request, .payload = payload, .size = size,
    });
}

static void send_number(XenVscsi *s, uint32_t request, uint64_t number)
{
    number = cpu_to_le64(number);
    send_plain(s, request, &number, sizeof(number));
}

static void send_with_fd(XenVscsi *s, uint32_t request, const void *payload,
                         uint32_t size, int fd)
{
    xen_vscsi_send(s, (XenVscsiMessage) {
        .request = request, .payload = payload, .size = size,
        .descriptors = &fd, .descriptor_count = 1,
    });
}

static void ask(XenVscsi *s, uint32_t request, XenVscsiReply *reply)
{
    xen_vscsi_send(s, (XenVscsiMessage) { .request = request, .reply = reply });
}

static bool read_number(XenVscsi *s, const uint8_t *payload, uint32_t size,
                        uint64_t *number)
{
    if (size != sizeof(*number)) {
        xen_vscsi_channel_break(s, "it answered something that is no number");
        return false;
    }
    *number = ldq_le_p(payload);
    return true;
}

/* ---- LUNs ---- */

static void on_luns(XenVscsi *s, const uint8_t *payload, uint32_t size);

static void ask_luns(XenVscsi *s, uint32_t first)
{
    VscsiLunsFrom from = { .first = cpu_to_le32(first) };

    xen_vscsi_send(s, (XenVscsiMessage) {
        .request = VSCSI_GET_LUNS, .payload = &from, .size = sizeof(from),
        .reply = on_luns,
    });
}

static void on_all_luns(XenVscsi *s)
{
    xen_vscsi_luns_sweep(s);
    if (s->link == XEN_VSCSI_LINK_GREETING) {
        s->link = XEN_VSCSI_LINK_READY;
        xen_vscsi_link_up(s);
    } else {
        xen_vscsi_reconfigure(s);
    }
}

static void on_luns(XenVscsi *s, const uint8_t *payload, uint32_t size)
{
    const VscsiLuns *luns = (const void *)payload;
    uint32_t count = size < sizeof(*luns) ? 0 : le32_to_cpu(luns->count);

    if (size < sizeof(*luns) || count > VSCSI_PAYLOAD_MAX / sizeof(VscsiLun) ||
        size != sizeof(*luns) + count * sizeof(VscsiLun)) {
        xen_vscsi_channel_break(s, "it answered a list of LUNs that is none");
        return;
    }
    for (uint32_t i = 0; i < count; i++) {
        xen_vscsi_lun_attached(s, &luns->luns[i]);
    }
    if (count && luns->remaining) {
        ask_luns(s, le32_to_cpu(luns->luns[count - 1].id) + 1);
    } else {
        on_all_luns(s);
    }
}

void xen_vscsi_link_subscribe(XenVscsi *s)
{
    int theirs = xen_vscsi_notices_open(s);

    if (theirs < 0) {
        return;
    }
    send_with_fd(s, VSCSI_SET_BACKEND_REQ_FD, NULL, 0, theirs);
    close(theirs);
    xen_vscsi_luns_unsee(s);
    ask_luns(s, 0);
}

void xen_vscsi_link_tell_lun(XenVscsi *s, XenVscsiLun *lun,
                             VscsiLunReport report)
{
    VscsiLunState state = {
        .id = cpu_to_le32(lun->id), .state = cpu_to_le32(report),
    };

    if (s->link != XEN_VSCSI_LINK_DOWN) {
        send_plain(s, VSCSI_LUN_STATE, &state, sizeof(state));
    }
}

/* ---- greeting ---- */

static void on_protocol_features(XenVscsi *s, const uint8_t *payload,
                                 uint32_t size)
{
    uint64_t wanted = VSCSI_PROTOCOL_REPLY_ACK | VSCSI_PROTOCOL_BACKEND_REQ |
                      VSCSI_PROTOCOL_RESET_DEVICE;
    uint64_t features;

    if (!read_number(s, payload, size, &features)) {
        return;
    }
    if ((features & wanted) != wanted) {
        xen_vscsi_channel_break(s, "it lacks REPLY_ACK, BACKEND_REQ or "
                                "RESET_DEVICE, without which nothing works");
        return;
    }
    send_number(s, VSCSI_SET_PROTOCOL_FEATURES, wanted);
    xen_vscsi_link_subscribe(s);
}

static void on_features(XenVscsi *s, const uint8_t *payload, uint32_t size)
{
    read_number(s, payload, size, &s->features);
}

static void on_hello(XenVscsi *s, const uint8_t *payload, uint32_t size)
{
    uint64_t wanted = VSCSI_CAN_GRANT_TABLE | VSCSI_CAN_INFLIGHT;
    const VscsiHello *hello = (const void *)payload;

    if (size != sizeof(*hello) ||
        le32_to_cpu(hello->version) != VSCSI_PROTOCOL_VERSION) {
        xen_vscsi_channel_break(s, "it does not speak version 1");
        return;
    }
    if ((le64_to_cpu(hello->abilities) & wanted) != wanted) {
        xen_vscsi_channel_break(s, "it cannot read a grant table, or keep an "
                                "in-flight area");
        return;
    }
    ask(s, VSCSI_GET_FEATURES, on_features);
    ask(s, VSCSI_GET_PROTOCOL_FEATURES, on_protocol_features);
}

void xen_vscsi_link_opened(XenVscsi *s)
{
    VscsiHello hello = {
        .version = cpu_to_le32(VSCSI_PROTOCOL_VERSION),
        .abilities = cpu_to_le64(VSCSI_CAN_GRANT_TABLE | VSCSI_CAN_INFLIGHT),
    };

    s->link = XEN_VSCSI_LINK_GREETING;
    xen_vscsi_send(s, (XenVscsiMessage) {
        .request = VSCSI_HELLO, .payload = &hello, .size = sizeof(hello),
        .reply = on_hello,
    });
}

void xen_vscsi_link_lost(XenVscsi *s)
{
    XenVscsiLink before = s->link;

    s->link = XEN_VSCSI_LINK_DOWN;
    xen_vscsi_notices_close(s);
    if (before == XEN_VSCSI_LINK_DOWN) {
        return;
    }
    xen_vscsi_inflight_unpin(s);
    if (before == XEN_VSCSI_LINK_STOPPING) {
        xen_vscsi_guest_gone(s);
    } else {
        warn_report("xen-vscsi: the back-end of vhost %u has left; "
                    "the guest waits for the next one", s->vhost);
    }
}

/* ---- a ring ---- */

static bool send_memory(XenVscsi *s, Error **errp)
{
    VscsiMemTable message = { 0 };
    XenVscsiMemory table;
    int descriptors[XEN_VSCSI_REGIONS];

    if (!xen_vscsi_memory_collect(&table, errp)) {
        return false;
    }
    message.count = cpu_to_le32(table.count);
    for (unsigned int i = 0; i < table.count; i++) {
        message.regions[i] = (VscsiRegion) {
            .guest_address = cpu_to_le64(table.regions[i].address),
            .user_address = cpu_to_le64(table.regions[i].address),
            .size = cpu_to_le64(table.regions[i].size),
            .offset = cpu_to_le64(table.regions[i].offset),
        };
        descriptors[i] = table.regions[i].fd;
    }
    xen_vscsi_send(s, (XenVscsiMessage) {
        .request = VSCSI_SET_MEM_TABLE, .payload = &message,
        .size = offsetof(VscsiMemTable, regions) +
                table.count * sizeof(VscsiRegion),
        .descriptors = descriptors, .descriptor_count = table.count,
    });
    return true;
}

static bool send_grants(XenVscsi *s, Error **errp)
{
    XenVscsiRegion grants;
    VscsiGrantTable message;

    if (!xen_vscsi_grant_table(&grants, errp)) {
        return false;
    }
    message = (VscsiGrantTable) {
        .offset = cpu_to_le64(grants.offset),
        .size = cpu_to_le64(grants.size),
        .version = cpu_to_le32(1),
        .back_end = cpu_to_le16(OWN_DOMAIN),
        .front_end = cpu_to_le16(s->xendev.frontend_id),
    };
    send_with_fd(s, VSCSI_SET_GRANT_TABLE, &message, sizeof(message),
                 grants.fd);
    return true;
}

static void send_ring(XenVscsi *s)
{
    VscsiInflight inflight = { .size = cpu_to_le64(s->inflight.size) };
    VscsiRingPage page = { .where = cpu_to_le64(s->ring.ref) };
    uint64_t index = 0;

    send_with_fd(s, VSCSI_SET_INFLIGHT, &inflight, sizeof(inflight),
                 s->inflight.fd);
    send_plain(s, VSCSI_SET_RING, &page, sizeof(page));
    send_with_fd(s, VSCSI_SET_VRING_KICK, &index, sizeof(index),
                 xen_vscsi_ring_kick_fd(s));
    send_with_fd(s, VSCSI_SET_VRING_CALL, &index, sizeof(index),
                 event_notifier_get_fd(&s->ring.call));
}

static void on_started(XenVscsi *s, const uint8_t *payload, uint32_t size)
{
    uint64_t outcome;

    if (!read_number(s, payload, size, &outcome) ||
        s->link != XEN_VSCSI_LINK_STARTING) {
        return;
    }
    if (outcome == VSCSI_ACK_DONE) {
        s->link = XEN_VSCSI_LINK_RUNNING;
        xen_vscsi_ring_started(s);
    } else {
        s->link = XEN_VSCSI_LINK_READY;
        warn_report("xen-vscsi: the back-end of vhost %u cannot use the "
                    "guest's ring; its log says why", s->vhost);
        xen_vscsi_ring_unbind(s);
    }
}

bool xen_vscsi_link_start(XenVscsi *s, Error **errp)
{
    VscsiVringState enable = { .value = cpu_to_le32(1) };

    if (!send_memory(s, errp) || !send_grants(s, errp)) {
        return false;
    }
    send_number(s, VSCSI_SET_FEATURES,
                VSCSI_FEATURE_SG_GRANT |
                (uint64_t)XEN_VSCSI_SG_GRANT << VSCSI_FEATURE_SEGMENTS_SHIFT);
    send_ring(s);
    s->link = XEN_VSCSI_LINK_STARTING;
    xen_vscsi_send(s, (XenVscsiMessage) {
        .request = VSCSI_SET_VRING_ENABLE, .payload = &enable,
        .size = sizeof(enable), .acknowledge = true, .reply = on_started,
    });
    return true;
}

static void on_stopped(XenVscsi *s, const uint8_t *payload, uint32_t size)
{
    uint64_t outcome;

    if (read_number(s, payload, size, &outcome) &&
        s->link == XEN_VSCSI_LINK_STOPPING) {
        s->link = XEN_VSCSI_LINK_READY;
        xen_vscsi_guest_gone(s);
    }
}

void xen_vscsi_link_stop(XenVscsi *s)
{
    switch (s->link) {
    case XEN_VSCSI_LINK_STARTING:
    case XEN_VSCSI_LINK_RUNNING:
        /* Commands end early: whoever wanted their answers is gone. */
        s->link = XEN_VSCSI_LINK_STOPPING;
        xen_vscsi_send(s, (XenVscsiMessage) {
            .request = VSCSI_RESET_DEVICE, .acknowledge = true,
            .reply = on_stopped,
        });
        break;
    case XEN_VSCSI_LINK_STOPPING:
        break;
    default:
        xen_vscsi_guest_gone(s);
        break;
    }
}

static void on_abandoned(XenVscsi *s, const uint8_t *payload, uint32_t size)
{
}

void xen_vscsi_link_abandon(XenVscsi *s)
{
    if (s->link == XEN_VSCSI_LINK_STARTING ||
        s->link == XEN_VSCSI_LINK_RUNNING) {
        s->link = XEN_VSCSI_LINK_READY;
        xen_vscsi_send(s, (XenVscsiMessage) {
            .request = VSCSI_RESET_DEVICE, .acknowledge = true,
            .reply = on_abandoned,
        });
    }
}
