/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device: its properties, and the states that it and the guest's driver
 * go through together.
 *
 *   guest                      device
 *   Initialised  ring is there Connected      ring handed over, LUNs offered
 *   Connected    LUNs scanned                 LUNs settled
 *                              Reconfiguring  some LUN is to come or to go
 *   Reconfiguring let go of    Reconfigured   new ones offered
 *   Connected    scanned       Connected      settled
 *   Closing                    Closing
 *   Closed                     Closed         ring taken back
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "hw/qdev-properties.h"
#include "hw/qdev-properties-system.h"
#include "hw/xen/xen-backend.h"

#include "xen-vscsi.h"

static enum xenbus_state own_state(XenVscsi *s)
{
    return xen_device_backend_get_state(&s->xendev);
}

static void set_own_state(XenVscsi *s, enum xenbus_state state)
{
    xen_device_backend_set_state(&s->xendev, state);
}

void xen_vscsi_reconfigure(XenVscsi *s)
{
    /* Only from rest: what comes meanwhile is seen when it is back there. */
    if (own_state(s) == XenbusStateConnected &&
        s->xendev.frontend_state == XenbusStateConnected &&
        xen_vscsi_luns_pending(s)) {
        set_own_state(s, XenbusStateReconfiguring);
    }
}

/* The guest has a ring, and there is somebody to serve it. */
static void connect_guest(XenVscsi *s, Error **errp)
{
    if (s->link != XEN_VSCSI_LINK_READY) {
        /* The guest waits; xen_vscsi_link_up() comes back to it. */
        return;
    }
    if (!xen_vscsi_ring_bind(s, errp)) {
        return;
    }
    xen_vscsi_inflight_clear(s);
    if (!xen_vscsi_link_start(s, errp)) {
        xen_vscsi_ring_unbind(s);
    }
}

void xen_vscsi_ring_started(XenVscsi *s)
{
    /* Where another back-end was there before, the guest has its LUNs. */
    if (own_state(s) < XenbusStateConnected ||
        own_state(s) == XenbusStateClosed) {
        xen_vscsi_luns_offer(s);
        set_own_state(s, XenbusStateConnected);
    } else {
        xen_vscsi_reconfigure(s);
    }
    /* It may have asked for something while nobody was there. */
    xen_vscsi_ring_kick(s);
}

/*
 * A guest that was suspended comes back with another ring, which may well be
 * where the last one was. It has its LUNs, but so looks a driver of whose
 * predecessor's end nothing was seen, so that they are offered again.
 */
static void replace_ring(XenVscsi *s, Error **errp)
{
    xen_vscsi_link_abandon(s);
    xen_vscsi_ring_unbind(s);
    xen_vscsi_luns_reset(s);
    connect_guest(s, errp);
}

static void guest_connected(XenVscsi *s)
{
    s->ring.used = true;
    xen_vscsi_luns_settle(s);
    if (own_state(s) == XenbusStateReconfigured) {
        set_own_state(s, XenbusStateConnected);
    }
    xen_vscsi_reconfigure(s);
}

/* The guest has a driver that takes part in the device's states. */
static bool has_driver(XenVscsi *s)
{
    return s->xendev.frontend_state == XenbusStateInitialised ||
           s->xendev.frontend_state == XenbusStateConnected;
}

/*
 * A driver was bound again while the ring of its predecessor was taken back.
 * It would take Closed for its own end. Where it has found us Connected still,
 * it has scanned in vain, and learns of LUNs by a reconfiguration.
 */
static void meet_next_driver(XenVscsi *s)
{
    if (s->xendev.frontend_state == XenbusStateInitialised) {
        set_own_state(s, XenbusStateInitWait);
    }
    xen_vscsi_link_up(s);
}

void xen_vscsi_guest_gone(XenVscsi *s)
{
    xen_vscsi_ring_unbind(s);
    xen_vscsi_luns_reset(s);
    if (has_driver(s)) {
        s->closing_seen = false;
        meet_next_driver(s);
        return;
    }
    set_own_state(s, XenbusStateClosed);
    /*
     * A driver that was unloaded says nothing but Closed; the next one does
     * not wait for us before it has a ring, and would take Closed for the end
     * of the device.
     */
    if (!s->closing_seen && s->xendev.backend_online &&
        s->xendev.frontend_state == XenbusStateClosed) {
        set_own_state(s, XenbusStateInitWait);
    }
    s->closing_seen = false;
}

static void xen_vscsi_frontend_changed(XenDevice *xendev,
                                       enum xenbus_state state, Error **errp)
{
    XenVscsi *s = XEN_VSCSI(xendev);

    switch (state) {
    case XenbusStateInitialised:
    case XenbusStateConnected:
        if (s->link == XEN_VSCSI_LINK_STOPPING) {
            /* xen_vscsi_guest_gone() comes back to it. */
            break;
        }
        if (!s->ring.bound) {
            connect_guest(s, errp);
        } else if (xen_vscsi_ring_moved(s) ||
                   (s->ring.used && state == XenbusStateInitialised)) {
            replace_ring(s, errp);
        } else if (state == XenbusStateConnected) {
            guest_connected(s);
        }
        break;
    case XenbusStateReconfiguring:
        if (own_state(s) == XenbusStateReconfiguring) {
            xen_vscsi_luns_release(s);
            xen_vscsi_luns_offer(s);
            set_own_state(s, XenbusStateReconfigured);
        }
        break;
    case XenbusStateClosing:
        s->closing_seen = true;
        set_own_state(s, XenbusStateClosing);
        break;
    case XenbusStateClosed:
    case XenbusStateUnknown:
        xen_vscsi_link_stop(s);
        break;
    default:
        break;
    }
}

void xen_vscsi_link_up(XenVscsi *s)
{
    Error *err = NULL;

    if (s->ring.bound) {
        /* The guest has used it all along; its requests have been waiting. */
        xen_vscsi_link_start(s, &err);
    } else if (has_driver(s)) {
        connect_guest(s, &err);
    }
    if (err) {
        error_reportf_err(err, "xen-vscsi: ");
    }
}

/* One that is on its way out still has its nodes. */
static bool is_vhost_taken(XenVscsi *s)
{
    BusState *bus = qdev_get_parent_bus(DEVICE(s));
    BusChild *kid;

    QTAILQ_FOREACH(kid, &bus->children, sibling) {
        Object *other = object_dynamic_cast(OBJECT(kid->child), TYPE_XEN_VSCSI);

        if (other && other != OBJECT(s) &&
            XEN_VSCSI(other)->vhost == s->vhost) {
            return true;
        }
    }
    return false;
}

static char *xen_vscsi_get_name(XenDevice *xendev, Error **errp)
{
    ERRP_GUARD();
    XenVscsi *s = XEN_VSCSI(xendev);

    /* QEMU's xenstore would let both write the same nodes. */
    if (is_vhost_taken(s)) {
        error_setg(errp, "xen-vscsi: there is one with vhost=%u already",
                   s->vhost);
        error_append_hint(errp, "Give each a vhost= of its own.\n");
        return NULL;
    }
    return g_strdup_printf("%u", s->vhost);
}

static void xen_vscsi_realize(XenDevice *xendev, Error **errp)
{
    ERRP_GUARD();
    XenVscsi *s = XEN_VSCSI(xendev);

    if (!qemu_chr_fe_backend_connected(&s->chr)) {
        error_setg(errp, "xen-vscsi: there is no chardev");
        error_append_hint(errp, "Use -chardev socket,id=ID,path=PATH and "
                          "-device xen-vscsi,chardev=ID.\n");
        return;
    }
    /* That it can be shared is known before a guest relies on it. */
    if (!xen_vscsi_memory_check(errp) || !xen_vscsi_inflight_open(s, errp)) {
        return;
    }
    xen_device_backend_printf(xendev, "feature-host", "%u", 0);
    xen_device_backend_printf(xendev, "feature-sg-grant", "%u",
                              XEN_VSCSI_SG_GRANT);
#ifdef XEN_VSCSI_MODULE
    if (!xen_vscsi_watch_open(s, errp)) {
        return;
    }
#endif
    xen_vscsi_channel_open(s);
}

static void xen_vscsi_unrealize(XenDevice *xendev)
{
    XenVscsi *s = XEN_VSCSI(xendev);

    /* The guest's side of it is gone by now, or the whole machine. */
    s->link = XEN_VSCSI_LINK_DOWN;
    xen_vscsi_channel_close(s);
    xen_vscsi_notices_close(s);
#ifdef XEN_VSCSI_MODULE
    xen_vscsi_watch_close(s);
#endif
    xen_vscsi_ring_unbind(s);
    xen_vscsi_luns_free(s);
    xen_vscsi_inflight_close(s);
}

/* The guest begins anew, and nothing may be written into its memory then. */
static void xen_vscsi_reset(DeviceState *dev)
{
    XenVscsi *s = XEN_VSCSI(dev);

    if (s->ring.bound) {
        xen_vscsi_link_stop(s);
    }
}

static void xen_vscsi_init(Object *object)
{
    XenVscsi *s = XEN_VSCSI(object);

    QTAILQ_INIT(&s->luns);
    QSIMPLEQ_INIT(&s->channel.expected);
    s->notices.fd = -1;
}

static const Property xen_vscsi_properties[] = {
    DEFINE_PROP_UINT32("vhost", XenVscsi, vhost, 0),
    DEFINE_PROP_CHR("chardev", XenVscsi, chr),
};

static void xen_vscsi_class_init(ObjectClass *class, void *data)
{
    DeviceClass *dev_class = DEVICE_CLASS(class);
    XenDeviceClass *xendev_class = XEN_DEVICE_CLASS(class);

    xendev_class->backend = "vscsi";
    xendev_class->device = "vscsi";
    xendev_class->get_name = xen_vscsi_get_name;
    xendev_class->realize = xen_vscsi_realize;
    xendev_class->frontend_changed = xen_vscsi_frontend_changed;
    xendev_class->unrealize = xen_vscsi_unrealize;
    device_class_set_legacy_reset(dev_class, xen_vscsi_reset);
    device_class_set_props(dev_class, xen_vscsi_properties);
    set_bit(DEVICE_CATEGORY_STORAGE, dev_class->categories);
    dev_class->desc = "pvSCSI host whose requests another process serves";
}

static const TypeInfo xen_vscsi_type = {
    .name = TYPE_XEN_VSCSI,
    .parent = TYPE_XEN_DEVICE,
    .instance_size = sizeof(XenVscsi),
    .instance_init = xen_vscsi_init,
    .class_init = xen_vscsi_class_init,
};

static void xen_vscsi_backend_create(XenBackendInstance *backend, QDict *opts,
                                     Error **errp)
{
    error_setg(errp, "a vscsi device is made by -device xen-vscsi");
}

static void xen_vscsi_backend_destroy(XenBackendInstance *backend,
                                      Error **errp)
{
}

/*
 * The bus watches the nodes of registered kinds of back-end only: without that
 * a device that was unplugged would never be destroyed.
 */
static const XenBackendInfo xen_vscsi_backend = {
    .type = "vscsi",
    .create = xen_vscsi_backend_create,
    .destroy = xen_vscsi_backend_destroy,
};

static void xen_vscsi_register_types(void)
{
    type_register_static(&xen_vscsi_type);
}

type_init(xen_vscsi_register_types)

static void xen_vscsi_register_backend(void)
{
    xen_backend_register(&xen_vscsi_backend);
}

xen_backend_init(xen_vscsi_register_backend);
