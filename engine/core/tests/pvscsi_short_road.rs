//! READs and WRITEs of a pvSCSI ring on the short road: engine threads allocate nothing for them.
//!
//! As short_road.rs, with Xen's ring: requests of one page, of sixteen, and of 127 with their
//! segments in a granted page; grants by the guest's table, and translated by a front-end.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

#[path = "support/counting.rs"]
mod counting;

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counting::{allocations, this_is_the_driver, wait_done, wait_for_call};
use vhost_pvscsi_core::cdb::COMMANDS;
use vhost_pvscsi_core::engine::{Engine, MapRow, Options, PvscsiSpec};
use vhost_pvscsi_core::gate;
use vhost_pvscsi_core::grants::table::TableSpec;
use vhost_pvscsi_core::inflight::AreaSpec;
use vhost_pvscsi_core::map::OpcodeSet;
use vhost_pvscsi_core::medium::Medium;
use vhost_pvscsi_core::memory::RegionSpec;
use vhost_pvscsi_core::mock::vscsiif::{
    command, result, segment_bytes, FrontRing, GuestGrants, Segment, FROM_DEVICE, PAGE, PERMIT,
    READONLY, TO_DEVICE,
};
use vhost_pvscsi_core::mock::SharedMemory;
use vhost_pvscsi_core::ring::vscsiif::Place;
use vmm_sys_util::eventfd::EventFd;

const BASE: u64 = 0x1_0000_0000;
const BASE_FRAME: u32 = (BASE / PAGE) as u32;
const DEPTH: u32 = 16;
/// Pages of a slot of ours: 127 of data, one of segments.
const PAGES: u32 = 128;
/// As many as Linux asks for: 508 KiB.
const MOST: u32 = 127;
const SIZE: u64 = 16 << 20;
const TABLE: usize = 256 << 10;
const RING_REFERENCE: u32 = 8;
const FIRST_REFERENCE: u32 = 16;

struct Rig {
    engine: Engine,
    memory: Arc<SharedMemory>,
    grants: Option<GuestGrants>,
    // Mapped by the engine; the guest's side of it.
    _area: SharedMemory,
    ring: FrontRing,
    kick: EventFd,
    call: EventFd,
    session: u32,
}

fn rig(translated: bool) -> Rig {
    this_is_the_driver();
    let options = Options { threads: 1, io_uring: true, poll: Duration::ZERO };
    let engine = Engine::new(options).unwrap();
    // The ring's page, then the slots'.
    let bytes = (1 + DEPTH * PAGES) as usize * PAGE as usize;
    let memory = Arc::new(SharedMemory::new(bytes, BASE, false).unwrap());
    let host = engine.add_host(1 << 20);
    let row = MapRow {
        device: None,
        copied: OpcodeSet::default(),
        protected: false,
        target: 0,
        lun: 0,
        mapping: 1,
        medium: Some(Arc::new(Medium::ram(SIZE, 512, false, Duration::ZERO).unwrap())),
        short_road: OpcodeSet::new(&COMMANDS.map(|row| row.opcode)),
    };
    wait_done(&engine, engine.change_map(host, 1, vec![row], &[]).unwrap());
    engine.open_gate(1, gate::NEW).unwrap();
    let session = engine.add_session(host).unwrap();
    let region = RegionSpec {
        guest: BASE,
        size: memory.size() as u64,
        user: BASE,
        offset: 0,
        fd: memory.file().as_raw_fd(),
    };
    wait_done(&engine, engine.set_memory(session, &[region]).unwrap());
    let ring = FrontRing::new(memory.clone(), BASE);
    let grants = (!translated).then(|| GuestGrants::new(TABLE).unwrap());
    let area = SharedMemory::new(8192 + TABLE / 8, 0, false).unwrap();
    let (kick, call) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
    let table = grants.as_ref().map(|grants| {
        grants.set(RING_REFERENCE, PERMIT, 0, BASE_FRAME);
        let fd = grants.0.file().as_raw_fd();
        TableSpec { fd, offset: 0, size: TABLE as u64, domain: 0 }
    });
    let area_fd = area.file().as_raw_fd();
    let spec = PvscsiSpec {
        place: if translated { Place::Address(BASE) } else { Place::Grant(RING_REFERENCE) },
        table,
        area: Some(AreaSpec { fd: area_fd, offset: 0, size: area.size() as u64 }),
        segments: 128,
        kick: kick.as_raw_fd(),
        call: call.as_raw_fd(),
    };
    wait_done(&engine, engine.start_pvscsi(session, spec).unwrap());
    Rig { engine, memory, grants, _area: area, ring, kick, call, session }
}

/// Pages that request `number` moves.
fn pages(number: u64) -> u32 {
    match number % 16 {
        0 => MOST,
        1 | 5 | 9 | 13 => 16,
        _ => 1,
    }
}

impl Rig {
    /// Lend a page of a slot; what a segment calls it.
    fn lend(&self, slot: u32, page: u32, write: bool) -> u32 {
        let frame = BASE_FRAME + 1 + slot * PAGES + page;
        let Some(grants) = &self.grants else { return frame };
        let reference = FIRST_REFERENCE + slot * PAGES + page;
        grants.set(reference, PERMIT | if write { 0 } else { READONLY }, 0, frame);
        reference
    }

    fn send(&mut self, slot: u32, number: u64) {
        let write = number % 2 == 1 || number % 32 == 0;
        let count = pages(number);
        let blocks = count * 8;
        let lba = (number * 8 % (SIZE / 512 - u64::from(blocks))) as u32;
        let mut cdb = [0; 10];
        cdb[0] = if write { 0x2a } else { 0x28 };
        cdb[2..6].copy_from_slice(&lba.to_be_bytes());
        cdb[7..9].copy_from_slice(&(blocks as u16).to_be_bytes());
        let mut segments = [(0, 0, 0); MOST as usize];
        for page in 0..count {
            segments[page as usize] = (self.lend(slot, page, !write), 0, PAGE as u16);
        }
        let segments = &segments[..count as usize];
        let direction = if write { TO_DEVICE } else { FROM_DEVICE };
        let request = if count <= 26 {
            command(slot as u16, &cdb, direction, segments, false)
        } else {
            command(slot as u16, &cdb, direction, &[self.tabulate(slot, segments)], true)
        };
        assert!(self.ring.put(&request));
    }

    /// Write segments into the last page of a slot, and lend that.
    fn tabulate(&self, slot: u32, segments: &[Segment]) -> Segment {
        let at = BASE + u64::from(1 + slot * PAGES + MOST) * PAGE;
        for (index, segment) in segments.iter().enumerate() {
            self.memory.write(at + 8 * index as u64, &segment_bytes(*segment));
        }
        (self.lend(slot, MOST, false), 0, 8 * segments.len() as u16)
    }

    /// Run `count` requests, `DEPTH` at a time; each must end well.
    fn run(&mut self, count: u64) {
        let (mut sent, mut ended) = (0, 0);
        let mut free: Vec<u32> = (0..DEPTH).collect();
        let end = Instant::now() + Duration::from_secs(300);
        while ended < count {
            while sent < count {
                let Some(slot) = free.pop() else { break };
                self.send(slot, sent);
                sent += 1;
            }
            if self.ring.publish() {
                self.kick.write(1).unwrap();
            }
            while let Some(response) = self.ring.pop() {
                assert_eq!(result(&response), 0, "a request failed");
                free.push(u32::from(u16::from_le_bytes([response[0], response[1]])));
                ended += 1;
            }
            if self.ring.enable_call() && ended < sent {
                wait_for_call(&self.call);
            }
            assert!(Instant::now() < end, "waited 300 s for {count} requests, {ended} ended");
        }
    }
}

// One test: the allocator counts for the whole process.
#[test]
fn a_hundred_thousand_commands_allocate_nothing() {
    for translated in [false, true] {
        let mut rig = rig(translated);
        // Lists grow once to what is asked of them, and keep the room.
        rig.run(2000);
        let before = allocations();
        rig.run(100_000);
        assert_eq!(allocations() - before, 0, "the short road allocated");
        let (_, counters) = rig.engine.counters(rig.session).unwrap()[0];
        let [reads, writes, others, long, ..] = counters;
        assert_eq!((reads + writes, others, long), (102_000, 0, 0));
        if let Some(grants) = &rig.grants {
            assert_eq!(grants.in_use(), 1, "the ring's page alone is in use");
        }
    }
}
