/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * LUNs as xenstore shows them to the guest, as vscsi-devs/dev-N.
 *
 * Each has a state of its own beside that of the device. A LUN begins in
 * Initialising and is offered in Initialised; the guest scans it, writes what
 * came of it under its own dev-N, and the LUN is Connected. One that is to go
 * is Closing until the guest has let go of it, then Closed, and its nodes are
 * removed. The number N is never used twice, so that nothing that the guest
 * wrote of an earlier LUN is taken for news of a later one.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "hw/xen/xen-bus-helper.h"

#include "xen-vscsi.h"

static void lun_set_state(XenVscsi *s, XenVscsiLun *lun,
                          enum xenbus_state state)
{
    g_autofree char *key =
        g_strdup_printf("vscsi-devs/dev-%u/state", lun->number);

    lun->state = state;
    xen_device_backend_printf(&s->xendev, key, "%u", state);
}

static void lun_write(XenVscsi *s, XenVscsiLun *lun)
{
    g_autofree char *p_dev =
        g_strdup_printf("vscsi-devs/dev-%u/p-dev", lun->number);
    g_autofree char *v_dev =
        g_strdup_printf("vscsi-devs/dev-%u/v-dev", lun->number);

    xen_device_backend_printf(&s->xendev, p_dev, "%s", lun->name);
    xen_device_backend_printf(&s->xendev, v_dev, "%u:%u:%u:%u", s->vhost,
                              lun->channel, lun->target, lun->lun);
    lun_set_state(s, lun, XenbusStateInitialising);
}

static void destroy_node(XenVscsi *s, const char *path, unsigned int number)
{
    g_autofree char *node =
        g_strdup_printf("%s/vscsi-devs/dev-%u", path, number);

    /* The guest may have removed its own before; nobody needs to know. */
    xs_node_destroy(s->xendev.xsh, XBT_NULL, node, NULL);
}

static void lun_destroy(XenVscsi *s, XenVscsiLun *lun)
{
    destroy_node(s, s->xendev.backend_path, lun->number);
    destroy_node(s, s->xendev.frontend_path, lun->number);
    QTAILQ_REMOVE(&s->luns, lun, next);
    g_free(lun->name);
    g_free(lun);
}

/* What the guest says of it; Unknown if it has said nothing. */
static enum xenbus_state lun_guest_state(XenVscsi *s, XenVscsiLun *lun)
{
    g_autofree char *key =
        g_strdup_printf("vscsi-devs/dev-%u/state", lun->number);
    unsigned int state;

    if (xen_device_frontend_scanf(&s->xendev, key, "%u", &state) != 1) {
        return XenbusStateUnknown;
    }
    return state;
}

/* The LUN at that place, unless it is on its way out. */
static XenVscsiLun *lun_at(XenVscsi *s, const VscsiLun *told)
{
    XenVscsiLun *each;

    QTAILQ_FOREACH(each, &s->luns, next) {
        if (each->channel == le16_to_cpu(told->channel) &&
            each->target == le16_to_cpu(told->target) &&
            each->lun == le16_to_cpu(told->lun) &&
            each->state < XenbusStateClosing) {
            return each;
        }
    }
    return NULL;
}

static void lun_remove(XenVscsi *s, XenVscsiLun *lun)
{
    if (lun->state == XenbusStateInitialising) {
        /* The guest was never told to look at it. */
        xen_vscsi_link_tell_lun(s, lun, VSCSI_LUN_REMOVED);
        lun_destroy(s, lun);
    } else {
        lun_set_state(s, lun, XenbusStateClosing);
    }
}

static void lun_add(XenVscsi *s, const VscsiLun *told, const char *name)
{
    XenVscsiLun *made = g_new0(XenVscsiLun, 1);

    made->number = s->next_number++;
    made->id = le32_to_cpu(told->id);
    made->channel = le16_to_cpu(told->channel);
    made->target = le16_to_cpu(told->target);
    made->lun = le16_to_cpu(told->lun);
    made->name = g_strdup(name);
    made->seen = true;
    QTAILQ_INSERT_TAIL(&s->luns, made, next);
    lun_write(s, made);
}

void xen_vscsi_lun_attached(XenVscsi *s, const VscsiLun *told)
{
    g_autofree char *name = g_strndup(told->name, sizeof(told->name));
    XenVscsiLun *known = lun_at(s, told);

    if (known && !strcmp(known->name, name)) {
        /* Another back-end calls the same thing by another number. */
        known->id = le32_to_cpu(told->id);
        known->seen = true;
        if (known->state == XenbusStateConnected) {
            xen_vscsi_link_tell_lun(s, known, VSCSI_LUN_CONNECTED);
        }
        return;
    }
    if (known) {
        lun_remove(s, known);
    }
    lun_add(s, told, name);
}

void xen_vscsi_lun_detached(XenVscsi *s, uint32_t id)
{
    XenVscsiLun *each, *next;

    QTAILQ_FOREACH_SAFE(each, &s->luns, next, next) {
        if (each->id == id && each->state < XenbusStateClosing) {
            lun_remove(s, each);
        }
    }
}

void xen_vscsi_luns_unsee(XenVscsi *s)
{
    XenVscsiLun *lun;

    QTAILQ_FOREACH(lun, &s->luns, next) {
        lun->seen = false;
    }
}

void xen_vscsi_luns_sweep(XenVscsi *s)
{
    XenVscsiLun *lun, *next;

    QTAILQ_FOREACH_SAFE(lun, &s->luns, next, next) {
        if (!lun->seen && lun->state < XenbusStateClosing) {
            lun_remove(s, lun);
        }
    }
}

bool xen_vscsi_luns_pending(XenVscsi *s)
{
    XenVscsiLun *lun;

    QTAILQ_FOREACH(lun, &s->luns, next) {
        if (lun->state == XenbusStateInitialising ||
            lun->state == XenbusStateClosing) {
            return true;
        }
    }
    return false;
}

void xen_vscsi_luns_offer(XenVscsi *s)
{
    XenVscsiLun *lun;

    QTAILQ_FOREACH(lun, &s->luns, next) {
        if (lun->state == XenbusStateInitialising) {
            lun_set_state(s, lun, XenbusStateInitialised);
        }
    }
}

void xen_vscsi_luns_release(XenVscsi *s)
{
    XenVscsiLun *lun;

    QTAILQ_FOREACH(lun, &s->luns, next) {
        if (lun->state == XenbusStateClosing) {
            lun_set_state(s, lun, XenbusStateClosed);
            xen_vscsi_link_tell_lun(s, lun, VSCSI_LUN_REMOVED);
        }
    }
}

/*
 * Linux's own back-end does not look at what the guest says. Ours does: an
 * operator wants to know of a LUN that a guest refused, and a driver that was
 * bound in a hurry may have looked before the LUN was offered. It is offered
 * once more then; not for ever, as not every driver says something.
 */
static void lun_settle(XenVscsi *s, XenVscsiLun *lun)
{
    enum xenbus_state said = lun_guest_state(s, lun);

    if (said == XenbusStateUnknown && !lun->insisted) {
        lun->insisted = true;
        lun_set_state(s, lun, XenbusStateInitialising);
        return;
    }
    lun_set_state(s, lun, XenbusStateConnected);
    xen_vscsi_link_tell_lun(s, lun, said == XenbusStateClosed
                            ? VSCSI_LUN_FAILED : VSCSI_LUN_CONNECTED);
}

void xen_vscsi_luns_settle(XenVscsi *s)
{
    XenVscsiLun *lun, *next;

    QTAILQ_FOREACH_SAFE(lun, &s->luns, next, next) {
        if (lun->state == XenbusStateClosed) {
            lun_destroy(s, lun);
        } else if (lun->state == XenbusStateInitialised) {
            lun_settle(s, lun);
        }
    }
}

void xen_vscsi_luns_reset(XenVscsi *s)
{
    XenVscsiLun *lun, *next;

    QTAILQ_FOREACH_SAFE(lun, &s->luns, next, next) {
        if (lun->state == XenbusStateClosing) {
            xen_vscsi_link_tell_lun(s, lun, VSCSI_LUN_REMOVED);
            lun_destroy(s, lun);
        } else if (lun->state == XenbusStateClosed) {
            lun_destroy(s, lun);
        } else {
            /* What the last driver said is not the next one's answer. */
            destroy_node(s, s->xendev.frontend_path, lun->number);
            lun->insisted = false;
            lun_set_state(s, lun, XenbusStateInitialising);
        }
    }
}

void xen_vscsi_luns_free(XenVscsi *s)
{
    XenVscsiLun *lun, *next;

    QTAILQ_FOREACH_SAFE(lun, &s->luns, next, next) {
        QTAILQ_REMOVE(&s->luns, lun, next);
        g_free(lun->name);
        g_free(lun);
    }
}
