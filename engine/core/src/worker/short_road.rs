//! The short road: a medium command from its ring to its answer, and the runs that Python orders.

use std::cmp::Reverse;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Worker;
use crate::cdb;
use crate::counters::add;
use crate::error::RingFault;
use crate::mailbox::{Event, QueueKind};
use crate::map::{Entry, Map};
use crate::medium::Medium;
use crate::outcome::{Outcome, Service, POWER_ON_OR_RESET};
use crate::pool::Job;
use crate::queue::Queue;
use crate::slot::{Asks, Holder, Slot};
use crate::step::{Slow, Step};
use crate::store::Store;
use crate::uring::Uring;

impl Worker {
    /// Decide which road a request takes.
    pub(super) fn begin(
        &mut self,
        id: usize,
        queue: &mut Queue,
        slot_id: usize,
        map: Option<&Map>,
    ) {
        let slot = &mut queue.slots[slot_id];
        if queue.kind == QueueKind::Control || slot.asks == Asks::Management {
            self.hand_up_control(id, queue, slot_id);
            return;
        }
        if slot.asks == Asks::Nonsense || slot.data_in > 0 && slot.data_out > 0 {
            // VIRTIO_SCSI_F_INOUT is not offered, and no command of ours has data both ways
            // (virtio 1.2, 5.6.6.1). QEMU answers the same.
            self.finish(id, queue, slot_id, Outcome::of(Service::Failure));
            return;
        }
        let entry =
            slot.address.and_then(|(target, lun)| map.and_then(|map| map.find(target, lun)));
        slot.generation = map.map_or(0, |map| map.generation);
        slot.mapping = entry.map_or(0, |entry| entry.mapping);
        slot.protected = entry.is_some_and(|entry| entry.protected);
        let opcode = slot.cdb[0];
        let medium = entry.and_then(|entry| entry.medium.as_ref());
        slot.access = medium.map_or_else(|| cdb::access(opcode), |medium| medium.access(opcode));
        if let Some(entry) = entry {
            entry.tally.begin(self.index);
            slot.tally = Some(Arc::clone(&entry.tally));
            slot.taken = Some(self.now);
        }
        if slot.again && !(entry.is_some_and(keeps_blocks) && repeats(slot)) {
            // It may have been carried out already, and once more would be once too often.
            self.finish(id, queue, slot_id, Outcome::of(Service::Failure));
            return;
        }
        if slot.stale && entry.is_some_and(moves_on) && !HARMLESS.contains(&opcode) {
            // A tape may have carried it out, and stands elsewhere then: its driver has to look.
            self.finish(id, queue, slot_id, Outcome::check(POWER_ON_OR_RESET));
            return;
        }
        let short = entry.is_some_and(|entry| entry.short_road.contains(opcode));
        if let (true, Some(entry), Some(access)) = (short, entry, slot.access) {
            let open = entry.gate.lets(access);
            if let (true, Some(medium)) = (open, &entry.medium) {
                slot.short = true;
                slot.medium = Some(Arc::clone(medium));
                self.start(id, queue, slot_id);
                return;
            }
            if let (true, Some(device)) = (open, &entry.device) {
                slot.short = true;
                slot.device = Some(Arc::clone(device));
                self.forward(id, queue, slot_id);
                return;
            }
        }
        // What the medium executor or a device will run on Python's order stays in the guest's
        // buffers.
        let copy = match entry {
            Some(entry) if entry.device.is_some() => entry.copied.contains(opcode),
            _ => !short,
        };
        self.hand_up(id, queue, slot_id, copy);
    }

    /// Begin a medium command, or hold it for its medium's latency first.
    pub(super) fn start(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
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

    pub(super) fn execute(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
        let slot = &mut queue.slots[slot_id];
        let Some(medium) = slot.medium.take() else { return };
        let step = medium.begin(&slot.cdb, &slot.chain, slot.protected);
        match step {
            Step::Finished(outcome) => {
                // Somebody may have come meanwhile who waits for a tape's turn.
                if let Some(next) = medium.drive().and_then(|drive| drive.turn.next()) {
                    self.shared.pool.post(next);
                }
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
    pub(super) fn transfer(
        &mut self,
        id: usize,
        queue: &mut Queue,
        slot_id: usize,
        medium: &Medium,
    ) {
        let Store::File(file) = &medium.store else { return };
        let slot = &mut queue.slots[slot_id];
        while slot.transfer.left > 0 {
            let moving = &mut slot.transfer;
            let buffers = slot.chain.data_mut(moving.write);
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

    pub(super) fn defer(&mut self, id: usize, queue: &mut Queue, slot_id: usize, fd: i32) {
        let token = self.token(id, slot_id, &queue.slots[slot_id]);
        let slot = &mut queue.slots[slot_id];
        let work = slot.transfer;
        match &mut self.uring {
            Some(uring) if uring.has_room() => {
                slot.holder = Holder::Kernel;
                uring.transfer(fd, slot.chain.data(work.write), work, token);
            }
            _ => self.defer_to_pool(id, queue, slot_id, Slow::Transfer(work)),
        }
    }

    pub(super) fn defer_to_pool(
        &mut self,
        id: usize,
        queue: &mut Queue,
        slot_id: usize,
        work: Slow,
    ) {
        let token = self.token(id, slot_id, &queue.slots[slot_id]);
        let slot = &mut queue.slots[slot_id];
        let Some(medium) = slot.medium.clone() else { return };
        slot.holder = Holder::Pool;
        let ended = Arc::new(AtomicBool::new(false));
        slot.ended = Some(Arc::clone(&ended));
        let reading = match work {
            Slow::Transfer(transfer) => !transfer.write,
            Slow::Tape { command, .. } => !command.outgoing(),
            _ => false,
        };
        let buffers = slot.chain.data(!reading);
        let job = Job {
            token,
            work,
            medium: Arc::clone(&medium),
            buffers: buffers.duplicate(),
            ended,
            reply: Arc::clone(&self.mailbox),
        };
        let now = match (work, medium.drive()) {
            (Slow::Tape { first: false, .. }, Some(drive)) => drive.turn.queue(job),
            _ => Some(job),
        };
        if let Some(job) = now {
            self.shared.pool.post(job);
        }
    }

    pub(super) fn failed(&mut self, id: usize, queue: &mut Queue, slot_id: usize, errno: i32) {
        if errno == libc::EFAULT {
            self.break_session(queue, RingFault::MemoryGone);
        }
        let writing = queue.slots[slot_id].transfer.write;
        self.finish(id, queue, slot_id, Outcome::host_error(errno, writing));
    }

    /// A request has its end: tell the guest, or Python where Python ordered the run.
    pub(super) fn finish(
        &mut self,
        id: usize,
        queue: &mut Queue,
        slot_id: usize,
        outcome: Outcome,
    ) {
        if outcome.errno != 0 {
            self.note_failure(queue, slot_id, outcome.errno);
        }
        let slot = &mut queue.slots[slot_id];
        let outcome = match slot.mark {
            Some(service) => Outcome::of(service),
            None if slot.medium.as_ref().is_some_and(|medium| medium.descriptor_sense()) => {
                outcome.in_descriptors()
            }
            None => outcome,
        };
        slot.ended = None;
        if slot.ordered {
            slot.ordered = false;
            slot.holder = Holder::Upcall;
            let token = self.token(id, slot_id, &queue.slots[slot_id]);
            let data = fetched(&mut queue.slots[slot_id], &outcome);
            let event = Event::Executed { token, outcome: Box::new(outcome), data };
            self.shared.outbox.push(queue.host, event);
            return;
        }
        queue.answer(slot_id, &outcome);
        let access = queue.slots[slot_id].access;
        queue.count(access, slot_id, &outcome);
        let slot = &queue.slots[slot_id];
        if let Some(tally) = &slot.tally {
            tally.end(self.index, slot, access, &outcome, self.now);
        }
        queue.release(slot_id, &mut self.fired);
    }

    /// Count a failure of the host's I/O where it happened; the first of many is told to Python.
    fn note_failure(&self, queue: &Queue, slot_id: usize, errno: i32) {
        let slot = &queue.slots[slot_id];
        let entry = slot
            .address
            .and_then(|(target, lun)| self.maps.get(&queue.host)?.find(target, lun))
            // Another one may be there by now.
            .filter(|entry| entry.mapping == slot.mapping);
        if let Some(entry) = entry {
            if entry.failures.count(slot.cdb[0], errno) {
                let event = Event::Failed { host: queue.host, mapping: slot.mapping };
                self.shared.outbox.push(queue.host, event);
            }
        }
    }

    pub(super) fn reap(&mut self) {
        let Some(uring) = &mut self.uring else { return };
        uring.submit();
        self.now = Instant::now();
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

    pub(super) fn completed(&mut self, id: usize, queue: &mut Queue, slot_id: usize, result: i32) {
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

    pub(super) fn release_held(&mut self) {
        if self.held.is_empty() {
            return;
        }
        self.now = Instant::now();
        while let Some(Reverse((due, token))) = self.held.peek().copied() {
            if due > self.now {
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
}

/// Whether what is there keeps blocks: a READ or WRITE may be done again. On a tape it would be done
/// elsewhere.
fn keeps_blocks(entry: &Arc<Entry>) -> bool {
    entry.medium.as_ref().is_some_and(|medium| medium.drive().is_none())
        || entry.device.as_ref().is_some_and(|device| device.block_size > 0)
}

/// Whether a command that is done again is done to something else: a tape moves, a changer too.
fn moves_on(entry: &Arc<Entry>) -> bool {
    entry.device.as_ref().is_some_and(|device| device.exclusive)
        || entry.medium.as_ref().is_some_and(|medium| medium.drive().is_some())
}

/// INQUIRY, REPORT LUNS, REQUEST SENSE: neither change anything nor report unit attentions.
const HARMLESS: [u8; 3] = [0x12, 0xa0, 0x03];

/// What a device gave into a buffer of ours.
fn fetched(slot: &mut Slot, outcome: &Outcome) -> Box<[u8]> {
    match slot.bounce.take() {
        Some(buffer) if !slot.transfer.write => {
            let mut buffer = Vec::from(buffer);
            // No more than a usize holds.
            buffer.truncate(outcome.transferred as usize);
            buffer.into_boxed_slice()
        }
        _ => Box::default(),
    }
}

/// Operation code of COMPARE AND WRITE: what it finds the second time is what it wrote.
const COMPARE_AND_WRITE: u8 = 0x89;

/// Whether a command may be done twice without harm.
fn repeats(slot: &Slot) -> bool {
    slot.cdb[0] != COMPARE_AND_WRITE && slot.access.is_some()
}

fn moved_on(slot: &mut Slot, moved: u64) {
    let moving = &mut slot.transfer;
    moving.moved(moved);
    if moving.left > 0 {
        slot.chain.data_mut(moving.write).advance(moved);
    }
}
