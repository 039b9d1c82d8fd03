//! The one line that a run prints.

use std::fmt::Write as _;

use crate::options::Options;
use crate::plan::Tally;
use crate::values::DeviceKind;

/// What was measured beside the workers' tallies.
#[derive(Clone, Copy, Debug)]
pub struct Measured {
    /// Seconds that count.
    pub seconds: f64,
    /// Nanoseconds of CPU that the back-end spent meanwhile; None: not asked for.
    pub back_end_cpu: Option<u64>,
    /// Nanoseconds of CPU that it spent in `--idle`.
    pub idle_cpu: Option<u64>,
    /// Nanoseconds of CPU that we spent.
    pub own_cpu: u64,
    /// Bytes on the LUN.
    pub capacity: u64,
    /// Bytes of it that were used.
    pub span: u64,
}

/// One line of JSON: figures first, then the parameters they belong to.
pub fn json(options: &Options, tally: &Tally, measured: &Measured) -> String {
    let mut line = Line(String::from("{"));
    figures(&mut line, options, tally, measured);
    parameters(&mut line, options, measured);
    line.0.push('}');
    line.0
}

fn figures(line: &mut Line, options: &Options, tally: &Tally, measured: &Measured) {
    let requests = tally.latency.count();
    let rate = requests as f64 / measured.seconds.max(f64::MIN_POSITIVE);
    let each = |nanoseconds: u64| nanoseconds as f64 / 1e3 / requests.max(1) as f64;
    line.number("iops", rate);
    line.number("mb_s", rate * f64::from(options.block) / 1e6);
    let micro = |nanoseconds: u64| nanoseconds as f64 / 1e3;
    line.number("lat_mean_us", tally.latency.mean() / 1e3);
    line.number("lat_p50_us", micro(tally.latency.percentile(0.5)));
    line.number("lat_p90_us", micro(tally.latency.percentile(0.9)));
    line.number("lat_p99_us", micro(tally.latency.percentile(0.99)));
    line.number("lat_p999_us", micro(tally.latency.percentile(0.999)));
    line.number("lat_max_us", micro(tally.latency.max()));
    line.maybe("back_end_cpu_us", measured.back_end_cpu.map(each));
    line.maybe("idle_cpu_us", measured.idle_cpu.map(micro));
    line.number("front_end_cpu_us", each(measured.own_cpu));
    line.number("kicks_per_request", tally.kicks as f64 / requests.max(1) as f64);
    line.number("calls_per_request", tally.calls as f64 / requests.max(1) as f64);
    line.raw("requests", requests);
    line.raw("errors", tally.errors);
    line.number("seconds", measured.seconds);
}

fn parameters(line: &mut Line, options: &Options, measured: &Measured) {
    let device = match options.device {
        DeviceKind::Scsi => "\"scsi\"",
        DeviceKind::Blk => "\"blk\"",
    };
    line.raw("device", device);
    line.raw("rw", format_args!("\"{}\"", options.pattern.name()));
    line.raw("bs", options.block);
    line.raw("iodepth", options.depth);
    line.raw("queues", options.queues);
    line.raw("ring_size", options.ring_size);
    line.raw("segment", options.segment.unwrap_or(options.block));
    line.raw("event_idx", options.event_idx);
    line.raw("indirect", options.indirect);
    line.raw("hugepages", options.huge);
    line.raw("verify", options.verify);
    line.raw("seed", options.seed);
    line.raw("capacity", measured.capacity);
    line.raw("span", measured.span);
}

/// A JSON object under construction; all our keys and values need no escaping.
struct Line(String);

impl Line {
    fn number(&mut self, key: &str, value: f64) {
        self.raw(key, format_args!("{value:.3}"));
    }

    fn maybe(&mut self, key: &str, value: Option<f64>) {
        match value {
            Some(value) => self.number(key, value),
            None => self.raw(key, "null"),
        }
    }

    fn raw(&mut self, key: &str, value: impl std::fmt::Display) {
        let comma = if self.0.len() > 1 { ", " } else { "" };
        // Writing to a String cannot fail.
        let _ = write!(self.0, "{comma}\"{key}\": {value}");
    }
}
