//! Xen's pvSCSI ring (public header io/vscsiif.h), back-end side.
//!
//! One page of 16 slots that requests and responses share. A slot is copied before it is looked
//! at, so are pages of segments; the copy is checked, the copy is used.

use std::sync::atomic::{fence, AtomicU32, Ordering};

use crate::error::{Error, Result, RingFault};
use crate::grants::{Frames, Grants, PAGE};
use crate::inflight::{Inflight, Left, ENTRIES, SLOT};
use crate::memory::Memory;
use crate::outcome::{Outcome, Service, SENSE_MAX};
use crate::ring::CommandRing;
use crate::slot::{Asks, Slot};

mod pages;
mod request;

use pages::{Pages, Wrong};
use request::{Action, Header};

/// Slots of a ring: what fits a page, rounded down to a power of two.
pub const SLOTS: u32 = ENTRIES as u32;
/// Where the slots begin in the page.
const FIRST: usize = 64;
/// Most segments of a request with SG_GRANT: 26 pages of 512.
pub const MAX_SEGMENTS: u32 = 26 * 512;

/// Words of the page's head.
const REQ_PROD: usize = 0;
const REQ_EVENT: usize = 1;
const RSP_PROD: usize = 2;
const RSP_EVENT: usize = 3;

/// Host bytes of a result (features of Linux's scsi_status.h that its front-end knows).
const DID_NO_CONNECT: u32 = 1;
const DID_BUS_BUSY: u32 = 2;
const DID_ABORT: u32 = 5;
const DID_ERROR: u32 = 7;
const DID_RESET: u32 = 8;
/// Results of ABORT and RESET.
const SUCCESS: u32 = 0x2002;
const FAILED: u32 = 0x2003;

/// Where the page is.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// A grant reference.
    Grant(u32),
    /// A guest address.
    Address(u64),
}

/// The ring.
#[derive(Debug)]
pub struct VscsiifRing {
    words: *const [AtomicU32; 4],
    place: Place,
    pages: Pages,
    // After `pages`, whose pin map is in it.
    inflight: Option<Inflight>,
    req_cons: u32,
    /// Responses written.
    answered: u32,
    /// Responses shown.
    shown: u32,
    /// By entry: it is task management.
    management: [bool; ENTRIES],
    free: Vec<usize>,
    /// Entries whose responses are not shown yet.
    ended: Vec<usize>,
    /// What a predecessor left, to be taken before all else; the next one is last.
    left: Vec<Left>,
}

// SAFETY: the pointer is into guest memory that the owner of the ring keeps mapped; the ring is
// used by one thread at a time.
unsafe impl Send for VscsiifRing {}

impl VscsiifRing {
    /// A ring at a place, going on where it stands.
    ///
    /// # Errors
    /// `Error::Ring`: the guest gave a page that is not to be had, or one that cannot be a ring.
    pub fn new(
        place: Place,
        grants: Box<dyn Grants>,
        inflight: Option<Inflight>,
        segments: u32,
        memory: &Memory,
    ) -> Result<Self> {
        let mut ring = VscsiifRing {
            words: std::ptr::null(),
            place,
            pages: Pages::new(grants, segments.min(MAX_SEGMENTS)),
            inflight,
            req_cons: 0,
            answered: 0,
            shown: 0,
            management: [false; ENTRIES],
            free: (0..ENTRIES).rev().collect(),
            ended: Vec::with_capacity(ENTRIES),
            left: Vec::new(),
        };
        match ring.find(memory) {
            Ok(words) => ring.words = words,
            Err(error) => {
                // Nothing was pinned that a drop would have to give back.
                ring.place = Place::Address(0);
                return Err(error);
            }
        }
        // On an error the drop gives the page back.
        ring.begin()?;
        Ok(ring)
    }

    /// Entries.
    #[must_use]
    pub fn size(&self) -> u16 {
        SLOTS as u16
    }

    fn find(&mut self, memory: &Memory) -> Result<*const [AtomicU32; 4]> {
        let page = match self.place {
            Place::Grant(reference) => self
                .pages
                .grants
                .pin(&mut Frames::new(memory), reference, true)
                .map_err(|refusal| Error::from(RingFault::Page(refusal)))?,
            Place::Address(address) => memory
                .find(address)
                .filter(|(_, rest)| *rest >= PAGE && address % PAGE == 0)
                .map(|(page, _)| page)
                .ok_or(Error::from(RingFault::BadAddress(address, PAGE as u32)))?,
        };
        Ok(page.cast_const().cast())
    }

    fn leave_page(&mut self) {
        if let Place::Grant(reference) = self.place {
            self.pages.grants.unpin(reference, true);
        }
    }

    fn begin(&mut self) -> Result<()> {
        let shown = self.read(RSP_PROD);
        self.shown = shown;
        self.answered = shown;
        if let Some(inflight) = &self.inflight {
            let found = inflight.recover(shown);
            self.answered = found.responses;
            self.shown = found.responses;
            self.word(RSP_PROD).store(found.responses.to_le(), Ordering::Release);
            for entry in found.ended {
                inflight.free(entry);
            }
            self.left = found.left;
            self.left.reverse();
            self.free.retain(|entry| !self.left.iter().any(|left| left.entry == *entry));
        }
        self.req_cons = self.shown.wrapping_add(self.left.len() as u32);
        self.check_ahead().map_err(Error::from).map(|_| ())
    }

    fn word(&self, index: usize) -> &AtomicU32 {
        // SAFETY: the page is mapped, see `find`, and aligned; the head has four words.
        unsafe { &(&*self.words)[index] }
    }

    fn read(&self, index: usize) -> u32 {
        u32::from_le(self.word(index).load(Ordering::Acquire))
    }

    fn slot(&self, index: u32) -> *mut u8 {
        let offset = FIRST + (index % SLOTS) as usize * SLOT;
        self.words.cast::<u8>().cast_mut().wrapping_add(offset)
    }

    /// How far the guest is ahead of what was taken; an error where that cannot be.
    fn check_ahead(&self) -> std::result::Result<u32, RingFault> {
        let produced = self.read(REQ_PROD);
        // What the guest can see has been answered bounds what it may have asked.
        let unanswered = produced.wrapping_sub(self.shown);
        let ahead = produced.wrapping_sub(self.req_cons);
        if unanswered > SLOTS || ahead > SLOTS {
            return Err(RingFault::RequestJump(unanswered));
        }
        Ok(ahead)
    }

    fn next(&mut self) -> std::result::Result<Option<Taken>, RingFault> {
        if let Some(left) = self.left.pop() {
            return Ok(Some(Taken { entry: left.entry, slot: left.slot, again: true }));
        }
        if self.check_ahead()? == 0 {
            return Ok(None);
        }
        let Some(entry) = self.free.pop() else { return Err(RingFault::Overcommit) };
        let mut slot = [0; SLOT];
        let from = self.slot(self.req_cons);
        // SAFETY: the slot lies in the page; the guest may write meanwhile: bytes, any value.
        unsafe {
            std::ptr::copy_nonoverlapping(std::hint::black_box(from), slot.as_mut_ptr(), SLOT);
        }
        if let Some(inflight) = &self.inflight {
            inflight.take(entry, self.req_cons, &slot);
        }
        self.req_cons = self.req_cons.wrapping_add(1);
        Ok(Some(Taken { entry, slot, again: false }))
    }

    fn decode(&mut self, memory: &Memory, taken: &Taken, slot: &mut Slot) -> Asks {
        let header = Header::parse(&taken.slot);
        slot.tag = u64::from(header.rqid);
        slot.head = taken.entry as u16;
        slot.again = taken.again;
        slot.attribute = 0;
        slot.address =
            (header.channel == 0).then_some((u32::from(header.target), u32::from(header.lun)));
        let management = header.action.is_some_and(|action| action != Action::Command);
        self.management[taken.entry] = management;
        slot.cdb_len = 16;
        slot.cdb = [0; crate::slot::CDB_MAX];
        if management {
            // Python reads it as it came: act, address and ref_rqid are in the first 32 bytes.
            slot.cdb.copy_from_slice(&taken.slot[..crate::slot::CDB_MAX]);
            return Asks::Management;
        }
        let (Some(Action::Command), Some(cdb)) = (header.action, header.cdb(&taken.slot)) else {
            return Asks::Nonsense;
        };
        slot.cdb[..cdb.len()].copy_from_slice(cdb);
        match self.pages.find(memory, taken.entry, &taken.slot, &header, slot) {
            Ok(()) => Asks::Command,
            Err(Wrong) => {
                self.pages.give_back(taken.entry);
                slot.chain.clear();
                Asks::Nonsense
            }
        }
    }
}

impl CommandRing for VscsiifRing {
    fn take(&mut self, memory: &Memory, slot: &mut Slot) -> std::result::Result<bool, RingFault> {
        let Some(taken) = self.next()? else { return Ok(false) };
        slot.asks = self.decode(memory, &taken, slot);
        Ok(true)
    }

    fn finish(&mut self, slot: &Slot, outcome: &Outcome) {
        let entry = usize::from(slot.head) % ENTRIES;
        self.pages.give_back(entry);
        let response = encode(slot, outcome, self.management[entry]);
        let to = self.slot(self.answered);
        // SAFETY: the slot lies in the page. Its request was taken: no more are answered.
        unsafe { std::ptr::copy_nonoverlapping(response.as_ptr(), to, SLOT) };
        if let Some(inflight) = &self.inflight {
            inflight.answer(entry, self.answered);
        }
        self.answered = self.answered.wrapping_add(1);
        self.ended.push(entry);
    }

    fn publish(&mut self) -> bool {
        let before = self.shown;
        self.shown = self.answered;
        self.word(RSP_PROD).store(self.shown.to_le(), Ordering::Release);
        for entry in self.ended.drain(..) {
            if let Some(inflight) = &self.inflight {
                inflight.free(entry);
            }
            self.free.push(entry);
        }
        // Orders our index against the guest's wish: one side sees the other's store
        // (ring.h, RING_PUSH_RESPONSES_AND_CHECK_NOTIFY).
        fence(Ordering::SeqCst);
        let event = self.read(RSP_EVENT);
        self.shown.wrapping_sub(event) < self.shown.wrapping_sub(before)
    }

    fn arm(&mut self) -> std::result::Result<bool, RingFault> {
        self.word(REQ_EVENT).store(self.req_cons.wrapping_add(1).to_le(), Ordering::Relaxed);
        // As in `publish` (ring.h, RING_FINAL_CHECK_FOR_REQUESTS).
        fence(Ordering::SeqCst);
        Ok(!self.left.is_empty() || self.check_ahead()? != 0)
    }

    fn disarm(&mut self) {
        // A guest kicks when it passes req_event, which it does once: nothing is to be said.
    }

    fn pending(&self) -> bool {
        !self.left.is_empty() || self.read(REQ_PROD) != self.req_cons
    }

    fn position(&self) -> u32 {
        self.req_cons
    }

    fn rebind(&mut self, memory: &Memory) -> Result<()> {
        // The new page first: it is the same grant, which must not be free in between.
        let words = self.find(memory)?;
        self.leave_page();
        self.words = words;
        Ok(())
    }

    fn gone(&self) -> bool {
        self.pages.grants.gone() || self.inflight.as_ref().is_some_and(Inflight::gone)
    }
}

impl Drop for VscsiifRing {
    fn drop(&mut self) {
        // Requests of a broken ring end without an answer; their pages go back here.
        for entry in 0..ENTRIES {
            self.pages.give_back(entry);
        }
        self.leave_page();
    }
}

/// A request as it was copied.
struct Taken {
    entry: usize,
    slot: [u8; SLOT],
    again: bool,
}

fn encode(slot: &Slot, outcome: &Outcome, management: bool) -> [u8; SLOT] {
    let mut bytes = [0u8; SLOT];
    // The tag was made of a rqid.
    bytes[0..2].copy_from_slice(&(slot.tag as u16).to_le_bytes());
    let sense = outcome.sense();
    // What the sense data itself says, which Linux's back-end sends too.
    let length = match sense {
        [_, _, _, _, _, _, _, more, ..] => sense.len().min(8 + usize::from(*more)),
        _ => 0,
    };
    // At most SENSE_MAX, 96.
    bytes[3] = length.min(SENSE_MAX) as u8;
    bytes[4..4 + length].copy_from_slice(&sense[..length]);
    bytes[100..104].copy_from_slice(&result(outcome, management).to_le_bytes());
    let offered = slot.data_in.max(slot.data_out);
    let residual = u32::try_from(offered.saturating_sub(outcome.transferred)).unwrap_or(u32::MAX);
    bytes[104..108].copy_from_slice(&residual.to_le_bytes());
    bytes
}

fn result(outcome: &Outcome, management: bool) -> u32 {
    if management {
        return if outcome.service == Service::Complete { SUCCESS } else { FAILED };
    }
    let host = match outcome.service {
        Service::Complete => return u32::from(outcome.status),
        Service::AbsentTarget => DID_NO_CONNECT,
        Service::Busy => DID_BUS_BUSY,
        Service::Aborted => DID_ABORT,
        Service::Reset => DID_RESET,
        Service::Overrun | Service::Failure => DID_ERROR,
    };
    host << 16
}
