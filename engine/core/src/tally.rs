//! What one mapping has carried: relaxed atomics, a set for each engine thread, which alone writes
//! it. So counting takes no locked instruction, and no cache line goes from thread to thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::counters::add;
use crate::gate::Access;
use crate::outcome::{Outcome, CHECK_CONDITION};
use crate::slot::Slot;

/// Bounds of the buckets of latencies but for the last, which has none: 4 us and its doubles.
pub const BOUNDS: usize = 22;
const FIRST_BOUND_NS: u64 = 4_000;

/// How many latencies were within each bound and longer than the one before.
pub type Histogram = [u64; BOUNDS + 1];

/// The upper bounds of the buckets, in nanoseconds.
#[must_use]
pub fn bounds_ns() -> [u64; BOUNDS] {
    std::array::from_fn(|bucket| FIRST_BOUND_NS << bucket)
}

fn bucket(latency: Duration) -> usize {
    let ns = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
    let steps = ns.saturating_sub(1) / FIRST_BOUND_NS;
    let doublings = (u64::BITS - steps.leading_zeros()) as usize;
    doublings.min(BOUNDS)
}

/// What was counted, of all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counted {
    /// Commands that read blocks and have ended.
    pub reads: u64,
    /// Commands that write blocks and have ended.
    pub writes: u64,
    /// Other commands that have ended.
    pub others: u64,
    /// How many of all of these went up to Python.
    pub long_road: u64,
    /// How many failed: on the host, or with MEDIUM ERROR or HARDWARE ERROR.
    pub errors: u64,
    /// Bytes that `reads` moved.
    pub bytes_read: u64,
    /// Bytes that `writes` moved.
    pub bytes_written: u64,
    /// Commands that have not ended.
    pub in_flight: u64,
    /// How long `reads` took, from when they were taken off the ring.
    pub read_latency: Histogram,
    /// How long `writes` took.
    pub write_latency: Histogram,
}

/// One thread's part.
#[derive(Debug, Default)]
#[repr(align(64))]
struct Shard {
    begun: AtomicU64,
    ended: AtomicU64,
    reads: AtomicU64,
    writes: AtomicU64,
    others: AtomicU64,
    long_road: AtomicU64,
    errors: AtomicU64,
    bytes_read: AtomicU64,
    bytes_written: AtomicU64,
    read_latency: [AtomicU64; BOUNDS + 1],
    write_latency: [AtomicU64; BOUNDS + 1],
}

/// The counters of a mapping.
#[derive(Debug)]
pub struct Tally(Box<[Shard]>);

impl Tally {
    /// Counters for so many threads.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Tally((0..threads).map(|_| Shard::default()).collect())
    }

    /// A command has been taken.
    pub fn begin(&self, thread: usize) {
        if let Some(shard) = self.0.get(thread) {
            add(&shard.begun, 1);
        }
    }

    /// A command has ended, at about `now`: see `Worker::now`.
    pub fn end(
        &self,
        thread: usize,
        slot: &Slot,
        access: Option<Access>,
        outcome: &Outcome,
        now: Instant,
    ) {
        let Some(shard) = self.0.get(thread) else { return };
        let taken = slot.taken.map_or(Duration::ZERO, |taken| now.saturating_duration_since(taken));
        match access {
            Some(Access::Read) if slot.data_in > 0 => {
                add(&shard.reads, 1);
                add(&shard.bytes_read, outcome.transferred);
                add(&shard.read_latency[bucket(taken)], 1);
            }
            Some(Access::Write) if slot.data_out > 0 => {
                add(&shard.writes, 1);
                add(&shard.bytes_written, outcome.transferred);
                add(&shard.write_latency[bucket(taken)], 1);
            }
            _ => add(&shard.others, 1),
        }
        if !slot.short {
            add(&shard.long_road, 1);
        }
        if failed(outcome) {
            add(&shard.errors, 1);
        }
        // Last, and read first: what has ended has begun.
        let ended = shard.ended.load(Ordering::Relaxed).wrapping_add(1);
        shard.ended.store(ended, Ordering::Release);
    }

    /// All of it.
    #[must_use]
    pub fn counted(&self) -> Counted {
        let mut sum = Counted::default();
        for shard in &self.0 {
            let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let ended = shard.ended.load(Ordering::Acquire);
            sum.in_flight += load(&shard.begun).saturating_sub(ended);
            sum.reads += load(&shard.reads);
            sum.writes += load(&shard.writes);
            sum.others += load(&shard.others);
            sum.long_road += load(&shard.long_road);
            sum.errors += load(&shard.errors);
            sum.bytes_read += load(&shard.bytes_read);
            sum.bytes_written += load(&shard.bytes_written);
            for (total, counter) in sum.read_latency.iter_mut().zip(&shard.read_latency) {
                *total += load(counter);
            }
            for (total, counter) in sum.write_latency.iter_mut().zip(&shard.write_latency) {
                *total += load(counter);
            }
        }
        sum
    }
}

fn failed(outcome: &Outcome) -> bool {
    if outcome.errno != 0 || outcome.status != CHECK_CONDITION {
        return outcome.errno != 0;
    }
    let sense = outcome.padded_sense();
    // Fixed format has the sense key in byte 2, descriptor format in byte 1 (SPC-5 4.4).
    let key = if sense[0] & 0x7f >= 0x72 { sense[1] } else { sense[2] } & 0x0f;
    matches!(key, 0x3 | 0x4)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{LBA_OUT_OF_RANGE, UNRECOVERED_READ_ERROR};

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        for (number, bound) in bounds_ns().into_iter().enumerate() {
            assert_eq!(bucket(Duration::from_nanos(bound)), number);
            assert_eq!(bucket(Duration::from_nanos(bound + 1)), number + 1);
        }
        assert_eq!(bucket(Duration::ZERO), 0);
        assert_eq!(bucket(Duration::MAX), BOUNDS);
    }

    #[test]
    fn threads_are_counted_together() {
        let tally = Tally::new(2);
        let slot = Slot { data_in: 512, short: true, ..Slot::default() };
        tally.begin(0);
        tally.begin(1);
        tally.begin(1);
        tally.end(1, &slot, Some(Access::Read), &Outcome::good(512), Instant::now());
        tally.end(0, &slot, None, &Outcome::check(UNRECOVERED_READ_ERROR), Instant::now());
        let counted = tally.counted();
        assert_eq!((counted.reads, counted.others, counted.errors), (1, 1, 1));
        assert_eq!((counted.bytes_read, counted.in_flight, counted.long_road), (512, 1, 0));
        assert_eq!(counted.read_latency.iter().sum::<u64>(), 1);
    }

    #[test]
    fn errors_are_what_a_disk_is_blamed_for() {
        assert!(failed(&Outcome::check(UNRECOVERED_READ_ERROR)));
        assert!(failed(&Outcome::check(UNRECOVERED_READ_ERROR).in_descriptors()));
        assert!(failed(&Outcome::host_error(libc::ENOSPC, true)));
        assert!(!failed(&Outcome::host_error(libc::ENOMEM, true)));
        assert!(!failed(&Outcome::check(LBA_OUT_OF_RANGE)));
        assert!(!failed(&Outcome::good(0)));
    }
}
