#include "qemu/osdep.h"
#include "hw/xen/xen-bus.h"
#include "hw/xen/xen-backend.h"
#include "module.h"
void xen_vscsi_register(void) { }
