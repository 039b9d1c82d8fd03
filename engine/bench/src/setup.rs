//! From a socket to running queues: memory, rings, and what the device is.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use vhost_pvscsi_core::mock::{DriverQueue, Layout, Segment, SharedMemory};

use crate::device::{Device, ScsiResponse};
use crate::error::{Context, Error};
use crate::options::Options;
use crate::signals::Signals;
use crate::values::DeviceKind;
use crate::vhost::{BackEnd, EVENT_IDX, INDIRECT};
use crate::worker::{Slot, Worker};

/// Guest memory does not start at 0, so that an address of 0 is a mistake that shows.
const GUEST_BASE: u64 = 0x1_0000_0000;
const PAGE: u64 = 4096;
const HUGE_PAGE: usize = 2 << 20;

/// Unit attentions that may be queued up for a new nexus.
const ATTENTIONS: usize = 8;

/// A back-end that is ready to be measured.
#[derive(Debug)]
pub struct Rig {
    /// The connection.
    pub back_end: BackEnd,
    /// One for each request queue.
    pub workers: Vec<Worker>,
    /// Bytes on the LUN.
    pub capacity: u64,
    /// The smallest unit of a transfer.
    pub block_size: u32,
    /// Rings that were started.
    pub rings: u32,
    /// Eventfds of rings that no worker serves; they have to stay open.
    idle: Vec<Signals>,
}

impl Rig {
    /// Connect, share memory, start all rings, and ask the device for its size.
    pub fn build(options: &Options) -> Result<Self, Error> {
        let wanted = if options.event_idx { EVENT_IDX } else { 0 }
            | if options.indirect { INDIRECT } else { 0 };
        let mut back_end = BackEnd::connect(&options.socket, wanted)?;
        let device = Device::new(options.device, options.target, options.lun);
        let rings = device.first_request_queue() + u32::from(options.queues);
        if let Some(have) = back_end.queues()?.filter(|have| *have < rings.into()) {
            return Err(Error::Usage(format!("--queues {}: it has {have} in all", options.queues)));
        }
        let memory = Arc::new(
            SharedMemory::new(memory_size(options, rings), GUEST_BASE, options.huge)
                .context("make shared memory")?,
        );
        back_end.set_memory(&memory)?;
        let (workers, idle) = (Vec::new(), Vec::new());
        let block_size = device.block_size();
        let mut rig = Self { back_end, workers, capacity: 0, block_size, rings, idle };
        let mut arena = Arena(GUEST_BASE);
        for index in 0..rings {
            rig.start(options, device, index, &memory, &mut arena)?;
        }
        rig.identify(options, device)?;
        Ok(rig)
    }

    fn start(
        &mut self,
        options: &Options,
        device: Device,
        index: u32,
        memory: &Arc<SharedMemory>,
        arena: &mut Arena,
    ) -> Result<(), Error> {
        let layout = Layout::packed(arena.take(ring_bytes(options), PAGE), options.ring_size);
        let queue = DriverQueue::new(memory.clone(), layout, options.event_idx);
        let socket = self.back_end.as_fd().try_clone_to_owned();
        let signals = Signals::new(socket.context("duplicate the socket")?)?;
        self.back_end.start_ring(index, layout, memory, &signals)?;
        if index < device.first_request_queue() {
            self.idle.push(signals);
            return Ok(());
        }
        let slots = 0..options.depth;
        let slots = slots.map(|_| slot(arena, options, &device)).collect();
        let worker = Worker::new(index as usize, device, queue, signals, slots);
        self.workers.push(worker);
        Ok(())
    }

    fn identify(&mut self, options: &Options, device: Device) -> Result<(), Error> {
        if options.device == DeviceKind::Blk {
            // The first field of virtio-blk's configuration (virtio 1.2, 5.2.4).
            self.capacity = self.back_end.configuration()?.saturating_mul(512);
            return Ok(());
        }
        let first = &mut self.workers[0];
        let (capacity, block) = scsi_capacity(first, &device, options.stall)?;
        let Device::Scsi { address, .. } = device else {
            return Ok(());
        };
        self.workers.iter_mut().for_each(|w| w.set_device(Device::Scsi { address, block }));
        (self.capacity, self.block_size) = (capacity, block);
        Ok(())
    }

    /// Stop every ring, which waits for what is in flight.
    pub fn stop(&mut self) -> Result<(), Error> {
        (0..self.rings).try_for_each(|index| self.back_end.stop_ring(index).map(drop))
    }
}

/// Swallow the unit attentions of a new nexus, then READ CAPACITY(16) (SBC-4 5.20).
fn scsi_capacity(
    worker: &mut Worker,
    device: &Device,
    stall: Duration,
) -> Result<(u64, u32), Error> {
    let mut last = String::new();
    for _ in 0..ATTENTIONS {
        let (response, _) = worker.ask(&device.scsi_header(0, &[0; 6]), 0, stall)?;
        let response = ScsiResponse::parse(&response).map_err(Error::BackEnd)?;
        match response.verdict() {
            Ok(()) => return read_capacity(worker, device, stall),
            Err(error) if response.is_unit_attention() => last = error,
            Err(error) => return Err(Error::BackEnd(format!("TEST UNIT READY: {error}"))),
        }
    }
    Err(Error::BackEnd(format!("TEST UNIT READY: {ATTENTIONS} unit attentions, last {last}")))
}

fn read_capacity(
    worker: &mut Worker,
    device: &Device,
    stall: Duration,
) -> Result<(u64, u32), Error> {
    let cdb = [0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0];
    let (response, data) = worker.ask(&device.scsi_header(0, &cdb), 32, stall)?;
    let what = |error: String| Error::BackEnd(format!("READ CAPACITY(16): {error}"));
    device.verdict(&response).map_err(what)?;
    let [a, b, c, d, e, f, g, h, i, j, k, l, ..] = data[..] else {
        return Err(what("too short".into()));
    };
    let last = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
    let block = u32::from_be_bytes([i, j, k, l]);
    match last.checked_add(1).and_then(|blocks| blocks.checked_mul(block.into())) {
        Some(size) if block > 0 => Ok((size, block)),
        _ => Err(what(format!("last block {last} of {block} bytes"))),
    }
}

fn ring_bytes(options: &Options) -> u64 {
    Layout::packed(0, options.ring_size).end()
}

fn memory_size(options: &Options, rings: u32) -> usize {
    let table = 16 * (u64::from(options.segments()) + 2);
    let slot = 2 * PAGE + table + u64::from(options.block).next_multiple_of(PAGE);
    let per_ring = ring_bytes(options) + PAGE + u64::from(options.depth) * slot;
    (u64::from(rings) * per_ring) as usize / HUGE_PAGE * HUGE_PAGE + HUGE_PAGE
}

fn slot(arena: &mut Arena, options: &Options, device: &Device) -> Slot {
    let (header_len, response_len) = device.sizes();
    let header = arena.take(64, 64);
    let response = arena.take(128, 64);
    let table = arena.take(16 * (u64::from(options.segments()) + 2), 16);
    let data = arena.take(options.block.into(), PAGE);
    let size = options.segment.unwrap_or(options.block);
    let pieces = (0..options.block).step_by(size as usize).map(|start| Segment {
        address: data + u64::from(start),
        len: size.min(options.block - start),
        writable: !options.pattern.write,
    });
    let mut chain = vec![Segment::readable(header, header_len)];
    let answer = Segment::writable(response, response_len);
    // What the device reads comes first; of what it writes, virtio-scsi's response stands
    // before the data (virtio 1.2, 5.6.6.1), virtio-blk's status behind it (5.2.6).
    if options.pattern.write || options.device == DeviceKind::Blk {
        chain.extend(pieces);
        chain.push(answer);
    } else {
        chain.push(answer);
        chain.extend(pieces);
    }
    Slot { header, response, data, table: options.indirect.then_some(table), chain }
}

/// Hands out guest memory, from low to high.
struct Arena(u64);

impl Arena {
    fn take(&mut self, len: u64, alignment: u64) -> u64 {
        let start = self.0.next_multiple_of(alignment);
        self.0 = start + len;
        start
    }
}
