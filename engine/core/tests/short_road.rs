//! A million READs and WRITEs on the short road: engine threads allocate nothing for them.
//!
//! The whole engine runs, on its own threads, over a driver's ring; a counting allocator
//! counts what any thread but the driver's allocates. (That none of them waits for a lock is
//! seen from outside, by strace: tests/integration/test_short_road.py.)

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

#[path = "support/counting.rs"]
mod counting;
mod support;

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use counting::{allocations, this_is_the_driver, wait_done, wait_for_call};
use support::BASE;
use vhost_pvscsi_core::backend::FileOptions;
use vhost_pvscsi_core::cdb::COMMANDS;
use vhost_pvscsi_core::engine::{Engine, MapRow, Options, RingSpec};
use vhost_pvscsi_core::gate;
use vhost_pvscsi_core::mailbox::QueueKind;
use vhost_pvscsi_core::map::OpcodeSet;
use vhost_pvscsi_core::medium::Medium;
use vhost_pvscsi_core::mock::{DriverQueue, Layout, Segment, SharedMemory};
use vmm_sys_util::eventfd::EventFd;

const DEPTH: u64 = 32;
const SLOT: u64 = 0x4000;
const BUFFERS: u64 = BASE + 0x10_0000;
const SPAN_BLOCKS: u64 = 16 << 11; // 16 MiB

struct Rig {
    engine: Engine,
    memory: Arc<SharedMemory>,
    driver: DriverQueue,
    kick: EventFd,
    call: EventFd,
    session: u32,
}

fn rig(medium: Medium) -> Rig {
    this_is_the_driver();
    let options = Options { threads: 1, io_uring: true, poll: Duration::ZERO };
    let engine = Engine::new(options).unwrap();
    let memory = Arc::new(SharedMemory::new(4 << 20, BASE, false).unwrap());
    let driver = DriverQueue::new(memory.clone(), Layout::packed(BASE, 256), true);
    let host = engine.add_host(1 << 20);
    let opcodes = COMMANDS.map(|row| row.opcode);
    let row = MapRow {
        device: None,
        copied: OpcodeSet::default(),
        protected: false,
        target: 0,
        lun: 0,
        mapping: 1,
        medium: Some(Arc::new(medium)),
        short_road: OpcodeSet::new(&opcodes),
    };
    wait_done(&engine, engine.change_map(host, 1, vec![row], &[]).unwrap());
    engine.open_gate(1, gate::NEW).unwrap();
    let session = engine.add_session(host).unwrap();
    wait_done(&engine, engine.set_memory(session, &[support::spec(&memory)]).unwrap());
    let layout = support::layout(&driver, true, 0);
    let (kick, call) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
    let spec = RingSpec {
        index: 2,
        kind: QueueKind::Request,
        layout,
        kick: kick.as_raw_fd(),
        call: call.as_raw_fd(),
    };
    wait_done(&engine, engine.start_ring(session, spec).unwrap());
    Rig { engine, memory, driver, kick, call, session }
}

impl Rig {
    fn send(&mut self, slot: u64, number: u64) -> u16 {
        let at = BUFFERS + slot * SLOT;
        let write = number % 2 == 1;
        let lba = (number * 8 % SPAN_BLOCKS) as u32;
        let mut header = [0u8; 51];
        header[0] = 1;
        header[2] = 0x40;
        header[8..16].copy_from_slice(&number.to_le_bytes());
        header[19] = if write { 0x2a } else { 0x28 };
        header[21..25].copy_from_slice(&lba.to_be_bytes());
        header[26..28].copy_from_slice(&8u16.to_be_bytes());
        self.memory.write(at, &header);
        let head = Segment::readable(at, 51);
        let answer = Segment::writable(at + 64, 108);
        let data = at + 0x1000;
        let chain = if write {
            [head, Segment::readable(data, 4096), answer]
        } else {
            [head, answer, Segment::writable(data, 4096)]
        };
        self.driver.add(&chain).expect("the ring holds four times as many")
    }

    /// Run `count` requests, half of them writes, `DEPTH` at a time; each must end well.
    fn run(&mut self, count: u64) {
        let mut slot_of = [0u64; 256];
        let (mut sent, mut ended) = (0, 0);
        let mut free: Vec<u64> = (0..DEPTH).collect();
        let end = Instant::now() + Duration::from_secs(300);
        while ended < count {
            while sent < count {
                let Some(slot) = free.pop() else { break };
                let head = self.send(slot, sent);
                sent += 1;
                slot_of[usize::from(head)] = slot;
            }
            if self.driver.publish() {
                self.kick.write(1).unwrap();
            }
            while let Some(used) = self.driver.pop() {
                let used = used.unwrap();
                let slot = slot_of[usize::from(used.head)];
                let mut status = [0u8; 2];
                self.memory.read(BUFFERS + slot * SLOT + 64 + 10, &mut status);
                assert_eq!(status, [0, 0], "a request failed");
                free.push(slot);
                ended += 1;
            }
            if self.driver.enable_call() && ended < sent {
                wait_for_call(&self.call);
            }
            assert!(Instant::now() < end, "waited 300 s for {count} requests, {ended} ended");
        }
    }
}

fn million(medium: Medium, count: u64) {
    let mut rig = rig(medium);
    // Lists grow once to what is asked of them, and keep the room.
    rig.run(2000);
    let before = allocations();
    rig.run(count);
    assert_eq!(allocations() - before, 0, "the short road allocated");
    let (_, counters) = rig.engine.counters(rig.session).unwrap()[0];
    let [reads, writes, others, long, ..] = counters;
    assert_eq!((reads + writes, others, long), (count + 2000, 0, 0));
}

// One test: the allocator counts for the whole process.
#[test]
fn a_million_commands_allocate_nothing() {
    let size = SPAN_BLOCKS * 512;
    million(Medium::ram(size, 512, false, Duration::ZERO).unwrap(), 1_000_000);
    let file = tempfile(size);
    let options = FileOptions { direct: false, sync_writes: false, block_size: 512 };
    let fd = file.as_raw_fd();
    // Writes are deferred to io_uring where they are not tried at once.
    million(Medium::file(fd, size, options, false, None).unwrap(), 50_000);
}

fn tempfile(size: u64) -> std::fs::File {
    let path = std::env::temp_dir().join(format!("vhost-pvscsi-{}.img", std::process::id()));
    let file =
        std::fs::File::options().read(true).write(true).create_new(true).open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    file.set_len(size).unwrap();
    file
}
