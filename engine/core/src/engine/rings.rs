//! Starting rings, of either kind.

use std::os::fd::{BorrowedFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::{find_session, find_session_in, unknown, Engine};
use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::grants::table::{GrantTable, TableSpec};
use crate::grants::translated::Translated;
use crate::grants::Grants;
use crate::inflight::{AreaSpec, Inflight};
use crate::mailbox::{NewQueue, NewRing, Order, QueueKind};
use crate::memory::Memory;
use crate::ring::split::{Layout, SplitRing};
use crate::ring::vscsiif::{Place, VscsiifRing};

/// A ring as the front-end described it.
#[derive(Clone, Copy, Debug)]
pub struct RingSpec {
    /// Index.
    pub index: u32,
    /// What it carries.
    pub kind: QueueKind,
    /// Where it lies.
    pub layout: Layout,
    /// Signalled by the guest; negative: none.
    pub kick: RawFd,
    /// Signalled for the guest; negative: none.
    pub call: RawFd,
}

/// A pvSCSI ring as its front-end described it.
#[derive(Clone, Copy, Debug)]
pub struct PvscsiSpec {
    /// Where the ring's page is.
    pub place: Place,
    /// The grant table; None: grant references are frame numbers.
    pub table: Option<TableSpec>,
    /// Where to note what is in flight.
    pub area: Option<AreaSpec>,
    /// Most segments of a request with SG_GRANT; 0: there are none such.
    pub segments: u32,
    /// Signalled by the guest; negative: none.
    pub kick: RawFd,
    /// Signalled for the guest; negative: none.
    pub call: RawFd,
}

/// A ring's number, and what it carries.
#[derive(Clone, Copy, Debug)]
struct QueuePlace {
    index: u32,
    kind: QueueKind,
}

impl Engine {
    /// Start a ring.
    ///
    /// # Errors
    /// Its place or size is impossible, or a descriptor cannot be used.
    pub fn start_ring(&self, session: u32, spec: RingSpec) -> Result<u64> {
        let place = QueuePlace { index: spec.index, kind: spec.kind };
        let make = |memory: &Memory| SplitRing::new(spec.layout, memory).map(NewRing::Split);
        self.add_queue(session, place, make, spec.layout.base != 0, spec.kick, spec.call)
    }

    /// `goes_on`: its driver has used the ring before.
    fn add_queue(
        &self,
        session: u32,
        place: QueuePlace,
        make: impl FnOnce(&Memory) -> Result<NewRing>,
        goes_on: bool,
        kick: RawFd,
        call: RawFd,
    ) -> Result<u64> {
        let threads = self.mailboxes.len();
        let mut guard = self.state();
        let state = &mut *guard;
        let owner = find_session(state, session)?;
        let ring = make(&owner.memory)?;
        let host = owner.host;
        let host = state.hosts.get(&host).ok_or_else(|| unknown("virtual host", host))?;
        // Static: neighbours of one guest, and the first rings of many guests, spread out.
        let thread = (session as usize + place.index as usize) % threads;
        let counters = Arc::new(Counters::default());
        let owner = find_session_in(&mut state.sessions, session)?;
        // A ring that has been in use, and not by us.
        let stale = goes_on && owner.first && !owner.begun.contains(&place.index);
        let order = NewQueue {
            host: owner.host,
            budget: Arc::clone(&host.budget),
            session,
            index: place.index,
            kind: place.kind,
            ring,
            stale,
            memory: Arc::clone(&owner.memory),
            kick: duplicate_eventfd(kick)?,
            call: duplicate_eventfd(call)?,
            counters: Arc::clone(&counters),
        };
        owner.rings.insert(place.index, (thread, counters));
        owner.begun.insert(place.index);
        drop(guard);
        let (number, ticket) = self.ticket();
        self.post(thread, Order::Start(Box::new(order), ticket));
        Ok(number)
    }

    /// Start a pvSCSI ring, as ring 0.
    ///
    /// # Errors
    /// `Error::Ring`: what the guest gave cannot be a ring. Others: what the front-end gave
    /// cannot be used.
    pub fn start_pvscsi(&self, session: u32, spec: PvscsiSpec) -> Result<u64> {
        let place = QueuePlace { index: 0, kind: QueueKind::Request };
        self.add_queue(session, place, |memory| make(spec, memory), false, spec.kick, spec.call)
    }
}

fn make(spec: PvscsiSpec, memory: &Memory) -> Result<NewRing> {
    let references = spec.table.map_or(0, |table| GrantTable::entries(table.size));
    let inflight = spec.area.map(|area| Inflight::new(area, references)).transpose()?;
    let grants: Box<dyn Grants> = match spec.table {
        Some(table) => Box::new(GrantTable::new(table, inflight.as_ref().map(Inflight::pins))?),
        None => Box::new(Translated),
    };
    let ring = VscsiifRing::new(spec.place, grants, inflight, spec.segments, memory)?;
    Ok(NewRing::Vscsiif(Box::new(ring)))
}

/// A copy of a notification descriptor. Only an eventfd will do: a write to a full pipe or
/// socket of the front-end's could hold a worker up.
pub(super) fn duplicate_eventfd(fd: RawFd) -> Result<Option<OwnedFd>> {
    if fd < 0 {
        return Ok(None);
    }
    let link = std::fs::read_link(format!("/proc/self/fd/{fd}"));
    if !link.is_ok_and(|link| link.as_os_str() == "anon_inode:[eventfd]") {
        return Err(Error::Setup("a kick or call descriptor is no eventfd".into()));
    }
    // SAFETY: the caller holds the descriptor open during this call.
    let copy = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned();
    copy.map(Some).map_err(|source| Error::Io { context: "duplicate an eventfd", source })
}
