//! The gate: one word per nexus and LUN that says whether a worker may finish a command by itself.
//!
//! Bits 0-15 stop commands that read, bits 16-31 those that write. What a bit means is the
//! caller's business; the engine never learns what a reservation is.

use std::sync::atomic::{AtomicU32, Ordering};

/// Set while a mapping is new: nobody has opened it yet.
pub const NEW: u32 = 0x0001_0001;

/// What a command does to the medium, as far as the gate cares.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Reads blocks, or only looks at them.
    Read,
    /// Changes blocks, or makes changes stable.
    Write,
    /// Changes blocks, and no other write may come in between: never the short road. Python
    /// shuts the gates of the unit for writes, waits, and orders the run.
    Exclusive,
}

impl Access {
    fn mask(self) -> u32 {
        match self {
            Access::Read => 0x0000_ffff,
            Access::Write => 0xffff_0000,
            Access::Exclusive => 0xffff_ffff,
        }
    }
}

/// One gate word.
#[derive(Debug)]
pub struct Gate(AtomicU32);

impl Default for Gate {
    fn default() -> Self {
        Gate(AtomicU32::new(NEW))
    }
}

impl Gate {
    /// Whether a command with that access may be finished by a worker now.
    #[must_use]
    pub fn lets(&self, access: Access) -> bool {
        access != Access::Exclusive && self.0.load(Ordering::Acquire) & access.mask() == 0
    }

    /// Set bits. Workers that have not passed a quiescent point since may still act on the old word.
    pub fn close(&self, bits: u32) {
        self.0.fetch_or(bits, Ordering::SeqCst);
    }

    /// Clear bits. Release: state changed before is seen by whoever passes the open gate.
    pub fn open(&self, bits: u32) {
        self.0.fetch_and(!bits, Ordering::Release);
    }

    /// Whether `bits` stop commands with that access.
    #[must_use]
    pub fn stops(bits: u32, access: Access) -> bool {
        bits & access.mask() != 0
    }
}
