//! The one error type: what was being done, and what went wrong.

use thiserror::Error;

use crate::grants::Refusal;

/// Why an order or a ring came to an end.
#[derive(Debug, Error)]
pub enum Error {
    /// The front-end gave something impossible: an address, a size, a region.
    #[error("{0}")]
    Setup(String),
    /// The guest's ring breaks the rules; its session stops.
    #[error("{0}")]
    Ring(RingFault),
    /// The host refused a system call.
    #[error("{context}: {source}")]
    Io {
        /// What was being done.
        context: &'static str,
        /// What the kernel said.
        source: std::io::Error,
    },
    /// An id that names nothing.
    #[error("there is no {kind} {id}")]
    Unknown {
        /// What sort of thing.
        kind: &'static str,
        /// The id that was given.
        id: u64,
    },
}

/// What was wrong with a ring. Fixed texts: making one allocates nothing.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum RingFault {
    /// The available index ran ahead by more than the ring holds.
    #[error("available index is ahead by {0}, more than the ring holds")]
    IndexJump(u16),
    /// More requests than a pvSCSI ring holds.
    #[error("req_prod is ahead of rsp_prod by {0}, more than the ring holds")]
    RequestJump(u32),
    /// A pvSCSI ring's own page is not to be had.
    #[error("the ring's page: {0}")]
    Page(Refusal),
    /// A head or next index is not below the queue size.
    #[error("descriptor index {0} is outside the ring")]
    BadIndex(u16),
    /// A chain is longer than any legal one: a loop.
    #[error("a descriptor chain is longer than the ring: it loops")]
    Loop,
    /// A buffer lies outside guest memory.
    #[error("a buffer at {0:#x} of {1} bytes lies outside guest memory")]
    BadAddress(u64, u32),
    /// An indirect descriptor where none is allowed, or a malformed table.
    #[error("an indirect descriptor is malformed or not allowed here")]
    BadIndirect,
    /// A device-readable buffer follows a device-writable one.
    #[error("a readable buffer follows a writable one")]
    Order,
    /// The readable part is shorter than the request header.
    #[error("the request header is cut short at {0} bytes")]
    ShortHeader(u32),
    /// The writable part is shorter than the response header.
    #[error("there is no room for the response: {0} bytes")]
    ShortResponse(u32),
    /// More requests at once than the ring has entries.
    #[error("more requests are in flight than the ring has entries")]
    Overcommit,
    /// A new memory table does not hold the ring.
    #[error("the ring is not in the new memory table")]
    LeftOut,
    /// The memory behind a region is gone (truncated by its owner).
    #[error("guest memory vanished: the file behind it was truncated")]
    MemoryGone,
}

impl From<RingFault> for Error {
    fn from(fault: RingFault) -> Self {
        Error::Ring(fault)
    }
}

impl Error {
    /// The last OS error, with what was being done.
    #[must_use]
    pub fn last_os(context: &'static str) -> Self {
        Error::Io { context, source: std::io::Error::last_os_error() }
    }
}

/// Result with the crate's error.
pub type Result<T> = std::result::Result<T, Error>;
