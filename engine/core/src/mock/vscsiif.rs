//! A Xen guest's side: a pvSCSI ring and a version 1 grant table (Xen's public headers).

use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;

use super::SharedMemory;

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Slots of a ring.
pub const SLOTS: u32 = 16;
/// Bytes of a slot.
pub const SLOT: usize = 252;
/// `GTF_permit_access`.
pub const PERMIT: u16 = 1;
/// `GTF_readonly`.
pub const READONLY: u16 = 4;
/// `GTF_reading`.
pub const READING: u16 = 8;
/// `GTF_writing`.
pub const WRITING: u16 = 16;
/// Direction to the device.
pub const TO_DEVICE: u8 = 1;
/// Direction from the device.
pub const FROM_DEVICE: u8 = 2;
/// No data.
pub const NO_DATA: u8 = 3;

const FIRST: u64 = 64;

/// A segment: grant reference, offset, length.
pub type Segment = (u32, u16, u16);

/// A request's slot with a CDB; `pages_of_segments` sets SG_GRANT.
pub fn command(
    rqid: u16,
    cdb: &[u8],
    direction: u8,
    segments: &[Segment],
    pages_of_segments: bool,
) -> [u8; SLOT] {
    let mut slot = [0; SLOT];
    slot[0..2].copy_from_slice(&rqid.to_le_bytes());
    slot[2] = 1;
    slot[3] = cdb.len() as u8;
    slot[4..4 + cdb.len()].copy_from_slice(cdb);
    slot[30] = direction;
    slot[31] = segments.len() as u8 | if pages_of_segments { 0x80 } else { 0 };
    for (index, segment) in segments.iter().take(26).enumerate() {
        slot[32 + 8 * index..40 + 8 * index].copy_from_slice(&segment_bytes(*segment));
    }
    slot
}

/// A segment as it is in memory.
pub fn segment_bytes((reference, offset, length): Segment) -> [u8; 8] {
    let mut bytes = [0; 8];
    bytes[0..4].copy_from_slice(&reference.to_le_bytes());
    bytes[4..6].copy_from_slice(&offset.to_le_bytes());
    bytes[6..8].copy_from_slice(&length.to_le_bytes());
    bytes
}

/// A grant table in memory of its own, at address 0.
#[derive(Debug)]
pub struct GuestGrants(pub SharedMemory);

impl GuestGrants {
    /// A table of that many bytes, which grants nothing.
    pub fn new(bytes: usize) -> std::io::Result<Self> {
        SharedMemory::new(bytes, 0, false).map(GuestGrants)
    }

    /// Write an entry: the frame first, as a guest does.
    pub fn set(&self, reference: u32, flags: u16, domain: u16, frame: u32) {
        let at = u64::from(reference) * 8;
        self.0.word32(at + 4).store(frame.to_le(), Ordering::Relaxed);
        let word = u32::from(domain) << 16 | u32::from(flags);
        self.0.word32(at).store(word.to_le(), Ordering::Release);
    }

    /// The flags of an entry.
    pub fn flags(&self, reference: u32) -> u16 {
        let word = self.0.word32(u64::from(reference) * 8).load(Ordering::Acquire);
        u32::from_le(word) as u16
    }

    /// How many entries say that they are in use.
    pub fn in_use(&self) -> usize {
        let entries = self.0.size() as u32 / 8;
        (0..entries).filter(|entry| self.flags(*entry) & (READING | WRITING) != 0).count()
    }
}

/// A pvSCSI ring, as the guest sees it.
#[derive(Debug)]
pub struct FrontRing {
    memory: Arc<SharedMemory>,
    page: u64,
    produced: u32,
    consumed: u32,
    published: u32,
}

impl FrontRing {
    /// An empty ring in a page of the guest's (ring.h, SHARED_RING_INIT).
    pub fn new(memory: Arc<SharedMemory>, page: u64) -> Self {
        memory.write(page, &[0; PAGE as usize]);
        let ring = FrontRing { memory, page, produced: 0, consumed: 0, published: 0 };
        ring.set_word(1, 1);
        ring.set_word(3, 1);
        ring
    }

    /// Begin at another index than 0, to meet the wrap of 32 bits early.
    pub fn start_at(&mut self, index: u32) {
        (self.produced, self.consumed, self.published) = (index, index, index);
        self.set_word(0, index);
        self.set_word(1, index.wrapping_add(1));
        self.set_word(2, index);
        self.set_word(3, index.wrapping_add(1));
    }

    /// A word of the head: req_prod, req_event, rsp_prod, rsp_event.
    pub fn word(&self, index: u64) -> u32 {
        u32::from_le(self.memory.word32(self.page + 4 * index).load(Ordering::Acquire))
    }

    /// Write a word of the head, whatever it does.
    pub fn set_word(&self, index: u64, value: u32) {
        self.memory.word32(self.page + 4 * index).store(value.to_le(), Ordering::Release);
    }

    /// Requests without a response.
    pub fn in_flight(&self) -> u32 {
        self.produced.wrapping_sub(self.consumed)
    }

    /// Put a request into the next slot; false where all are taken.
    pub fn put(&mut self, slot: &[u8; SLOT]) -> bool {
        if self.in_flight() >= SLOTS {
            return false;
        }
        self.memory.write(self.slot(self.produced), slot);
        self.produced = self.produced.wrapping_add(1);
        true
    }

    /// Show what was put; true where the back-end wants a kick.
    pub fn publish(&mut self) -> bool {
        let before = self.published;
        self.published = self.produced;
        self.set_word(0, self.produced);
        fence(Ordering::SeqCst);
        let event = self.word(1);
        self.produced.wrapping_sub(event) < self.produced.wrapping_sub(before)
    }

    /// The next response.
    pub fn pop(&mut self) -> Option<[u8; SLOT]> {
        if self.word(2) == self.consumed {
            return None;
        }
        let mut slot = [0; SLOT];
        self.memory.read(self.slot(self.consumed), &mut slot);
        self.consumed = self.consumed.wrapping_add(1);
        Some(slot)
    }

    /// Ask for a call at the next response; false where one is there already.
    pub fn enable_call(&mut self) -> bool {
        self.set_word(3, self.consumed.wrapping_add(1));
        fence(Ordering::SeqCst);
        self.word(2) == self.consumed
    }

    fn slot(&self, index: u32) -> u64 {
        self.page + FIRST + u64::from(index % SLOTS) * SLOT as u64
    }
}

/// The result of a response: status in the low byte, host byte in bits 16 to 23.
pub fn result(slot: &[u8; SLOT]) -> u32 {
    u32::from_le_bytes([slot[100], slot[101], slot[102], slot[103]])
}
