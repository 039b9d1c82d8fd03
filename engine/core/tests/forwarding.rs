//! Commands on their way to a device of the host and back. The device is a socket on whose other
//! end the test plays SG, with its request blocks as they are.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod support;

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use vhost_pvscsi_core::engine::{Engine, MapRow, Options, RingSpec};
use vhost_pvscsi_core::gate;
use vhost_pvscsi_core::mailbox::{Event, QueueKind, Selector};
use vhost_pvscsi_core::map::OpcodeSet;
use vhost_pvscsi_core::mock::{DriverQueue, Layout, Segment, SharedMemory};
use vhost_pvscsi_core::outcome::{Outcome, Service};
use vhost_pvscsi_core::sg::header::{Header, DXFER_FROM_DEV, DXFER_NONE, DXFER_TO_DEV};
use vhost_pvscsi_core::sg::{Device, DeviceSpec};
use vmm_sys_util::eventfd::EventFd;

use support::BASE;

const SLOT: u64 = 0x1_0000;
const BUFFERS: u64 = BASE + 0x10_0000;
const DATA: u64 = 0x1000;
const HEADER: usize = std::mem::size_of::<Header>();
/// Of virtio's responses.
const OK: u8 = 0;
const ABORTED: u8 = 2;
const READ: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 8, 0];
const WRITE: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 8, 0];

/// The kernel's end of a descriptor.
struct Sg(OwnedFd);

impl Sg {
    fn new() -> (Sg, Arc<OwnedFd>) {
        let mut pair = [0; 2];
        let kind = libc::SOCK_SEQPACKET | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: room for two descriptors, which are owned from here on.
        unsafe {
            assert_eq!(libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()), 0);
            (Sg(OwnedFd::from_raw_fd(pair[0])), Arc::new(OwnedFd::from_raw_fd(pair[1])))
        }
    }

    /// A command, if one has been sent.
    fn sent(&self) -> Option<Header> {
        let mut header = Header::blank();
        // SAFETY: room for one header.
        let got = unsafe { libc::read(self.0.as_raw_fd(), (&raw mut header).cast(), HEADER) };
        (got == HEADER as isize).then_some(header)
    }

    fn wait(&self) -> Header {
        within("a command to be sent", || self.sent())
    }

    fn end(&self, header: &Header) {
        // SAFETY: one header from a local.
        let put = unsafe { libc::write(self.0.as_raw_fd(), (&raw const *header).cast(), HEADER) };
        assert_eq!(put, HEADER as isize);
    }
}

fn within<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let end = Instant::now() + Duration::from_secs(10);
    while Instant::now() < end {
        if let Some(found) = look() {
            return found;
        }
        std::thread::yield_now();
    }
    panic!("waited 10 s for {what}");
}

struct Rig {
    engine: Engine,
    memory: Arc<SharedMemory>,
    driver: DriverQueue,
    kick: EventFd,
    _call: EventFd,
    host: u32,
    session: u32,
    device: Arc<Device>,
    sg: Sg,
}

fn wait_done(engine: &Engine, ticket: u64) -> i64 {
    within("the end of an order", || {
        engine.take(64).into_iter().find_map(|event| match event {
            Event::Done { ticket: done, value, error } if done == ticket => {
                assert_eq!(error, "");
                Some(value)
            }
            _ => None,
        })
    })
}

struct With {
    exclusive: bool,
    passed: bool,
    protected: bool,
    max_transfer: u32,
    depth: usize,
    base: u16,
}

const DISK: With = With {
    exclusive: false,
    passed: false,
    protected: false,
    max_transfer: 1 << 20,
    depth: 4,
    base: 0,
};

/// A ring in which `prepare` may put requests before the engine looks.
fn rig(with: With, prepare: impl FnOnce(&mut DriverQueue, &SharedMemory)) -> Rig {
    let options = Options { threads: 1, io_uring: false, poll: Duration::ZERO };
    let engine = Engine::new(options).unwrap();
    let memory = Arc::new(SharedMemory::new(4 << 20, BASE, false).unwrap());
    let mut driver = DriverQueue::new(memory.clone(), Layout::packed(BASE, 64), true);
    driver.start_at(with.base);
    prepare(&mut driver, &memory);
    let (sg, file) = Sg::new();
    let spec = DeviceSpec {
        fd: -1,
        passed: with.passed,
        exclusive: with.exclusive,
        depth: with.depth,
        max_transfer: with.max_transfer,
        block_size: if with.exclusive { 0 } else { 512 },
        writes: OpcodeSet::new(&[0x2a]),
        timeout: 60_000,
        timeouts: vec![(0x2a, 7_000)],
    };
    let device = Arc::new(Device::with_files(1, &spec, vec![vec![file]]).unwrap());
    let host = engine.add_host(1 << 20);
    let row = MapRow {
        target: 0,
        lun: 0,
        mapping: 1,
        medium: None,
        device: Some(Arc::clone(&device)),
        copied: OpcodeSet::default(),
        short_road: OpcodeSet::new(if with.exclusive { &[] } else { &[0x28, 0x2a] }),
        protected: with.protected,
    };
    wait_done(&engine, engine.change_map(host, 1, vec![row], &[]).unwrap());
    engine.open_gate(1, gate::NEW).unwrap();
    let session = engine.add_session(host).unwrap();
    wait_done(&engine, engine.set_memory(session, &[support::spec(&memory)]).unwrap());
    let layout = support::layout(&driver, true, with.base);
    let (kick, call) = (EventFd::new(0).unwrap(), EventFd::new(0).unwrap());
    let (kick_fd, call_fd) = (kick.as_raw_fd(), call.as_raw_fd());
    let spec =
        RingSpec { index: 2, kind: QueueKind::Request, layout, kick: kick_fd, call: call_fd };
    // Not waited for: a request that lies in the ring may come up before its end is told.
    engine.start_ring(session, spec).unwrap();
    Rig { engine, memory, driver, kick, _call: call, host, session, device, sg }
}

/// Where the buffers of a tag are.
fn place(tag: u64) -> u64 {
    BUFFERS + tag * SLOT
}

fn add(driver: &mut DriverQueue, memory: &SharedMemory, tag: u64, cdb: &[u8], pieces: &[u32]) {
    let at = place(tag);
    let mut header = [0u8; 51];
    header[0] = 1;
    header[2] = 0x40;
    header[8..16].copy_from_slice(&tag.to_le_bytes());
    header[19..19 + cdb.len()].copy_from_slice(cdb);
    memory.write(at, &header);
    let mut chain = vec![Segment::readable(at, 51)];
    let mut data = at + DATA;
    let mut parts = Vec::new();
    for length in pieces {
        let writes = cdb[0] == WRITE[0];
        let make = if writes { Segment::readable } else { Segment::writable };
        parts.push(make(data, *length));
        data += u64::from(*length);
    }
    let answer = Segment::writable(at + 64, 108);
    if cdb[0] == WRITE[0] {
        chain.extend(parts);
        chain.push(answer);
    } else {
        chain.push(answer);
        chain.extend(parts);
    }
    driver.add(&chain).expect("room in the ring");
}

/// Response, status, residual.
#[derive(Debug, PartialEq, Eq)]
struct Answer(u8, u8, u32);

impl Rig {
    fn send(&mut self, tag: u64, cdb: &[u8], pieces: &[u32]) {
        add(&mut self.driver, &self.memory, tag, cdb, pieces);
        if self.driver.publish() {
            self.kick.write(1).unwrap();
        }
    }

    fn wait_used(&mut self) {
        within("an answer", || self.driver.pop()).expect("a head of ours");
    }

    fn answer(&self, tag: u64) -> Answer {
        let bytes = self.memory.bytes(place(tag) + 64, 108);
        let residual = u32::from_le_bytes(bytes[4..8].try_into().unwrap());
        Answer(bytes[11], bytes[10], residual)
    }

    fn sense(&self, tag: u64) -> (u8, u8, u8) {
        let bytes = self.memory.bytes(place(tag) + 64, 108);
        (bytes[12 + 2] & 0xf, bytes[12 + 12], bytes[12 + 13])
    }

    fn abort(&self, tag: u64) -> u64 {
        let wanted = Selector { host: self.host, tag: Some(tag), ..Selector::default() };
        self.engine.abort(wanted, Service::Aborted)
    }

    fn device(&self) -> Arc<Device> {
        Arc::clone(&self.device)
    }

    fn upcall(&self) -> (u64, usize) {
        within("an upcall", || {
            self.engine.take(1).into_iter().find_map(|event| match event {
                Event::Command { token, data_out, .. } => Some((token, data_out.len())),
                _ => None,
            })
        })
    }

    /// The end of a command that was ordered.
    fn executed(&self) -> (Outcome, Box<[u8]>) {
        within("the end of an ordered command", || {
            self.engine.take(1).into_iter().find_map(|event| match event {
                Event::Executed { outcome, data, .. } => Some((*outcome, data)),
                _ => None,
            })
        })
    }

    fn close(self) {
        wait_done(&self.engine, self.engine.end_session(self.session).unwrap());
        self.engine.stop();
    }
}

#[test]
fn data_goes_straight_into_the_guests_buffers() {
    let mut rig = rig(DISK, |_, _| {});
    rig.send(1, &READ, &[4096]);
    let mut header = rig.sg.wait();
    assert_eq!((header.dxfer_direction, header.dxfer_len), (DXFER_FROM_DEV, 4096));
    assert_eq!((header.cmd_len, header.iovec_count, header.timeout), (10, 0, 60_000));
    // SAFETY: the engine's buffer of 4096 bytes, which it keeps until the end is read.
    unsafe { std::ptr::write_bytes(header.dxferp.cast::<u8>(), 0x5a, 4000) };
    header.resid = 96;
    rig.sg.end(&header);
    rig.wait_used();
    assert_eq!(rig.answer(1), Answer(OK, 0, 96));
    assert_eq!(rig.memory.bytes(place(1) + DATA, 4000), vec![0x5a; 4000]);

    rig.send(2, &WRITE, &[1000, 3000, 96]);
    let header = rig.sg.wait();
    assert_eq!((header.dxfer_direction, header.dxfer_len), (DXFER_TO_DEV, 4096));
    assert_eq!((header.iovec_count, header.timeout), (3, 7_000));
    rig.sg.end(&header);
    rig.wait_used();
    assert_eq!(rig.answer(2), Answer(OK, 0, 0));
    rig.close();
}

#[test]
fn sense_data_arrives_with_what_was_moved() {
    let mut rig = rig(DISK, |_, _| {});
    rig.send(1, &READ, &[4096]);
    let mut header = rig.sg.wait();
    let sense = [0x70, 0, 3, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x11, 0x01, 0, 0, 0, 0];
    // SAFETY: room for 96 bytes, as the header says.
    unsafe { std::ptr::copy_nonoverlapping(sense.as_ptr(), header.sbp, sense.len()) };
    assert_eq!(header.mx_sb_len, 96);
    (header.status, header.sb_len_wr, header.driver_status, header.resid) = (2, 18, 8, 1024);
    rig.sg.end(&header);
    rig.wait_used();
    assert_eq!(rig.answer(1), Answer(OK, 2, 1024));
    assert_eq!(rig.sense(1), (3, 0x11, 0x01));
    rig.close();
}

#[test]
fn what_finds_no_room_waits_in_order_and_ends_at_once_when_told_to() {
    let mut rig = rig(DISK, |_, _| {});
    for tag in 1..=7 {
        rig.send(tag, &READ, &[512]);
    }
    let first: Vec<_> = (0..4).map(|_| rig.sg.wait()).collect();
    // Not sent: it is the only one that can have ended.
    let aborted = rig.abort(6);
    rig.wait_used();
    assert_eq!(wait_done(&rig.engine, aborted), 1);
    assert_eq!(rig.answer(6), Answer(ABORTED, 0, 512));
    // Sent: the order has its end when the command has, and the command ends as it does.
    let waiting = rig.abort(2);
    assert!(rig.sg.sent().is_none());
    for header in &first {
        rig.sg.end(header);
    }
    assert_eq!(wait_done(&rig.engine, waiting), 1);
    for _ in 0..2 {
        let header = rig.sg.wait();
        rig.sg.end(&header);
    }
    for _ in 0..6 {
        rig.wait_used();
    }
    for tag in [1, 2, 3, 4, 5, 7] {
        assert_eq!(rig.answer(tag), Answer(OK, 0, 0), "{tag}");
    }
    rig.close();
}

#[test]
fn a_long_read_goes_in_pieces_and_stops_where_one_fails() {
    let with = With { max_transfer: 1536, ..DISK };
    let mut rig = rig(with, |_, _| {});
    rig.send(1, &READ, &[700, 3396]);
    let lengths: Vec<_> = (0..3)
        .map(|_| {
            let header = rig.sg.wait();
            rig.sg.end(&header);
            header.dxfer_len
        })
        .collect();
    assert_eq!(lengths, [1536, 1536, 1024]);
    rig.wait_used();
    assert_eq!(rig.answer(1), Answer(OK, 0, 0));

    rig.send(2, &READ, &[4096]);
    let header = rig.sg.wait();
    rig.sg.end(&header);
    let mut header = rig.sg.wait();
    header.host_status = 7;
    rig.sg.end(&header);
    rig.wait_used();
    assert_eq!(rig.answer(2), Answer(9, 0, 4096 - 1536));
    // More data than its blocks have cannot be cut.
    rig.send(3, &READ, &[4097]);
    rig.wait_used();
    assert_eq!((rig.answer(3), rig.sense(3)), (Answer(OK, 2, 4097), (5, 0x24, 0)));
    assert!(rig.sg.sent().is_none());
    rig.close();
}

#[test]
fn a_protected_mapping_does_not_write() {
    let with = With { protected: true, ..DISK };
    let mut rig = rig(with, |_, _| {});
    rig.send(1, &WRITE, &[4096]);
    rig.wait_used();
    assert_eq!((rig.answer(1), rig.sense(1)), (Answer(OK, 2, 4096), (7, 0x27, 0)));
    assert!(rig.sg.sent().is_none());
    rig.close();
}

#[test]
fn the_long_road_keeps_data_in_the_engine_unless_it_is_asked_for() {
    let mut rig = rig(DISK, |_, _| {});
    // MODE SENSE: comes up, is sent on, and its data is fetched.
    rig.send(1, &[0x1a, 0, 0x3f, 0, 64, 0], &[64]);
    let (token, copied) = rig.upcall();
    assert_eq!(copied, 0);
    rig.engine.forward(token, rig.device(), &[0x1a, 0, 0x3f, 0, 128, 0], None, Some(128)).unwrap();
    let mut header = rig.sg.wait();
    assert_eq!((header.cmd_len, header.dxfer_len), (6, 128));
    // SAFETY: the engine's buffer of 128 bytes.
    unsafe { std::ptr::write_bytes(header.dxferp.cast::<u8>(), 7, 28) };
    header.resid = 100;
    rig.sg.end(&header);
    let (outcome, data) = rig.executed();
    assert_eq!((outcome.transferred, data), (28, vec![7; 28].into_boxed_slice()));
    rig.engine.complete(token, Outcome::good(0), Some(vec![9; 10]));
    rig.wait_used();
    assert_eq!(rig.answer(1), Answer(OK, 0, 54));
    assert_eq!(rig.memory.bytes(place(1) + DATA, 10), vec![9; 10]);

    // TEST UNIT READY, for a request that has ended: whoever ordered it hears so.
    rig.engine.forward(token, rig.device(), &[0; 6], None, None).unwrap();
    assert_eq!(rig.executed().0.service, Service::Aborted);
    rig.send(2, &[0; 6], &[]);
    let (token, _) = rig.upcall();
    rig.engine.forward(token, rig.device(), &[0; 6], None, None).unwrap();
    let header = rig.sg.wait();
    assert_eq!((header.dxfer_direction, header.dxfer_len), (DXFER_NONE, 0));
    rig.sg.end(&header);
    assert_eq!(rig.executed().0.service, Service::Complete);
    rig.engine.complete(token, Outcome::good(0), None);
    rig.wait_used();
    rig.close();
}

#[test]
fn what_a_tape_may_have_done_before_is_not_sent_to_it() {
    let with = With { exclusive: true, depth: 1, base: 77, ..DISK };
    let mut rig = rig(with, |driver, memory| {
        add(driver, memory, 1, &WRITE, &[512]);
        add(driver, memory, 2, &[0x12, 0, 0, 0, 36, 0], &[36]);
        driver.publish();
    });
    rig.wait_used();
    assert_eq!((rig.answer(1), rig.sense(1)), (Answer(OK, 2, 512), (6, 0x29, 0)));
    // INQUIRY does no harm, and what comes later is new.
    let (inquiry, _) = rig.upcall();
    rig.send(3, &WRITE, &[512]);
    let (write, copied) = rig.upcall();
    assert_eq!(copied, 0);
    for token in [inquiry, write] {
        rig.engine.complete(token, Outcome::good(0), None);
        rig.wait_used();
    }
    assert_eq!(rig.answer(3).1, 0);
    rig.close();
}

#[test]
fn a_descriptor_that_was_passed_in_is_asked_by_threads() {
    let passed = With { passed: true, ..DISK };
    let mut rig = rig(passed, |_, _| {});
    // The other end is no SG here, and the kernel says so of SG_IO; nothing is written to it.
    for tag in 1..=12 {
        rig.send(tag, &READ, &[4096, 512]);
    }
    (1..=12).for_each(|_| rig.wait_used());
    for tag in 1..=12 {
        assert_eq!(rig.answer(tag), Answer(OK, 2, 4608));
        assert_eq!(rig.sense(tag), (4, 0x44, 0));
    }
    assert!(rig.sg.sent().is_none());
    rig.close();
}
