//! A split virtqueue, as its driver sees it.

use std::sync::atomic::{fence, Ordering};
use std::sync::Arc;

use super::{
    Descriptor, Layout, Segment, SharedMemory, AVAIL_NO_INTERRUPT, DESCRIPTOR_BYTES, DESC_INDIRECT,
    USED_ENTRY_BYTES, USED_NO_NOTIFY,
};

/// What the device gave back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Used {
    /// First descriptor of the chain.
    pub head: u16,
    /// Bytes the device says it wrote.
    pub len: u32,
}

/// A split virtqueue, as its driver sees it.
#[derive(Debug)]
pub struct DriverQueue {
    memory: Arc<SharedMemory>,
    layout: Layout,
    event_idx: bool,
    free: Vec<u16>,
    /// The driver's own copy of each link: the device may write over the table.
    links: Vec<u16>,
    /// By head: how many descriptors of the table its chain holds; 0: not in use.
    lengths: Vec<u16>,
    added: u16,
    published: u16,
    taken: u16,
}

impl DriverQueue {
    /// An empty ring: clears its three parts.
    pub fn new(memory: Arc<SharedMemory>, layout: Layout, event_idx: bool) -> Self {
        assert!(layout.size.is_power_of_two(), "a ring's size is a power of two");
        let entries = usize::from(layout.size);
        memory.write(layout.descriptors, &vec![0; entries * 16]);
        memory.write(layout.available, &vec![0; 6 + entries * 2]);
        memory.write(layout.used, &vec![0; 6 + entries * 8]);
        Self {
            memory,
            layout,
            event_idx,
            free: (0..layout.size).rev().collect(),
            links: vec![0; entries],
            lengths: vec![0; entries],
            added: 0,
            published: 0,
            taken: 0,
        }
    }

    /// Where the ring is.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The memory the ring is in.
    pub fn memory(&self) -> &Arc<SharedMemory> {
        &self.memory
    }

    /// How many descriptors are free.
    pub fn free(&self) -> usize {
        self.free.len()
    }

    /// How many chains were added and have not come back.
    pub fn in_flight(&self) -> u16 {
        self.added.wrapping_sub(self.taken)
    }

    /// Change the order in which free descriptors are used (the last goes first).
    pub fn reorder_free(&mut self, order: impl FnOnce(&mut [u16])) {
        order(&mut self.free);
    }

    /// Start empty rings at another index than 0, to meet the wrap of 16 bits early.
    pub fn start_at(&mut self, index: u16) {
        assert!(self.added == self.taken, "the ring is in use");
        (self.added, self.published, self.taken) = (index, index, index);
        self.set_available_index(index);
        self.memory.word(self.layout.used + 2).store(index.to_le(), Ordering::Release);
    }

    /// Add a chain of descriptors of the ring's own table; None where too few are free.
    pub fn add(&mut self, segments: &[Segment]) -> Option<u16> {
        self.add_with_tail(segments, None)
    }

    /// Add a chain that is one descriptor here and a table at `table`; None where none is free.
    pub fn add_indirect(&mut self, segments: &[Segment], table: u64) -> Option<u16> {
        self.add_with_tail(&[], Some((segments, table)))
    }

    /// Add direct descriptors, then one that points to a table of more (virtio 1.2, 2.7.5.3.1).
    pub fn add_with_tail(
        &mut self,
        segments: &[Segment],
        tail: Option<(&[Segment], u64)>,
    ) -> Option<u16> {
        let count = segments.len() + usize::from(tail.is_some());
        if count == 0 || self.free.len() < count {
            return None;
        }
        let mut next = None;
        if let Some((inner, table)) = tail {
            self.write_table(inner, table);
            let len = (inner.len() * 16) as u32;
            let entry = Descriptor { address: table, len, flags: DESC_INDIRECT, next: 0 };
            next = self.link(entry, None);
        }
        for segment in segments.iter().rev() {
            next = self.link(segment.descriptor(next), next);
        }
        let head = next?;
        self.lengths[usize::from(head)] = count as u16;
        self.make_available(head);
        Some(head)
    }

    fn link(&mut self, entry: Descriptor, next: Option<u16>) -> Option<u16> {
        let index = self.free.pop()?;
        self.links[usize::from(index)] = next.unwrap_or(0);
        self.set_descriptor(index, entry);
        Some(index)
    }

    fn write_table(&self, segments: &[Segment], table: u64) {
        for (position, segment) in segments.iter().enumerate() {
            let next = (position + 1 < segments.len()).then_some(position as u16 + 1);
            self.set_indirect(table, position as u16, segment.descriptor(next));
        }
    }

    /// Put a head into the next slot of the available ring, to be shown by `publish`.
    pub fn make_available(&mut self, head: u16) {
        self.set_available_slot(self.added, head);
        self.added = self.added.wrapping_add(1);
    }

    /// Show the device what was added, without asking whether it wants a kick: that is left
    /// to `publish`, which comes once for all that was shown.
    pub fn show(&self) {
        self.set_available_index(self.added);
    }

    /// Show the device what was added; true where it wants a kick for it.
    pub fn publish(&mut self) -> bool {
        let before = self.published;
        self.published = self.added;
        self.set_available_index(self.added);
        // Orders our index against the device's wish: one side sees the other's store
        // (virtio 1.2, 2.7.13.4.1).
        fence(Ordering::SeqCst);
        if self.event_idx {
            return crossed(self.available_event(), self.added, before);
        }
        self.used_flags() & USED_NO_NOTIFY == 0 && self.added != before
    }

    /// True where a chain has come back and was not yet taken by `pop`.
    pub fn has_used(&self) -> bool {
        self.used_index() != self.taken
    }

    /// Take the next chain that came back. A head that was not in use is the device's mistake.
    pub fn pop(&mut self) -> Option<Result<Used, BadHead>> {
        if !self.has_used() {
            return None;
        }
        let slot = u64::from(self.taken % self.layout.size);
        let mut entry = [0; 8];
        self.memory.read(self.layout.used + 4 + USED_ENTRY_BYTES * slot, &mut entry);
        self.taken = self.taken.wrapping_add(1);
        let [a, b, c, d, e, f, g, h] = entry;
        let id = u32::from_le_bytes([a, b, c, d]);
        Some(self.release(id, u32::from_le_bytes([e, f, g, h])))
    }

    fn release(&mut self, id: u32, len: u32) -> Result<Used, BadHead> {
        let head = u16::try_from(id).map_err(|_| BadHead(id))?;
        let length = self.lengths.get_mut(usize::from(head)).ok_or(BadHead(id))?;
        let count = std::mem::take(length);
        if count == 0 {
            return Err(BadHead(id));
        }
        let mut index = head;
        for _ in 0..count {
            self.free.push(index);
            index = self.links[usize::from(index)];
        }
        Ok(Used { head, len })
    }

    /// Ask for a call at the next chain that comes back; false where one is there already.
    pub fn enable_call(&mut self) -> bool {
        if self.event_idx {
            self.set_used_event(self.taken);
        } else {
            self.set_available_flags(0);
        }
        // Orders our wish against the device's index, as in `publish`.
        fence(Ordering::SeqCst);
        !self.has_used()
    }

    /// Ask for no calls, as far as the ring can say so: with EVENT_IDX the old wish is stale.
    pub fn disable_call(&mut self) {
        if !self.event_idx {
            self.set_available_flags(AVAIL_NO_INTERRUPT);
        }
    }

    // -- the device's words

    /// The device's index of the used ring.
    pub fn used_index(&self) -> u16 {
        u16::from_le(self.memory.word(self.layout.used + 2).load(Ordering::Acquire))
    }

    /// The device's `USED_*` flags.
    pub fn used_flags(&self) -> u16 {
        u16::from_le(self.memory.word(self.layout.used).load(Ordering::Relaxed))
    }

    /// `avail_event`: the index at which the device wants a kick (virtio 1.2, 2.7.10).
    pub fn available_event(&self) -> u16 {
        let address = self.layout.used + 4 + USED_ENTRY_BYTES * u64::from(self.layout.size);
        u16::from_le(self.memory.word(address).load(Ordering::Relaxed))
    }

    // -- raw writes: nothing is checked, so that a test can be a bad driver

    /// Write an entry of the ring's own table.
    pub fn set_descriptor(&self, index: u16, entry: Descriptor) {
        self.set_indirect(self.layout.descriptors, index, entry);
    }

    /// Write an entry of any table.
    pub fn set_indirect(&self, table: u64, index: u16, entry: Descriptor) {
        self.memory.write(table + DESCRIPTOR_BYTES * u64::from(index), &entry.to_bytes());
    }

    /// Write one slot of the available ring; `index` is taken modulo the ring's size.
    pub fn set_available_slot(&self, index: u16, head: u16) {
        let slot = u64::from(index % self.layout.size);
        let word = self.memory.word(self.layout.available + 4 + 2 * slot);
        word.store(head.to_le(), Ordering::Relaxed);
    }

    /// Write the available index; what was written before is visible before it.
    pub fn set_available_index(&self, index: u16) {
        self.memory.word(self.layout.available + 2).store(index.to_le(), Ordering::Release);
    }

    /// Write the available ring's flags.
    pub fn set_available_flags(&self, flags: u16) {
        self.memory.word(self.layout.available).store(flags.to_le(), Ordering::Relaxed);
    }

    /// Write `used_event`: the index at which the driver wants a call (virtio 1.2, 2.7.7).
    pub fn set_used_event(&self, index: u16) {
        let address = self.layout.available + 4 + 2 * u64::from(self.layout.size);
        self.memory.word(address).store(index.to_le(), Ordering::Relaxed);
    }
}

/// The device gave back a chain that was not in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the device returned descriptor {0}, which heads no chain in flight")]
pub struct BadHead(pub u32);

/// Whether going from `before` to `now` passes `event` (virtio 1.2, 2.7.7.1).
fn crossed(event: u16, now: u16, before: u16) -> bool {
    now.wrapping_sub(event).wrapping_sub(1) < now.wrapping_sub(before)
}
