//! One request queue and the thread that keeps it full.

use std::sync::Arc;
use std::time::{Duration, Instant};

use vhost_pvscsi_core::mock::{DriverQueue, Segment, SharedMemory, Used};

use crate::device::{Device, Transfer};
use crate::error::Error;
use crate::pattern::{fill, mismatch, Addresses};
use crate::plan::{Plan, Tally};
use crate::signals::Signals;

/// How often a waiting worker looks whether the back-end still lives.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How much later than the used index a call may come.
const GRACE: Duration = Duration::from_millis(500);

/// Where one request in flight has its parts in guest memory.
#[derive(Clone, Debug)]
pub struct Slot {
    /// Request header.
    pub header: u64,
    /// Response.
    pub response: u64,
    /// Data buffer.
    pub data: u64,
    /// Table of indirect descriptors; None: direct ones.
    pub table: Option<u64>,
    /// The request's buffers, in the ring's order.
    pub chain: Vec<Segment>,
}

/// What a slot is busy with.
#[derive(Clone, Copy, Debug)]
struct Pending {
    transfer: Transfer,
    submitted: u64,
}

/// A request queue and its slots.
#[derive(Debug)]
pub struct Worker {
    index: usize,
    device: Device,
    queue: DriverQueue,
    signals: Signals,
    slots: Vec<Slot>,
    pending: Vec<Pending>,
    /// By head of a chain: its slot.
    owners: Vec<usize>,
    tally: Tally,
}

impl Worker {
    /// A worker of virtqueue `index`.
    pub fn new(
        index: usize,
        device: Device,
        queue: DriverQueue,
        signals: Signals,
        slots: Vec<Slot>,
    ) -> Self {
        let idle = Transfer { offset: 0, len: 0, write: false };
        let pending = vec![Pending { transfer: idle, submitted: 0 }; slots.len()];
        let owners = vec![0; usize::from(queue.layout().size)];
        Self { index, device, queue, signals, slots, pending, owners, tally: Tally::new() }
    }

    /// Learn the device's block size, which the first queue asked for.
    pub fn set_device(&mut self, device: Device) {
        self.device = device;
    }

    /// Send one request and wait for it: its response, and `room` bytes of data from the device.
    pub fn ask(
        &mut self,
        header: &[u8],
        room: u32,
        stall: Duration,
    ) -> Result<(Vec<u8>, Vec<u8>), Error> {
        let slot = self.slots[0].clone();
        let response = self.device.sizes().1;
        let mut chain = vec![
            Segment::readable(slot.header, header.len() as u32),
            Segment::writable(slot.response, response),
        ];
        if room > 0 {
            chain.push(Segment::writable(slot.data, room));
        }
        self.memory().write(slot.header, header);
        self.add(0, &chain)?;
        self.kick_if_wanted()?;
        while self.next_used()?.is_none() {
            self.wait(stall)?;
        }
        let memory = self.memory();
        Ok((memory.bytes(slot.response, response as usize), memory.bytes(slot.data, room as usize)))
    }

    /// Keep every slot busy until the plan's end; then wait for what is in flight.
    pub fn run(mut self, plan: &Plan, mut addresses: Addresses) -> Result<Tally, Error> {
        let mut left = plan.requests;
        let mut now = plan.clock.now();
        for slot in 0..self.slots.len() {
            self.submit(slot, plan, &mut addresses, now, &mut left)?;
        }
        self.kick_if_wanted()?;
        while self.queue.in_flight() > 0 {
            self.wait(plan.stall)?;
            while let Some(used) = self.next_used()? {
                // Read for each: what is resubmitted below may come back in this very loop,
                // and with one time for all it would seem to have taken none.
                now = plan.clock.now();
                let slot = self.owners[usize::from(used.head)];
                self.finish(slot, used.len, plan, now);
                self.submit(slot, plan, &mut addresses, now, &mut left)?;
            }
            self.kick_if_wanted()?;
            if now < plan.measure_from {
                (self.tally.kicks, self.tally.calls) = (0, 0);
            }
        }
        Ok(self.tally)
    }

    fn memory(&self) -> &Arc<SharedMemory> {
        self.queue.memory()
    }

    fn submit(
        &mut self,
        slot: usize,
        plan: &Plan,
        addresses: &mut Addresses,
        now: u64,
        left: &mut u64,
    ) -> Result<(), Error> {
        if now >= plan.end || *left == 0 {
            return Ok(());
        }
        *left -= 1;
        let transfer = addresses.next();
        self.pending[slot] = Pending { transfer, submitted: now };
        let header = self.device.transfer(slot as u64, transfer);
        let parts = &self.slots[slot];
        let memory = self.queue.memory();
        memory.write(parts.header, &header[..self.device.sizes().0 as usize]);
        let (place, byte) = self.device.poison();
        memory.write(parts.response + place, &[byte]);
        if let (Some(seed), true) = (plan.verify, transfer.write) {
            fill(self.data(slot, transfer.len), seed, transfer.offset);
        }
        let chain = std::mem::take(&mut self.slots[slot].chain);
        let added = self.add(slot, &chain);
        self.slots[slot].chain = chain;
        // As Linux does: visible at once to a device that is awake, kicked once for the batch.
        self.queue.show();
        added
    }

    fn add(&mut self, slot: usize, chain: &[Segment]) -> Result<(), Error> {
        let head = match self.slots[slot].table {
            Some(table) => self.queue.add_indirect(chain, table),
            None => self.queue.add(chain),
        };
        let head =
            head.ok_or_else(|| Error::Usage("the ring is too small for a request".into()))?;
        self.owners[usize::from(head)] = slot;
        Ok(())
    }

    fn next_used(&mut self) -> Result<Option<Used>, Error> {
        self.queue.pop().transpose().map_err(|error| Error::BackEnd(error.to_string()))
    }

    fn finish(&mut self, slot: usize, len: u32, plan: &Plan, now: u64) {
        if let Err(error) = self.check(slot, len, plan.verify) {
            self.tally.errors += 1;
            self.tally.first_error.get_or_insert(error);
        }
        if now >= plan.measure_from && now < plan.end {
            self.tally.latency.record(now - self.pending[slot].submitted);
            self.tally.last = now;
        }
    }

    fn check(&mut self, slot: usize, len: u32, verify: Option<u64>) -> Result<(), String> {
        let transfer = self.pending[slot].transfer;
        let at = |text: String| format!("{} bytes at {}: {text}", transfer.len, transfer.offset);
        let size = self.device.sizes().1;
        let mut response = [0; crate::device::RESPONSE_BYTES as usize];
        // What `verdict` looks at lies in the first bytes; the sense behind them is long.
        let response = &mut response[..size.min(32) as usize];
        self.memory().read(self.slots[slot].response, response);
        self.device.verdict(response).map_err(at)?;
        let Some(seed) = verify else { return Ok(()) };
        let written = size + if transfer.write { 0 } else { transfer.len };
        if len != written {
            return Err(at(format!("the device says it wrote {len} bytes, not {written}")));
        }
        if transfer.write {
            return Ok(());
        }
        match mismatch(self.data(slot, transfer.len), seed, transfer.offset) {
            Some(address) => Err(at(format!("wrong data, first at byte {address}"))),
            None => Ok(()),
        }
    }

    fn data(&mut self, slot: usize, len: u32) -> &mut [u8] {
        let data = self.memory().pointer(self.slots[slot].data, len as usize);
        // SAFETY: `pointer` checked the range. The slot's buffer is ours while no request of it
        // is in flight, which is so before it is added and after it came back; a back-end that
        // writes there nevertheless spoils the verification, which is what it is for.
        unsafe { std::slice::from_raw_parts_mut(data, len as usize) }
    }

    fn kick_if_wanted(&mut self) -> Result<(), Error> {
        if self.queue.publish() {
            self.tally.kicks += 1;
            self.signals.kick()?;
        }
        Ok(())
    }

    /// Return when a chain has come back.
    fn wait(&mut self, stall: Duration) -> Result<(), Error> {
        if self.queue.has_used() {
            return Ok(()); // the old wish stays: no call is needed for what we see anyway
        }
        let since = Instant::now();
        while self.queue.enable_call() {
            if self.signals.called(LOOK_EVERY.min(stall))? {
                self.tally.calls += 1;
            } else if self.queue.has_used() && !self.signals.called(GRACE)? {
                // Looking again would hide it: a guest would sleep on.
                self.tally.errors += 1;
                let text = "a request came back and the call asked for it did not".to_owned();
                self.tally.first_error.get_or_insert(text);
            }
            if since.elapsed() >= stall && !self.queue.has_used() {
                let (queue, in_flight) = (self.index, self.queue.in_flight());
                return Err(Error::Stalled { queue, in_flight, seconds: stall.as_secs() });
            }
        }
        self.queue.disable_call();
        Ok(())
    }
}
