//! An engine thread: drains its rings, finishes what it may, hands up the rest.
//!
//! Here are its rounds; what a request, an order or sleeping takes has a file of its own.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{mpsc, Arc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::error::{Error, Result, RingFault};
use crate::mailbox::{Event, Mailbox, Order, Outbox, Ticket};
use crate::map::Map;
use crate::pool::Pool;
use crate::queue::Queue;
use crate::sg::lane::Lanes;
use crate::slot::{Holder, Slot, Token};
use crate::uring::Uring;

mod forwarding;
mod long_road;
mod orders;
mod short_road;
mod waking;

/// epoll data: below are the worker's own descriptors, from here on queues.
const FIRST_QUEUE: u64 = 16;
const MAIL: u64 = 0;
const URING: u64 = 1;
/// epoll data of a descriptor of a device: this bit, the device, and which of its descriptors.
const DEVICE: u64 = 1 << 63;

/// Requests of a long batch after which the guest is shown what is done already, so that it can
/// prepare the next ones while we go on.
const PUBLISH_EVERY: u32 = 8;
/// Rounds of work after which epoll is asked even though there is more to do.
const ROUNDS: u32 = 8;
/// Blocking writes into the page cache that one round may do before it defers the others.
const INLINE_WRITES: u32 = 64;

/// What the threads of an engine share.
#[derive(Clone, Debug)]
pub struct Shared {
    /// Events for Python.
    pub outbox: Arc<Outbox>,
    /// Threads that may wait.
    pub pool: Arc<Pool>,
    /// Longest busy poll before sleeping.
    pub poll: Duration,
    /// io_uring may be used.
    pub io_uring: bool,
}

/// One engine thread.
pub struct Worker {
    index: usize,
    mailbox: Arc<Mailbox>,
    shared: Shared,
    epoll: Epoll,
    uring: Option<Uring>,
    queues: Vec<Option<Box<Queue>>>,
    /// Broken flags of sessions, one for all rings of a session on this thread.
    broken: HashMap<u32, Arc<AtomicBool>>,
    maps: HashMap<u32, Arc<Map>>,
    held: BinaryHeap<Reverse<(Instant, u64)>>,
    /// Devices of the host that this thread has sent something to.
    devices: HashMap<u32, Lanes>,
    /// Their descriptors from which something may be read.
    readable: Vec<(u32, usize)>,
    ready: Vec<usize>,
    unarmed: Vec<usize>,
    dirty: Vec<usize>,
    /// Empty between uses; swapped with one of the lists while that is walked.
    spare: Vec<usize>,
    /// Rings without a kick descriptor: looked at every millisecond.
    kickless: usize,
    stopping: usize,
    fired: Vec<Arc<Ticket>>,
    inline_left: u32,
    /// How long to poll this time, see `stay_awake`.
    window: Duration,
    awake_since: Instant,
    /// The time of the last look at the clock, by which latencies are told: once a round, and every
    /// few requests of a long batch. A look for each request would cost a tenth of a short one.
    now: Instant,
    /// Rounds since epoll was asked.
    rounds: u32,
}

impl Worker {
    /// A worker; to be made and run on its own thread.
    ///
    /// # Errors
    /// The host gives no epoll.
    pub fn new(index: usize, mailbox: Arc<Mailbox>, shared: Shared) -> Result<Self> {
        let epoll =
            Epoll::new().map_err(|source| Error::Io { context: "make an epoll", source })?;
        let uring = if shared.io_uring { Uring::new() } else { None };
        let worker = Worker {
            index,
            epoll,
            uring,
            queues: Vec::new(),
            broken: HashMap::new(),
            maps: HashMap::new(),
            held: BinaryHeap::new(),
            devices: HashMap::new(),
            readable: Vec::with_capacity(64),
            ready: Vec::with_capacity(64),
            unarmed: Vec::with_capacity(64),
            dirty: Vec::with_capacity(64),
            spare: Vec::with_capacity(64),
            kickless: 0,
            stopping: 0,
            fired: Vec::new(),
            inline_left: INLINE_WRITES,
            window: shared.poll,
            awake_since: Instant::now(),
            now: Instant::now(),
            rounds: 0,
            mailbox,
            shared,
        };
        worker.watch(worker.mailbox.fd(), MAIL, EventSet::IN)?;
        if let Some(uring) = &worker.uring {
            worker.watch(uring.fd(), URING, EventSet::IN | EventSet::EDGE_TRIGGERED)?;
        }
        Ok(worker)
    }

    fn watch(&self, fd: i32, data: u64, events: EventSet) -> Result<()> {
        self.epoll
            .ctl(ControlOperation::Add, fd, EpollEvent::new(events, data))
            .map_err(|source| Error::Io { context: "watch a descriptor", source })
    }

    /// Whether this thread has an io_uring.
    #[must_use]
    pub fn has_uring(&self) -> bool {
        self.uring.is_some()
    }

    /// Work until told to quit.
    pub fn run(mut self) {
        loop {
            self.now = Instant::now();
            if self.mailbox.has_mail() {
                for order in self.mailbox.take() {
                    if matches!(order, Order::Quit) {
                        return;
                    }
                    self.obey(order);
                }
            }
            self.inline_left = INLINE_WRITES;
            self.drain_ready();
            self.reap();
            self.reap_devices();
            self.release_held();
            self.publish();
            self.rounds += 1;
            if !self.stay_awake() && self.rearm() {
                self.sleep();
            } else if self.rounds >= ROUNDS {
                // One guest that is never idle must not keep us from hearing the others kick.
                self.listen(0);
            }
        }
    }

    fn drain_ready(&mut self) {
        // Swapped with an empty list that has room, so that nothing is allocated a round.
        std::mem::swap(&mut self.ready, &mut self.spare);
        for position in 0..self.spare.len() {
            self.drain(self.spare[position]);
        }
        self.spare.clear();
    }

    /// Take what is available, at most as many requests as the ring has entries.
    fn drain(&mut self, id: usize) {
        let Some(mut queue) = self.queues.get_mut(id).and_then(Option::take) else { return };
        queue.ready = false;
        if queue.open() {
            queue.disarm();
            if !queue.unarmed {
                queue.unarmed = true;
                self.unarmed.push(id);
            }
            let map = self.maps.get(&queue.host).cloned();
            let mut taken = 0;
            for _ in 0..queue.slots.len() {
                match queue.take() {
                    Ok(Some(slot)) => {
                        self.begin(id, &mut queue, slot, map.as_deref());
                        taken += 1;
                        if taken % PUBLISH_EVERY == 0 {
                            self.now = Instant::now();
                            if queue.dirty {
                                queue.publish();
                            }
                        }
                    }
                    Ok(None) => break,
                    Err(fault) => {
                        self.break_session(&queue, fault);
                        break;
                    }
                }
            }
            if queue.gone() {
                self.break_session(&queue, RingFault::MemoryGone);
            }
        }
        self.put_back(id, queue);
    }

    fn put_back(&mut self, id: usize, queue: Box<Queue>) {
        if queue.dirty && !self.dirty.contains(&id) {
            self.dirty.push(id);
        }
        self.queues[id] = Some(queue);
    }

    fn token(&self, id: usize, slot_id: usize, slot: &Slot) -> u64 {
        Token { thread: self.index, queue: id, slot: slot_id, sequence: slot.sequence }.pack()
    }

    /// Call `act` with the queue and slot of a token that is still in use.
    fn with_slot(&mut self, number: u64, act: impl FnOnce(&mut Self, usize, &mut Queue, usize)) {
        let token = Token::unpack(number);
        let Some(mut queue) = self.queues.get_mut(token.queue).and_then(Option::take) else {
            return;
        };
        let known = queue
            .slots
            .get(token.slot)
            .is_some_and(|s| s.sequence == token.sequence && s.holder != Holder::Nobody);
        if known {
            act(self, token.queue, &mut queue, token.slot);
        }
        self.put_back(token.queue, queue);
    }

    fn publish(&mut self) {
        std::mem::swap(&mut self.dirty, &mut self.spare);
        for position in 0..self.spare.len() {
            let id = self.spare[position];
            let Some(mut queue) = self.queues.get_mut(id).and_then(Option::take) else { continue };
            queue.publish();
            // An answer may have been written to pages that were not there any more.
            if queue.gone() {
                self.break_session(&queue, RingFault::MemoryGone);
            }
            self.queues[id] = Some(queue);
        }
        self.spare.clear();
        if self.stopping > 0 {
            self.settle_stops();
        }
        // Only now do those who wait for an end hear of it: the guest can see it.
        self.fired.clear();
    }

    fn settle_stops(&mut self) {
        for id in 0..self.queues.len() {
            let done = matches!(&self.queues[id],
                Some(queue) if queue.stopping.is_some() && queue.idle());
            if !done {
                continue;
            }
            if let Some(queue) = self.queues[id].take() {
                if let Some(ticket) = &queue.stopping {
                    ticket.add(i64::from(queue.position()));
                }
                self.stopping -= 1;
                self.forget(*queue);
            }
        }
    }

    fn forget(&mut self, queue: Queue) {
        match &queue.kick {
            Some(kick) => {
                let event = EpollEvent::default();
                // It can only fail if the descriptor was not watched.
                let _ = self.epoll.ctl(ControlOperation::Delete, kick.as_raw_fd(), event);
            }
            None => self.kickless = self.kickless.saturating_sub(1),
        }
        let session = queue.session;
        self.fired.extend(queue.stopping.clone());
        drop(queue);
        if !self.queues.iter().flatten().any(|other| other.session == session) {
            self.broken.remove(&session);
        }
    }

    fn break_session(&mut self, queue: &Queue, fault: RingFault) {
        // What a ring looks like in memory that is gone says nothing about the guest.
        let fault = if queue.gone() { RingFault::MemoryGone } else { fault };
        if !queue.broken.swap(true, Ordering::Relaxed) {
            let event = Event::Broken {
                host: queue.host,
                session: queue.session,
                queue: queue.index,
                reason: fault.to_string(),
            };
            self.shared.outbox.push(queue.host, event);
        }
    }
}

/// Start a worker on a thread of its own; whether it has an io_uring.
///
/// # Errors
/// The host gives no thread or no descriptors.
pub fn start(
    index: usize,
    mailbox: Arc<Mailbox>,
    shared: Shared,
) -> Result<(JoinHandle<()>, bool)> {
    let (tell, told) = mpsc::channel();
    // The worker is made on its own thread: an io_uring belongs to the thread that made it.
    let thread = std::thread::Builder::new()
        .name(format!("engine-{index}"))
        .spawn(move || match Worker::new(index, mailbox, shared) {
            Ok(worker) => {
                let _ = tell.send(Ok(worker.has_uring()));
                worker.run();
            }
            Err(error) => {
                let _ = tell.send(Err(error));
            }
        })
        .map_err(|source| Error::Io { context: "start an engine thread", source })?;
    match told.recv() {
        Ok(Ok(uring)) => Ok((thread, uring)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(Error::Setup("an engine thread ended before it began".into())),
    }
}
