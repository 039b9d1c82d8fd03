/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What the back-end tells by itself: LUNs that come and go, on a socket of
 * their own.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"

#include "xen-vscsi.h"

static void take_notice(XenVscsi *s, uint32_t request, const uint8_t *payload,
                        uint32_t size)
{
    if (request == VSCSI_LUN_ADD && size == sizeof(VscsiLun)) {
        xen_vscsi_lun_attached(s, (const void *)payload);
    } else if (request == VSCSI_LUN_REMOVE && size == sizeof(VscsiLunName)) {
        const VscsiLunName *gone = (const void *)payload;

        xen_vscsi_lun_detached(s, le32_to_cpu(gone->id));
    } else {
        xen_vscsi_channel_break(s, "it told something that is not known");
        return;
    }
    xen_vscsi_reconfigure(s);
}

/* Is there a whole message? It may be followed by more. */
static bool take_first(XenVscsi *s)
{
    XenVscsiNotices *notices = &s->notices;
    VscsiHeader header;
    uint8_t payload[XEN_VSCSI_NOTICE_MAX];
    size_t size;

    if (notices->used < sizeof(header)) {
        return false;
    }
    memcpy(&header, notices->buffer, sizeof(header));
    size = le32_to_cpu(header.size);
    if (size > XEN_VSCSI_NOTICE_MAX) {
        xen_vscsi_channel_break(s, "it told something that is too long");
        return false;
    }
    if (notices->used < sizeof(header) + size) {
        return false;
    }
    memcpy(payload, notices->buffer + sizeof(header), size);
    notices->used -= sizeof(header) + size;
    memmove(notices->buffer, notices->buffer + sizeof(header) + size,
            notices->used);
    take_notice(s, le32_to_cpu(header.request), payload, size);
    return true;
}

static void on_notice(void *opaque)
{
    XenVscsi *s = opaque;
    XenVscsiNotices *notices = &s->notices;
    ssize_t got = read(notices->fd, notices->buffer + notices->used,
                       sizeof(notices->buffer) - notices->used);

    if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }
    if (got <= 0) {
        /* We were too slow, and have missed some: ask for all. */
        xen_vscsi_notices_close(s);
        xen_vscsi_link_subscribe(s);
        return;
    }
    notices->used += got;
    while (notices->fd >= 0 && take_first(s)) {
        continue;
    }
}

int xen_vscsi_notices_open(XenVscsi *s)
{
    int ends[2];

    xen_vscsi_notices_close(s);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0) {
        error_report("xen-vscsi: cannot make a socket pair: %s",
                     strerror(errno));
        return -1;
    }
    g_unix_set_fd_nonblocking(ends[0], true, NULL);
    s->notices.fd = ends[0];
    s->notices.used = 0;
    qemu_set_fd_handler(ends[0], on_notice, NULL, s);
    return ends[1];
}

void xen_vscsi_notices_close(XenVscsi *s)
{
    if (s->notices.fd >= 0) {
        qemu_set_fd_handler(s->notices.fd, NULL, NULL, NULL);
        close(s->notices.fd);
        s->notices.fd = -1;
    }
}
