//! A guest's side of each ring.

use std::os::fd::AsRawFd;
use vhost_pvscsi_core::engine::{PvscsiSpec, RingSpec};
use vhost_pvscsi_core::grants::table::TableSpec;
use vhost_pvscsi_core::inflight::AreaSpec;
use vhost_pvscsi_core::mailbox::QueueKind;
use vhost_pvscsi_core::mock::vscsiif::{
    command, result, FrontRing, GuestGrants, FROM_DEVICE, PAGE, PERMIT,
};
use vhost_pvscsi_core::mock::{DriverQueue, Layout, Segment, SharedMemory};
use vhost_pvscsi_core::ring::split;
use vhost_pvscsi_core::ring::vscsiif::Place;
use vmm_sys_util::eventfd::EventFd;

use super::{Failure, Rig, Road, Wanted, BASE};

const BUFFERS: u64 = BASE + 0x10_0000;
const TABLE: usize = 256 << 10;
const AREA: usize = 8192 + TABLE / 8;
const RING_REFERENCE: u32 = 8;
const FIRST_REFERENCE: u32 = 16;
/// Bytes of header, response and data of one request.
const STRIDE: u64 = 256 << 10;

/// A guest's side of either ring.
pub trait Front {
    /// Send READ number `slot`.
    fn send(&mut self, slot: u64);
    /// Show what was sent, and kick where that is wanted.
    fn publish(&mut self) -> Result<(), Failure>;
    /// The slot of a request that came back, if it went well.
    fn pop(&mut self) -> Result<Option<u64>, Failure>;
    /// Ask for a call; false where something is there already.
    fn enable_call(&mut self) -> bool;
    fn call(&self) -> &EventFd;
    fn stop(&mut self) -> Result<(), Failure>;
}

fn read_10(bytes: u64) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = 0x28;
    // At most 208 blocks.
    cdb[7..9].copy_from_slice(&((bytes / 512) as u16).to_be_bytes());
    cdb
}

/// The pieces of a request's data, as a driver has them: what lies side by side is one.
fn pieces(slot: u64, wanted: Wanted) -> impl Iterator<Item = (u64, u32)> {
    let step = if wanted.scattered { PAGE } else { wanted.bytes };
    (0..wanted.bytes.div_ceil(step)).map(move |piece| {
        let length = (wanted.bytes - piece * step).min(step);
        (page_of(slot, piece, wanted), length as u32)
    })
}

/// Where a page of a request's data is.
fn page_of(slot: u64, page: u64, wanted: Wanted) -> u64 {
    let apart = if wanted.scattered { 2 } else { 1 };
    BUFFERS + slot * STRIDE + PAGE + apart * page * PAGE
}

pub struct Virtio<'a> {
    rig: &'a Rig,
    wanted: Wanted,
    session: u32,
    queue: DriverQueue,
    kick: EventFd,
    call: EventFd,
    slot_of: [u64; 256],
}

impl<'a> Virtio<'a> {
    pub fn start(rig: &'a Rig, wanted: Wanted) -> Result<Self, Failure> {
        let session = rig.session()?;
        let queue = DriverQueue::new(rig.memory.clone(), Layout::packed(BASE, 256), true);
        let (kick, call) = (EventFd::new(0)?, EventFd::new(0)?);
        let place = queue.layout();
        let layout = split::Layout {
            size: place.size,
            descriptor: place.descriptors,
            available: place.available,
            used: place.used,
            base: 0,
            event_idx: true,
            indirect: true,
        };
        let spec = RingSpec {
            index: 2,
            kind: QueueKind::Request,
            layout,
            kick: kick.as_raw_fd(),
            call: call.as_raw_fd(),
        };
        rig.wait(rig.engine.start_ring(session, spec)?)?;
        Ok(Virtio { rig, wanted, session, queue, kick, call, slot_of: [0; 256] })
    }
}

impl Front for Virtio<'_> {
    fn send(&mut self, slot: u64) {
        let at = BUFFERS + slot * STRIDE;
        let mut header = [0u8; 51];
        header[0] = 1;
        header[2] = 0x40;
        header[19..29].copy_from_slice(&read_10(self.wanted.bytes));
        self.rig.memory.write(at, &header);
        let (head, answer) = (Segment::readable(at, 51), Segment::writable(at + 64, 108));
        let mut chain = [head; 2 + 26];
        chain[1] = answer;
        let mut count = 2;
        for (address, length) in pieces(slot, self.wanted) {
            chain[count] = Segment::writable(address, length);
            count += 1;
        }
        if let Some(head) = self.queue.add(&chain[..count]) {
            self.slot_of[usize::from(head)] = slot;
        }
    }

    fn publish(&mut self) -> Result<(), Failure> {
        if self.queue.publish() {
            self.kick.write(1)?;
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<u64>, Failure> {
        let Some(used) = self.queue.pop() else { return Ok(None) };
        let slot = self.slot_of[usize::from(used?.head)];
        let mut status = [0u8; 2];
        self.rig.memory.read(BUFFERS + slot * STRIDE + 64 + 10, &mut status);
        if status == [0, 0] {
            Ok(Some(slot))
        } else {
            Err("a READ failed".into())
        }
    }

    fn enable_call(&mut self) -> bool {
        self.queue.enable_call()
    }

    fn call(&self) -> &EventFd {
        &self.call
    }

    fn stop(&mut self) -> Result<(), Failure> {
        self.rig.wait(self.rig.engine.end_session(self.session)?)
    }
}

pub struct Xen<'a> {
    rig: &'a Rig,
    wanted: Wanted,
    session: u32,
    ring: FrontRing,
    kick: EventFd,
    call: EventFd,
    /// None where frame numbers stand in place of references.
    grants: Option<GuestGrants>,
}

impl<'a> Xen<'a> {
    pub fn start(rig: &'a Rig, wanted: Wanted, road: Road) -> Result<Self, Failure> {
        let session = rig.session()?;
        let area = SharedMemory::new(AREA, 0, false)?;
        let ring = FrontRing::new(rig.memory.clone(), BASE);
        let (kick, call) = (EventFd::new(0)?, EventFd::new(0)?);
        let grants = (road == Road::Table).then(|| GuestGrants::new(TABLE)).transpose()?;
        let table = grants.as_ref().map(|grants| {
            grants.set(RING_REFERENCE, PERMIT, 0, (BASE / PAGE) as u32);
            let fd = grants.0.file().as_raw_fd();
            TableSpec { fd, offset: 0, size: TABLE as u64, domain: 0 }
        });
        let place =
            if table.is_some() { Place::Grant(RING_REFERENCE) } else { Place::Address(BASE) };
        let inflight = AreaSpec { fd: area.file().as_raw_fd(), offset: 0, size: AREA as u64 };
        let spec = PvscsiSpec {
            place,
            table,
            area: wanted.inflight.then_some(inflight),
            segments: 128,
            kick: kick.as_raw_fd(),
            call: call.as_raw_fd(),
        };
        rig.wait(rig.engine.start_pvscsi(session, spec)?)?;
        Ok(Xen { rig, wanted, session, ring, kick, call, grants })
    }

    fn references(&self, slot: u64) -> impl Iterator<Item = (u64, u32)> {
        let pages = self.wanted.bytes.div_ceil(PAGE);
        (0..pages).map(move |page| (page, FIRST_REFERENCE + (slot * 32 + page) as u32))
    }
}

impl Front for Xen<'_> {
    fn send(&mut self, slot: u64) {
        let mut segments = [(0, 0, 0); 26];
        let mut count = 0;
        for ((page, reference), segment) in self.references(slot).zip(&mut segments) {
            let frame = (page_of(slot, page, self.wanted) / PAGE) as u32;
            let length = (self.wanted.bytes - page * PAGE).min(PAGE) as u16;
            *segment = match &self.grants {
                // As Linux does, each request grants its pages anew.
                Some(grants) => {
                    grants.set(reference, PERMIT, 0, frame);
                    (reference, 0, length)
                }
                None => (frame, 0, length),
            };
            count += 1;
        }
        let cdb = read_10(self.wanted.bytes);
        self.ring.put(&command(slot as u16, &cdb, FROM_DEVICE, &segments[..count], false));
    }

    fn publish(&mut self) -> Result<(), Failure> {
        if self.ring.publish() {
            self.kick.write(1)?;
        }
        Ok(())
    }

    fn pop(&mut self) -> Result<Option<u64>, Failure> {
        let Some(response) = self.ring.pop() else { return Ok(None) };
        let slot = u64::from(u16::from_le_bytes([response[0], response[1]]));
        for (grants, (_, reference)) in self
            .grants
            .iter()
            .flat_map(|grants| self.references(slot).map(move |each| (grants, each)))
        {
            if grants.flags(reference) != PERMIT {
                return Err("a grant is in use after its request".into());
            }
            grants.set(reference, 0, 0, 0);
        }
        if result(&response) == 0 {
            Ok(Some(slot))
        } else {
            Err("a READ failed".into())
        }
    }

    fn enable_call(&mut self) -> bool {
        self.ring.enable_call()
    }

    fn call(&self) -> &EventFd {
        &self.call
    }

    fn stop(&mut self) -> Result<(), Failure> {
        self.rig.wait(self.rig.engine.end_session(self.session)?)
    }
}
