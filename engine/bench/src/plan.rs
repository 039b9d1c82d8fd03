//! What workers are told, and what they tell.

use std::time::Duration;

use crate::clock::Clock;
use crate::histogram::Histogram;

/// When a run measures and when it ends.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The time that all workers share.
    pub clock: Clock,
    /// Requests that complete from here on count.
    pub measure_from: u64,
    /// Nothing is submitted from here on.
    pub end: u64,
    /// Requests this worker submits at most.
    pub requests: u64,
    /// Write and expect the pattern of this seed.
    pub verify: Option<u64>,
    /// The longest time without a completion.
    pub stall: Duration,
}

/// What a worker saw.
#[derive(Clone, Debug)]
pub struct Tally {
    /// Latencies of the measured requests.
    pub latency: Histogram,
    /// Requests that did not succeed, measured or not.
    pub errors: u64,
    /// What the first of them was.
    pub first_error: Option<String>,
    /// Measured times we kicked the device.
    pub kicks: u64,
    /// Measured times the device called us.
    pub calls: u64,
    /// When the last measured request completed.
    pub last: u64,
}

impl Tally {
    /// Nothing seen.
    pub fn new() -> Self {
        let latency = Histogram::new();
        Self { latency, errors: 0, first_error: None, kicks: 0, calls: 0, last: 0 }
    }

    /// Add another worker's.
    pub fn merge(&mut self, other: Self) {
        self.latency.merge(&other.latency);
        self.errors += other.errors;
        self.first_error = self.first_error.take().or(other.first_error);
        self.kicks += other.kicks;
        self.calls += other.calls;
        self.last = self.last.max(other.last);
    }
}
