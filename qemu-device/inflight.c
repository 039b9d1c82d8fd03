/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The in-flight area: what a back-end has taken and pinned, in memory that
 * outlives it. Only the back-end writes it, and only the pin map is read here.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/memfd.h"
#include "hw/xen/interface/grant_table.h"

#include "xen-vscsi.h"

bool xen_vscsi_inflight_open(XenVscsi *s, Error **errp)
{
    XenVscsiInflight *area = &s->inflight;
    XenVscsiRegion grants;

    if (!xen_vscsi_grant_table(&grants, errp)) {
        return false;
    }
    area->grants = grants.host;
    area->grant_count = grants.size / sizeof(grant_entry_v1_t);
    area->size = ROUND_UP(VSCSI_PINS_AT + area->grant_count,
                          qemu_real_host_page_size());
    area->map = qemu_memfd_alloc("xen-vscsi-inflight", area->size, 0,
                                 &area->fd, errp);
    return area->map;
}

void xen_vscsi_inflight_close(XenVscsi *s)
{
    XenVscsiInflight *area = &s->inflight;

    if (area->map) {
        qemu_memfd_free(area->map, area->size, area->fd);
        area->map = NULL;
    }
}

/* A ring that begins has nothing in flight. */
void xen_vscsi_inflight_clear(XenVscsi *s)
{
    memset(s->inflight.map, 0, s->inflight.size);
}

/*
 * A back-end that died holds grants in use for ever, and the guest could not
 * take them back. The map may be wrong by one reference that had been noted and
 * not yet pinned; clearing what is clear does no harm.
 */
void xen_vscsi_inflight_unpin(XenVscsi *s)
{
    XenVscsiInflight *area = &s->inflight;
    uint8_t *pins = area->map + VSCSI_PINS_AT;

    for (uint32_t ref = 0; ref < area->grant_count; ref++) {
        if (pins[ref]) {
            qatomic_and(&area->grants[ref].flags,
                        (uint16_t)~(GTF_reading | GTF_writing));
            pins[ref] = 0;
        }
    }
}
