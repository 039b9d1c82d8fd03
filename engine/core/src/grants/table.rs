//! A version 1 grant table in shared memory (Xen's public header grant_table.h).

use std::sync::atomic::{AtomicU32, AtomicU8, Ordering};

use super::{Frames, Grants, Refusal, PAGE};
use crate::error::{Error, Result};
use crate::memory::{Memory, RegionSpec};

/// The type of an entry, in bits 0 and 1 of its flags.
const GTF_TYPE_MASK: u32 = 3;
/// It grants access to a page.
const GTF_PERMIT_ACCESS: u32 = 1;
/// Only for reading.
const GTF_READONLY: u32 = 1 << 2;
/// Set by us: the page is in use.
const GTF_READING: u32 = 1 << 3;
/// Set by us: it is in use for writing.
const GTF_WRITING: u32 = 1 << 4;
/// flags u16, domid u16, frame u32.
const ENTRY: u64 = 8;
/// How often an entry may change under us before the guest is told no; the first guess is free.
const TRIES: usize = 8;
/// A table that no guest of ours can fill; Xen's default is 256 KiB.
const LARGEST: u64 = 4 << 20;

/// The pin map of an in-flight area says that we set GTF_READING, or GTF_WRITING too.
const MAPPED_READING: u8 = 1;
const MAPPED_WRITING: u8 = 2;

/// Where a grant table is, as its front-end says.
#[derive(Clone, Copy, Debug)]
pub struct TableSpec {
    /// The file; duplicated.
    pub fd: i32,
    /// Where the table begins in it.
    pub offset: u64,
    /// Bytes.
    pub size: u64,
    /// The domain that entries must grant to.
    pub domain: u16,
}

/// How often an entry is in use.
#[derive(Clone, Copy, Debug, Default)]
struct Uses {
    all: u32,
    writing: u32,
}

/// A guest's grant table, and what is pinned in it.
#[derive(Debug)]
pub struct GrantTable {
    // Keeps the entries mapped.
    area: Memory,
    entries: *const [AtomicU32; 2],
    domain: u16,
    /// By reference. A guest may lend one page to several requests.
    uses: Vec<Uses>,
    pins: Option<PinMap>,
}

// SAFETY: the pointer is into `area`, which lives as long; one thread at a time uses it.
unsafe impl Send for GrantTable {}

/// The pin map of an in-flight area: a byte for each reference, for who cleans up after us.
#[derive(Clone, Copy, Debug)]
pub struct PinMap(pub *const AtomicU8);

impl GrantTable {
    /// Map a table. `pins` has a byte for each of its entries, and outlives it.
    ///
    /// # Errors
    /// Its size is impossible, or its file is shorter or cannot be mapped.
    pub fn new(spec: TableSpec, pins: Option<PinMap>) -> Result<Self> {
        if spec.size == 0 || spec.size > LARGEST || spec.size % PAGE != 0 || spec.offset % PAGE != 0
        {
            return Err(Error::Setup(format!(
                "a grant table of {:#x} bytes at file offset {:#x}: both are multiples of {PAGE}, \
                 the size is 1 to {LARGEST:#x}",
                spec.size, spec.offset
            )));
        }
        let region =
            RegionSpec { guest: 0, size: spec.size, user: 0, offset: spec.offset, fd: spec.fd };
        let area = Memory::new(&[region])?;
        let (base, _) =
            area.find(0).ok_or_else(|| Error::Setup("the grant table is empty".into()))?;
        // At most LARGEST / ENTRY.
        let count = (spec.size / ENTRY) as usize;
        let uses = vec![Uses::default(); count];
        let table =
            GrantTable { area, entries: base.cast_const().cast(), domain: spec.domain, uses, pins };
        table.sweep();
        Ok(table)
    }

    /// Let go of what a predecessor had pinned when it died.
    fn sweep(&self) {
        let Some(map) = self.pins else { return };
        for index in 0..self.uses.len() {
            // SAFETY: the map has a byte for each entry.
            if unsafe { &*map.0.add(index) }.load(Ordering::Acquire) != 0 {
                self.settle(index as u32, false);
                self.note_uses(index as u32);
            }
        }
    }

    /// How many entries a table of that size has.
    #[must_use]
    pub fn entries(size: u64) -> u64 {
        size / ENTRY
    }

    fn entry(&self, reference: u32) -> Option<&[AtomicU32; 2]> {
        let index = reference as usize;
        // SAFETY: `uses` has as many elements as the mapped table has entries, which are
        // aligned, as the mapping is.
        (index < self.uses.len()).then(|| unsafe { &*self.entries.add(index) })
    }

    /// Set the bits that say it is in use, on the very flags and domain that were checked.
    fn seize(&self, entry: &[AtomicU32; 2], reference: u32, write: bool) -> Pinned<()> {
        let wanted = if write { GTF_READING | GTF_WRITING } else { GTF_READING };
        // What a guest writes that lends a page for that. Not read before it is exchanged: the
        // guest's processor has just written it, and would have to be asked for it twice.
        let usual = if write { GTF_PERMIT_ACCESS } else { GTF_PERMIT_ACCESS | GTF_READONLY };
        let mut word = u32::from(self.domain) << 16 | usual;
        for _ in 0..=TRIES {
            if word & GTF_TYPE_MASK != GTF_PERMIT_ACCESS {
                return Err(Refusal::NoAccess(reference));
            }
            if word >> 16 != u32::from(self.domain) {
                return Err(Refusal::Domain(reference));
            }
            if write && word & GTF_READONLY != 0 {
                return Err(Refusal::ReadOnly(reference));
            }
            let exchanged = entry[0].compare_exchange(
                word.to_le(),
                (word | wanted).to_le(),
                Ordering::AcqRel,
                Ordering::Acquire,
            );
            match exchanged {
                Ok(_) => return Ok(()),
                Err(found) => word = u32::from_le(found),
            }
        }
        Err(Refusal::Restless(reference))
    }

    /// Say in the pin map what `uses` says of a reference.
    #[inline]
    fn note_uses(&self, reference: u32) {
        if let Some(uses) = self.uses.get(reference as usize) {
            let reading = if uses.all > 0 { MAPPED_READING } else { 0 };
            let writing = if uses.writing > 0 { MAPPED_WRITING } else { 0 };
            self.note(reference, reading | writing);
        }
    }

    #[inline]
    fn note(&self, reference: u32, pinned: u8) {
        if let Some(map) = self.pins {
            // SAFETY: the map has a byte for each entry, and `reference` is one's.
            unsafe { &*map.0.add(reference as usize) }.store(pinned, Ordering::Release);
        }
    }

    /// Make the table say what `uses` says of a reference, of which a pin has ended.
    #[inline]
    fn settle(&self, reference: u32, wrote: bool) {
        let (Some(entry), Some(uses)) = (self.entry(reference), self.uses.get(reference as usize))
        else {
            return;
        };
        let clear = match uses {
            Uses { all: 0, .. } => GTF_READING | GTF_WRITING,
            Uses { writing: 0, .. } => GTF_WRITING,
            _ => return,
        };
        let word = u32::from_le(entry[0].load(Ordering::Relaxed));
        if wrote && word & GTF_WRITING != 0 {
            // While this bit is set nobody but us changes the entry: the guest may neither take the
            // grant back nor set GTF_readonly (grant_table.h). One that does so in this very moment
            // grants for longer than it meant to.
            entry[0].store((word & !clear).to_le(), Ordering::Release);
        } else {
            // The guest may set GTF_readonly meanwhile, or has taken back what is in use, and then
            // has what it wants.
            entry[0].fetch_and(!clear.to_le(), Ordering::AcqRel);
        }
    }
}

type Pinned<T> = std::result::Result<T, Refusal>;

impl Grants for GrantTable {
    fn pin(&mut self, frames: &mut Frames<'_>, reference: u32, write: bool) -> Pinned<*mut u8> {
        let entry = self.entry(reference).ok_or(Refusal::NoEntry(reference))?;
        // Before the table: who cleans up after us must not miss a bit that we set.
        let writing = write || self.uses[reference as usize].writing > 0;
        self.note(reference, MAPPED_READING | if writing { MAPPED_WRITING } else { 0 });
        // After the bits: from now on the guest has to leave the frame alone.
        let found = self.seize(entry, reference, write).and_then(|()| {
            let frame = u32::from_le(entry[1].load(Ordering::Acquire));
            frames.find(frame).ok_or(Refusal::NoMemory(reference))
        });
        match found {
            Ok(address) => {
                let uses = &mut self.uses[reference as usize];
                uses.all += 1;
                uses.writing += u32::from(write);
                Ok(address)
            }
            Err(refusal) => {
                // What others of our requests pinned stays; the map is put right in any case.
                if matches!(refusal, Refusal::NoMemory(_)) {
                    self.settle(reference, write);
                }
                self.note_uses(reference);
                Err(refusal)
            }
        }
    }

    fn unpin(&mut self, reference: u32, write: bool) {
        let Some(uses) = self.uses.get_mut(reference as usize) else { return };
        uses.all = uses.all.saturating_sub(1);
        uses.writing = uses.writing.saturating_sub(u32::from(write));
        self.settle(reference, write);
        self.note_uses(reference);
    }

    fn gone(&self) -> bool {
        self.area.gone()
    }
}
