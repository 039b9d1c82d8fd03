/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Messages over the chardev: framed, with descriptors, replies in order.
 *
 * Nothing here waits. QEMU's main loop has the guest to serve, and a back-end
 * may take as long as its slowest command.
 */
#include "qemu/osdep.h"
#include "qemu/error-report.h"

#include "xen-vscsi.h"

void xen_vscsi_channel_break(XenVscsi *s, const char *why)
{
    error_report("xen-vscsi: back-end of vhost %u: %s", s->vhost, why);
    qemu_chr_fe_disconnect(&s->chr);
}

void xen_vscsi_send(XenVscsi *s, XenVscsiMessage message)
{
    uint8_t frame[sizeof(VscsiHeader) + sizeof(VscsiMemTable)];
    VscsiHeader header = {
        .request = cpu_to_le32(message.request),
        .flags = cpu_to_le32(VSCSI_FLAGS_VERSION |
                             (message.acknowledge ? VSCSI_FLAG_NEED_REPLY : 0)),
        .size = cpu_to_le32(message.size),
    };
    int size = sizeof(header) + message.size;

    assert(size <= (int)sizeof(frame));
    memcpy(frame, &header, sizeof(header));
    if (message.size) {
        memcpy(frame + sizeof(header), message.payload, message.size);
    }
    if (message.reply) {
        XenVscsiExpected *expected = g_new(XenVscsiExpected, 1);

        expected->request = message.request;
        expected->reply = message.reply;
        QSIMPLEQ_INSERT_TAIL(&s->channel.expected, expected, next);
    }
    /* What cannot be sent any more is lost with its connection. */
    if (message.descriptor_count &&
        qemu_chr_fe_set_msgfds(&s->chr, message.descriptors,
                               message.descriptor_count) < 0) {
        return;
    }
    qemu_chr_fe_write_all(&s->chr, frame, size);
}

static void forget_expected(XenVscsiChannel *channel)
{
    XenVscsiExpected *each, *next;

    QSIMPLEQ_FOREACH_SAFE(each, &channel->expected, next, next) {
        g_free(each);
    }
    QSIMPLEQ_INIT(&channel->expected);
    channel->used = 0;
}

/* How many bytes are missing until the message at hand can be looked at. */
static size_t bytes_missing(XenVscsiChannel *channel)
{
    const VscsiHeader *header = (const void *)channel->buffer;

    if (channel->used < sizeof(*header)) {
        return sizeof(*header) - channel->used;
    }
    return sizeof(*header) + le32_to_cpu(header->size) - channel->used;
}

static void take_reply(XenVscsi *s)
{
    XenVscsiChannel *channel = &s->channel;
    const VscsiHeader *header = (const void *)channel->buffer;
    XenVscsiExpected *expected = QSIMPLEQ_FIRST(&channel->expected);
    XenVscsiReply *reply;

    if (!expected || expected->request != le32_to_cpu(header->request) ||
        !(le32_to_cpu(header->flags) & VSCSI_FLAG_REPLY)) {
        xen_vscsi_channel_break(s, "it sent what is no reply to anything");
        return;
    }
    reply = expected->reply;
    QSIMPLEQ_REMOVE_HEAD(&channel->expected, next);
    g_free(expected);
    /* The next message may be read into the buffer as soon as this is done. */
    channel->used = 0;
    reply(s, channel->buffer + sizeof(*header), le32_to_cpu(header->size));
}

static int channel_can_read(void *opaque)
{
    XenVscsi *s = opaque;

    return bytes_missing(&s->channel);
}

static void channel_read(void *opaque, const uint8_t *data, int size)
{
    XenVscsi *s = opaque;
    XenVscsiChannel *channel = &s->channel;

    /* No more than was asked for, which fits. */
    memcpy(channel->buffer + channel->used, data, size);
    channel->used += size;
    if (channel->used == sizeof(VscsiHeader)) {
        const VscsiHeader *header = (const void *)channel->buffer;

        if (le32_to_cpu(header->size) > VSCSI_PAYLOAD_MAX) {
            xen_vscsi_channel_break(s, "it sent a message that is too long");
            return;
        }
    }
    if (channel->used >= sizeof(VscsiHeader) && !bytes_missing(channel)) {
        take_reply(s);
    }
}

static void channel_event(void *opaque, QEMUChrEvent event)
{
    XenVscsi *s = opaque;

    switch (event) {
    case CHR_EVENT_OPENED:
        forget_expected(&s->channel);
        xen_vscsi_link_opened(s);
        break;
    case CHR_EVENT_CLOSED:
        forget_expected(&s->channel);
        xen_vscsi_link_lost(s);
        break;
    default:
        break;
    }
}

void xen_vscsi_channel_open(XenVscsi *s)
{
    qemu_chr_fe_set_handlers(&s->chr, channel_can_read, channel_read,
                             channel_event, NULL, s, NULL, true);
}

void xen_vscsi_channel_close(XenVscsi *s)
{
    qemu_chr_fe_set_handlers(&s->chr, NULL, NULL, NULL, NULL, NULL, NULL,
                             false);
    /* The back-end serves one front-end after the other. */
    qemu_chr_fe_disconnect(&s->chr);
    qemu_chr_fe_deinit(&s->chr, false);
    forget_expected(&s->channel);
}
