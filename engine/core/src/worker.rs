//! An engine thread: kicks, drains its rings, finishes what it may, hands up the rest.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};

use crate::cdb;
use crate::counters::add;
use crate::error::{Error, Result, RingFault};
use crate::gate::Gate;
use crate::mailbox::{Event, Mailbox, NewQueue, Order, Outbox, QueueKind, Selector, Ticket};
use crate::map::Map;
use crate::medium::{Medium, Step, Store, Transfer};
use crate::outcome::{Outcome, Service, GOOD, TASK_SET_FULL};
use crate::pool::{Job, Pool};
use crate::queue::Queue;
use crate::slot::{Holder, Slot, Token};
use crate::slow::Slow;
use crate::uring::Uring;

/// epoll data: below are the worker's own descriptors, from here on queues.
const FIRST_QUEUE: u64 = 16;
const MAIL: u64 = 0;
const URING: u64 = 1;

/// Requests of a long batch after which the guest is shown what is done already, so that it can
/// prepare the next ones while we go on.
const PUBLISH_EVERY: u32 = 8;
/// Longest look for more after work was done, before sleeping.
const LINGER: Duration = Duration::from_micros(20);
/// Blocking writes into the page cache that one round may do before it defers the others.
const INLINE_WRITES: u32 = 64;
/// Most data-out bytes copied up for one command; longer data is the medium executor's.
const UPCALL_BYTES: u64 = 1 << 20;

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
            self.release_held();
            self.publish();
            if !self.stay_awake() && self.rearm() {
                let asleep = Instant::now();
                self.wait();
                self.awake_since = Instant::now();
                // Polling would have paid: look longer next time.
                if self.awake_since.saturating_duration_since(asleep) < self.shared.poll {
                    self.window = self.shared.poll;
                }
            }
        }
    }

    // -- rings

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
                        if taken % PUBLISH_EVERY == 0 && queue.dirty {
                            queue.publish();
                        }
                    }
                    Ok(None) => break,
                    Err(fault) => {
                        self.break_session(&queue, fault);
                        break;
                    }
                }
            }
            if queue.memory.memory.gone() {
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

    /// Decide which road a request takes.
    fn begin(&mut self, id: usize, queue: &mut Queue, slot_id: usize, map: Option<&Map>) {
        if queue.kind == QueueKind::Control {
            self.hand_up_control(id, queue, slot_id);
            return;
        }
        let slot = &mut queue.slots[slot_id];
        let entry =
            slot.address.and_then(|(target, lun)| map.and_then(|map| map.find(target, lun)));
        slot.generation = map.map_or(0, |map| map.generation);
        slot.mapping = entry.map_or(0, |entry| entry.mapping);
        let opcode = slot.cdb[0];
        let short = entry.is_some_and(|entry| entry.short_road.contains(opcode));
        if let (true, Some(entry), Some(access)) = (short, entry, cdb::access(opcode)) {
            if let (true, Some(medium)) = (entry.gate.lets(access), &entry.medium) {
                slot.short = true;
                slot.medium = Some(Arc::clone(medium));
                self.start(id, queue, slot_id);
                return;
            }
        }
        // What the medium executor will run on Python's order stays in the guest's buffers.
        self.hand_up(id, queue, slot_id, !short);
    }

    fn token(&self, id: usize, slot_id: usize, slot: &Slot) -> u64 {
        Token { thread: self.index, queue: id, slot: slot_id, sequence: slot.sequence }.pack()
    }

    /// Begin a medium command, or hold it for its medium's latency first.
    fn start(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
        let slot = &mut queue.slots[slot_id];
        let latency = slot.medium.as_ref().map_or(Duration::ZERO, |medium| medium.latency);
        if latency.is_zero() {
            self.execute(id, queue, slot_id);
            return;
        }
        slot.holder = Holder::Timer;
        let token = self.token(id, slot_id, &queue.slots[slot_id]);
        self.held.push(Reverse((Instant::now() + latency, token)));
    }

    fn execute(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
        let slot = &mut queue.slots[slot_id];
        let Some(medium) = slot.medium.take() else { return };
        let step = medium.begin(&slot.cdb, &slot.chain);
        match step {
            Step::Finished(outcome) => {
                slot.medium = Some(medium);
                self.finish(id, queue, slot_id, outcome);
            }
            Step::Transfer(transfer) => {
                slot.transfer = transfer;
                if transfer.write {
                    slot.chain.data_out.truncate(transfer.left);
                } else {
                    slot.chain.data_in.truncate(transfer.left);
                }
                slot.medium = Some(Arc::clone(&medium));
                self.transfer(id, queue, slot_id, &medium);
            }
            Step::Slow(work) => {
                slot.medium = Some(medium);
                self.defer_to_pool(id, queue, slot_id, work);
            }
        }
    }

    /// Move data as far as it goes without waiting; hand the rest to io_uring or the pool.
    fn transfer(&mut self, id: usize, queue: &mut Queue, slot_id: usize, medium: &Medium) {
        let Store::File(file) = &medium.store else { return };
        let slot = &mut queue.slots[slot_id];
        while slot.transfer.left > 0 {
            let moving = &mut slot.transfer;
            let buffers =
                if moving.write { &mut slot.chain.data_out } else { &mut slot.chain.data_in };
            if !buffers.aligned(file.alignment) {
                add(&queue.counters.bounced, 1);
                let work = Slow::Transfer(*moving);
                self.defer_to_pool(id, queue, slot_id, work);
                return;
            }
            let tried = if !moving.write {
                file.read_cached(buffers.parts(), moving.offset)
            } else if moving.sync || self.inline_left == 0 {
                None
            } else {
                self.inline_left -= 1;
                file.write_at_once(buffers.parts(), moving.offset)
            };
            match tried {
                Some(Ok(moved)) if moved > 0 => moved_on(slot, moved),
                Some(Ok(_)) => {
                    return self.finish(
                        id,
                        queue,
                        slot_id,
                        queue.slots[slot_id].transfer.cut_short(),
                    )
                }
                Some(Err(error)) => {
                    let errno = error.raw_os_error().unwrap_or(libc::EIO);
                    return self.failed(id, queue, slot_id, errno);
                }
                None => return self.defer(id, queue, slot_id, file.raw()),
            }
        }
        let outcome = Outcome::good(slot.transfer.done);
        self.finish(id, queue, slot_id, outcome);
    }

    fn defer(&mut self, id: usize, queue: &mut Queue, slot_id: usize, fd: i32) {
        let slot = &mut queue.slots[slot_id];
        let work = slot.transfer;
        match &mut self.uring {
            Some(uring) if uring.has_room() => {
                slot.holder = Holder::Kernel;
                let token =
                    Token { thread: self.index, queue: id, slot: slot_id, sequence: slot.sequence };
                let buffers = if work.write { &slot.chain.data_out } else { &slot.chain.data_in };
                uring.transfer(fd, buffers, work, token.pack());
            }
            _ => self.defer_to_pool(id, queue, slot_id, Slow::Transfer(work)),
        }
    }

    fn defer_to_pool(&mut self, id: usize, queue: &mut Queue, slot_id: usize, work: Slow) {
        let token = self.token(id, slot_id, &queue.slots[slot_id]);
        let slot = &mut queue.slots[slot_id];
        let Some(medium) = slot.medium.clone() else { return };
        slot.holder = Holder::Pool;
        let ended = Arc::new(AtomicBool::new(false));
        slot.ended = Some(Arc::clone(&ended));
        let reading = matches!(work, Slow::Transfer(Transfer { write: false, .. }));
        let buffers = if reading { &slot.chain.data_in } else { &slot.chain.data_out };
        self.shared.pool.post(Job {
            token,
            work,
            medium,
            buffers: buffers.duplicate(),
            ended,
            reply: Arc::clone(&self.mailbox),
        });
    }

    fn failed(&mut self, id: usize, queue: &mut Queue, slot_id: usize, errno: i32) {
        if errno == libc::EFAULT {
            self.break_session(queue, RingFault::MemoryGone);
        }
        let writing = queue.slots[slot_id].transfer.write;
        self.finish(id, queue, slot_id, Outcome::host_error(errno, writing));
    }

    /// A request has its end: tell the guest, or Python where Python ordered the run.
    fn finish(&mut self, id: usize, queue: &mut Queue, slot_id: usize, outcome: Outcome) {
        let slot = &mut queue.slots[slot_id];
        let outcome = match slot.mark {
            Some(service) => Outcome::of(service),
            None => outcome,
        };
        slot.ended = None;
        if slot.ordered {
            slot.ordered = false;
            slot.holder = Holder::Upcall;
            let token = self.token(id, slot_id, &queue.slots[slot_id]);
            let event = Event::Executed { token, outcome: Box::new(outcome) };
            self.shared.outbox.push(queue.host, event);
            return;
        }
        queue.answer(slot_id, &outcome);
        queue.count(cdb::access(queue.slots[slot_id].cdb[0]), slot_id, &outcome);
        queue.release(slot_id, &mut self.fired);
    }

    // -- the long road

    fn hand_up(&mut self, id: usize, queue: &mut Queue, slot_id: usize, copy: bool) {
        let token = self.token(id, slot_id, &queue.slots[slot_id]);
        let slot = &mut queue.slots[slot_id];
        // At most UPCALL_BYTES.
        let bytes = if copy { slot.data_out.min(UPCALL_BYTES) as i64 } else { 0 };
        if bytes > 0 && queue.budget.fetch_sub(bytes, Ordering::Relaxed) < bytes {
            queue.budget.fetch_add(bytes, Ordering::Relaxed);
            self.finish(id, queue, slot_id, Outcome::status(TASK_SET_FULL));
            return;
        }
        slot.budget = bytes;
        slot.holder = Holder::Upcall;
        let mut data_out = vec![0u8; bytes as usize];
        slot.chain.data_out.read(0, &mut data_out);
        let event = Event::Command {
            host: queue.host,
            session: queue.session,
            token,
            mapping: slot.mapping,
            generation: slot.generation,
            address: slot.address,
            tag: slot.tag,
            attribute: slot.attribute,
            cdb: slot.cdb[..usize::from(slot.cdb_len)].to_vec(),
            data_out,
            data_out_length: slot.data_out,
            data_in_length: slot.data_in,
        };
        self.shared.outbox.push(queue.host, event);
    }

    fn hand_up_control(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
        let token = self.token(id, slot_id, &queue.slots[slot_id]);
        let slot = &mut queue.slots[slot_id];
        slot.holder = Holder::Upcall;
        // At most CONTROL_BYTES, by the framing.
        let mut data = vec![0u8; slot.chain.request.length() as usize];
        slot.chain.request.read(0, &mut data);
        let event = Event::Control {
            host: queue.host,
            session: queue.session,
            token,
            data,
            writable: slot.chain.response.length(),
        };
        self.shared.outbox.push(queue.host, event);
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

    fn complete(&mut self, number: u64, mut outcome: Outcome, data: Option<Vec<u8>>) {
        self.with_slot(number, |worker, id, queue, slot_id| {
            let slot = &queue.slots[slot_id];
            if slot.holder != Holder::Upcall || queue.kind != QueueKind::Request {
                return;
            }
            if let Some(data) = data {
                let length = data.len() as u64;
                let room = slot.data_in;
                let moved = slot.chain.data_in.write(0, &data) as u64;
                // A command that was refused has taken nothing of its data-out.
                let taken = if outcome.status == GOOD { slot.budget as u64 } else { 0 };
                outcome.transferred = if length > 0 { moved } else { taken };
                if length > room {
                    outcome = Outcome { transferred: moved, ..Outcome::of(Service::Overrun) };
                }
            }
            worker.finish(id, queue, slot_id, outcome);
        });
    }

    // -- io_uring, timers, pool

    fn reap(&mut self) {
        let Some(uring) = &mut self.uring else { return };
        uring.submit();
        while let Some((token, result)) = self.uring.as_mut().and_then(Uring::completion) {
            self.with_slot(token, |worker, id, queue, slot_id| {
                worker.completed(id, queue, slot_id, result);
            });
        }
        // What the completions made necessary (short transfers going on).
        if let Some(uring) = &mut self.uring {
            uring.submit();
        }
    }

    fn completed(&mut self, id: usize, queue: &mut Queue, slot_id: usize, result: i32) {
        let slot = &mut queue.slots[slot_id];
        if slot.mark.is_some() {
            // Ended early or not, the kernel is through with its pages.
            return self.finish(id, queue, slot_id, Outcome::of(Service::Aborted));
        }
        match u64::try_from(result) {
            Ok(0) => {
                let outcome = slot.transfer.cut_short();
                self.finish(id, queue, slot_id, outcome);
            }
            Ok(moved) => {
                moved_on(slot, moved);
                if slot.transfer.left == 0 {
                    let outcome = Outcome::good(slot.transfer.done);
                    return self.finish(id, queue, slot_id, outcome);
                }
                if let Some(medium) = slot.medium.clone() {
                    if let Store::File(file) = &medium.store {
                        self.defer(id, queue, slot_id, file.raw());
                    }
                }
            }
            Err(_) if matches!(-result, libc::EAGAIN | libc::EINTR) => {
                let work = Slow::Transfer(slot.transfer);
                self.defer_to_pool(id, queue, slot_id, work);
            }
            Err(_) => self.failed(id, queue, slot_id, -result),
        }
    }

    fn release_held(&mut self) {
        while let Some(Reverse((due, token))) = self.held.peek().copied() {
            if due > Instant::now() {
                return;
            }
            self.held.pop();
            self.with_slot(token, |worker, id, queue, slot_id| {
                if queue.slots[slot_id].holder == Holder::Timer {
                    worker.execute(id, queue, slot_id);
                }
            });
        }
    }

    // -- publishing and sleeping

    fn publish(&mut self) {
        std::mem::swap(&mut self.dirty, &mut self.spare);
        for position in 0..self.spare.len() {
            let id = self.spare[position];
            let Some(mut queue) = self.queues.get_mut(id).and_then(Option::take) else { continue };
            queue.publish();
            // An answer may have been written to pages that were not there any more.
            if queue.memory.memory.gone() {
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

    /// Ask for kicks everywhere; false where something is available already.
    fn rearm(&mut self) -> bool {
        if !self.ready.is_empty() || self.mailbox.has_mail() {
            return false;
        }
        std::mem::swap(&mut self.unarmed, &mut self.spare);
        for position in 0..self.spare.len() {
            let id = self.spare[position];
            let Some(mut queue) = self.queues.get_mut(id).and_then(Option::take) else { continue };
            queue.unarmed = false;
            if queue.open() {
                match queue.arm() {
                    Ok(true) => self.mark_ready(id, &mut queue),
                    Ok(false) => {}
                    Err(fault) => self.break_session(&queue, fault),
                }
            }
            self.put_back(id, queue);
        }
        self.spare.clear();
        self.ready.is_empty()
    }

    fn mark_ready(&mut self, id: usize, queue: &mut Queue) {
        if !queue.ready {
            queue.ready = true;
            self.ready.push(id);
        }
    }

    fn mark_all_ready(&mut self, only: impl Fn(&Queue) -> bool) {
        for id in 0..self.queues.len() {
            if let Some(mut queue) = self.queues[id].take() {
                if only(&queue) {
                    self.mark_ready(id, &mut queue);
                }
                self.queues[id] = Some(queue);
            }
        }
    }

    fn wait(&mut self) {
        let mut timeout = -1;
        if let Some(Reverse((due, _))) = self.held.peek() {
            // Rounded up: waking early would only mean waking twice.
            let rest = due.saturating_duration_since(Instant::now()).as_millis() + 1;
            timeout = i32::try_from(rest).unwrap_or(i32::MAX);
        }
        if self.kickless > 0 {
            timeout = 1;
        }
        let mut events = [EpollEvent::default(); 32];
        // EINTR and the like: the loop looks around and comes back.
        let count = self.epoll.wait(timeout, &mut events).unwrap_or(0);
        for event in &events[..count] {
            let Some(id) = event.data().checked_sub(FIRST_QUEUE) else { continue };
            // An id that this thread gave out: it was an index.
            let id = id as usize;
            if let Some(mut queue) = self.queues.get_mut(id).and_then(Option::take) {
                self.mark_ready(id, &mut queue);
                self.queues[id] = Some(queue);
            }
        }
        if self.kickless > 0 {
            self.mark_all_ready(|queue| queue.kick.is_none());
        }
    }

    /// Look for more before asking for kicks and sleeping; true where something came.
    ///
    /// Without `poll` it looks for as long as it has just worked, and not longer than
    /// `LINGER`: a guest with requests in flight sends the next ones while we answer, and to
    /// sleep in between costs both sides a wake-up. That at most doubles the CPU time of work
    /// that was done, and costs nothing when idle. With `poll` it looks for the window, which
    /// halves when nothing comes and is whole again when something does.
    fn stay_awake(&mut self) -> bool {
        if !self.ready.is_empty() || self.mailbox.has_mail() {
            return true;
        }
        let now = Instant::now();
        let linger = now.saturating_duration_since(self.awake_since).min(LINGER);
        let end = now + linger.max(self.window);
        loop {
            if self.look() {
                self.window = self.shared.poll;
                self.awake_since = Instant::now();
                return true;
            }
            if Instant::now() >= end {
                break;
            }
            std::hint::spin_loop();
        }
        self.window /= 2;
        false
    }

    fn look(&mut self) -> bool {
        let mut found = self.mailbox.has_mail();
        for id in 0..self.queues.len() {
            let Some(mut queue) = self.queues[id].take() else { continue };
            // Only those that had something lately: the others are armed and will kick.
            if queue.unarmed && queue.open() && queue.pending() {
                self.mark_ready(id, &mut queue);
                found = true;
            }
            self.queues[id] = Some(queue);
        }
        found
    }

    fn break_session(&mut self, queue: &Queue, fault: RingFault) {
        // What a ring looks like in memory that is gone says nothing about the guest.
        let fault = if queue.memory.memory.gone() { RingFault::MemoryGone } else { fault };
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

    // -- orders

    fn obey(&mut self, order: Order) {
        match order {
            Order::SetMap(host, map, ticket) => {
                self.maps.insert(host, map);
                self.fired.push(ticket);
            }
            Order::Quiesce(mapping, bits, ticket) => self.quiesce(mapping, bits, ticket),
            Order::SetMemory(session, memory, ticket) => {
                self.each_queue(session, None, |worker, queue| {
                    if queue.set_memory(&memory, &ticket).is_err() {
                        worker.break_session(queue, RingFault::LeftOut);
                    }
                });
            }
            Order::Start(new, ticket) => self.start_queue(*new, &ticket),
            Order::Enable(session, index, enabled, ticket) => {
                self.each_queue(session, Some(index), |_, queue| queue.enabled = enabled);
                self.mark_all_ready(|queue| queue.session == session);
                self.fired.push(ticket);
            }
            Order::SetCall(session, index, call) => {
                let mut call = call;
                self.each_queue(session, Some(index), |_, queue| queue.set_call(call.take()));
            }
            Order::Stop(session, index, ticket) => {
                let mut stopped = 0;
                self.each_queue(session, index, |_, queue| {
                    if queue.stopping.is_none() {
                        stopped += 1;
                        queue.stopping = Some(Arc::clone(&ticket));
                    }
                });
                self.stopping += stopped;
                self.fired.push(ticket);
            }
            Order::PushEvent(session, index, data, ticket) => {
                self.push_event(session, index, &data, ticket);
            }
            Order::Execute(token, medium) => self.with_slot(token, |worker, id, queue, slot_id| {
                let slot = &mut queue.slots[slot_id];
                if slot.holder == Holder::Upcall && queue.kind == QueueKind::Request {
                    slot.ordered = true;
                    slot.medium = Some(medium);
                    match slot.mark {
                        Some(service) => {
                            worker.finish(id, queue, slot_id, Outcome::of(service));
                        }
                        None => worker.start(id, queue, slot_id),
                    }
                }
            }),
            Order::Complete(token, outcome, data) => self.complete(token, *outcome, data),
            Order::CompleteControl(token, data) => {
                self.with_slot(token, |worker, _, queue, slot_id| {
                    if queue.kind == QueueKind::Control {
                        queue.answer_raw(slot_id, &data);
                        queue.release(slot_id, &mut worker.fired);
                    }
                });
            }
            Order::Abort(wanted, service, ticket) => self.abort(&wanted, service, ticket),
            Order::Count(wanted, ticket) => {
                let count = self.matching(&wanted).len();
                ticket.add(i64::try_from(count).unwrap_or(i64::MAX));
                self.fired.push(ticket);
            }
            Order::PoolDone(token, outcome) => {
                self.with_slot(token, |worker, id, queue, slot_id| {
                    if outcome.service == Service::Failure {
                        // The pool met EFAULT: see Outcome::host_error.
                        worker.break_session(queue, RingFault::MemoryGone);
                    }
                    worker.finish(id, queue, slot_id, *outcome);
                });
            }
            Order::Quit => {}
        }
    }

    fn each_queue(
        &mut self,
        session: u32,
        index: Option<u32>,
        mut act: impl FnMut(&mut Self, &mut Queue),
    ) {
        for id in 0..self.queues.len() {
            let Some(mut queue) = self.queues[id].take() else { continue };
            if queue.session == session && index.is_none_or(|index| index == queue.index) {
                act(self, &mut queue);
            }
            self.put_back(id, queue);
        }
    }

    fn start_queue(&mut self, new: NewQueue, ticket: &Arc<Ticket>) {
        let free = self.queues.iter().position(Option::is_none);
        let id = free.unwrap_or(self.queues.len());
        if id >= Token::MAX_QUEUES {
            ticket.fail("this engine thread has as many rings as it can name");
            return;
        }
        let broken = Arc::clone(self.broken.entry(new.session).or_default());
        let mut queue = Box::new(Queue::new(new, broken));
        match &queue.kick {
            Some(kick) => {
                // Edge-triggered: each kick wakes us once and the counter need not be read.
                let events = EventSet::IN | EventSet::EDGE_TRIGGERED;
                if let Err(error) = self.watch(kick.as_raw_fd(), FIRST_QUEUE + id as u64, events) {
                    ticket.fail(&error.to_string());
                    return;
                }
            }
            None => self.kickless += 1,
        }
        if free.is_none() {
            self.queues.push(None);
        }
        self.unarmed.push(id);
        // What was made available before we came was kicked for somebody else.
        self.mark_ready(id, &mut queue);
        self.queues[id] = Some(queue);
    }

    fn quiesce(&mut self, mapping: u32, bits: u32, ticket: Arc<Ticket>) {
        for queue in self.queues.iter_mut().flatten() {
            for slot in &mut queue.slots {
                let stopped = slot.short
                    && slot.mapping == mapping
                    && slot.holder != Holder::Nobody
                    && cdb::access(slot.cdb[0]).is_some_and(|access| Gate::stops(bits, access));
                if stopped {
                    slot.tickets.push(Arc::clone(&ticket));
                }
            }
        }
        self.fired.push(ticket);
    }

    fn matching(&mut self, wanted: &Selector) -> Vec<(usize, usize)> {
        // What the guest made available before it asked counts as in flight.
        for id in 0..self.queues.len() {
            if matches!(&self.queues[id], Some(queue)
                if queue.host == wanted.host && queue.kind == QueueKind::Request)
            {
                self.drain(id);
            }
        }
        let mut found = Vec::new();
        for (id, queue) in self.queues.iter().enumerate() {
            let Some(queue) = queue else { continue };
            if queue.host == wanted.host && queue.kind == QueueKind::Request {
                let slots = (0..queue.slots.len()).filter(|slot| queue.matches(*slot, wanted));
                found.extend(slots.map(|slot| (id, slot)));
            }
        }
        found
    }

    fn abort(&mut self, wanted: &Selector, service: Service, ticket: Arc<Ticket>) {
        for (id, slot_id) in self.matching(wanted) {
            let Some(mut queue) = self.queues[id].take() else { continue };
            ticket.add(1);
            let slot = &mut queue.slots[slot_id];
            slot.tickets.push(Arc::clone(&ticket));
            slot.mark.get_or_insert(service);
            self.end_early(id, &mut queue, slot_id);
            self.put_back(id, queue);
        }
        self.fired.push(ticket);
    }

    /// Make a marked request end as soon as whoever has it lets go.
    fn end_early(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
        let token = self.token(id, slot_id, &queue.slots[slot_id]);
        let slot = &mut queue.slots[slot_id];
        match slot.holder {
            Holder::Nobody => {}
            Holder::Timer => self.finish(id, queue, slot_id, Outcome::of(Service::Aborted)),
            Holder::Kernel => {
                if let Some(uring) = &mut self.uring {
                    uring.cancel(token);
                }
            }
            Holder::Pool => {
                if let Some(ended) = &slot.ended {
                    ended.store(true, Ordering::Relaxed);
                }
            }
            Holder::Upcall => {
                let service = slot.mark.unwrap_or(Service::Aborted);
                let event =
                    Event::Cancel { host: queue.host, session: queue.session, token, service };
                self.shared.outbox.push(queue.host, event);
            }
        }
    }

    fn push_event(&mut self, session: u32, index: u32, data: &[u8], ticket: Arc<Ticket>) {
        let mut filled = 0;
        let mut fired = Vec::new();
        self.each_queue(session, Some(index), |worker, queue| {
            if queue.kind != QueueKind::Event || queue.broken.load(Ordering::Relaxed) {
                return;
            }
            match queue.take() {
                Ok(Some(slot_id)) => {
                    queue.answer_raw(slot_id, data);
                    queue.release(slot_id, &mut fired);
                    filled = 1;
                }
                Ok(None) => {}
                Err(fault) => worker.break_session(queue, fault),
            }
        });
        ticket.add(filled);
        self.fired.push(ticket);
    }
}

fn moved_on(slot: &mut Slot, moved: u64) {
    let moving = &mut slot.transfer;
    moving.offset += moved;
    moving.done += moved;
    moving.left -= moved.min(moving.left);
    if moving.left > 0 {
        let buffers = if moving.write { &mut slot.chain.data_out } else { &mut slot.chain.data_in };
        buffers.advance(moved);
    }
}
