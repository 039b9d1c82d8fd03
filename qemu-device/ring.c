/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What a ring consists of beside its page: an event channel each way.
 *
 * Kick is the descriptor behind QEMU's end of the guest's event channel. KVM
 * signals it from within the guest's hypercall, so handing it over takes QEMU
 * out of the way of requests. Call comes back by an eventfd that the main loop
 * turns into an event of the guest.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"

#include "xen-vscsi.h"

static void on_call(void *opaque)
{
    XenVscsiRing *ring = opaque;

    if (event_notifier_test_and_clear(&ring->call)) {
        qemu_xen_evtchn_notify(ring->events, ring->local_port);
    }
}

/* Where the guest says its ring is. */
static bool ring_read_nodes(XenVscsi *s, XenVscsiRing *ring, Error **errp)
{
    if (xen_device_frontend_scanf(&s->xendev, "ring-ref", "%u",
                                  &ring->ref) != 1) {
        error_setg(errp, "the guest has written no ring-ref");
        return false;
    }
    if (xen_device_frontend_scanf(&s->xendev, "event-channel", "%u",
                                  &ring->port) != 1) {
        error_setg(errp, "the guest has written no event-channel");
        return false;
    }
    return true;
}

bool xen_vscsi_ring_bind(XenVscsi *s, Error **errp)
{
    XenVscsiRing *ring = &s->ring;
    int port;

    if (!ring_read_nodes(s, ring, errp)) {
        return false;
    }
    ring->events = qemu_xen_evtchn_open();
    if (!ring->events) {
        error_setg_errno(errp, errno, "cannot open an event channel");
        return false;
    }
    port = qemu_xen_evtchn_bind_interdomain(ring->events,
                                            s->xendev.frontend_id, ring->port);
    if (port < 0) {
        error_setg_errno(errp, -port, "cannot bind event channel %u",
                         ring->port);
        goto fail;
    }
    if (event_notifier_init(&ring->call, 0) < 0) {
        error_setg_errno(errp, errno, "cannot make an eventfd");
        goto fail;
    }
    ring->local_port = port;
    ring->bound = true;
    qemu_set_fd_handler(event_notifier_get_fd(&ring->call), on_call, NULL,
                        ring);
    return true;

fail:
    qemu_xen_evtchn_close(ring->events);
    ring->events = NULL;
    return false;
}

bool xen_vscsi_ring_moved(XenVscsi *s)
{
    XenVscsiRing now = { 0 };

    return ring_read_nodes(s, &now, NULL) &&
           (now.ref != s->ring.ref || now.port != s->ring.port);
}

void xen_vscsi_ring_unbind(XenVscsi *s)
{
    XenVscsiRing *ring = &s->ring;

    if (!ring->bound) {
        return;
    }
    qemu_set_fd_handler(event_notifier_get_fd(&ring->call), NULL, NULL, NULL);
    event_notifier_cleanup(&ring->call);
    /* Unbinds it too. */
    qemu_xen_evtchn_close(ring->events);
    memset(ring, 0, sizeof(*ring));
}

int xen_vscsi_ring_kick_fd(XenVscsi *s)
{
    return qemu_xen_evtchn_fd(s->ring.events);
}

void xen_vscsi_ring_kick(XenVscsi *s)
{
    uint64_t one = 1;

    /* Full means that it is signalled. */
    if (write(xen_vscsi_ring_kick_fd(s), &one, sizeof(one)) < 0) {
        return;
    }
}
