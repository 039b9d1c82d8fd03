/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XEN_VSCSI_MODULE_H
#define XEN_VSCSI_MODULE_H

/* Make the device's types known to QEMU; what module.c does once it knows the program. */
void xen_vscsi_register(void);

#endif
