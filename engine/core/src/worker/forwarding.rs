//! Requests on their way to devices of the host, and back.

use std::sync::Arc;
use std::time::Instant;

use libc::iovec;
use vmm_sys_util::epoll::{ControlOperation, EpollEvent, EventSet};

use super::{Worker, DEVICE};
use crate::error::RingFault;
use crate::mailbox::{Event, Forward, Mailbox, QueueKind};
use crate::outcome::{Outcome, Service, GOOD, INVALID_FIELD_IN_CDB, WRITE_PROTECTED};
use crate::queue::Queue;
use crate::sg::header::MAX_PARTS;
use crate::sg::lane::{Command, Ended, Lanes, PASSED};
use crate::sg::passed::Passed;
use crate::sg::{ends, pieces, Device};
use crate::slot::{Holder, Slot, CDB_MAX};
use crate::transfer::Transfer;

/// Task attribute HEAD OF QUEUE, as both rings number it.
const HEAD_OF_QUEUE: u8 = 2;

impl Worker {
    /// Send a held request where Python says.
    pub(super) fn forward_ordered(&mut self, token: u64, forward: Forward) {
        let mut found = false;
        self.with_slot(token, |worker, id, queue, slot_id| {
            let slot = &mut queue.slots[slot_id];
            if slot.holder != Holder::Upcall || queue.kind != QueueKind::Request {
                return;
            }
            found = true;
            slot.ordered = true;
            slot.cdb = forward.cdb;
            slot.device = Some(forward.device);
            slot.bounce = forward.bounce;
            slot.transfer.write = forward.write;
            match slot.mark {
                Some(service) => worker.finish(id, queue, slot_id, Outcome::of(service)),
                None => worker.forward(id, queue, slot_id),
            }
        });
        if !found {
            // It ended meanwhile. Whoever ordered this has the device's turn, and waits to give it on.
            let outcome = Box::new(Outcome::of(Service::Aborted));
            self.shared.outbox.push(0, Event::Executed { token, outcome, data: Box::default() });
        }
    }

    /// Begin a command of a device's.
    pub(super) fn forward(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
        let slot = &mut queue.slots[slot_id];
        let writes = slot.device.as_ref().is_some_and(|device| device.writes.contains(slot.cdb[0]));
        if slot.protected && writes {
            self.finish(id, queue, slot_id, Outcome::check(WRITE_PROTECTED));
            return;
        }
        let total = match &slot.bounce {
            Some(buffer) => buffer.len() as u64,
            None => {
                slot.transfer.write = slot.data_out > 0;
                slot.data_in.max(slot.data_out)
            }
        };
        let write = slot.transfer.write;
        slot.transfer = Transfer { write, left: total, ..Transfer::default() };
        self.send(id, queue, slot_id);
    }

    /// Send what is left of a command, or as much of it as the host carries.
    fn send(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
        let token = self.token(id, slot_id, &queue.slots[slot_id]);
        let slot = &mut queue.slots[slot_id];
        let Some(device) = slot.device.clone() else { return };
        let Some((cdb, length)) = next_piece(slot, &device) else {
            self.finish(id, queue, slot_id, Outcome::check(INVALID_FIELD_IN_CDB));
            return;
        };
        let (mailbox, thread) = (Arc::clone(&self.mailbox), self.index);
        let sent = match self.lanes(&device) {
            Ok(lanes) => {
                let pass = |command: &Command<'_>| pass_on(&device, command, thread, mailbox);
                hand_over(lanes, slot, token, &cdb, length, &device, pass)
            }
            Err(errno) => Err(errno),
        };
        match sent {
            Ok(Some(lane)) => {
                slot.holder = Holder::Device;
                // Some devices are done before `write` has returned.
                self.mark_readable(device.id, lane);
            }
            Ok(None) => slot.holder = Holder::Waiting,
            Err(errno) => {
                if errno == libc::EFAULT {
                    self.break_session(queue, RingFault::MemoryGone);
                }
                self.finish(id, queue, slot_id, ends::refused(errno));
            }
        }
    }

    /// A device in this thread's hands, from its first command here on.
    fn lanes(&mut self, device: &Arc<Device>) -> Result<&mut Lanes, i32> {
        if !self.devices.contains_key(&device.id) {
            let lanes = Lanes::new(Arc::clone(device), self.index);
            for (number, lane) in lanes.lanes.iter().enumerate() {
                let data = DEVICE | u64::from(device.id) << 16 | number as u64;
                let event = EpollEvent::new(EventSet::IN | EventSet::EDGE_TRIGGERED, data);
                self.epoll
                    .ctl(ControlOperation::Add, lane.fd(), event)
                    .map_err(|error| error.raw_os_error().unwrap_or(libc::ENOMEM))?;
            }
            self.devices.insert(device.id, lanes);
        }
        self.devices.get_mut(&device.id).ok_or(libc::ENODEV)
    }

    fn mark_readable(&mut self, device: u32, number: usize) {
        let lane = self.devices.get_mut(&device).and_then(|lanes| lanes.lanes.get_mut(number));
        if let Some(lane) = lane {
            if !lane.ready {
                lane.ready = true;
                self.readable.push((device, number));
            }
        }
    }

    /// epoll has said that something may be read there.
    pub(super) fn device_woke(&mut self, data: u64) {
        // What `lanes` made of a device's id and a descriptor's number.
        self.mark_readable((data >> 16) as u32, (data & 0xffff) as usize);
    }

    /// Read the ends of commands, and send others in their place.
    pub(super) fn reap_devices(&mut self) {
        if !self.readable.is_empty() {
            self.now = Instant::now();
        }
        while let Some((device, number)) = self.readable.pop() {
            while let Some(ended) = self.receive(device, number) {
                self.with_slot(ended.token, |worker, id, queue, slot_id| {
                    worker.came_back(id, queue, slot_id, &ended);
                });
                self.send_waiting(device);
            }
        }
    }

    /// A thread of a device that was passed in has done a command.
    pub(super) fn passed_done(&mut self, device: u32, ended: &Ended) {
        self.now = Instant::now();
        if let Some(lanes) = self.devices.get_mut(&device) {
            lanes.passed = lanes.passed.saturating_sub(1);
        }
        self.with_slot(ended.token, |worker, id, queue, slot_id| {
            worker.came_back(id, queue, slot_id, ended);
        });
        self.send_waiting(device);
    }

    fn receive(&mut self, device: u32, number: usize) -> Option<Ended> {
        let lane = self.devices.get_mut(&device)?.lanes.get_mut(number)?;
        let ended = lane.receive();
        if ended.is_none() {
            // From here on epoll tells.
            lane.ready = false;
        }
        ended
    }

    fn send_waiting(&mut self, device: u32) {
        // Not one for one: what cannot be sent leaves its room to the next.
        while let Some(token) = self.devices.get_mut(&device).and_then(Lanes::next_waiting) {
            self.with_slot(token, |worker, id, queue, slot_id| {
                if queue.slots[slot_id].holder == Holder::Waiting {
                    worker.send(id, queue, slot_id);
                }
            });
        }
    }

    fn came_back(&mut self, id: usize, queue: &mut Queue, slot_id: usize, ended: &Ended) {
        let slot = &mut queue.slots[slot_id];
        if slot.holder != Holder::Device {
            return;
        }
        if ended.fault {
            self.break_session(queue, RingFault::MemoryGone);
        }
        let mut outcome = ended.outcome.clone();
        let slot = &mut queue.slots[slot_id];
        let piece = match &slot.device {
            Some(device) => next_piece(slot, device).map_or(0, |(_, length)| length),
            None => 0,
        };
        let whole = outcome.service == Service::Complete
            && outcome.status == GOOD
            && outcome.transferred == piece;
        slot.transfer.moved(outcome.transferred);
        if whole && slot.transfer.left > 0 && slot.mark.is_none() {
            slot.chain.data_mut(slot.transfer.write).advance(piece);
            self.send(id, queue, slot_id);
            return;
        }
        if slot.transfer.left == 0 || !whole {
            // It has come to its own end, whoever wanted to end it.
            slot.mark = None;
        }
        outcome.transferred = slot.transfer.done;
        self.finish(id, queue, slot_id, outcome);
    }

    /// Take a request back that was not sent yet.
    pub(super) fn withdraw(&mut self, token: u64, slot: &Slot) {
        let lanes = slot.device.as_ref().and_then(|device| self.devices.get_mut(&device.id));
        if let Some(lanes) = lanes {
            lanes.waiting.retain(|other| *other != token);
        }
    }

    /// Let go of a device; nothing of it is outstanding.
    pub(super) fn forget_device(&mut self, id: u32) {
        if let Some(lanes) = self.devices.remove(&id) {
            for lane in &lanes.lanes {
                // It can only fail if the descriptor was not watched.
                let _ = self.epoll.ctl(ControlOperation::Delete, lane.fd(), EpollEvent::default());
            }
            self.readable.retain(|(device, _)| *device != id);
        }
    }
}

/// What is to be sent next: a CDB and the bytes it moves. None where the host does not carry the
/// command, and it cannot be cut.
fn next_piece(slot: &Slot, device: &Device) -> Option<([u8; CDB_MAX], u64)> {
    let total = slot.transfer.done + slot.transfer.left;
    let limit = device.max_transfer.min(listed(slot));
    // What was begun in pieces ends in pieces, even where its rest would be carried.
    if slot.transfer.done == 0 && total <= limit {
        return Some((slot.cdb, total));
    }
    if slot.bounce.is_some() {
        return None;
    }
    pieces::piece(&slot.cdb, device.block_size, total, slot.transfer.done, limit)
}

/// Bytes of as many buffers as a scatter list may have.
fn listed(slot: &Slot) -> u64 {
    let parts = slot.chain.data(slot.transfer.write).parts();
    if slot.bounce.is_some() || parts.len() <= MAX_PARTS {
        return u64::MAX;
    }
    parts[..MAX_PARTS].iter().map(|part| part.iov_len as u64).sum()
}

/// Send a command by the descriptor with most room, or have it wait; which descriptor it was.
fn hand_over(
    lanes: &mut Lanes,
    slot: &mut Slot,
    token: u64,
    cdb: &[u8; CDB_MAX],
    length: u64,
    device: &Device,
    pass: impl FnOnce(&Command<'_>),
) -> Result<Option<usize>, i32> {
    let Some(number) = lanes.pick() else {
        lanes.waiting.push_back(token);
        return Ok(None);
    };
    let bytes = pieces::cdb_length(cdb, slot.cdb_len).ok_or(libc::EMSGSIZE)?;
    let ours = slot
        .bounce
        .as_mut()
        .map(|buffer| [iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() }]);
    let command = Command {
        token,
        cdb: &cdb[..bytes],
        write: slot.transfer.write,
        parts: match &ours {
            Some(ours) => ours,
            None => slot.chain.data(slot.transfer.write).parts(),
        },
        // At most `max_transfer`, which is 32 bits wide.
        length: length as u32,
        timeout: device.timeout(cdb[0]),
        at_head: slot.attribute == HEAD_OF_QUEUE,
    };
    if number == PASSED {
        lanes.passed += 1;
        pass(&command);
    } else {
        lanes.lanes[number].send(&command)?;
    }
    Ok(Some(number))
}

/// Hand a command to the threads of a device that was passed in.
fn pass_on(device: &Device, command: &Command<'_>, thread: usize, mailbox: Arc<Mailbox>) {
    if let (Some(pool), [file, ..]) = (&device.passed, device.files(thread)) {
        pool.post(Passed::new(command, device.id, Arc::clone(file), mailbox));
    }
}
