//! The command line.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::*;

use crate::values::{value, DeviceKind, Pattern, Seconds, Size};

/// What `--help` prints.
pub const HELP: &str = "\
vhost-pvscsi-bench: drive a vhost-user back-end without a guest, and measure it

  --socket PATH          the back-end's vhost-user socket
  --device scsi|blk      vhost-user-scsi (default) or vhost-user-blk
  --target N --lun N     which LUN, with --device scsi (0, 0)
  --rw MODE              randread (default), randwrite, read, write
  --bs BYTES             request size (4k)
  --iodepth N            requests in flight per queue (1)
  --queues N             request queues, each with a thread of its own (1)
  --ring-size N          descriptors per ring (256)
  --segment BYTES        split data buffers into descriptors of this size (one descriptor)
  --seconds S --ramp S   measured time (5), and time before it (1)
  --requests N           stop after N requests instead of after --seconds
  --span BYTES           use only the first BYTES of the LUN (all)
  --seed N               of the random addresses (1)
  --verify               write and expect a pattern made of seed and address
  --no-event-idx         do not negotiate VIRTIO_RING_F_EVENT_IDX
  --indirect             one indirect descriptor per request
  --hugepages            share memory in 2 MiB pages
  --cpu N                pin our threads to CPU N
  --back-end-pid PID     account this process's CPU time
  --idle S               afterwards stay connected for S seconds, and tell what CPU time the
                         back-end spent in that time (0)
  --stall S              give up when nothing completes for so long (30)

Sizes take the suffixes k, m, g (1024). One line of JSON goes to stdout. Exit status: 0 all
requests succeeded, 1 some failed or the back-end did, 2 bad usage.
";

/// A parsed command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// `--socket`
    pub socket: PathBuf,
    /// `--device`
    pub device: DeviceKind,
    /// `--target`
    pub target: u8,
    /// `--lun`
    pub lun: u16,
    /// `--rw`
    pub pattern: Pattern,
    /// `--bs`
    pub block: u32,
    /// `--iodepth`
    pub depth: u16,
    /// `--queues`
    pub queues: u16,
    /// `--ring-size`
    pub ring_size: u16,
    /// `--segment`
    pub segment: Option<u32>,
    /// `--seconds`
    pub measured: Duration,
    /// `--ramp`
    pub ramp: Duration,
    /// `--requests`
    pub requests: Option<u64>,
    /// `--span`
    pub span: Option<u64>,
    /// `--seed`
    pub seed: u64,
    /// `--verify`
    pub verify: bool,
    /// not `--no-event-idx`
    pub event_idx: bool,
    /// `--indirect`
    pub indirect: bool,
    /// `--hugepages`
    pub huge: bool,
    /// `--cpu`
    pub cpu: Option<usize>,
    /// `--back-end-pid`
    pub back_end: Option<libc::pid_t>,
    /// `--idle`
    pub idle: Duration,
    /// `--stall`
    pub stall: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            socket: PathBuf::new(),
            device: DeviceKind::Scsi,
            target: 0,
            lun: 0,
            pattern: Pattern { random: true, write: false },
            block: 4096,
            depth: 1,
            queues: 1,
            ring_size: 256,
            segment: None,
            measured: Duration::from_secs(5),
            ramp: Duration::from_secs(1),
            requests: None,
            span: None,
            seed: 1,
            verify: false,
            event_idx: true,
            indirect: false,
            huge: false,
            cpu: None,
            back_end: None,
            idle: Duration::ZERO,
            stall: Duration::from_secs(30),
        }
    }
}

impl Options {
    /// Parse the arguments behind the program's name; None: help is wanted.
    pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Option<Self>, String> {
        let mut options = Self::default();
        let mut parser = lexopt::Parser::from_args(arguments);
        while let Some(argument) = parser.next().map_err(|error| error.to_string())? {
            let name = match argument {
                Long("help") | Short('h') => return Ok(None),
                Long(name) => name.to_owned(),
                other => return Err(other.unexpected().to_string()),
            };
            options.set(&name, &mut parser).map_err(|error| format!("--{name}: {error}"))?;
        }
        options.check()?;
        Ok(Some(options))
    }

    fn set(&mut self, name: &str, parser: &mut lexopt::Parser) -> Result<(), String> {
        match name {
            "socket" => self.socket = parser.value().map_err(|e| e.to_string())?.into(),
            "device" => self.device = value(parser)?,
            "target" => self.target = value(parser)?,
            "lun" => self.lun = value(parser)?,
            "rw" => self.pattern = value(parser)?,
            "bs" => self.block = value::<Size>(parser)?.narrow()?,
            "iodepth" => self.depth = value(parser)?,
            "queues" => self.queues = value(parser)?,
            "ring-size" => self.ring_size = value(parser)?,
            "segment" => self.segment = Some(value::<Size>(parser)?.narrow()?),
            "seconds" => self.measured = value::<Seconds>(parser)?.0,
            "ramp" => self.ramp = value::<Seconds>(parser)?.0,
            "requests" => self.requests = Some(value::<Size>(parser)?.0),
            "span" => self.span = Some(value::<Size>(parser)?.0),
            "seed" => self.seed = value(parser)?,
            "cpu" => self.cpu = Some(value(parser)?),
            "back-end-pid" => self.back_end = Some(value(parser)?),
            "idle" => self.idle = value::<Seconds>(parser)?.0,
            "stall" => self.stall = value::<Seconds>(parser)?.0,
            "verify" => self.verify = true,
            "no-event-idx" => self.event_idx = false,
            "indirect" => self.indirect = true,
            "hugepages" => self.huge = true,
            _ => return Err("no such option; see --help".into()),
        }
        Ok(())
    }

    /// Data descriptors per request.
    pub fn segments(&self) -> u32 {
        self.block.div_ceil(self.segment.unwrap_or(self.block))
    }

    fn check(&self) -> Result<(), String> {
        if self.socket.as_os_str().is_empty() {
            return Err("--socket is missing; give the back-end's socket".into());
        }
        if self.block == 0 || self.block % 512 != 0 || self.block > 16 << 20 {
            return Err(format!("--bs {}: give a multiple of 512 up to 16m", self.block));
        }
        if self.segment.is_some_and(|size| size == 0) {
            return Err("--segment 0: give at least 1".into());
        }
        if !self.ring_size.is_power_of_two() || self.ring_size > 1024 {
            return Err(format!("--ring-size {}: give a power of two up to 1024", self.ring_size));
        }
        if self.depth == 0 || self.queues == 0 || self.queues > 64 {
            return Err("--iodepth takes 1 or more, --queues 1 to 64".into());
        }
        let chain = if self.indirect { 1 } else { self.segments() + 2 };
        if u32::from(self.depth) * chain > u32::from(self.ring_size) {
            return Err(format!(
                "--iodepth {} of {chain} descriptors each does not fit a ring of {}; \
                 raise --ring-size or give --indirect",
                self.depth, self.ring_size
            ));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>, String> {
        Options::parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn sizes_take_suffixes() {
        let options = parse("--socket s --bs 128k --span 1G --iodepth 8").ok().flatten();
        let found = options.map(|o| (o.block, o.span, o.depth));
        assert_eq!(found, Some((131_072, Some(1 << 30), 8)));
    }

    #[test]
    fn refusals_name_the_option_and_the_value() {
        for (line, part) in [
            ("--bs 4k", "--socket is missing"),
            ("--socket s --bs 100", "--bs 100"),
            ("--socket s --rw trim", "--rw: trim"),
            ("--socket s --iodepth 128", "does not fit a ring of 256"),
            ("--socket s --bogus", "--bogus: no such option"),
            ("--socket s --ring-size 100", "--ring-size 100"),
        ] {
            let error = parse(line).err().unwrap_or_default();
            assert!(error.contains(part), "{line}: {error}");
        }
    }
}
