//! Grants: how a Xen guest lends pages, and how they are found and pinned.

pub mod table;
pub mod translated;

use std::fmt::Debug;

use crate::chain::Buffers;
use crate::memory::Memory;

/// Bytes of a granted page.
pub const PAGE: u64 = 4096;

/// Bytes of a piece as a guest writes it.
pub const PIECE: usize = 8;

/// A piece of a page that a guest lends (io/vscsiif.h, struct scsiif_request_segment).
#[derive(Clone, Copy, Debug)]
pub struct Piece {
    /// Grant reference of the page.
    pub reference: u32,
    /// Of the first byte.
    pub offset: u16,
    /// Bytes.
    pub length: u16,
}

impl Piece {
    /// From eight bytes; a shorter slice is all zeros.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut whole = [0; PIECE];
        if let Some(bytes) = bytes.get(..PIECE) {
            whole.copy_from_slice(bytes);
        }
        let [a, b, c, d, e, f, g, h] = whole;
        Piece {
            reference: u32::from_le_bytes([a, b, c, d]),
            offset: u16::from_le_bytes([e, f]),
            length: u16::from_le_bytes([g, h]),
        }
    }

    /// Whether it lies within its page.
    #[must_use]
    pub fn fits(&self) -> bool {
        u64::from(self.offset) + u64::from(self.length) <= PAGE
    }
}

/// What finds and pins the pages that a guest lends. Each kind of front-end has one.
pub trait Grants: Debug + Send {
    /// Find a page and keep the guest from taking it back; `write`: it will be written to.
    /// To be undone by one `unpin` with the same arguments.
    ///
    /// # Errors
    /// The guest lends no such page, or not so. Nothing is pinned.
    fn pin(
        &mut self,
        frames: &mut Frames<'_>,
        reference: u32,
        write: bool,
    ) -> Result<*mut u8, Refusal>;

    /// Give a pinned page back.
    fn unpin(&mut self, reference: u32, write: bool);

    /// Pin the pages of pieces and append these to `buffers`, in order; `pinned` gets the
    /// references, for `unpin_all`. Here, so that each kind has a loop with no call in it.
    ///
    /// # Errors
    /// A piece ends past its page, or `pin` has one. What came before it is pinned.
    fn pin_all(
        &mut self,
        memory: &Memory,
        pieces: &[Piece],
        write: bool,
        pinned: &mut Vec<u32>,
        buffers: &mut Buffers,
    ) -> Result<(), Refusal> {
        let mut frames = Frames::new(memory);
        for piece in pieces {
            if !piece.fits() {
                return Err(Refusal::PastPage(piece.reference));
            }
            if piece.length == 0 {
                continue;
            }
            let page = self.pin(&mut frames, piece.reference, write)?;
            pinned.push(piece.reference);
            let start = page.wrapping_add(usize::from(piece.offset));
            // Pages often lie side by side; whatever moves the data is quicker with one long part
            // than with many pages.
            buffers.append(start, usize::from(piece.length));
        }
        Ok(())
    }

    /// Give pinned pages back.
    fn unpin_all(&mut self, pinned: &mut Vec<u32>, write: bool) {
        for reference in pinned.drain(..) {
            self.unpin(reference, write);
        }
    }

    /// Whether memory that was shared for this vanished.
    fn gone(&self) -> bool {
        false
    }
}

/// Why a page is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such entry.
    #[error("grant reference {0} is outside the grant table")]
    NoEntry(u32),
    /// The entry grants nothing (any more), or in a way that is not ours.
    #[error("grant reference {0} grants no access to a page")]
    NoAccess(u32),
    /// It grants to another domain.
    #[error("grant reference {0} grants to another domain")]
    Domain(u32),
    /// It would be written to, and may only be read.
    #[error("grant reference {0} is read-only")]
    ReadOnly(u32),
    /// It is no piece of one page.
    #[error("a piece of the page of grant reference {0} ends past that page")]
    PastPage(u32),
    /// The page is no guest memory.
    #[error("the page of grant reference {0} lies outside guest memory")]
    NoMemory(u32),
    /// The guest changes the entry all the time.
    #[error("grant reference {0} does not hold still")]
    Restless(u32),
}

/// Finds frames of guest memory; remembers the region of the last one.
#[derive(Debug)]
pub struct Frames<'a> {
    memory: &'a Memory,
    /// The first whole page of that region, how many there are, and where.
    first: u64,
    count: u64,
    host: *mut u8,
}

impl<'a> Frames<'a> {
    /// None was found yet.
    #[must_use]
    pub fn new(memory: &'a Memory) -> Self {
        Frames { memory, first: 0, count: 0, host: std::ptr::null_mut() }
    }

    /// Where a frame is, if all of it is one region's.
    #[inline]
    pub fn find(&mut self, frame: u32) -> Option<*mut u8> {
        let frame = u64::from(frame);
        let mut index = frame.wrapping_sub(self.first);
        if index >= self.count {
            self.turn_to(frame)?;
            index = frame.wrapping_sub(self.first);
        }
        // Within the region, whose size is one of a mapping.
        (index < self.count).then(|| self.host.wrapping_add(index as usize * PAGE as usize))
    }

    #[cold]
    fn turn_to(&mut self, frame: u64) -> Option<()> {
        let (guest, size, host) = self.memory.region(frame * PAGE)?;
        // guest + size does not wrap: no region of guest memory does.
        self.first = guest.div_ceil(PAGE);
        self.count = ((guest + size) / PAGE).saturating_sub(self.first);
        // Below a page.
        self.host = host.wrapping_add((self.first * PAGE - guest) as usize);
        Some(())
    }
}
