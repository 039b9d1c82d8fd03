//! What can go wrong in a run.

use std::io;

/// An error that ends the run.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// The back-end broke the protocol, or lacks what we need.
    #[error("back-end: {0}")]
    BackEnd(String),
    /// Nothing came back for too long.
    #[error("queue {queue}: {in_flight} requests in flight and none completed for {seconds} s")]
    Stalled {
        /// Index of the virtqueue.
        queue: usize,
        /// Requests the back-end holds.
        in_flight: u16,
        /// How long it was waited.
        seconds: u64,
    },
    /// The options do not fit the device.
    #[error("{0}")]
    Usage(String),
}

/// Adds to an I/O error what was being done.
pub trait Context<T> {
    /// Name the action that failed.
    fn context(self, what: impl Into<String>) -> Result<T, Error>;
}

impl<T> Context<T> for io::Result<T> {
    fn context(self, what: impl Into<String>) -> Result<T, Error> {
        self.map_err(|source| Error::Io { what: what.into(), source })
    }
}

impl<T> Context<T> for Result<T, vmm_sys_util::errno::Error> {
    fn context(self, what: impl Into<String>) -> Result<T, Error> {
        self.map_err(|error| Error::Io { what: what.into(), source: error.into() })
    }
}
