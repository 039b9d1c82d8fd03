//! Between threads: orders to a worker, events to Python, and tickets for what takes time.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::map::Map;
use crate::medium::Medium;
use crate::memory::Memory;
use crate::outcome::{Outcome, Service};
use crate::ring::split::SplitRing;
use crate::ring::vscsiif::VscsiifRing;
use crate::sg::lane::Ended;
use crate::sg::Device;
use crate::slot::CDB_MAX;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under these locks can panic half way; a poisoned one is as good as new.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What happened, for Python.
#[derive(Debug)]
pub enum Event {
    /// A command for the long road.
    Command {
        /// Virtual host.
        host: u32,
        /// Front-end.
        session: u32,
        /// The held request.
        token: u64,
        /// 0: nothing is attached there.
        mapping: u32,
        /// Generation of the map.
        generation: u64,
        /// Target and LUN; None for an address that is no LUN's.
        address: Option<(u32, u32)>,
        /// The guest's tag.
        tag: u64,
        /// Task attribute.
        attribute: u8,
        /// CDB.
        cdb: Vec<u8>,
        /// Copy of data-out; empty for a command that the medium executor will run.
        data_out: Vec<u8>,
        /// Data-out bytes the guest offers.
        data_out_length: u64,
        /// Data-in bytes the guest has room for.
        data_in_length: u64,
    },
    /// A request on a control ring.
    Control {
        /// Virtual host.
        host: u32,
        /// Front-end.
        session: u32,
        /// The held request.
        token: u64,
        /// Its readable bytes.
        data: Vec<u8>,
        /// Room for the answer.
        writable: u64,
    },
    /// An order has ended.
    Done {
        /// Which.
        ticket: u64,
        /// What it yields.
        value: i64,
        /// Empty when it was carried out.
        error: String,
    },
    /// A session's rings have stopped for good.
    Broken {
        /// Virtual host.
        host: u32,
        /// Front-end.
        session: u32,
        /// Ring.
        queue: u32,
        /// Why.
        reason: String,
    },
    /// A held request shall end now.
    Cancel {
        /// Virtual host.
        host: u32,
        /// Front-end.
        session: u32,
        /// Which.
        token: u64,
        /// How.
        service: Service,
    },
    /// The host's I/O has failed, for the first time since Python took what failed before.
    Failed {
        /// Virtual host.
        host: u32,
        /// Where.
        mapping: u32,
    },
    /// A run that Python ordered has ended.
    Executed {
        /// Which request.
        token: u64,
        /// How.
        outcome: Box<Outcome>,
        /// What a device gave that Python wanted to see.
        data: Box<[u8]>,
    },
}

/// Events on their way to Python: a queue per virtual host, one eventfd for all.
#[derive(Debug)]
pub struct Outbox {
    queues: Mutex<BTreeMap<u32, VecDeque<Event>>>,
    next: Mutex<u32>,
    wake: EventFd,
}

impl Outbox {
    /// An empty one.
    ///
    /// # Errors
    /// No descriptor is to be had.
    pub fn new() -> Result<Self> {
        let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
            .map_err(|source| Error::Io { context: "make an eventfd", source })?;
        Ok(Outbox { queues: Mutex::default(), next: Mutex::default(), wake })
    }

    /// Readable while there are events.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// Add an event; host 0 is for what belongs to none.
    pub fn push(&self, host: u32, event: Event) {
        let mut queues = lock(&self.queues);
        let was_empty = queues.values().all(VecDeque::is_empty);
        queues.entry(host).or_default().push_back(event);
        drop(queues);
        if was_empty {
            // It can only fail when the counter is full, and then it is readable already.
            let _ = self.wake.write(1);
        }
    }

    /// Up to `limit` events, one of each host in turn.
    pub fn take(&self, limit: usize) -> Vec<Event> {
        let mut queues = lock(&self.queues);
        let mut next = lock(&self.next);
        let mut taken = Vec::new();
        while taken.len() < limit {
            // The first host after the last served one that has something, else the first.
            let host = queues
                .range(*next..)
                .chain(queues.range(..*next))
                .find(|(_, events)| !events.is_empty())
                .map(|(host, _)| *host);
            let Some(host) = host else { break };
            if let Some(event) = queues.get_mut(&host).and_then(VecDeque::pop_front) {
                taken.push(event);
            }
            *next = host.wrapping_add(1);
        }
        queues.retain(|_, events| !events.is_empty());
        if queues.is_empty() {
            // EAGAIN: nobody had written yet.
            let _ = self.wake.read();
        }
        taken
    }
}

/// An order's end. Handed to whatever must end first; when the last has dropped it, Python is told.
#[derive(Debug)]
pub struct Ticket {
    number: u64,
    value: AtomicI64,
    error: Mutex<String>,
    outbox: Arc<Outbox>,
}

impl Ticket {
    /// A ticket with that number.
    #[must_use]
    pub fn new(number: u64, outbox: Arc<Outbox>) -> Arc<Self> {
        Arc::new(Ticket { number, value: AtomicI64::new(0), error: Mutex::default(), outbox })
    }

    /// Add to what the order yields.
    pub fn add(&self, amount: i64) {
        self.value.fetch_add(amount, Ordering::Relaxed);
    }

    /// The order could not be carried out.
    pub fn fail(&self, reason: &str) {
        reason.clone_into(&mut lock(&self.error));
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let error = std::mem::take(&mut *lock(&self.error));
        let value = self.value.load(Ordering::Relaxed);
        self.outbox.push(0, Event::Done { ticket: self.number, value, error });
    }
}

/// What a queue carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueKind {
    /// Task management: whole requests go up to Python.
    Control,
    /// Buffers for events of ours.
    Event,
    /// SCSI commands.
    Request,
}

/// Which requests an order is about; -1 in Python, None here, matches any.
#[derive(Clone, Copy, Debug, Default)]
pub struct Selector {
    /// Virtual host.
    pub host: u32,
    /// Target.
    pub target: Option<u32>,
    /// LUN.
    pub lun: Option<u32>,
    /// Tag.
    pub tag: Option<u64>,
}

/// A ring of one of the kinds that there are.
#[derive(Debug)]
pub enum NewRing {
    /// Virtio's.
    Split(SplitRing),
    /// Xen's.
    Vscsiif(Box<VscsiifRing>),
}

impl NewRing {
    /// Entries.
    #[must_use]
    pub fn size(&self) -> u16 {
        match self {
            NewRing::Split(ring) => ring.size(),
            NewRing::Vscsiif(ring) => ring.size(),
        }
    }
}

/// A ring to be started.
#[derive(Debug)]
pub struct NewQueue {
    /// Virtual host.
    pub host: u32,
    /// Bytes of data-out copies the host may still make us hold.
    pub budget: Arc<AtomicI64>,
    /// Front-end.
    pub session: u32,
    /// Index of the ring.
    pub index: u32,
    /// What it carries.
    pub kind: QueueKind,
    /// The ring itself.
    pub ring: NewRing,
    /// What lies in it may have been taken by a back-end that died.
    pub stale: bool,
    /// The memory it lies in.
    pub memory: Arc<Memory>,
    /// Signalled by the guest; None: looked at every millisecond.
    pub kick: Option<OwnedFd>,
    /// Signalled for the guest.
    pub call: Option<OwnedFd>,
    /// Its counters.
    pub counters: Arc<Counters>,
}

/// A held request on its way to a device.
#[derive(Debug)]
pub struct Forward {
    /// Which.
    pub device: Arc<Device>,
    /// In place of the guest's.
    pub cdb: [u8; CDB_MAX],
    /// In place of the guest's buffers.
    pub bounce: Option<Box<[u8]>>,
    /// `bounce` goes to the device.
    pub write: bool,
}

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    /// Look up in this map from now on.
    SetMap(u32, Arc<Map>, Arc<Ticket>),
    /// That host is gone, and its map is not needed any more.
    ForgetMap(u32),
    /// Bits of a gate were set: give the ticket to the short-road commands that they stop.
    Quiesce(u32, u32, Arc<Ticket>),
    /// Use this memory for what comes.
    SetMemory(u32, Arc<Memory>, Arc<Ticket>),
    /// Start a ring.
    Start(Box<NewQueue>, Arc<Ticket>),
    /// Drain a ring, or leave it alone.
    Enable(u32, u32, bool, Arc<Ticket>),
    /// Notify there from now on.
    SetCall(u32, u32, Option<OwnedFd>),
    /// Take no more and end what was taken; all rings of the session without an index.
    Stop(u32, Option<u32>, Arc<Ticket>),
    /// Fill an event buffer.
    PushEvent(u32, u32, Vec<u8>, Arc<Ticket>),
    /// Run a held request, with this CDB in place of the guest's.
    Execute(u64, Arc<Medium>, [u8; CDB_MAX]),
    /// Send a held request to a device.
    Forward(u64, Box<Forward>),
    /// That device is not needed any more; the sender is dropped when it is gone.
    ForgetDevice(u32, Sender<Infallible>),
    /// Answer a held request; data None: it was moved already.
    Complete(u64, Box<Outcome>, Option<Vec<u8>>),
    /// Answer a held control request.
    CompleteControl(u64, Vec<u8>),
    /// End requests.
    Abort(Selector, Service, Arc<Ticket>),
    /// Count requests.
    Count(Selector, Arc<Ticket>),
    /// A pool thread is done with a request.
    PoolDone(u64, Box<Outcome>),
    /// A thread of a device that was passed in is done with a command.
    DeviceDone(u32, Box<Ended>),
    /// End the thread.
    Quit,
}

/// Orders to one worker.
#[derive(Debug)]
pub struct Mailbox {
    orders: Mutex<VecDeque<Order>>,
    waiting: AtomicBool,
    wake: EventFd,
}

impl Mailbox {
    /// An empty one.
    ///
    /// # Errors
    /// No descriptor is to be had.
    pub fn new() -> Result<Self> {
        let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)
            .map_err(|source| Error::Io { context: "make an eventfd", source })?;
        Ok(Mailbox { orders: Mutex::default(), waiting: AtomicBool::new(false), wake })
    }

    /// Readable while orders wait.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// Give an order.
    pub fn post(&self, order: Order) {
        lock(&self.orders).push_back(order);
        if !self.waiting.swap(true, Ordering::AcqRel) {
            let _ = self.wake.write(1);
        }
    }

    /// Whether orders wait; costs one load.
    #[must_use]
    pub fn has_mail(&self) -> bool {
        self.waiting.load(Ordering::Acquire)
    }

    /// All orders that wait.
    pub fn take(&self) -> VecDeque<Order> {
        // Cleared before the orders are taken: one that comes between is announced again.
        self.waiting.store(false, Ordering::Release);
        let _ = self.wake.read();
        std::mem::take(&mut *lock(&self.orders))
    }
}
