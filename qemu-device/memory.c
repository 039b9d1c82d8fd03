/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest's memory as a table that another process can map, and the grant
 * table in it.
 *
 * Frames of grants are guest physical, so every piece of RAM that a guest can
 * grant has to be in the table, with a descriptor.
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "exec/address-spaces.h"
#include "exec/cpu-common.h"
#include "exec/memory.h"
#include "exec/ramblock.h"

#include "xen-vscsi.h"

/* What xen_gnttab.c calls its frames. */
#define GRANT_TABLE_BLOCK "xen:grant_table"
/* Its pages lie over others, and are nothing that a guest could grant. */
#define XEN_BLOCK_PREFIX "xen:"

static bool is_grantable(MemoryRegionSection *section)
{
    RAMBlock *block = section->mr->ram_block;

    return memory_region_is_ram(section->mr) &&
           !memory_region_is_ram_device(section->mr) &&
           !section->readonly && !section->mr->rom_device && block &&
           !g_str_has_prefix(qemu_ram_get_idstr(block), XEN_BLOCK_PREFIX);
}

static bool table_add(XenVscsiMemory *table, MemoryRegionSection *section,
                      Error **errp)
{
    RAMBlock *block = section->mr->ram_block;
    XenVscsiRegion *region = &table->regions[table->count];

    if (qemu_ram_get_fd(block) < 0 || !qemu_ram_is_shared(block)) {
        /* Firmware's pages, perhaps; see below for the RAM that matters. */
        return true;
    }
    if (table->count == XEN_VSCSI_REGIONS) {
        error_setg(errp, "guest memory is in more than %d pieces",
                   XEN_VSCSI_REGIONS);
        return false;
    }
    region->address = section->offset_within_address_space;
    region->size = int128_get64(section->size);
    region->offset = block->fd_offset + section->offset_within_region;
    region->fd = qemu_ram_get_fd(block);
    table->count++;
    return true;
}

bool xen_vscsi_memory_collect(XenVscsiMemory *table, Error **errp)
{
    ERRP_GUARD();
    hwaddr at = 0;

    memset(table, 0, sizeof(*table));
    for (;;) {
        MemoryRegionSection section =
            memory_region_find(get_system_memory(), at, HWADDR_MAX - at);
        bool ok = true;

        if (!section.mr) {
            break;
        }
        if (is_grantable(&section)) {
            ok = table_add(table, &section, errp);
        }
        at = section.offset_within_address_space + int128_get64(section.size);
        memory_region_unref(section.mr);
        if (!ok) {
            return false;
        }
    }
    if (!table->count || table->regions[0].address) {
        error_setg(errp, "the guest's memory cannot be shared");
        error_append_hint(errp, "Give it a memory-backend-memfd with share=on"
                          " and name that in -machine memory-backend=.\n");
        return false;
    }
    return true;
}

static int find_grant_table(RAMBlock *block, void *opaque)
{
    XenVscsiRegion *found = opaque;

    if (strcmp(qemu_ram_get_idstr(block), GRANT_TABLE_BLOCK)) {
        return 0;
    }
    found->size = qemu_ram_get_used_length(block);
    found->offset = block->fd_offset;
    found->host = qemu_ram_get_host_addr(block);
    found->fd = qemu_ram_is_shared(block) ? qemu_ram_get_fd(block) : -1;
    return 1;
}

bool xen_vscsi_grant_table(XenVscsiRegion *region, Error **errp)
{
    ERRP_GUARD();

    memset(region, 0, sizeof(*region));
    region->fd = -1;
    qemu_ram_foreach_block(find_grant_table, region);
    if (region->fd < 0) {
        error_setg(errp, "the grant table cannot be shared");
        error_append_hint(errp, "Start QEMU with -machine aux-ram-share=on"
                          " and -accel kvm,xen-version=...\n");
        return false;
    }
    return true;
}

bool xen_vscsi_memory_check(Error **errp)
{
    XenVscsiMemory table;
    XenVscsiRegion grants;

    return xen_vscsi_memory_collect(&table, errp) &&
           xen_vscsi_grant_table(&grants, errp);
}
