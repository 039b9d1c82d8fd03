//! Blocks to a tape and from it, and the same by plain system calls to a file beside it, as dd
//! does, in turn: a guest's side in this process, one command at a time, as drivers of tapes do.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use vhost_pvscsi_core::engine::{Engine, MapRow, Options, RingSpec};
use vhost_pvscsi_core::gate;
use vhost_pvscsi_core::mailbox::{Event, QueueKind};
use vhost_pvscsi_core::map::OpcodeSet;
use vhost_pvscsi_core::medium::Medium;
use vhost_pvscsi_core::memory::RegionSpec;
use vhost_pvscsi_core::mock::{DriverQueue, Layout, Segment, SharedMemory};
use vhost_pvscsi_core::ring::split;
use vhost_pvscsi_core::tape::cdb::COMMANDS;
use vhost_pvscsi_core::tape::drive::Drive;
use vhost_pvscsi_core::tape::image::Image;
use vmm_sys_util::eventfd::EventFd;

const HELP: &str = "\
Usage: tape [--mib N] [--rounds N] [--kib N] [--stable] FOLDER

Writes and reads N MiB in blocks of so many KiB, by a tape and by plain system calls, in FOLDER:
MB a second, and the ratio of the rates. With --stable what is written is on the disk in the end,
by a filemark and by fdatasync.
";

const BASE: u64 = 0x1_0000_0000;
const HEADER: u64 = BASE + (1 << 20);
const DATA: u64 = BASE + (2 << 20);
const PAGE: u64 = 4096;
const WAIT: Duration = Duration::from_secs(10);

type Failure = Box<dyn std::error::Error>;

struct Wanted {
    bytes: u64,
    rounds: usize,
    block: u32,
    stable: bool,
    folder: PathBuf,
}

fn main() -> ExitCode {
    match parse().and_then(|wanted| wanted.map_or(Ok(()), |wanted| measure(&wanted))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn parse() -> Result<Option<Wanted>, Failure> {
    use lexopt::prelude::{Long, Value, ValueExt};
    let (mut mib, mut rounds, mut kib, mut stable, mut folder) = (512u64, 5, 256u32, false, None);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("mib") => mib = arguments.value()?.parse()?,
            Long("rounds") => rounds = arguments.value()?.parse()?,
            Long("kib") => kib = arguments.value()?.parse()?,
            Long("stable") => stable = true,
            Value(path) => folder = Some(PathBuf::from(path)),
            Long("help") => {
                print!("{HELP}");
                return Ok(None);
            }
            other => return Err(other.unexpected().into()),
        }
    }
    let folder = folder.ok_or("which folder?")?;
    if rounds == 0 || !(4..=480).contains(&kib) || kib % 4 != 0 || mib == 0 {
        return Err("rounds from 1, MiB from 1, KiB from 4 to 480 by 4".into());
    }
    Ok(Some(Wanted { bytes: mib << 20, rounds, block: kib << 10, stable, folder }))
}

fn measure(wanted: &Wanted) -> Result<(), Failure> {
    let mut ratios = [Vec::new(), Vec::new()];
    for _ in 0..wanted.rounds {
        let plain = plain(wanted)?;
        let tape = taped(wanted)?;
        for ((name, ratios), (tape, plain)) in
            ["written", "read"].iter().zip(&mut ratios).zip(tape.into_iter().zip(plain))
        {
            ratios.push(tape / plain);
            print!("{name} {tape:>6.0} MB/s, plain {plain:>6.0}, {:.2}   ", tape / plain);
        }
        println!();
    }
    for (name, mut ratios) in ["written", "read"].iter().zip(ratios) {
        ratios.sort_by(f64::total_cmp);
        println!("{name}: median ratio {:.2}", ratios[ratios.len() / 2]);
    }
    Ok(())
}

/// A file that is gone when it is closed.
fn scratch(folder: &Path) -> Result<File, Failure> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).custom_flags(libc::O_TMPFILE);
    Ok(options.open(folder)?)
}

/// MB a second; `act` is called for each block, and once more, with true, to make all of it stable.
fn rate(wanted: &Wanted, mut act: impl FnMut(bool) -> Result<(), Failure>) -> Result<f64, Failure> {
    let begin = Instant::now();
    for _ in 0..wanted.bytes / u64::from(wanted.block) {
        act(false)?;
    }
    if wanted.stable {
        act(true)?;
    }
    Ok(wanted.bytes as f64 / 1e6 / begin.elapsed().as_secs_f64())
}

fn plain(wanted: &Wanted) -> Result<[f64; 2], Failure> {
    let mut file = scratch(&wanted.folder)?;
    let mut block = vec![0x5a; wanted.block as usize];
    let written = rate(wanted, |end| match end {
        false => Ok(file.write_all(&block)?),
        true => Ok(file.sync_data()?),
    })?;
    file.seek(SeekFrom::Start(0))?;
    let read = rate(wanted, |end| if end { Ok(()) } else { Ok(file.read_exact(&mut block)?) })?;
    Ok([written, read])
}

fn taped(wanted: &Wanted) -> Result<[f64; 2], Failure> {
    let file = scratch(&wanted.folder)?;
    let beside = scratch(&wanted.folder)?;
    let image = Image::open(file.as_raw_fd(), None, false, Some(beside.as_raw_fd()))?;
    let mut guest = Guest::new(Medium::tape(Drive::new(image, u64::MAX, u64::MAX)), wanted.block)?;
    // WRITE FILEMARKS of none: what was written before is stable.
    let written =
        rate(
            wanted,
            |end| {
                if end {
                    guest.command(0x10, false)
                } else {
                    guest.command(0x0a, true)
                }
            },
        )?;
    guest.command(0x01, false)?;
    let read = rate(wanted, |end| if end { Ok(()) } else { guest.command(0x08, true) })?;
    guest.end()?;
    Ok([written, read])
}

struct Guest {
    engine: Engine,
    session: u32,
    memory: Arc<SharedMemory>,
    queue: DriverQueue,
    kick: EventFd,
    call: EventFd,
    block: u32,
}

impl Guest {
    fn new(medium: Medium, block: u32) -> Result<Self, Failure> {
        let engine = Engine::new(Options { threads: 1, io_uring: true, poll: Duration::ZERO })?;
        let memory = Arc::new(SharedMemory::new(8 << 20, BASE, false)?);
        let host = engine.add_host(1 << 20);
        let row = MapRow {
            device: None,
            copied: OpcodeSet::default(),
            target: 0,
            lun: 0,
            mapping: 1,
            medium: Some(Arc::new(medium)),
            short_road: OpcodeSet::new(&COMMANDS.map(|row| row.opcode)),
            protected: false,
        };
        wait(&engine, engine.change_map(host, 1, vec![row], &[])?)?;
        engine.open_gate(1, gate::NEW)?;
        let session = engine.add_session(host)?;
        let region = RegionSpec {
            guest: BASE,
            size: memory.size() as u64,
            user: BASE,
            offset: 0,
            fd: memory.file().as_raw_fd(),
        };
        wait(&engine, engine.set_memory(session, &[region])?)?;
        let queue = DriverQueue::new(memory.clone(), Layout::packed(BASE, 256), true);
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
        wait(&engine, engine.start_ring(session, spec)?)?;
        Ok(Guest { engine, session, memory, queue, kick, call, block })
    }

    /// Send one command, with a block of data or none, and wait for its end.
    fn command(&mut self, opcode: u8, data: bool) -> Result<(), Failure> {
        let mut header = [0u8; 51];
        header[0] = 1;
        header[2] = 0x40;
        header[19] = opcode;
        let mut chain = Vec::new();
        if data {
            header[21..24].copy_from_slice(&self.block.to_be_bytes()[1..]);
            // Page by page, as guests have it.
            chain.extend((0..u64::from(self.block) / PAGE).map(|page| {
                let at = DATA + page * PAGE;
                let length = PAGE as u32;
                if opcode == 0x0a {
                    Segment::readable(at, length)
                } else {
                    Segment::writable(at, length)
                }
            }));
        }
        self.memory.write(HEADER, &header);
        let response = Segment::writable(HEADER + 64, 108);
        let front = Segment::readable(HEADER, 51);
        let chain = if opcode == 0x0a {
            [vec![front], chain, vec![response]].concat()
        } else {
            [vec![front, response], chain].concat()
        };
        self.queue.add(&chain).ok_or("the ring is full")?;
        if self.queue.publish() {
            self.kick.write(1)?;
        }
        while self.queue.pop().is_none() {
            if self.queue.enable_call() {
                wait_for_call(&self.call)?;
            }
        }
        let mut status = [0u8; 2];
        self.memory.read(HEADER + 64 + 10, &mut status);
        if status == [0, 0] {
            Ok(())
        } else {
            Err(format!("command {opcode:02x}h: status and response {status:?}").into())
        }
    }

    fn end(&self) -> Result<(), Failure> {
        wait(&self.engine, self.engine.end_session(self.session)?)
    }
}

fn wait(engine: &Engine, ticket: u64) -> Result<(), Failure> {
    let end = Instant::now() + WAIT;
    while Instant::now() < end {
        for event in engine.take(64) {
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

fn wait_for_call(call: &EventFd) -> Result<(), Failure> {
    let mut poll = libc::pollfd { fd: call.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid pollfd.
    if unsafe { libc::poll(&raw mut poll, 1, 10_000) } != 1 {
        return Err("waited 10 s for a call".into());
    }
    call.read()?;
    Ok(())
}
