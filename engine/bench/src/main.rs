//! A fast vhost-user front-end without a guest: it makes the memory and the rings that a
//! guest would make, drives I/O through them, and measures what comes back.

mod clock;
mod device;
mod error;
mod histogram;
mod options;
mod pattern;
mod plan;
mod report;
mod setup;
mod signals;
mod values;
mod vhost;
mod worker;

use std::process::ExitCode;
use std::sync::mpsc;
use std::thread;

use clock::{Clock, CpuClock};
use error::{Context, Error};
use options::Options;
use pattern::Addresses;
use plan::{Plan, Tally};
use report::Measured;
use setup::Rig;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args_os().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Err(message) => {
            eprintln!("error: {message}");
            return ExitCode::from(2);
        }
    };
    match run(&options) {
        Ok(tally) if tally.errors == 0 => ExitCode::SUCCESS,
        Ok(tally) => {
            let first = tally.first_error.unwrap_or_default();
            eprintln!("error: {} requests failed; the first: {first}", tally.errors);
            ExitCode::FAILURE
        }
        Err(error @ Error::Usage(_)) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<Tally, Error> {
    if let Some(cpu) = options.cpu {
        clock::pin(cpu).context(format!("--cpu {cpu}"))?;
    }
    let back_end_cpu = options
        .back_end
        .map(|pid| CpuClock::of(pid).context(format!("--back-end-pid {pid}")))
        .transpose()?;
    let mut rig = Rig::build(options)?;
    let span = span(options, &rig)?;
    let (tally, mut measured) = drive(options, &mut rig, span, back_end_cpu)?;
    if let Some(clock) = back_end_cpu.filter(|_| !options.idle.is_zero()) {
        let before = clock.spent().context("read a CPU clock")?;
        thread::sleep(options.idle);
        let after = clock.spent().context("read a CPU clock")?;
        measured.idle_cpu = Some(after.saturating_sub(before));
    }
    rig.stop()?;
    println!("{}", report::json(options, &tally, &measured));
    Ok(tally)
}

/// How many bytes of the LUN to use.
fn span(options: &Options, rig: &Rig) -> Result<u64, Error> {
    let span = options.span.unwrap_or(rig.capacity);
    let needed = u64::from(options.block) * u64::from(options.queues);
    if span > rig.capacity || span < needed {
        let capacity = rig.capacity;
        return Err(Error::Usage(format!(
            "--span {span}: the LUN has {capacity} bytes, and {needed} are needed at least"
        )));
    }
    let unit = rig.block_size;
    if options.block % unit != 0 {
        let block = options.block;
        return Err(Error::Usage(format!("--bs {block}: the LUN has blocks of {unit} bytes")));
    }
    Ok(span)
}

/// Run all workers; the main thread reads the CPU clocks where measuring starts and ends.
fn drive(
    options: &Options,
    rig: &mut Rig,
    span: u64,
    back_end: Option<CpuClock>,
) -> Result<(Tally, Measured), Error> {
    let plan = plan(options);
    let cpu =
        |clock: Option<CpuClock>| clock.map(|c| c.spent().context("read a CPU clock")).transpose();
    let own = Some(CpuClock::own());
    let (sender, results) = mpsc::channel();
    let mut waiting = 0;
    for (index, worker) in rig.workers.drain(..).enumerate() {
        let addresses = Addresses::new(options, span, index as u16);
        let sender = sender.clone();
        // The receiver goes away only when another worker has failed; then nobody asks.
        thread::spawn(move || drop(sender.send(worker.run(&plan, addresses))));
        waiting += 1;
    }
    let mut tally = Tally::new();
    collect(&results, &plan, plan.measure_from, &mut waiting, &mut tally)?;
    let before = (cpu(back_end)?, cpu(own)?);
    collect(&results, &plan, plan.end, &mut waiting, &mut tally)?;
    let after = (cpu(back_end)?, cpu(own)?);
    collect(&results, &plan, u64::MAX, &mut waiting, &mut tally)?;
    let end = if options.requests.is_some() { tally.last } else { plan.end };
    let spent = |b: Option<u64>, a: Option<u64>| b.zip(a).map(|(b, a)| a.saturating_sub(b));
    let measured = Measured {
        seconds: end.saturating_sub(plan.measure_from) as f64 / 1e9,
        back_end_cpu: spent(before.0, after.0),
        own_cpu: spent(before.1, after.1).unwrap_or(0),
        idle_cpu: None,
        capacity: rig.capacity,
        span,
    };
    Ok((tally, measured))
}

fn plan(options: &Options) -> Plan {
    let clock = Clock::start();
    let nanoseconds = |time: std::time::Duration| time.as_nanos() as u64;
    let (measure_from, end, requests) = match options.requests {
        Some(requests) => (0, u64::MAX, requests.div_ceil(options.queues.into())),
        None => {
            let from = nanoseconds(options.ramp);
            (from, from + nanoseconds(options.measured), u64::MAX)
        }
    };
    let verify = options.verify.then_some(options.seed);
    Plan { clock, measure_from, end, requests, verify, stall: options.stall }
}

/// Take the workers' results that come until then; an error of one ends the run.
fn collect(
    results: &mpsc::Receiver<Result<Tally, Error>>,
    plan: &Plan,
    until: u64,
    waiting: &mut usize,
    tally: &mut Tally,
) -> Result<(), Error> {
    while *waiting > 0 {
        match results.recv_timeout(plan.clock.until(until)) {
            Ok(result) => {
                tally.merge(result?);
                *waiting -= 1;
            }
            Err(mpsc::RecvTimeoutError::Timeout) => return Ok(()),
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                return Err(Error::BackEnd("a worker ended without a result".into()));
            }
        }
    }
    Ok(())
}
