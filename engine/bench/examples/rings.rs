//! Virtio's ring and Xen's, one after the other in one run: the engine as it is, a null unit, and
//! a guest's side in this process. What is compared is what a ring costs, grants included.

use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vhost_pvscsi_core::cdb::COMMANDS;
use vhost_pvscsi_core::engine::{Engine, MapRow, Options, PvscsiSpec, RingSpec};
use vhost_pvscsi_core::gate;
use vhost_pvscsi_core::grants::table::TableSpec;
use vhost_pvscsi_core::inflight::AreaSpec;
use vhost_pvscsi_core::mailbox::{Event, QueueKind};
use vhost_pvscsi_core::map::OpcodeSet;
use vhost_pvscsi_core::medium::Medium;
use vhost_pvscsi_core::memory::RegionSpec;
use vhost_pvscsi_core::mock::vscsiif::{
    command, result, FrontRing, GuestGrants, FROM_DEVICE, PAGE, PERMIT,
};
use vhost_pvscsi_core::mock::{DriverQueue, Layout, Segment, SharedMemory};
use vhost_pvscsi_core::ring::split;
use vhost_pvscsi_core::ring::vscsiif::Place;
use vmm_sys_util::eventfd::EventFd;

const HELP: &str = "\
Usage: rings [--seconds N] [--rounds N] [--depth N] [--kib N] [--no-inflight]

READs of a null unit, by virtio's ring and by Xen's in turn: requests a second, the\nback-end's CPU time a request, and the ratio of the rates.
";

const BASE: u64 = 0x1_0000_0000;
const BUFFERS: u64 = BASE + 0x10_0000;
const TABLE: usize = 256 << 10;
const AREA: usize = 8192 + TABLE / 8;
const RING_REFERENCE: u32 = 8;
const FIRST_REFERENCE: u32 = 16;
/// Bytes of header, response and data of one request.
const STRIDE: u64 = 256 << 10;
const WAIT: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

#[derive(Clone, Copy)]
struct Wanted {
    seconds: f64,
    rounds: usize,
    depth: u64,
    bytes: u64,
    inflight: bool,
}

fn main() -> ExitCode {
    match parse().and_then(|wanted| wanted.map_or(Ok(()), measure)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Result<Option<Wanted>, Failure> {
    use lexopt::prelude::{Long, ValueExt};
    let mut wanted = Wanted { seconds: 2.0, rounds: 5, depth: 16, bytes: 4096, inflight: true };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seconds") => wanted.seconds = arguments.value()?.parse()?,
            Long("rounds") => wanted.rounds = arguments.value()?.parse()?,
            Long("depth") => wanted.depth = arguments.value()?.parse()?,
            Long("kib") => wanted.bytes = arguments.value()?.parse::<u64>()? << 10,
            Long("no-inflight") => wanted.inflight = false,
            Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let possible = wanted.rounds > 0
        && (1..=16).contains(&wanted.depth)
        && (1..=104 << 10).contains(&wanted.bytes);
    if possible {
        Ok(Some(wanted))
    } else {
        Err("rounds from 1, depth from 1 to 16, KiB from 1 to 104".into())
    }
}

fn measure(wanted: Wanted) -> Result<(), Failure> {
    let rig = Rig::new()?;
    let mut ratios = Vec::new();
    for _ in 0..wanted.rounds {
        let virtio = run(&mut Virtio::start(&rig, wanted)?, wanted)?;
        let xen = run(&mut Xen::start(&rig, wanted)?, wanted)?;
        ratios.push(xen.rate / virtio.rate);
        println!(
            "virtio {:>9.0}/s {:>5.0} ns   pvSCSI {:>9.0}/s {:>5.0} ns   ratio {:.2}",
            virtio.rate,
            virtio.cpu,
            xen.rate,
            xen.cpu,
            xen.rate / virtio.rate
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("median ratio {:.2}", ratios[ratios.len() / 2]);
    Ok(())
}

struct Rig {
    engine: Engine,
    host: u32,
    memory: Arc<SharedMemory>,
}

impl Rig {
    fn new() -> Result<Self, Failure> {
        let engine = Engine::new(Options { threads: 1, io_uring: true, poll: Duration::ZERO })?;
        let memory = Arc::new(SharedMemory::new(8 << 20, BASE, false)?);
        let host = engine.add_host(1 << 20);
        let row = MapRow {
            device: None,
            copied: OpcodeSet::default(),
            target: 0,
            lun: 0,
            mapping: 1,
            medium: Some(Arc::new(Medium::null(1 << 30, 512, false, Duration::ZERO)?)),
            short_road: OpcodeSet::new(&COMMANDS.map(|row| row.opcode)),
            protected: false,
        };
        let rig = Rig { engine, host, memory };
        rig.wait(rig.engine.change_map(host, 1, vec![row], &[])?)?;
        rig.engine.open_gate(1, gate::NEW)?;
        Ok(rig)
    }

    fn wait(&self, ticket: u64) -> Result<(), Failure> {
        let end = Instant::now() + WAIT;
        while Instant::now() < end {
            for event in self.engine.take(64) {
                if let Event::Done { ticket: done, error, .. } = event {
                    if done == ticket {
                        return if error.is_empty() { Ok(()) } else { Err(error.into()) };
                    }
                }
            }
            std::thread::yield_now();
        }
        Err("waited 10 s for the end of an order".into())
    }

    fn session(&self) -> Result<u32, Failure> {
        let session = self.engine.add_session(self.host)?;
        let region = RegionSpec {
            guest: BASE,
            size: self.memory.size() as u64,
            user: BASE,
            offset: 0,
            fd: self.memory.file().as_raw_fd(),
        };
        self.wait(self.engine.set_memory(session, &[region])?)?;
        Ok(session)
    }
}

/// A guest's side of either ring.
trait Front {
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

/// What one ring did.
struct Measured {
    /// Requests a second.
    rate: f64,
    /// CPU nanoseconds a request, of all threads but the guest's.
    cpu: f64,
}

/// CPU seconds of this process without this thread.
fn back_end_cpu() -> f64 {
    let seconds = |clock| {
        let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        // SAFETY: one valid timespec; both clocks exist on Linux.
        unsafe { libc::clock_gettime(clock, &raw mut time) };
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    };
    seconds(libc::CLOCK_PROCESS_CPUTIME_ID) - seconds(libc::CLOCK_THREAD_CPUTIME_ID)
}

/// Keep that depth for a while.
fn run(front: &mut impl Front, wanted: Wanted) -> Result<Measured, Failure> {
    let mut free: Vec<u64> = (0..wanted.depth).collect();
    let (begin, cpu) = (Instant::now(), back_end_cpu());
    let end = begin + Duration::from_secs_f64(wanted.seconds);
    let (mut ended, mut rounds) = (0u64, 0u32);
    loop {
        while let Some(slot) = free.pop() {
            front.send(slot);
        }
        front.publish()?;
        while let Some(slot) = front.pop()? {
            free.push(slot);
            ended += 1;
        }
        rounds = rounds.wrapping_add(1);
        if rounds % 64 == 0 && Instant::now() >= end {
            break;
        }
        if free.is_empty() && front.enable_call() {
            wait_for_call(front.call())?;
        }
    }
    let rate = ended as f64 / begin.elapsed().as_secs_f64();
    let cpu = (back_end_cpu() - cpu) * 1e9 / ended as f64;
    front.stop()?;
    Ok(Measured { rate, cpu })
}

fn wait_for_call(call: &EventFd) -> Result<(), Failure> {
    let mut poll = libc::pollfd { fd: call.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    if unsafe { libc::poll(&raw mut poll, 1, 10_000) } != 1 {
        return Err("waited 10 s for a call".into());
    }
    call.read()?;
    Ok(())
}

fn read_10(bytes: u64) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = 0x28;
    // At most 208 blocks.
    cdb[7..9].copy_from_slice(&((bytes / 512) as u16).to_be_bytes());
    cdb
}

struct Virtio<'a> {
    rig: &'a Rig,
    wanted: Wanted,
    session: u32,
    queue: DriverQueue,
    kick: EventFd,
    call: EventFd,
    slot_of: [u64; 256],
}

impl<'a> Virtio<'a> {
    fn start(rig: &'a Rig, wanted: Wanted) -> Result<Self, Failure> {
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
        let data = Segment::writable(at + PAGE, self.wanted.bytes as u32);
        let chain = [Segment::readable(at, 51), Segment::writable(at + 64, 108), data];
        if let Some(head) = self.queue.add(&chain) {
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

struct Xen<'a> {
    rig: &'a Rig,
    wanted: Wanted,
    session: u32,
    ring: FrontRing,
    kick: EventFd,
    call: EventFd,
    grants: GuestGrants,
}

impl<'a> Xen<'a> {
    fn start(rig: &'a Rig, wanted: Wanted) -> Result<Self, Failure> {
        let session = rig.session()?;
        let grants = GuestGrants::new(TABLE)?;
        let area = SharedMemory::new(AREA, 0, false)?;
        let ring = FrontRing::new(rig.memory.clone(), BASE);
        grants.set(RING_REFERENCE, PERMIT, 0, (BASE / PAGE) as u32);
        let (kick, call) = (EventFd::new(0)?, EventFd::new(0)?);
        let fd = grants.0.file().as_raw_fd();
        let table = TableSpec { fd, offset: 0, size: TABLE as u64, domain: 0 };
        let inflight = AreaSpec { fd: area.file().as_raw_fd(), offset: 0, size: AREA as u64 };
        let spec = PvscsiSpec {
            place: Place::Grant(RING_REFERENCE),
            table: Some(table),
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
        // As Linux does, each request grants its pages anew.
        let data = BUFFERS + slot * STRIDE + PAGE;
        let mut segments = [(0, 0, 0); 26];
        let mut count = 0;
        for ((page, reference), segment) in self.references(slot).zip(&mut segments) {
            self.grants.set(reference, PERMIT, 0, (data / PAGE + page) as u32);
            *segment = (reference, 0, (self.wanted.bytes - page * PAGE).min(PAGE) as u16);
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
        for (_, reference) in self.references(slot) {
            if self.grants.flags(reference) != PERMIT {
                return Err("a grant is in use after its request".into());
            }
            self.grants.set(reference, 0, 0, 0);
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
