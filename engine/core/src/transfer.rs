//! A READ or WRITE on its way between blocks and buffers.

use crate::outcome::Outcome;

/// A READ or WRITE on its way.
#[derive(Clone, Copy, Debug, Default)]
pub struct Transfer {
    /// Data goes to the file.
    pub write: bool,
    /// It must be stable when it is answered.
    pub sync: bool,
    /// Where in the file the next byte goes.
    pub offset: u64,
    /// Bytes still to move.
    pub left: u64,
    /// Bytes moved.
    pub done: u64,
}

impl Transfer {
    /// A read of `left` bytes.
    #[must_use]
    pub fn read(offset: u64, left: u64) -> Self {
        Transfer { offset, left, ..Transfer::default() }
    }

    /// A write of `left` bytes.
    #[must_use]
    pub fn write(offset: u64, left: u64, sync: bool) -> Self {
        Transfer { write: true, sync, offset, left, done: 0 }
    }

    /// Count bytes that have been moved.
    pub fn moved(&mut self, count: u64) {
        self.offset += count;
        self.done += count;
        self.left -= count.min(self.left);
    }

    /// The end of a transfer that moves nothing: the file ends before the unit does.
    #[must_use]
    pub fn cut_short(&self) -> Outcome {
        Outcome::host_error(libc::EIO, self.write)
    }
}
