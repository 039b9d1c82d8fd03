//! The engine as its caller sees it: threads, hosts, sessions. Orders go out, events come back.

use std::collections::{HashMap, HashSet};
use std::os::fd::RawFd;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::counters::Counters;
use crate::error::{Error, Result};
use crate::mailbox::{Event, Mailbox, Order, Outbox, Selector, Ticket};
use crate::map::{Entry, Map, OpcodeSet};
use crate::medium::Medium;
use crate::memory::{Memory, RegionSpec};
use crate::outcome::{Outcome, Service};
use crate::pool::Pool;
use crate::sg::Device;
use crate::slot::{Token, CDB_MAX};
use crate::worker::{self, Shared};

mod devices;
mod hosts;
mod rings;
mod statistics;

use rings::duplicate_eventfd;
pub use rings::{PvscsiSpec, RingSpec};

/// Threads for what may take long; they sleep where nothing does.
const POOL_THREADS: usize = 4;

/// How an engine is to run.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Engine threads.
    pub threads: usize,
    /// io_uring may be used where the kernel lets us.
    pub io_uring: bool,
    /// Longest busy poll before sleeping.
    pub poll: Duration,
}

#[derive(Debug)]
struct Host {
    /// It has had a front-end.
    served: bool,
    map: Arc<Map>,
    budget: Arc<AtomicI64>,
}

#[derive(Debug)]
struct Session {
    host: u32,
    /// It is the first of its host: the front-end may have had another back-end before.
    first: bool,
    /// Rings that it has started once.
    begun: HashSet<u32>,
    memory: Arc<Memory>,
    /// Ring index to thread and counters.
    rings: HashMap<u32, (usize, Arc<Counters>)>,
}

#[derive(Debug, Default)]
struct State {
    hosts: HashMap<u32, Host>,
    sessions: HashMap<u32, Session>,
    /// By mapping, of all hosts.
    entries: HashMap<u32, Arc<Entry>>,
    next_id: u32,
}

/// A LUN as the caller attaches it.
#[derive(Clone, Debug)]
pub struct MapRow {
    /// Target.
    pub target: u32,
    /// LUN.
    pub lun: u32,
    /// Mapping id, above 0, unique in the process.
    pub mapping: u32,
    /// Its blocks.
    pub medium: Option<Arc<Medium>>,
    /// The host's device that its commands go to.
    pub device: Option<Arc<Device>>,
    /// Commands for that device whose data-out Python is to see.
    pub copied: OpcodeSet,
    /// What workers may finish.
    pub short_road: OpcodeSet,
    /// Its writes are refused, as those of a read-only medium.
    pub protected: bool,
}

/// What a ring has carried, see `Counters`.
pub type CounterRow = (u32, [u64; 7]);

/// The engine. One per process.
#[derive(Debug)]
pub struct Engine {
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    outbox: Arc<Outbox>,
    tickets: AtomicU64,
    state: Mutex<State>,
    io_uring: bool,
}

impl Engine {
    /// Start the threads.
    ///
    /// # Errors
    /// The host gives no threads or descriptors.
    pub fn new(options: Options) -> Result<Self> {
        let count = options.threads.clamp(1, Token::MAX_THREADS);
        let outbox = Arc::new(Outbox::new()?);
        let shared = Shared {
            outbox: Arc::clone(&outbox),
            pool: Arc::new(Pool::new(POOL_THREADS)?),
            poll: options.poll,
            io_uring: options.io_uring,
        };
        let mailboxes =
            (0..count).map(|_| Mailbox::new().map(Arc::new)).collect::<Result<Vec<_>>>()?;
        let mut threads = Vec::with_capacity(count);
        let mut io_uring = true;
        for (index, mailbox) in mailboxes.iter().enumerate() {
            let (thread, uring) = worker::start(index, Arc::clone(mailbox), shared.clone())?;
            threads.push(thread);
            io_uring &= uring;
        }
        Ok(Engine {
            mailboxes,
            threads: Mutex::new(threads),
            outbox,
            tickets: AtomicU64::new(1),
            state: Mutex::default(),
            io_uring,
        })
    }

    /// Whether all threads have an io_uring.
    #[must_use]
    pub fn io_uring(&self) -> bool {
        self.io_uring
    }

    /// Readable while `take` has something.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.outbox.fd()
    }

    /// Up to `limit` events, fairly over hosts.
    #[must_use]
    pub fn take(&self, limit: usize) -> Vec<Event> {
        self.outbox.take(limit)
    }

    /// End all threads.
    pub fn stop(&self) {
        for mailbox in &self.mailboxes {
            mailbox.post(Order::Quit);
        }
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        for thread in threads.drain(..) {
            let _ = thread.join();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ticket(&self) -> (u64, Arc<Ticket>) {
        let number = self.tickets.fetch_add(1, Ordering::Relaxed);
        (number, Ticket::new(number, Arc::clone(&self.outbox)))
    }

    fn broadcast(&self, order: impl Fn(Arc<Ticket>) -> Order) -> u64 {
        let (number, ticket) = self.ticket();
        for mailbox in &self.mailboxes {
            mailbox.post(order(Arc::clone(&ticket)));
        }
        number
    }

    // -- front-ends

    /// A new front-end of a host.
    ///
    /// # Errors
    /// There is no such host.
    pub fn add_session(&self, host: u32) -> Result<u32> {
        let mut state = self.state();
        let Some(owner) = state.hosts.get_mut(&host) else {
            return Err(unknown("virtual host", host));
        };
        let first = !std::mem::replace(&mut owner.served, true);
        let id = next_id(&mut state);
        let (memory, rings, begun) = (Arc::default(), HashMap::new(), HashSet::new());
        let session = Session { host, first, begun, memory, rings };
        state.sessions.insert(id, session);
        Ok(id)
    }

    /// Replace a front-end's memory.
    ///
    /// # Errors
    /// A region is impossible, see `Memory::new`.
    pub fn set_memory(&self, session: u32, regions: &[RegionSpec]) -> Result<u64> {
        let memory = Arc::new(Memory::new(regions)?);
        let mut state = self.state();
        let owner = find_session(&mut state, session)?;
        owner.memory = Arc::clone(&memory);
        drop(state);
        Ok(self.broadcast(|ticket| Order::SetMemory(session, Arc::clone(&memory), ticket)))
    }

    fn post(&self, thread: usize, order: Order) {
        if let Some(mailbox) = self.mailboxes.get(thread) {
            mailbox.post(order);
        }
    }

    /// The thread of a ring that runs.
    fn ring_thread(&self, session: u32, index: u32) -> Result<usize> {
        let mut state = self.state();
        let owner = find_session(&mut state, session)?;
        let (thread, _) = owner.rings.get(&index).ok_or_else(|| unknown("ring", index))?;
        Ok(*thread)
    }

    /// Drain a ring, or leave it alone.
    ///
    /// # Errors
    /// There is no such ring.
    pub fn set_enabled(&self, session: u32, index: u32, enabled: bool) -> Result<u64> {
        let thread = self.ring_thread(session, index)?;
        let (number, ticket) = self.ticket();
        self.post(thread, Order::Enable(session, index, enabled, ticket));
        Ok(number)
    }

    /// Notify a ring's guest there from now on.
    ///
    /// # Errors
    /// There is no such ring, or the descriptor is no eventfd.
    pub fn set_call(&self, session: u32, index: u32, call: RawFd) -> Result<()> {
        let thread = self.ring_thread(session, index)?;
        self.post(thread, Order::SetCall(session, index, duplicate_eventfd(call)?));
        Ok(())
    }

    /// Stop a ring; done with its position when all that was taken has ended.
    ///
    /// # Errors
    /// There is no such ring.
    pub fn stop_ring(&self, session: u32, index: u32) -> Result<u64> {
        let thread = self.ring_thread(session, index)?;
        let mut state = self.state();
        find_session(&mut state, session)?.rings.remove(&index);
        drop(state);
        let (number, ticket) = self.ticket();
        self.post(thread, Order::Stop(session, Some(index), ticket));
        Ok(number)
    }

    /// Stop all rings and unmap the memory.
    ///
    /// # Errors
    /// There is no such front-end.
    pub fn end_session(&self, session: u32) -> Result<u64> {
        let mut state = self.state();
        find_session(&mut state, session)?;
        state.sessions.remove(&session);
        drop(state);
        Ok(self.broadcast(|ticket| Order::Stop(session, None, ticket)))
    }

    /// Fill an event buffer.
    ///
    /// # Errors
    /// There is no such ring.
    pub fn push_event(&self, session: u32, index: u32, data: Vec<u8>) -> Result<u64> {
        let thread = self.ring_thread(session, index)?;
        let (number, ticket) = self.ticket();
        self.post(thread, Order::PushEvent(session, index, data, ticket));
        Ok(number)
    }

    // -- requests

    /// Run a held request as `cdb` says, padded with zeros: it may ask for less than the
    /// guest's did, or for another place. It is checked as if the guest had sent it.
    ///
    /// # Errors
    /// The CDB is empty or too long.
    pub fn execute(&self, token: u64, medium: Arc<Medium>, cdb: &[u8]) -> Result<()> {
        if cdb.is_empty() || cdb.len() > CDB_MAX {
            let length = cdb.len();
            return Err(Error::Setup(format!("a CDB has 1 to {CDB_MAX} bytes, not {length}")));
        }
        let mut padded = [0; CDB_MAX];
        padded[..cdb.len()].copy_from_slice(cdb);
        self.post(Token::unpack(token).thread, Order::Execute(token, medium, padded));
        Ok(())
    }

    /// Answer a held request; `data` None: it was moved already.
    pub fn complete(&self, token: u64, outcome: Outcome, data: Option<Vec<u8>>) {
        let order = Order::Complete(token, Box::new(outcome), data);
        self.post(Token::unpack(token).thread, order);
    }

    /// Answer a held control request.
    pub fn complete_control(&self, token: u64, data: Vec<u8>) {
        self.post(Token::unpack(token).thread, Order::CompleteControl(token, data));
    }

    /// End requests; done with their number.
    pub fn abort(&self, wanted: Selector, service: Service) -> u64 {
        self.broadcast(|ticket| Order::Abort(wanted, service, ticket))
    }

    /// Count requests.
    pub fn count(&self, wanted: Selector) -> u64 {
        self.broadcast(|ticket| Order::Count(wanted, ticket))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.stop();
    }
}

fn next_id(state: &mut State) -> u32 {
    state.next_id = state.next_id.wrapping_add(1);
    state.next_id
}

fn unknown(kind: &'static str, id: u32) -> Error {
    Error::Unknown { kind, id: id.into() }
}

fn find_session(state: &mut State, id: u32) -> Result<&mut Session> {
    find_session_in(&mut state.sessions, id)
}

fn find_session_in(sessions: &mut HashMap<u32, Session>, id: u32) -> Result<&mut Session> {
    sessions.get_mut(&id).ok_or_else(|| unknown("session", id))
}
