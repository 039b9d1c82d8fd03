/*
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The pvSCSI socket protocol, version 1: what docs/pvscsi-socket.md lays down.
 *
 * All fields are little-endian. Messages below 0x5000 are vhost-user's.
 */
#ifndef XEN_VSCSI_PROTOCOL_H
#define XEN_VSCSI_PROTOCOL_H

#define VSCSI_PROTOCOL_VERSION 1
#define VSCSI_PAYLOAD_MAX 4096

enum {
    VSCSI_GET_FEATURES = 1,
    VSCSI_SET_FEATURES = 2,
    VSCSI_SET_MEM_TABLE = 5,
    VSCSI_GET_VRING_BASE = 11,
    VSCSI_SET_VRING_KICK = 12,
    VSCSI_SET_VRING_CALL = 13,
    VSCSI_GET_PROTOCOL_FEATURES = 15,
    VSCSI_SET_PROTOCOL_FEATURES = 16,
    VSCSI_SET_VRING_ENABLE = 18,
    VSCSI_SET_BACKEND_REQ_FD = 21,
    VSCSI_RESET_DEVICE = 34,
    VSCSI_HELLO = 0x5000,
    VSCSI_SET_GRANT_TABLE = 0x5001,
    VSCSI_SET_RING = 0x5002,
    VSCSI_SET_INFLIGHT = 0x5004,
    VSCSI_GET_LUNS = 0x5005,
    VSCSI_LUN_STATE = 0x5006,
    /* What the back-end tells by itself. */
    VSCSI_LUN_ADD = 0x5100,
    VSCSI_LUN_REMOVE = 0x5101,
};

/* Flags of a header: two bits of version, then these. */
#define VSCSI_FLAGS_VERSION 1
#define VSCSI_FLAG_REPLY (1u << 2)
#define VSCSI_FLAG_NEED_REPLY (1u << 3)

/* What an end can do, said in HELLO. */
#define VSCSI_CAN_GRANT_TABLE (1ull << 0)
#define VSCSI_CAN_INFLIGHT (1ull << 4)

#define VSCSI_FEATURE_SG_GRANT (1ull << 0)
#define VSCSI_FEATURE_SEGMENTS_SHIFT 32

#define VSCSI_PROTOCOL_REPLY_ACK (1ull << 3)
#define VSCSI_PROTOCOL_BACKEND_REQ (1ull << 5)
#define VSCSI_PROTOCOL_RESET_DEVICE (1ull << 13)

/* What is answered to NEED_REPLY. */
enum {
    VSCSI_ACK_DONE = 0,
    VSCSI_ACK_REFUSED = 1,
    VSCSI_ACK_GUEST_FAULT = 2,
};

/* What the guest made of a LUN. */
typedef enum VscsiLunReport {
    VSCSI_LUN_CONNECTED = 1,
    VSCSI_LUN_FAILED = 2,
    VSCSI_LUN_REMOVED = 3,
} VscsiLunReport;

typedef struct QEMU_PACKED VscsiHeader {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
} VscsiHeader;

typedef struct QEMU_PACKED VscsiHello {
    uint32_t version;
    uint32_t reserved;
    uint64_t abilities;
} VscsiHello;

typedef struct QEMU_PACKED VscsiRegion {
    uint64_t guest_address;
    uint64_t size;
    uint64_t user_address;
    uint64_t offset;
} VscsiRegion;

typedef struct QEMU_PACKED VscsiMemTable {
    uint32_t count;
    uint32_t reserved;
    VscsiRegion regions[8];
} VscsiMemTable;

typedef struct QEMU_PACKED VscsiGrantTable {
    uint64_t offset;
    uint64_t size;
    uint32_t version;
    uint16_t back_end;
    uint16_t front_end;
} VscsiGrantTable;

typedef struct QEMU_PACKED VscsiRingPage {
    uint32_t place;
    uint32_t reserved;
    uint64_t where;
} VscsiRingPage;

typedef struct QEMU_PACKED VscsiInflight {
    uint64_t offset;
    uint64_t size;
} VscsiInflight;

typedef struct QEMU_PACKED VscsiVringState {
    uint32_t index;
    uint32_t value;
} VscsiVringState;

typedef struct QEMU_PACKED VscsiLunsFrom {
    uint32_t first;
    uint32_t reserved;
} VscsiLunsFrom;

typedef struct QEMU_PACKED VscsiLun {
    uint32_t id;
    uint16_t host;
    uint16_t channel;
    uint16_t target;
    uint16_t lun;
    uint32_t reserved;
    char name[112];
} VscsiLun;

typedef struct QEMU_PACKED VscsiLuns {
    uint32_t count;
    uint32_t remaining;
    VscsiLun luns[];
} VscsiLuns;

typedef struct QEMU_PACKED VscsiLunState {
    uint32_t id;
    uint32_t state;
} VscsiLunState;

/* LUN_REMOVE; and the shape of everything else that is one number. */
typedef struct QEMU_PACKED VscsiLunName {
    uint32_t id;
    uint32_t reserved;
} VscsiLunName;

/* The in-flight area: entries first, then one byte for each grant reference. */
#define VSCSI_PINS_AT 8192

QEMU_BUILD_BUG_ON(sizeof(VscsiHeader) != 12);
QEMU_BUILD_BUG_ON(sizeof(VscsiLun) != 128);
QEMU_BUILD_BUG_ON(sizeof(VscsiGrantTable) != 24);

#endif
