/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * xen-vscsi: a pvSCSI back-end device whose requests another process serves.
 *
 * This side keeps xenbus states and nodes, and hands over what a ring is made
 * of: guest memory, grant table, ring reference, an event channel each way. It
 * knows no SCSI and sees no request.
 */
#ifndef XEN_VSCSI_H
#define XEN_VSCSI_H

#include "qemu/event_notifier.h"
#include "qemu/queue.h"
#include "chardev/char-fe.h"
#include "exec/hwaddr.h"
#include "hw/xen/xen-bus.h"
#include "hw/xen/interface/grant_table.h"

#include "protocol.h"

#define TYPE_XEN_VSCSI "xen-vscsi"
OBJECT_DECLARE_SIMPLE_TYPE(XenVscsi, XEN_VSCSI)

/* Segments of a request, xenstore's feature-sg-grant; Linux takes no more. */
#define XEN_VSCSI_SG_GRANT 128

/* As many pieces of guest memory as a message can carry descriptors for. */
#define XEN_VSCSI_REGIONS 8

typedef struct XenVscsiRegion {
    hwaddr address;
    uint64_t size;
    uint64_t offset;
    int fd;
    void *host;
} XenVscsiRegion;

typedef struct XenVscsiMemory {
    unsigned int count;
    XenVscsiRegion regions[XEN_VSCSI_REGIONS];
} XenVscsiMemory;

typedef struct XenVscsiLun {
    /* Of dev-N in xenstore, and what the back-end calls it. */
    unsigned int number;
    uint32_t id;
    /* It was in the list that is being read. */
    bool seen;
    uint16_t channel, target, lun;
    char *name;
    enum xenbus_state state;
    /* It was offered a second time, because the guest had said nothing. */
    bool insisted;
    QTAILQ_ENTRY(XenVscsiLun) next;
} XenVscsiLun;

typedef struct XenVscsiRing {
    bool bound;
    /* The guest's driver has got as far as Connected with it. */
    bool used;
    unsigned int ref;
    unsigned int port;
    xenevtchn_handle *events;
    int local_port;
    EventNotifier call;
} XenVscsiRing;

typedef struct XenVscsiInflight {
    int fd;
    uint8_t *map;
    size_t size;
    grant_entry_v1_t *grants;
    uint32_t grant_count;
} XenVscsiInflight;

typedef void XenVscsiReply(XenVscsi *s, const uint8_t *payload, uint32_t size);

typedef struct XenVscsiMessage {
    uint32_t request;
    const void *payload;
    uint32_t size;
    int *descriptors;
    int descriptor_count;
    /* Ask for an acknowledgement where there is no other reply. */
    bool acknowledge;
    /* What takes the reply, if there is one. */
    XenVscsiReply *reply;
} XenVscsiMessage;

typedef struct XenVscsiExpected {
    uint32_t request;
    XenVscsiReply *reply;
    QSIMPLEQ_ENTRY(XenVscsiExpected) next;
} XenVscsiExpected;

typedef struct XenVscsiChannel {
    uint8_t buffer[sizeof(VscsiHeader) + VSCSI_PAYLOAD_MAX];
    size_t used;
    QSIMPLEQ_HEAD(, XenVscsiExpected) expected;
} XenVscsiChannel;

#define XEN_VSCSI_NOTICE_MAX sizeof(VscsiLun)

typedef struct XenVscsiNotices {
    int fd;
    uint8_t buffer[sizeof(VscsiHeader) + XEN_VSCSI_NOTICE_MAX];
    size_t used;
} XenVscsiNotices;

typedef enum XenVscsiLink {
    XEN_VSCSI_LINK_DOWN,
    /* Connected, but not all LUNs are known. */
    XEN_VSCSI_LINK_GREETING,
    /* A ring may be started. */
    XEN_VSCSI_LINK_READY,
    XEN_VSCSI_LINK_STARTING,
    XEN_VSCSI_LINK_RUNNING,
    XEN_VSCSI_LINK_STOPPING,
} XenVscsiLink;

struct XenVscsi {
    XenDevice xendev;
    uint32_t vhost;
    CharBackend chr;

    XenVscsiChannel channel;
    XenVscsiNotices notices;
    XenVscsiLink link;
    uint64_t features;
    QTAILQ_HEAD(, XenVscsiLun) luns;
    unsigned int next_number;
    XenVscsiRing ring;
    XenVscsiInflight inflight;
#ifdef XEN_VSCSI_MODULE
    struct qemu_xs_watch *watch;
    bool end_told;
#endif
    bool closing_seen;
};

/* xen-vscsi.c */
/* Tell the guest of LUNs that came or are to go, as soon as it can be told. */
void xen_vscsi_reconfigure(XenVscsi *s);
void xen_vscsi_link_up(XenVscsi *s);
void xen_vscsi_ring_started(XenVscsi *s);
/* The ring is nobody's any more. */
void xen_vscsi_guest_gone(XenVscsi *s);

/* channel.c */
void xen_vscsi_channel_open(XenVscsi *s);
void xen_vscsi_channel_close(XenVscsi *s);
/* It does not keep to the protocol: end the connection. */
void xen_vscsi_channel_break(XenVscsi *s, const char *why);
void xen_vscsi_send(XenVscsi *s, XenVscsiMessage message);

/* notices.c */
/* Returns the end that is the back-end's, to be closed; -1 is no socket. */
int xen_vscsi_notices_open(XenVscsi *s);
void xen_vscsi_notices_close(XenVscsi *s);

/* link.c */
void xen_vscsi_link_opened(XenVscsi *s);
void xen_vscsi_link_lost(XenVscsi *s);
/* Ask for all LUNs, and to be told of changes. */
void xen_vscsi_link_subscribe(XenVscsi *s);
void xen_vscsi_link_tell_lun(XenVscsi *s, XenVscsiLun *lun,
                             VscsiLunReport report);
bool xen_vscsi_link_start(XenVscsi *s, Error **errp);
/* Ends in xen_vscsi_guest_gone(), perhaps later. */
void xen_vscsi_link_stop(XenVscsi *s);
/* The ring is replaced: what was in flight in the old one is of no interest. */
void xen_vscsi_link_abandon(XenVscsi *s);

#ifdef XEN_VSCSI_MODULE
/* watch.c */
bool xen_vscsi_watch_open(XenVscsi *s, Error **errp);
void xen_vscsi_watch_close(XenVscsi *s);
#endif

/* inflight.c */
bool xen_vscsi_inflight_open(XenVscsi *s, Error **errp);
void xen_vscsi_inflight_close(XenVscsi *s);
void xen_vscsi_inflight_clear(XenVscsi *s);
void xen_vscsi_inflight_unpin(XenVscsi *s);

/* luns.c */
void xen_vscsi_lun_attached(XenVscsi *s, const VscsiLun *told);
void xen_vscsi_lun_detached(XenVscsi *s, uint32_t id);
/* A list begins: none has been seen in it. */
void xen_vscsi_luns_unsee(XenVscsi *s);
/* It has ended: what was not seen in it is gone. */
void xen_vscsi_luns_sweep(XenVscsi *s);
/* Is there something that the guest has to be told in a reconfiguration? */
bool xen_vscsi_luns_pending(XenVscsi *s);
/* New ones are shown to the guest. */
void xen_vscsi_luns_offer(XenVscsi *s);
/* The guest has let go of those that are to go. */
void xen_vscsi_luns_release(XenVscsi *s);
/* The guest has looked at what was offered. */
void xen_vscsi_luns_settle(XenVscsi *s);
/* The guest's driver is gone: another one will begin anew. */
void xen_vscsi_luns_reset(XenVscsi *s);
void xen_vscsi_luns_free(XenVscsi *s);

/* memory.c */
bool xen_vscsi_memory_collect(XenVscsiMemory *table, Error **errp);
/* Whether guest memory and grants can be shared at all. */
bool xen_vscsi_memory_check(Error **errp);
bool xen_vscsi_grant_table(XenVscsiRegion *region, Error **errp);

/* ring.c */
bool xen_vscsi_ring_bind(XenVscsi *s, Error **errp);
void xen_vscsi_ring_unbind(XenVscsi *s);
/* Has the guest written another ring since it was bound, as after a resume? */
bool xen_vscsi_ring_moved(XenVscsi *s);
int xen_vscsi_ring_kick_fd(XenVscsi *s);
void xen_vscsi_ring_kick(XenVscsi *s);

#endif
