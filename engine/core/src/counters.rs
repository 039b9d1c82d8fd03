//! What a ring has carried: relaxed atomics, one set a ring, written by one thread.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counters of one ring.
#[derive(Debug, Default)]
pub struct Counters {
    /// Reads finished on the short road.
    pub reads: AtomicU64,
    /// Writes finished on the short road.
    pub writes: AtomicU64,
    /// Other commands finished on the short road.
    pub others: AtomicU64,
    /// Commands that went up to Python.
    pub long_road: AtomicU64,
    /// Data-in bytes moved by the medium executor.
    pub bytes_read: AtomicU64,
    /// Data-out bytes moved by the medium executor.
    pub bytes_written: AtomicU64,
    /// Transfers copied through a bounce buffer for O_DIRECT's alignment.
    pub bounced: AtomicU64,
}

/// Add to a counter that only this thread writes: no locked instruction is needed.
pub fn add(counter: &AtomicU64, amount: u64) {
    counter.store(counter.load(Ordering::Relaxed).wrapping_add(amount), Ordering::Relaxed);
}
