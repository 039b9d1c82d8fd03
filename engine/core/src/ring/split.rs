//! The split virtqueue, device side (virtio 1.2, 2.7).
//!
//! Everything the guest writes is copied before it is checked, and the copy is used. A
//! malformed chain is an error, never a short chain.

use std::sync::atomic::{fence, AtomicU16, Ordering};

use crate::chain::Chain;
use crate::error::{Error, Result, RingFault};
use crate::memory::Memory;

/// Largest queue we take; QEMU's own limit.
pub const MAX_SIZE: u16 = 1024;
/// Longest indirect table we take; QEMU's VIRTQUEUE_MAX_SIZE too.
const MAX_INDIRECT: u32 = 1024;

const F_NEXT: u16 = 1;
const F_WRITE: u16 = 2;
const F_INDIRECT: u16 = 4;
const AVAIL_F_NO_INTERRUPT: u16 = 1;
const USED_F_NO_NOTIFY: u16 = 1;

/// One descriptor (virtio 1.2, 2.7.5).
#[derive(Clone, Copy, Debug)]
#[repr(C)]
struct Descriptor {
    address: u64,
    length: u32,
    flags: u16,
    next: u16,
}
const DESCRIPTOR: u64 = size_of::<Descriptor>() as u64;

/// Where a ring lies and how it was negotiated; addresses are the front-end's own.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// Entries, a power of two up to `MAX_SIZE`.
    pub size: u16,
    /// Descriptor table.
    pub descriptor: u64,
    /// Available (driver) ring.
    pub available: u64,
    /// Used (device) ring.
    pub used: u64,
    /// Next available index to take.
    pub base: u16,
    /// VIRTIO_F_EVENT_IDX was accepted.
    pub event_idx: bool,
    /// VIRTIO_F_INDIRECT_DESC was accepted.
    pub indirect: bool,
}

/// How many bytes at the front of a chain are header: the rest is data.
#[derive(Clone, Copy, Debug)]
pub struct Framing {
    /// Readable bytes that are request header.
    pub request: u64,
    /// Writable bytes that are response header.
    pub response: u64,
}

/// The device's side of a split virtqueue.
#[derive(Debug)]
pub struct SplitRing {
    layout: Layout,
    descriptors: *const Descriptor,
    available: *const AtomicU16,
    used: *mut AtomicU16,
    next_available: u16,
    next_used: u16,
    published: u16,
}

// SAFETY: the pointers are into guest memory that the owner of the ring keeps mapped; the ring
// is used by one thread at a time.
unsafe impl Send for SplitRing {}

impl SplitRing {
    /// A ring at those addresses.
    ///
    /// # Errors
    /// The size is no power of two up to `MAX_SIZE`, or a part is misaligned or outside memory.
    pub fn new(layout: Layout, memory: &Memory) -> Result<Self> {
        if !layout.size.is_power_of_two() || layout.size > MAX_SIZE {
            return Err(Error::Setup(format!(
                "queue size {} is no power of two from 1 to {MAX_SIZE}",
                layout.size
            )));
        }
        let mut ring = SplitRing {
            layout,
            descriptors: std::ptr::null(),
            available: std::ptr::null(),
            used: std::ptr::null_mut(),
            next_available: layout.base,
            next_used: 0,
            published: 0,
        };
        ring.rebind(memory)?;
        // The used index is the ring's own memory of what was completed: a ring that comes back
        // after a stop goes on there, whatever base says.
        ring.next_used = ring.used_index().load(Ordering::Relaxed);
        ring.published = ring.next_used;
        Ok(ring)
    }

    /// Find the ring's parts in `memory`.
    ///
    /// # Errors
    /// A part is misaligned or outside memory.
    pub fn rebind(&mut self, memory: &Memory) -> Result<()> {
        let size = u64::from(self.layout.size);
        let place = |what: &str, address: u64, length: u64, alignment: u64| {
            if address % alignment != 0 {
                return Err(Error::Setup(format!(
                    "the {what} at {address:#x} is not aligned to {alignment}"
                )));
            }
            let host = memory.find_user(address, length).ok_or_else(|| {
                Error::Setup(format!("the {what} at {address:#x} lies outside guest memory"))
            })?;
            if host as usize as u64 % alignment != 0 {
                return Err(Error::Setup(format!(
                    "the {what} at {address:#x} is in a region whose mapping is not aligned"
                )));
            }
            Ok(host)
        };
        let descriptors = place("descriptor table", self.layout.descriptor, size * 16, 16)?;
        let available = place("available ring", self.layout.available, 6 + size * 2, 2)?;
        let used = place("used ring", self.layout.used, 6 + size * 8, 4)?;
        self.descriptors = descriptors.cast_const().cast();
        self.available = available.cast_const().cast();
        self.used = used.cast();
        Ok(())
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.layout.size
    }

    /// The next available index to take.
    #[must_use]
    pub fn position(&self) -> u16 {
        self.next_available
    }

    /// How many requests are available, as the guest says; it may say anything.
    #[must_use]
    pub fn waiting(&self) -> u16 {
        self.available_index(Ordering::Acquire).wrapping_sub(self.next_available)
    }

    /// Whether something is available.
    #[must_use]
    pub fn pending(&self) -> bool {
        self.available_index(Ordering::Relaxed) != self.next_available
    }

    /// Take the next chain; its head, or None where there is no more.
    ///
    /// # Errors
    /// The ring or the chain is malformed.
    pub fn take(
        &mut self,
        memory: &Memory,
        framing: Framing,
        chain: &mut Chain,
    ) -> std::result::Result<Option<u16>, RingFault> {
        // Acquire: the entry and its descriptors were written before the index.
        let index = self.available_index(Ordering::Acquire);
        let ahead = index.wrapping_sub(self.next_available);
        if ahead == 0 {
            return Ok(None);
        }
        if ahead > self.layout.size {
            return Err(RingFault::IndexJump(ahead));
        }
        // SAFETY: slot < size, so the entry lies within the available ring.
        let head = unsafe {
            (*self.available.add(2 + usize::from(self.slot(self.next_available))))
                .load(Ordering::Relaxed)
        };
        chain.clear();
        self.walk(memory, framing, head, chain)?;
        self.next_available = self.next_available.wrapping_add(1);
        Ok(Some(head))
    }

    /// Put a chain on the used ring; visible to the guest after `publish`.
    pub fn push(&mut self, head: u16, written: u32) {
        let slot = usize::from(self.slot(self.next_used));
        // SAFETY: slot < size, so both words lie within the used ring, aligned to 4.
        unsafe {
            let element = self.used.cast::<u32>().add(1 + slot * 2);
            element.write_volatile(u32::from(head));
            element.add(1).write_volatile(written);
        }
        self.next_used = self.next_used.wrapping_add(1);
    }

    /// Show the guest what was pushed; true where it wants to be notified (virtio 1.2, 2.7.7).
    pub fn publish(&mut self) -> bool {
        if self.published == self.next_used {
            return false;
        }
        let old = self.published;
        self.published = self.next_used;
        // Release: the elements and the data before the index.
        self.used_index().store(self.next_used, Ordering::Release);
        // The index must be visible before we look whether the guest sleeps: it does the same
        // the other way round.
        fence(Ordering::SeqCst);
        if self.layout.event_idx {
            // SAFETY: used_event is the word behind the available ring's entries.
            let event = unsafe {
                (*self.available.add(2 + usize::from(self.layout.size))).load(Ordering::Relaxed)
            };
            // virtio 1.2, 2.7.10: did the index pass the event?
            self.next_used.wrapping_sub(event).wrapping_sub(1) < self.next_used.wrapping_sub(old)
        } else {
            // SAFETY: flags is the first word of the available ring.
            let flags = unsafe { (*self.available).load(Ordering::Relaxed) };
            flags & AVAIL_F_NO_INTERRUPT == 0
        }
    }

    /// Ask to be kicked for the next request; true where one came meanwhile.
    pub fn arm(&mut self) -> bool {
        if self.layout.event_idx {
            self.avail_event().store(self.next_available, Ordering::Relaxed);
        } else {
            self.used_flags().store(0, Ordering::Relaxed);
        }
        // The wish must be visible before we look again, or a kick is lost.
        fence(Ordering::SeqCst);
        self.pending()
    }

    /// No kicks are needed for now. With EVENT_IDX an event index left behind says so.
    pub fn disarm(&mut self) {
        if !self.layout.event_idx {
            self.used_flags().store(USED_F_NO_NOTIFY, Ordering::Relaxed);
        }
    }

    fn walk(
        &self,
        memory: &Memory,
        framing: Framing,
        head: u16,
        chain: &mut Chain,
    ) -> std::result::Result<(), RingFault> {
        let mut split = Splitter { framing, memory, chain, writing: false };
        let mut index = head;
        for _ in 0..self.layout.size {
            if index >= self.layout.size {
                return Err(RingFault::BadIndex(index));
            }
            // SAFETY: index < size; the table is mapped and aligned to 16. Volatile: one copy
            // of what the guest may change.
            let descriptor = unsafe { self.descriptors.add(usize::from(index)).read_volatile() };
            if descriptor.flags & F_INDIRECT != 0 {
                // virtio 1.2, 2.7.5.3.1: not together with NEXT.
                if !self.layout.indirect || descriptor.flags & F_NEXT != 0 {
                    return Err(RingFault::BadIndirect);
                }
                return walk_indirect(memory, descriptor, &mut split);
            }
            split.add(descriptor)?;
            if descriptor.flags & F_NEXT == 0 {
                return Ok(());
            }
            index = descriptor.next;
        }
        Err(RingFault::Loop)
    }

    fn slot(&self, index: u16) -> u16 {
        index & (self.layout.size - 1)
    }

    fn available_index(&self, order: Ordering) -> u16 {
        // SAFETY: idx is the second word of the available ring.
        unsafe { (*self.available.add(1)).load(order) }
    }

    fn used_flags(&self) -> &AtomicU16 {
        // SAFETY: flags is the first word of the used ring.
        unsafe { &*self.used }
    }

    fn used_index(&self) -> &AtomicU16 {
        // SAFETY: idx is the second word of the used ring.
        unsafe { &*self.used.add(1) }
    }

    fn avail_event(&self) -> &AtomicU16 {
        // SAFETY: avail_event is the word behind the used ring's elements of four words each.
        unsafe { &*self.used.add(2 + usize::from(self.layout.size) * 4) }
    }
}

fn walk_indirect(
    memory: &Memory,
    table: Descriptor,
    split: &mut Splitter<'_>,
) -> std::result::Result<(), RingFault> {
    let count = table.length / DESCRIPTOR as u32;
    if table.length % DESCRIPTOR as u32 != 0 || count == 0 || count > MAX_INDIRECT {
        return Err(RingFault::BadIndirect);
    }
    let mut index: u16 = 0;
    for _ in 0..count {
        if u32::from(index) >= count {
            return Err(RingFault::BadIndex(index));
        }
        let descriptor = read_descriptor(memory, table, u64::from(index))?;
        // virtio 1.2, 2.7.5.3.1: a table must not refer to another.
        if descriptor.flags & F_INDIRECT != 0 {
            return Err(RingFault::BadIndirect);
        }
        split.add(descriptor)?;
        if descriptor.flags & F_NEXT == 0 {
            return Ok(());
        }
        index = descriptor.next;
    }
    Err(RingFault::Loop)
}

fn read_descriptor(
    memory: &Memory,
    table: Descriptor,
    index: u64,
) -> std::result::Result<Descriptor, RingFault> {
    let bad = RingFault::BadAddress(table.address, table.length);
    let address = table.address.checked_add(index * DESCRIPTOR).ok_or(bad)?;
    let (host, rest) = memory.find(address).ok_or(bad)?;
    if rest >= DESCRIPTOR && host.cast::<Descriptor>().is_aligned() {
        // SAFETY: sixteen mapped, aligned bytes.
        return Ok(unsafe { host.cast::<Descriptor>().read_volatile() });
    }
    // Legal, if odd: unaligned, or across two regions.
    let mut bytes = [0u8; DESCRIPTOR as usize];
    let mut buffers = crate::chain::Buffers::with_capacity(2);
    translate(memory, address, DESCRIPTOR as u32, &mut |base, length| buffers.push(base, length))?;
    buffers.read(0, &mut bytes);
    let [a0, a1, a2, a3, a4, a5, a6, a7, l0, l1, l2, l3, f0, f1, n0, n1] = bytes;
    Ok(Descriptor {
        address: u64::from_le_bytes([a0, a1, a2, a3, a4, a5, a6, a7]),
        length: u32::from_le_bytes([l0, l1, l2, l3]),
        flags: u16::from_le_bytes([f0, f1]),
        next: u16::from_le_bytes([n0, n1]),
    })
}

/// Turn a guest range into host pieces; it may cross regions that lie side by side.
fn translate(
    memory: &Memory,
    address: u64,
    length: u32,
    visit: &mut dyn FnMut(*mut u8, usize),
) -> std::result::Result<(), RingFault> {
    let bad = RingFault::BadAddress(address, length);
    let mut rest = u64::from(length);
    let mut at = address;
    while rest > 0 {
        let (host, room) = memory.find(at).ok_or(bad)?;
        let piece = rest.min(room);
        // piece <= length, a u32.
        visit(host, piece as usize);
        rest -= piece;
        at = at.checked_add(piece).ok_or(bad)?;
    }
    Ok(())
}

/// Deals descriptors out to header and data, in both directions.
struct Splitter<'a> {
    framing: Framing,
    memory: &'a Memory,
    chain: &'a mut Chain,
    writing: bool,
}

impl Splitter<'_> {
    fn add(&mut self, descriptor: Descriptor) -> std::result::Result<(), RingFault> {
        let writing = descriptor.flags & F_WRITE != 0;
        // virtio 1.2, 2.7.4.2: all readable buffers come first.
        if self.writing && !writing {
            return Err(RingFault::Order);
        }
        self.writing = writing;
        let (header, data, limit) = if writing {
            (&mut self.chain.response, &mut self.chain.data_in, self.framing.response)
        } else {
            (&mut self.chain.request, &mut self.chain.data_out, self.framing.request)
        };
        translate(self.memory, descriptor.address, descriptor.length, &mut |base, length| {
            let room = limit - header.length();
            // The minimum with a usize is one.
            let head = room.min(length as u64) as usize;
            header.push(base, head);
            data.push(base.wrapping_add(head), length - head);
        })
    }
}
