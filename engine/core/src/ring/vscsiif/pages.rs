//! The pages that the requests of a ring have pinned.

use super::request::{Direction, Header, DIRECT};
use crate::cdb;
use crate::gate::Access;
use crate::grants::{Frames, Grants, Piece, Refusal, PIECE};
use crate::inflight::{ENTRIES, SLOT};
use crate::memory::Memory;
use crate::slot::Slot;

/// The pages of data that a request has pinned.
#[derive(Debug)]
struct Pinned {
    references: Vec<u32>,
    write: bool,
}

/// A request is impossible, or a page of it not to be had: answered all the same, as failed.
#[derive(Clone, Copy, Debug)]
pub struct Wrong;

impl From<Refusal> for Wrong {
    fn from(_: Refusal) -> Self {
        Wrong
    }
}

/// Finds and pins pages, and knows which request has which.
#[derive(Debug)]
pub struct Pages {
    /// Finds them.
    pub grants: Box<dyn Grants>,
    /// Most segments of a request with SG_GRANT; 0: there are none such.
    segments: u32,
    /// By entry.
    pins: [Pinned; ENTRIES],
    /// Copies of pages of segments; keeps its room.
    scratch: Vec<u8>,
    /// Segments of the request at hand; keeps its room.
    list: Vec<Piece>,
}

impl Pages {
    /// None are pinned.
    #[must_use]
    pub fn new(grants: Box<dyn Grants>, segments: u32) -> Self {
        let pins = std::array::from_fn(|_| Pinned {
            references: Vec::with_capacity(DIRECT),
            write: false,
        });
        let list = Vec::with_capacity(DIRECT);
        Pages { grants, segments, pins, scratch: Vec::new(), list }
    }

    /// Find and pin all pages of a request, as buffers of `slot`; on an error some are pinned.
    ///
    /// # Errors
    /// Its segments are impossible, or a page is not to be had.
    pub fn find(
        &mut self,
        memory: &Memory,
        entry: usize,
        bytes: &[u8; SLOT],
        header: &Header,
        slot: &mut Slot,
    ) -> Result<(), Wrong> {
        let mut list = std::mem::take(&mut self.list);
        let listed = self.gather(memory, bytes, header, &mut list);
        let result = listed.and_then(|()| self.pin_all(memory, entry, &list, header, slot));
        list.clear();
        self.list = list;
        result
    }

    /// The segments of a request, those in granted pages too.
    fn gather(
        &mut self,
        memory: &Memory,
        slot: &[u8; SLOT],
        header: &Header,
        list: &mut Vec<Piece>,
    ) -> Result<(), Wrong> {
        let direct = header.segments(slot).ok_or(Wrong)?;
        if !header.indirect {
            list.extend(direct);
            return Ok(());
        }
        let count: u32 = direct.clone().map(|page| u32::from(page.length) / PIECE as u32).sum();
        if count > self.segments {
            return Err(Wrong);
        }
        let mut scratch = std::mem::take(&mut self.scratch);
        let copied =
            direct.into_iter().try_for_each(|page| self.copy_page(memory, page, &mut scratch));
        if copied.is_ok() {
            list.extend(scratch.chunks_exact(PIECE).map(Piece::parse));
        }
        scratch.clear();
        self.scratch = scratch;
        copied
    }

    /// Copy a page of segments: the guest may write it while we look.
    fn copy_page(&mut self, memory: &Memory, page: Piece, into: &mut Vec<u8>) -> Result<(), Wrong> {
        if usize::from(page.length) % PIECE != 0 || !page.fits() {
            return Err(Wrong);
        }
        let from = self.grants.pin(&mut Frames::new(memory), page.reference, false)?;
        let length = usize::from(page.length);
        let end = into.len() + length;
        into.resize(end, 0);
        let start = from.wrapping_add(usize::from(page.offset));
        // SAFETY: offset + length lie within the page that was just pinned, and in `into`.
        unsafe {
            std::ptr::copy_nonoverlapping(
                std::hint::black_box(start),
                into[end - length..].as_mut_ptr(),
                length,
            );
        }
        self.grants.unpin(page.reference, false);
        Ok(())
    }

    fn pin_all(
        &mut self,
        memory: &Memory,
        entry: usize,
        list: &[Piece],
        header: &Header,
        slot: &mut Slot,
    ) -> Result<(), Wrong> {
        let to_device = match header.direction {
            Direction::ToDevice => true,
            Direction::FromDevice => false,
            // Both ways: no command of ours has data so.
            Direction::Both => cdb::access(slot.cdb[0]) == Some(Access::Write),
            Direction::None if list.is_empty() => return Ok(()),
            Direction::None => return Err(Wrong),
        };
        let buffers = slot.chain.data_mut(to_device);
        let pins = &mut self.pins[entry];
        pins.write = !to_device;
        self.grants.pin_all(memory, list, pins.write, &mut pins.references, buffers)?;
        Ok(())
    }

    /// Unpin all pages of a request.
    pub fn give_back(&mut self, entry: usize) {
        let pins = &mut self.pins[entry];
        self.grants.unpin_all(&mut pins.references, pins.write);
    }
}
