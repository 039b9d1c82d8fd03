//! A ring in the hands of a worker: its requests, its notifications, its place among the others.

use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::Arc;

use crate::counters::{add, Counters};
use crate::error::{Result, RingFault};
use crate::gate::Access;
use crate::mailbox::{NewQueue, NewRing, QueueKind, Selector, Ticket};
use crate::memory::Memory;
use crate::outcome::Outcome;
use crate::ring::split::{Framing, SplitRing};
use crate::ring::virtio_scsi::VirtioScsiRing;
use crate::ring::CommandRing;
use crate::slot::{Asks, Holder, MemoryUse, Slot};

/// Most bytes of a control request that are looked at; virtio-scsi's largest has 24.
const CONTROL_BYTES: u64 = 4096;
const RAW: Framing = Framing { request: CONTROL_BYTES, response: u64::MAX };

/// The ring itself, by what it carries.
enum Body {
    Commands(Box<dyn CommandRing>),
    Raw(SplitRing),
}

/// A ring and its requests.
pub struct Queue {
    /// Virtual host.
    pub host: u32,
    /// Front-end.
    pub session: u32,
    /// Index of the ring.
    pub index: u32,
    /// What it carries.
    pub kind: QueueKind,
    /// Is to be drained.
    pub enabled: bool,
    /// Something may be available.
    pub ready: bool,
    /// Drained since it last asked for kicks.
    pub unarmed: bool,
    /// Something finished is not published yet.
    pub dirty: bool,
    /// Who waits for its end.
    pub stopping: Option<Arc<Ticket>>,
    /// An event that found no buffer, until the guest puts one there.
    pub parked: Option<(Vec<u8>, Arc<Ticket>)>,
    /// Who pushed events that are not published yet: they hear of it when the guest can see it.
    told: Vec<Arc<Ticket>>,
    /// Requests, by slot.
    pub slots: Vec<Slot>,
    /// Free slots.
    pub free: Vec<usize>,
    /// Guest memory for what is taken next.
    pub memory: Rc<MemoryUse>,
    /// Bytes the host may still make us hold.
    pub budget: Arc<AtomicI64>,
    /// Counters.
    pub counters: Arc<Counters>,
    /// The whole session is broken; shared with its other rings.
    pub broken: Arc<AtomicBool>,
    /// Signalled by the guest.
    pub kick: Option<OwnedFd>,
    call: Option<OwnedFd>,
    body: Body,
}

impl Queue {
    /// A queue from an order.
    #[must_use]
    pub fn new(new: NewQueue, broken: Arc<AtomicBool>) -> Self {
        let count = usize::from(new.ring.size());
        let count = if new.kind == QueueKind::Event { 1 } else { count };
        let body = match (new.kind, new.ring) {
            (QueueKind::Request, NewRing::Split(ring)) => {
                Body::Commands(Box::new(VirtioScsiRing::new(ring, new.stale)))
            }
            (_, NewRing::Split(ring)) => Body::Raw(ring),
            // All in one: commands and task management.
            (_, NewRing::Vscsiif(ring)) => Body::Commands(ring),
        };
        let mut queue = Queue {
            host: new.host,
            session: new.session,
            index: new.index,
            kind: new.kind,
            enabled: true,
            ready: false,
            unarmed: true,
            dirty: false,
            stopping: None,
            parked: None,
            told: Vec::new(),
            slots: (0..count).map(|_| Slot::default()).collect(),
            free: (0..count).rev().collect(),
            memory: Rc::new(MemoryUse { memory: new.memory, waiting: Vec::new().into() }),
            budget: new.budget,
            counters: new.counters,
            broken,
            kick: new.kick,
            call: None,
            body,
        };
        queue.set_call(new.call);
        queue
    }

    /// Whether requests may be taken from it.
    #[must_use]
    pub fn open(&self) -> bool {
        self.enabled
            && self.stopping.is_none()
            && (self.kind != QueueKind::Event || self.parked.is_some())
            && !self.broken.load(Ordering::Relaxed)
    }

    /// Whether memory that it needs vanished.
    #[must_use]
    pub fn gone(&self) -> bool {
        self.memory.memory.gone() || matches!(&self.body, Body::Commands(ring) if ring.gone())
    }

    /// Whether no request of it is left.
    #[must_use]
    pub fn idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// Take the next request into a free slot; on an event ring, fill it with the parked event.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn take(&mut self) -> std::result::Result<Option<usize>, RingFault> {
        if self.kind == QueueKind::Event {
            return self.deliver().map(|()| None);
        }
        self.take_slot()
    }

    /// Fill a buffer with the parked event. Its ticket gets 1 for one that was written whole, and
    /// 0 where the buffer was too short (virtio 1.2, 5.6.6.3: the event is missed).
    fn deliver(&mut self) -> std::result::Result<(), RingFault> {
        let Some((data, ticket)) = self.parked.take() else { return Ok(()) };
        let Some(id) = self.take_slot()? else {
            self.parked = Some((data, ticket));
            return Ok(());
        };
        let whole = self.slots[id].chain.response.length() >= data.len() as u64;
        self.answer_raw(id, if whole { &data } else { &[] });
        ticket.add(i64::from(whole));
        if self.dirty {
            self.told.push(ticket);
        }
        // No command was taken here: the slot has no tickets that would have to wait.
        self.release(id, &mut Vec::new());
        Ok(())
    }

    fn take_slot(&mut self) -> std::result::Result<Option<usize>, RingFault> {
        let Some(id) = self.free.pop() else {
            // As many slots as the ring has entries: a guest that keeps the rules needs no more.
            return if self.pending() { Err(RingFault::Overcommit) } else { Ok(None) };
        };
        let slot = &mut self.slots[id];
        let memory = &self.memory.memory;
        let taken = match &mut self.body {
            Body::Commands(ring) => ring.take(memory, slot),
            Body::Raw(ring) => ring
                .take(memory, RAW, &mut slot.chain)
                .map(|head| head.map(|head| slot.head = head).is_some()),
        };
        match taken {
            Ok(true) => {
                slot.memory = Some(Rc::clone(&self.memory));
                slot.data_in = slot.chain.data_in.length();
                slot.data_out = slot.chain.data_out.length();
                Ok(Some(id))
            }
            other => {
                self.free.push(id);
                other.map(|_| None)
            }
        }
    }

    /// Answer a command on the ring; the slot is released by the caller.
    pub fn answer(&mut self, id: usize, outcome: &Outcome) {
        if self.broken.load(Ordering::Relaxed) {
            return;
        }
        if let Body::Commands(ring) = &mut self.body {
            ring.finish(&self.slots[id], outcome);
            self.dirty = true;
        }
    }

    /// Answer a control or event buffer with bytes, cut to its room.
    pub fn answer_raw(&mut self, id: usize, data: &[u8]) {
        if self.broken.load(Ordering::Relaxed) {
            return;
        }
        if let Body::Raw(ring) = &mut self.body {
            let slot = &self.slots[id];
            // At most the length of `data`, which came from Python in one message.
            let written = slot.chain.response.write(0, data) as u32;
            ring.push(slot.head, written);
            self.dirty = true;
        }
    }

    /// Free a slot; its tickets go to `fired`, to be dropped when the answer is published.
    pub fn release(&mut self, id: usize, fired: &mut Vec<Arc<Ticket>>) {
        let slot = &mut self.slots[id];
        fired.append(&mut slot.tickets);
        if slot.budget > 0 {
            self.budget.fetch_add(slot.budget, Ordering::Relaxed);
        }
        slot.release();
        self.free.push(id);
    }

    /// Count a command that a worker finished by itself.
    pub fn count(&self, access: Option<Access>, id: usize, outcome: &Outcome) {
        let slot = &self.slots[id];
        if !slot.short {
            add(&self.counters.long_road, 1);
            return;
        }
        match access {
            Some(Access::Read) if slot.data_in > 0 => {
                add(&self.counters.reads, 1);
                add(&self.counters.bytes_read, outcome.transferred);
            }
            Some(Access::Write) if slot.data_out > 0 => {
                add(&self.counters.writes, 1);
                add(&self.counters.bytes_written, outcome.transferred);
            }
            _ => add(&self.counters.others, 1),
        }
    }

    /// Show the guest what was finished and notify it if it wants that.
    pub fn publish(&mut self) {
        self.dirty = false;
        let wanted = match &mut self.body {
            Body::Commands(ring) => ring.publish(),
            Body::Raw(ring) => ring.publish(),
        };
        if wanted {
            self.notify();
        }
        self.told.clear();
    }

    fn notify(&self) {
        if let Some(call) = &self.call {
            let one = 1u64;
            // SAFETY: eight bytes from a local. A full counter (EAGAIN) is signalled already.
            unsafe { libc::write(call.as_raw_fd(), (&raw const one).cast(), 8) };
        }
    }

    /// Ask for kicks; true where something is available.
    ///
    /// # Errors
    /// The ring is broken.
    pub fn arm(&mut self) -> std::result::Result<bool, RingFault> {
        match &mut self.body {
            Body::Commands(ring) => ring.arm(),
            Body::Raw(ring) => Ok(ring.arm()),
        }
    }

    /// No kicks while it is being drained.
    pub fn disarm(&mut self) {
        match &mut self.body {
            Body::Commands(ring) => ring.disarm(),
            Body::Raw(ring) => ring.disarm(),
        }
    }

    /// Whether something is available.
    #[must_use]
    pub fn pending(&self) -> bool {
        match &self.body {
            Body::Commands(ring) => ring.pending(),
            Body::Raw(ring) => ring.pending(),
        }
    }

    /// Where to go on after a stop.
    #[must_use]
    pub fn position(&self) -> u32 {
        match &self.body {
            Body::Commands(ring) => ring.position(),
            Body::Raw(ring) => ring.position().into(),
        }
    }

    /// Notify there from now on. Made non-blocking: a guest must not hold a worker up by
    /// filling the counter.
    pub fn set_call(&mut self, call: Option<OwnedFd>) {
        if let Some(fd) = &call {
            // SAFETY: plain system calls on a descriptor of ours.
            unsafe {
                let flags = libc::fcntl(fd.as_raw_fd(), libc::F_GETFL);
                libc::fcntl(fd.as_raw_fd(), libc::F_SETFL, flags | libc::O_NONBLOCK);
            }
        }
        self.call = call;
        // QEMU gives another eventfd when the guest unmasks an interrupt, and looks at the old
        // one only before we have read that message: what was signalled there in between would
        // be lost, and the guest wait for ever. A notification too many harms nobody.
        self.notify();
    }

    /// Use other memory for what is taken next; what is in flight keeps the old.
    ///
    /// # Errors
    /// The ring is not in it.
    pub fn set_memory(&mut self, memory: &Arc<Memory>, ticket: &Arc<Ticket>) -> Result<()> {
        match &mut self.body {
            Body::Commands(ring) => ring.rebind(memory)?,
            Body::Raw(ring) => ring.rebind(memory)?,
        }
        self.memory.waiting.borrow_mut().push(Arc::clone(ticket));
        self.memory = Rc::new(MemoryUse { memory: Arc::clone(memory), waiting: Vec::new().into() });
        Ok(())
    }

    /// Whether a request is meant.
    #[must_use]
    pub fn matches(&self, id: usize, wanted: &Selector) -> bool {
        let slot = &self.slots[id];
        let (target, lun) = match slot.address {
            Some((target, lun)) => (Some(target), Some(lun)),
            None => (None, None),
        };
        slot.holder != Holder::Nobody
            && slot.asks != Asks::Management
            && (wanted.target.is_none() || wanted.target == target)
            && (wanted.lun.is_none() || wanted.lun == lun)
            && wanted.tag.is_none_or(|tag| tag == slot.tag)
    }
}
