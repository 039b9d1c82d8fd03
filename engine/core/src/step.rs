//! What is left to do for a command that was checked.

use crate::outcome::Outcome;
use crate::tape::cdb::Command as TapeCommand;
use crate::transfer::Transfer;

/// What is left to do for a command.
#[derive(Debug)]
pub enum Step {
    /// Nothing.
    Finished(Outcome),
    /// Data is to be moved between the file and the guest.
    Transfer(Transfer),
    /// A thread that may wait is to do it.
    Slow(Slow),
}

/// A job for a thread that may wait. Extents were checked.
#[derive(Clone, Copy, Debug)]
pub enum Slow {
    /// Make everything written stable.
    Flush,
    /// Give back what the parameter list names.
    Unmap {
        /// Bytes of parameter list.
        length: u16,
    },
    /// Write one block over a range.
    WriteSame {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Blocks may be given back instead.
        unmap: bool,
        /// There is no data-out: zeros.
        no_data: bool,
    },
    /// Read, and compare with the first `compared` bytes of data-out.
    Verify {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// 0: nothing; one block: each with that; else all.
        compared: u64,
    },
    /// Write, make it stable, read it again.
    WriteVerify {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
        /// Compare what is read with what was to be written.
        compare: bool,
    },
    /// Compare with the first half of data-out; if equal, write the second. Whoever orders it
    /// sees to it that nobody else writes meanwhile (decision 0011).
    CompareWrite {
        /// First byte.
        offset: u64,
        /// Bytes; data-out has twice as many.
        length: u64,
        /// It must be stable when it is answered.
        sync: bool,
    },
    /// Have a range in the host's cache.
    Prefetch {
        /// First byte.
        offset: u64,
        /// Bytes.
        length: u64,
    },
    /// A READ or WRITE where io_uring is missing.
    Transfer(Transfer),
    /// A command of a tape, when its turn comes.
    Tape {
        /// Which.
        command: TapeCommand,
        /// Its turn is now.
        first: bool,
    },
}
