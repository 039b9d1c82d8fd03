//! Events and the buffers for them: parked until the guest puts one there, one at a time.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail so")]

use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vhost_pvscsi_core::engine::{Engine, Options, RingSpec};
use vhost_pvscsi_core::mailbox::{Event, QueueKind};
use vhost_pvscsi_core::memory::RegionSpec;
use vhost_pvscsi_core::mock::{DriverQueue, Layout, Segment, SharedMemory};
use vhost_pvscsi_core::ring::split;
use vmm_sys_util::eventfd::EventFd;

const BASE: u64 = 0x1_0000_0000;
const BUFFERS: u64 = BASE + 0x1_0000;
const EVENTS: u32 = 1;
const DEADLINE: Duration = Duration::from_secs(10);

struct Rig {
    engine: Engine,
    memory: Arc<SharedMemory>,
    driver: DriverQueue,
    kick: EventFd,
    session: u32,
    done: Vec<(u64, i64)>,
}

fn rig(event_idx: bool) -> Rig {
    let options = Options { threads: 1, io_uring: false, poll: Duration::ZERO };
    let engine = Engine::new(options).unwrap();
    let memory = Arc::new(SharedMemory::new(1 << 20, BASE, false).unwrap());
    let driver = DriverQueue::new(memory.clone(), Layout::packed(BASE, 8), event_idx);
    let host = engine.add_host(1 << 20);
    let session = engine.add_session(host).unwrap();
    let region = RegionSpec {
        guest: BASE,
        size: memory.size() as u64,
        user: memory.user_address(),
        offset: 0,
        fd: memory.file().as_raw_fd(),
    };
    let kick = EventFd::new(0).unwrap();
    let mut rig = Rig { engine, memory, driver, kick, session, done: Vec::new() };
    let ticket = rig.engine.set_memory(session, &[region]).unwrap();
    rig.wait(ticket);
    let user = |guest: u64| guest - BASE + rig.memory.user_address();
    let place = rig.driver.layout();
    let layout = split::Layout {
        size: place.size,
        descriptor: user(place.descriptors),
        available: user(place.available),
        used: user(place.used),
        base: 0,
        event_idx,
        indirect: true,
    };
    let kick = rig.kick.as_raw_fd();
    let spec = RingSpec { index: EVENTS, kind: QueueKind::Event, layout, kick, call: -1 };
    let ticket = rig.engine.start_ring(session, spec).unwrap();
    rig.wait(ticket);
    rig
}

impl Rig {
    fn push(&self, data: &[u8]) -> u64 {
        self.engine.push_event(self.session, EVENTS, data.to_vec()).unwrap()
    }

    /// What an order yields.
    fn wait(&mut self, ticket: u64) -> i64 {
        let end = Instant::now() + DEADLINE;
        while Instant::now() < end {
            self.look();
            if let Some(at) = self.done.iter().position(|(done, _)| *done == ticket) {
                return self.done.swap_remove(at).1;
            }
            std::thread::yield_now();
        }
        panic!("waited {DEADLINE:?} for the end of an order");
    }

    fn look(&mut self) {
        for event in self.engine.take(64) {
            match event {
                Event::Done { ticket, value, error } => {
                    assert_eq!(error, "");
                    self.done.push((ticket, value));
                }
                _ => panic!("the ring is broken"),
            }
        }
    }

    /// The orders so far have been carried out, as far as they can be.
    fn pass(&mut self) {
        let ticket = self.engine.set_enabled(self.session, EVENTS, true).unwrap();
        self.wait(ticket);
    }

    fn is_done(&mut self, ticket: u64) -> bool {
        self.look();
        self.done.iter().any(|(done, _)| *done == ticket)
    }

    /// Put a buffer there, and kick where it is wanted: a lost wish for kicks is found so.
    fn offer(&mut self, length: u32) {
        self.driver.add(&[Segment::writable(BUFFERS, length)]).unwrap();
        if self.driver.publish() {
            self.kick.write(1).unwrap();
        }
    }

    /// Length and first bytes of the buffer that came back.
    fn filled(&mut self) -> (u32, [u8; 4]) {
        let used = self.driver.pop().unwrap().unwrap();
        let mut data = [0; 4];
        self.memory.read(BUFFERS, &mut data);
        (used.len, data)
    }
}

#[test]
fn an_event_fills_the_buffer_that_is_there() {
    for event_idx in [false, true] {
        let mut rig = rig(event_idx);
        for turn in *b"abcd" {
            rig.offer(16);
            rig.pass();
            let told = rig.push(&[turn; 16]);
            assert_eq!(rig.wait(told), 1);
            assert_eq!(rig.filled(), (16, [turn; 4]));
        }
    }
}

#[test]
fn an_event_waits_for_a_buffer() {
    for event_idx in [false, true] {
        let mut rig = rig(event_idx);
        for turn in *b"abc" {
            let parked = rig.push(&[turn; 16]);
            rig.pass();
            assert!(!rig.is_done(parked));
            rig.offer(16);
            assert_eq!(rig.wait(parked), 1);
            assert_eq!(rig.filled(), (16, [turn; 4]));
        }
    }
}

#[test]
fn buffers_stay_where_no_event_is() {
    let mut rig = rig(true);
    rig.offer(16);
    rig.offer(16);
    rig.pass();
    assert!(!rig.driver.has_used());
    let told = rig.push(&[1; 16]);
    assert_eq!(rig.wait(told), 1);
    assert_eq!(rig.filled(), (16, [1; 4]));
    assert!(!rig.driver.has_used(), "one event, one buffer");
}

#[test]
fn a_second_event_is_not_parked() {
    let mut rig = rig(true);
    let parked = rig.push(&[1; 16]);
    let second = rig.push(&[2; 16]);
    assert_eq!(rig.wait(second), 0);
    rig.offer(16);
    assert_eq!(rig.wait(parked), 1);
    assert_eq!(rig.filled(), (16, [1; 4]));
}

#[test]
fn a_buffer_that_is_too_short_is_given_back_empty() {
    let mut rig = rig(true);
    rig.memory.write(BUFFERS, b"mine");
    let parked = rig.push(&[1; 16]);
    rig.offer(15);
    assert_eq!(rig.wait(parked), 0);
    assert_eq!(rig.filled(), (0, *b"mine"));
}

#[test]
fn a_stop_drops_what_is_parked() {
    let mut rig = rig(true);
    let parked = rig.push(&[1; 16]);
    let stop = rig.engine.stop_ring(rig.session, EVENTS).unwrap();
    assert_eq!(rig.wait(stop), 0, "the position");
    assert_eq!(rig.wait(parked), 0);
    rig.offer(16);
    assert!(!rig.driver.has_used());
}
