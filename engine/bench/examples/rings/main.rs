//! Virtio's ring and Xen's, one after the other in one run: the engine as it is, a null unit, and
//! a guest's side in this process. What is compared is what a ring costs, grants included.

mod fronts;

use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use vhost_pvscsi_core::cdb::COMMANDS;
use vhost_pvscsi_core::engine::{Engine, MapRow, Options};
use vhost_pvscsi_core::gate;
use vhost_pvscsi_core::mailbox::Event;
use vhost_pvscsi_core::map::OpcodeSet;
use vhost_pvscsi_core::medium::Medium;
use vhost_pvscsi_core::memory::RegionSpec;
use vhost_pvscsi_core::mock::SharedMemory;
use vmm_sys_util::eventfd::EventFd;

use fronts::{Front, Virtio, Xen};

const HELP: &str = "\
Usage: rings [--seconds N] [--rounds N] [--depth N] [--kib N] [--no-inflight] [--scattered]
             [--only virtio|table|translated]

READs of a null unit, in turn by virtio's ring, by Xen's with the guest's grant table, and by
Xen's with grants that a front-end has translated: requests a second, the back-end's CPU time
for one, and the ratios of both to virtio's. A request's pages lie side by side in the guest;
with --scattered none of them does. --only measures one road, for a profiler to look at.
";

const BASE: u64 = 0x1_0000_0000;
const WAIT: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

#[derive(Clone, Copy)]
struct Wanted {
    seconds: f64,
    rounds: usize,
    depth: u64,
    bytes: u64,
    inflight: bool,
    scattered: bool,
    only: Option<Road>,
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
    let mut wanted = Wanted {
        seconds: 2.0,
        rounds: 5,
        depth: 16,
        bytes: 4096,
        inflight: true,
        scattered: false,
        only: None,
    };
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("seconds") => wanted.seconds = arguments.value()?.parse()?,
            Long("rounds") => wanted.rounds = arguments.value()?.parse()?,
            Long("depth") => wanted.depth = arguments.value()?.parse()?,
            Long("kib") => wanted.bytes = arguments.value()?.parse::<u64>()? << 10,
            Long("no-inflight") => wanted.inflight = false,
            Long("scattered") => wanted.scattered = true,
            Long("only") => wanted.only = Some(road(&arguments.value()?.string()?)?),
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

fn road(text: &str) -> Result<Road, Failure> {
    match text {
        "virtio" => Ok(Road::Virtio),
        "table" => Ok(Road::Table),
        "translated" => Ok(Road::Translated),
        _ => Err(format!("--only {text}: virtio, table or translated").into()),
    }
}

fn measure(wanted: Wanted) -> Result<(), Failure> {
    let rig = Rig::new()?;
    let mut ratios: [Vec<(f64, f64)>; 2] = Default::default();
    if let Some(road) = wanted.only {
        for _ in 0..wanted.rounds {
            println!("{road:?} {}", take(&rig, wanted, road)?);
        }
        return Ok(());
    }
    for _ in 0..wanted.rounds {
        let virtio = take(&rig, wanted, Road::Virtio)?;
        print!("virtio {virtio}");
        for (road, ratios) in [Road::Table, Road::Translated].into_iter().zip(&mut ratios) {
            let xen = take(&rig, wanted, road)?;
            let ratio = (xen.rate / virtio.rate, virtio.cpu / xen.cpu);
            print!("   {road:?} {xen} {:.2} {:.2}", ratio.0, ratio.1);
            ratios.push(ratio);
        }
        println!();
    }
    for (road, ratios) in ["table", "translated"].into_iter().zip(ratios) {
        let (rates, times): (Vec<_>, Vec<_>) = ratios.into_iter().unzip();
        println!("{road}: median of rates {:.2}, of CPU {:.2}", median(rates), median(times));
    }
    Ok(())
}

/// Measure one road once.
fn take(rig: &Rig, wanted: Wanted, road: Road) -> Result<Measured, Failure> {
    match road {
        Road::Virtio => run(&mut Virtio::start(rig, wanted)?, wanted),
        Road::Table | Road::Translated => run(&mut Xen::start(rig, wanted, road)?, wanted),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Which ring, and by whom grants are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Road {
    /// Virtio's ring: there are no grants.
    Virtio,
    /// The engine, in the guest's table.
    Table,
    /// The front-end, which has put frame numbers in their place.
    Translated,
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

/// What one ring did.
struct Measured {
    /// Requests a second.
    rate: f64,
    /// CPU nanoseconds a request, of all threads but the guest's.
    cpu: f64,
}

impl std::fmt::Display for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:>8.0}/s {:>5.0} ns", self.rate, self.cpu)
    }
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
