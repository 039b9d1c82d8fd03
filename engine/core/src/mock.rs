//! A driver's side of a ring over memory shared by descriptor: virtio's here, Xen's in `vscsiif`.
//!
//! For tests and for the bench front-end (feature `test-utils`). It can behave like a good
//! driver (`add`, `publish`, `pop`) or like a bad one (the `set_*` functions, which write
//! whatever they are given). Layouts: virtio 1.2, 2.7.
//!
//! Out-of-range arguments are mistakes of the test that makes them, and panic.

mod memory;
mod queue;
pub mod vscsiif;

pub use memory::SharedMemory;
pub use queue::{BadHead, DriverQueue, Used};

/// `VIRTQ_DESC_F_NEXT` (virtio 1.2, 2.7.5).
pub const DESC_NEXT: u16 = 1;
/// `VIRTQ_DESC_F_WRITE`: the device writes this buffer.
pub const DESC_WRITE: u16 = 2;
/// `VIRTQ_DESC_F_INDIRECT`: the buffer is a table of descriptors.
pub const DESC_INDIRECT: u16 = 4;
/// `VIRTQ_AVAIL_F_NO_INTERRUPT` (virtio 1.2, 2.7.6).
pub const AVAIL_NO_INTERRUPT: u16 = 1;
/// `VIRTQ_USED_F_NO_NOTIFY` (virtio 1.2, 2.7.8).
pub const USED_NO_NOTIFY: u16 = 1;

const DESCRIPTOR_BYTES: u64 = 16;
const USED_ENTRY_BYTES: u64 = 8;

/// Where the three parts of a ring are, in guest addresses (virtio 1.2, 2.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    /// Number of descriptors, a power of two.
    pub size: u16,
    /// Descriptor table.
    pub descriptors: u64,
    /// Available ring (the driver's area).
    pub available: u64,
    /// Used ring (the device's area).
    pub used: u64,
}

impl Layout {
    /// Lay the three parts out one after the other from `base`, which is 16-byte aligned.
    pub fn packed(base: u64, size: u16) -> Self {
        let entries = u64::from(size);
        let available = base + DESCRIPTOR_BYTES * entries;
        let used = (available + 6 + 2 * entries).next_multiple_of(4);
        Self { size, descriptors: base, available, used }
    }

    /// The first guest address behind the ring.
    pub fn end(&self) -> u64 {
        self.used + 6 + USED_ENTRY_BYTES * u64::from(self.size)
    }
}

/// One entry of a descriptor table, just as it is in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Descriptor {
    /// Guest address of the buffer.
    pub address: u64,
    /// Its length in bytes.
    pub len: u32,
    /// `DESC_*`.
    pub flags: u16,
    /// The next descriptor, where `DESC_NEXT` is set.
    pub next: u16,
}

impl Descriptor {
    /// As it is in memory (virtio 1.2, 2.7.5).
    pub fn to_bytes(self) -> [u8; 16] {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&self.address.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.len.to_le_bytes());
        bytes[12..14].copy_from_slice(&self.flags.to_le_bytes());
        bytes[14..].copy_from_slice(&self.next.to_le_bytes());
        bytes
    }
}

/// One buffer of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Guest address.
    pub address: u64,
    /// Length in bytes.
    pub len: u32,
    /// The device writes it.
    pub writable: bool,
}

impl Segment {
    /// A buffer that the device reads.
    pub fn readable(address: u64, len: u32) -> Self {
        Self { address, len, writable: false }
    }

    /// A buffer that the device writes.
    pub fn writable(address: u64, len: u32) -> Self {
        Self { address, len, writable: true }
    }

    fn descriptor(self, next: Option<u16>) -> Descriptor {
        let write = if self.writable { DESC_WRITE } else { 0 };
        let link = if next.is_some() { DESC_NEXT } else { 0 };
        Descriptor {
            address: self.address,
            len: self.len,
            flags: write | link,
            next: next.unwrap_or(0),
        }
    }
}
