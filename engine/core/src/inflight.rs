//! The in-flight area of a pvSCSI ring: what a back-end that comes after us must know.
//!
//! docs/pvscsi-socket.md, "The in-flight area". A response overwrites the slot of a request, so
//! the ring alone does not say what was unanswered when a back-end died.

use std::sync::atomic::{AtomicU32, AtomicU8, Ordering};

use crate::error::{Error, Result};
use crate::grants::table::PinMap;
use crate::grants::PAGE;
use crate::memory::{Memory, RegionSpec};

/// Entries: as many as a ring has slots.
pub const ENTRIES: usize = 16;
/// Bytes of a slot of the ring.
pub const SLOT: usize = 252;
/// Where the entries begin.
const FIRST: usize = 64;
/// Bytes of an entry.
const ENTRY: usize = 320;
/// Where the pin map begins.
const PINS: u64 = 8192;

const FREE: u32 = 0;
const TAKEN: u32 = 1;
const ANSWERED: u32 = 2;

/// Where an area is, as its front-end says.
#[derive(Clone, Copy, Debug)]
pub struct AreaSpec {
    /// The file; duplicated.
    pub fd: i32,
    /// Where the area begins in it.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
}

/// One request that a predecessor left unanswered.
#[derive(Clone, Copy, Debug)]
pub struct Left {
    /// Its entry.
    pub entry: usize,
    /// Its index in the ring.
    pub request: u32,
    /// The slot as it was taken.
    pub slot: [u8; SLOT],
}

/// What a predecessor left.
#[derive(Debug)]
pub struct Recovered {
    /// What rsp_prod is to be: over the responses that are written and not shown yet.
    pub responses: u32,
    /// Entries to be freed when that is shown.
    pub ended: Vec<usize>,
    /// What is to be done again, in order.
    pub left: Vec<Left>,
}

/// A mapped area.
#[derive(Debug)]
pub struct Inflight {
    area: Memory,
    base: *mut u8,
}

// SAFETY: the pointer is into `area`, which lives as long; one thread at a time uses it.
unsafe impl Send for Inflight {}

impl Inflight {
    /// Map an area that has a pin map for `references` grants.
    ///
    /// # Errors
    /// It is too small, or its file is, or cannot be mapped.
    pub fn new(spec: AreaSpec, references: u64) -> Result<Self> {
        let least = PINS + references;
        if spec.size < least || spec.offset % PAGE != 0 {
            return Err(Error::Setup(format!(
                "an in-flight area of {:#x} bytes at file offset {:#x}: it has at least \
                 {least:#x}, at a multiple of {PAGE}",
                spec.size, spec.offset
            )));
        }
        let region =
            RegionSpec { guest: 0, size: least, user: 0, offset: spec.offset, fd: spec.fd };
        let area = Memory::new(&[region])?;
        let (base, _) =
            area.find(0).ok_or_else(|| Error::Setup("the in-flight area is empty".into()))?;
        Ok(Inflight { area, base })
    }

    /// The map of what is pinned.
    #[must_use]
    pub fn pins(&self) -> PinMap {
        PinMap(self.base.wrapping_add(PINS as usize).cast_const().cast::<AtomicU8>())
    }

    /// Whether the memory vanished.
    #[must_use]
    pub fn gone(&self) -> bool {
        self.area.gone()
    }

    fn at(&self, entry: usize, offset: usize) -> *mut u8 {
        self.base.wrapping_add(FIRST + (entry % ENTRIES) * ENTRY + offset)
    }

    fn word(&self, entry: usize, offset: usize) -> &AtomicU32 {
        // SAFETY: within the area, which is at least PINS long; aligned, as FIRST, ENTRY and
        // the offsets are.
        unsafe { &*self.at(entry, offset).cast::<AtomicU32>() }
    }

    fn state(&self, entry: usize) -> &AtomicU32 {
        self.word(entry, 252)
    }

    /// Note that a request was taken.
    pub fn take(&self, entry: usize, request: u32, slot: &[u8; SLOT]) {
        // SAFETY: an entry is longer than a slot, and the area is ours to write.
        unsafe { std::ptr::copy_nonoverlapping(slot.as_ptr(), self.at(entry, 0), SLOT) };
        self.word(entry, 256).store(request.to_le(), Ordering::Relaxed);
        self.state(entry).store(TAKEN.to_le(), Ordering::Release);
    }

    /// Note that its response is in the ring, to be shown as number `response`.
    pub fn answer(&self, entry: usize, response: u32) {
        self.word(entry, 260).store(response.to_le(), Ordering::Relaxed);
        self.state(entry).store(ANSWERED.to_le(), Ordering::Release);
    }

    /// Note that the guest can see its response.
    pub fn free(&self, entry: usize) {
        self.state(entry).store(FREE.to_le(), Ordering::Release);
    }

    /// What a predecessor left, for a ring whose rsp_prod is `shown`.
    #[must_use]
    pub fn recover(&self, shown: u32) -> Recovered {
        let mut found = Recovered { responses: shown, ended: Vec::new(), left: Vec::new() };
        for entry in 0..ENTRIES {
            match u32::from_le(self.state(entry).load(Ordering::Acquire)) {
                TAKEN => found.left.push(self.left(entry)),
                ANSWERED => {
                    let response = u32::from_le(self.word(entry, 260).load(Ordering::Relaxed));
                    if response.wrapping_sub(shown) < ENTRIES as u32 {
                        found.responses = found.responses.wrapping_add(1);
                    }
                    found.ended.push(entry);
                }
                _ => {}
            }
        }
        // Answers overtake each other: a request may be older than the last response by far.
        found.left.sort_by_key(|one| one.request.wrapping_sub(shown) as i32);
        found
    }

    fn left(&self, entry: usize) -> Left {
        let mut slot = [0; SLOT];
        // SAFETY: an entry is longer than a slot.
        unsafe { std::ptr::copy_nonoverlapping(self.at(entry, 0), slot.as_mut_ptr(), SLOT) };
        let request = u32::from_le(self.word(entry, 256).load(Ordering::Relaxed));
        Left { entry, request, slot }
    }
}
