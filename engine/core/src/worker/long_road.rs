//! The long road: requests handed up to Python, and its answers.

use std::sync::atomic::Ordering;

use super::Worker;
use crate::mailbox::{Event, QueueKind};
use crate::outcome::{Outcome, Service, GOOD, TASK_SET_FULL};
use crate::queue::Queue;
use crate::slot::{Asks, Holder};

/// Most data-out bytes copied up for one command; longer data is the medium executor's.
const UPCALL_BYTES: u64 = 1 << 20;

impl Worker {
    pub(super) fn hand_up(&mut self, id: usize, queue: &mut Queue, slot_id: usize, copy: bool) {
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

    pub(super) fn hand_up_control(&mut self, id: usize, queue: &mut Queue, slot_id: usize) {
        let token = self.token(id, slot_id, &queue.slots[slot_id]);
        let slot = &mut queue.slots[slot_id];
        slot.holder = Holder::Upcall;
        let data = if slot.asks == Asks::Management {
            slot.cdb.to_vec()
        } else {
            // At most CONTROL_BYTES, by the framing.
            let mut data = vec![0u8; slot.chain.request.length() as usize];
            slot.chain.request.read(0, &mut data);
            data
        };
        let event = Event::Control {
            host: queue.host,
            session: queue.session,
            token,
            data,
            writable: slot.chain.response.length(),
        };
        self.shared.outbox.push(queue.host, event);
    }

    pub(super) fn complete(&mut self, number: u64, mut outcome: Outcome, data: Option<Vec<u8>>) {
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
                    outcome = Outcome::of(Service::Overrun);
                    outcome.transferred = moved;
                }
            }
            worker.finish(id, queue, slot_id, outcome);
        });
    }
}
