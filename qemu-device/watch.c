/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Our own watch of the device's state, in place of the bus's.
 *
 * QEMU's xenstore (seen in 10.0.2, xs_impl_unwatch()) finds a watch only
 * if it was the first on its path. The bus watches the same node as the guest's
 * driver and was there before it, so the guest cannot remove its watch when
 * the driver is unbound, and a driver that is bound again gets EEXIST and
 * fails. With the bus's watch out of the way the guest's is the first.
 *
 * In QEMU's tree the fault is mended instead (patches/), and this file is not.
 *
 * What the bus's watch did is done by its watch of `online`, which has the same
 * handler, whenever that node is written. Ours is on the folder of both.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/xen/xen-bus-helper.h"

#include "xen-vscsi.h"

static void on_change(void *opaque, const char *path)
{
    XenVscsi *s = opaque;
    XenDevice *xendev = &s->xendev;

    /*
     * It has been unplugged and is closed. The bus looks at a device when
     * `online` is written, and destroys one like this. Once: what is written
     * here brings us here again, before the bus has its turn.
     */
    if (!xendev->backend_online && !s->end_told &&
        xen_device_backend_get_state(xendev) == XenbusStateClosed) {
        s->end_told = true;
        xen_device_backend_printf(xendev, "online", "%u", 0);
    }
}

bool xen_vscsi_watch_open(XenVscsi *s, Error **errp)
{
    XenDevice *xendev = &s->xendev;

    xs_node_unwatch(xendev->xsh, xendev->backend_state_watch);
    xendev->backend_state_watch = NULL;
    s->watch = xs_node_watch(xendev->xsh, "", xendev->backend_path,
                             on_change, s, errp);
    return s->watch;
}

void xen_vscsi_watch_close(XenVscsi *s)
{
    if (s->watch) {
        xs_node_unwatch(s->xendev.xsh, s->watch);
        s->watch = NULL;
    }
}
