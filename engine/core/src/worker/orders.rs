//! What a worker is told, carried out between two rounds.

use std::os::fd::AsRawFd;
use std::sync::atomic::Ordering;
use std::sync::Arc;

use vmm_sys_util::epoll::EventSet;

use super::{Worker, FIRST_QUEUE};
use crate::error::RingFault;
use crate::gate::Gate;
use crate::mailbox::{Event, NewQueue, Order, QueueKind, Selector, Ticket};
use crate::outcome::{Outcome, Service};
use crate::queue::Queue;
use crate::slot::{Holder, Token};

impl Worker {
    pub(super) fn obey(&mut self, order: Order) {
        match order {
            Order::SetMap(host, map, ticket) => {
                self.maps.insert(host, map);
                self.fired.push(ticket);
            }
            Order::ForgetMap(host) => {
                self.maps.remove(&host);
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
                        // Dropped: whoever pushed it hears that it was not told.
                        queue.parked = None;
                    }
                });
                self.stopping += stopped;
                self.fired.push(ticket);
            }
            Order::PushEvent(session, index, data, ticket) => {
                self.push_event(session, index, data, ticket);
            }
            Order::Execute(token, medium, cdb) => {
                self.with_slot(token, |worker, id, queue, slot_id| {
                    let slot = &mut queue.slots[slot_id];
                    if slot.holder == Holder::Upcall && queue.kind == QueueKind::Request {
                        slot.ordered = true;
                        slot.access = medium.access(cdb[0]);
                        slot.medium = Some(medium);
                        slot.cdb = cdb;
                        match slot.mark {
                            Some(service) => {
                                worker.finish(id, queue, slot_id, Outcome::of(service));
                            }
                            None => worker.start(id, queue, slot_id),
                        }
                    }
                })
            }
            Order::Forward(token, forward) => self.forward_ordered(token, *forward),
            Order::ForgetDevice(id, gone) => {
                self.forget_device(id);
                drop(gone);
            }
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
            Order::DeviceDone(device, ended) => self.passed_done(device, &ended),
            Order::Quit => {}
        }
    }

    pub(super) fn each_queue(
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

    pub(super) fn start_queue(&mut self, new: NewQueue, ticket: &Arc<Ticket>) {
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

    pub(super) fn quiesce(&mut self, mapping: u32, bits: u32, ticket: Arc<Ticket>) {
        for queue in self.queues.iter_mut().flatten() {
            for slot in &mut queue.slots {
                let stopped = slot.short
                    && slot.mapping == mapping
                    && slot.holder != Holder::Nobody
                    && slot.access.is_some_and(|access| Gate::stops(bits, access));
                if stopped {
                    slot.tickets.push(Arc::clone(&ticket));
                }
            }
        }
        self.fired.push(ticket);
    }

    pub(super) fn matching(&mut self, wanted: &Selector) -> Vec<(usize, usize)> {
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

    pub(super) fn abort(&mut self, wanted: &Selector, service: Service, ticket: Arc<Ticket>) {
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
    pub(super) fn end_early(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
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
                // What waits for a tape's turn does not wait for it to be aborted.
                if let Some(drive) = slot.medium.as_ref().and_then(|medium| medium.drive()) {
                    for job in drive.turn.leave() {
                        let outcome = Box::new(Outcome::of(Service::Aborted));
                        job.reply.post(Order::PoolDone(job.token, outcome));
                    }
                }
            }
            // SG takes nothing back: the command ends by itself, or by its time-out.
            Holder::Device => {}
            Holder::Waiting => {
                self.withdraw(token, slot);
                self.finish(id, queue, slot_id, Outcome::of(Service::Aborted));
            }
            Holder::Upcall => {
                let service = slot.mark.unwrap_or(Service::Aborted);
                let event =
                    Event::Cancel { host: queue.host, session: queue.session, token, service };
                self.shared.outbox.push(queue.host, event);
            }
        }
    }

    pub(super) fn push_event(
        &mut self,
        session: u32,
        index: u32,
        data: Vec<u8>,
        ticket: Arc<Ticket>,
    ) {
        let mut event = Some((data, ticket));
        self.each_queue(session, Some(index), |worker, queue| {
            if queue.kind != QueueKind::Event
                || queue.stopping.is_some()
                || queue.parked.is_some()
                || queue.broken.load(Ordering::Relaxed)
            {
                return;
            }
            queue.parked = event.take();
            // A guest need not kick for buffers while kicks are off: ask for them, then look.
            if queue.open() {
                let looked =
                    queue.arm().and_then(|more| if more { queue.take() } else { Ok(None) });
                if let Err(fault) = looked {
                    worker.break_session(queue, fault);
                }
            }
        });
        // Nobody took it: told when dropped, with nothing filled.
        self.fired.extend(event.map(|(_, ticket)| ticket));
    }
}
