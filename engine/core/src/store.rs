//! Where a medium's blocks are, and the one loop that moves them where somebody may wait.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::aligned::Aligned;
use crate::backend::FileStore;
use crate::chain::Buffers;
use crate::outcome::{Outcome, Service};
use crate::tape::drive::Drive;
use crate::transfer::Transfer;

/// Bytes that are handled between two looks at whether the command was aborted.
pub const PIECE: usize = 1 << 20;

/// Where the blocks are.
#[derive(Debug)]
pub enum Store {
    /// A file or block device of the host.
    File(FileStore),
    /// Memory of our own.
    Ram(Aligned),
    /// Nowhere: reads give zeros, writes are forgotten.
    Null,
    /// On a tape: no blocks with addresses, but commands of its own.
    Tape(Box<Drive>),
}

/// The command was ended early.
#[derive(Clone, Copy, Debug)]
pub struct Ended;

/// Why a transfer did not come to its end.
#[derive(Debug)]
pub enum Stop {
    /// Its command was ended early.
    Ended,
    /// The file ends before the unit does.
    Short,
    /// The host said no.
    Host(std::io::Error),
}

impl From<Ended> for Stop {
    fn from(_: Ended) -> Self {
        Stop::Ended
    }
}

impl From<Ended> for Box<Outcome> {
    fn from(_: Ended) -> Self {
        Box::new(Outcome::of(Service::Aborted))
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Stop::Host(error)
    }
}

impl Stop {
    /// There is no memory for a buffer of ours.
    #[must_use]
    pub fn no_memory() -> Self {
        Stop::Host(std::io::Error::from_raw_os_error(libc::ENOMEM))
    }

    /// What it means to the host's own callers.
    #[must_use]
    pub fn into_error(self) -> std::io::Error {
        match self {
            Stop::Ended => std::io::Error::from_raw_os_error(libc::ECANCELED),
            Stop::Short => std::io::Error::from_raw_os_error(libc::EIO),
            Stop::Host(error) => error,
        }
    }

    /// What it means to the guest.
    #[must_use]
    pub fn outcome(&self, writing: bool) -> Box<Outcome> {
        Box::new(match self {
            Stop::Ended => Outcome::of(Service::Aborted),
            Stop::Short => Outcome::host_error(libc::EIO, writing),
            Stop::Host(error) => {
                Outcome::host_error(error.raw_os_error().unwrap_or(libc::EIO), writing)
            }
        })
    }
}

impl Store {
    /// Whether each write is to be stable when it is answered.
    #[must_use]
    pub fn sync_writes(&self) -> bool {
        matches!(self, Store::File(file) if file.sync_writes())
    }

    /// Make everything written stable.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn flush(&self) -> Result<(), Stop> {
        match self {
            Store::File(file) => Ok(file.flush()?),
            Store::Ram(_) | Store::Null | Store::Tape(_) => Ok(()),
        }
    }

    /// Carry out a transfer, waiting as long as it takes. `buffers` hold what is left of it.
    ///
    /// # Errors
    /// `ended` was set, the file is too short, or the host refuses.
    pub fn exchange(
        &self,
        transfer: Transfer,
        buffers: &mut Buffers,
        ended: &AtomicBool,
    ) -> Result<(), Stop> {
        match self {
            Store::File(file) if buffers.aligned(file.alignment) => {
                straight(file, transfer, buffers, ended)
            }
            Store::File(file) => bounce(file, transfer, buffers, ended),
            Store::Ram(pages) => {
                pages.exchange(transfer.offset, transfer.left, buffers, transfer.write);
                Ok(())
            }
            Store::Null => {
                if !transfer.write {
                    // Within the buffers, so within a usize.
                    buffers.zero(0, transfer.left as usize);
                }
                Ok(())
            }
            // It has no size, so that no range is within it.
            Store::Tape(_) => Err(Stop::Short),
        }
    }
}

/// Look whether the command shall end early.
///
/// # Errors
/// It shall.
pub fn go_on(ended: &AtomicBool) -> Result<(), Ended> {
    if ended.load(Ordering::Relaxed) {
        return Err(Ended);
    }
    Ok(())
}

/// Call `act` with offset and length of each piece of a range, until `ended` is set.
///
/// # Errors
/// `ended` was set, or what `act` says.
pub fn each_piece<E: From<Ended>>(
    offset: u64,
    length: u64,
    ended: &AtomicBool,
    mut act: impl FnMut(u64, usize) -> Result<(), E>,
) -> Result<(), E> {
    let mut done = 0;
    while done < length {
        go_on(ended)?;
        // At most PIECE, so within a usize.
        let count = (length - done).min(PIECE as u64) as usize;
        act(offset + done, count)?;
        done += count as u64;
    }
    Ok(())
}

/// Between the file and the buffers themselves.
fn straight(
    file: &FileStore,
    mut transfer: Transfer,
    buffers: &mut Buffers,
    ended: &AtomicBool,
) -> Result<(), Stop> {
    while transfer.left > 0 {
        go_on(ended)?;
        let moved =
            file.blocking(buffers.parts(), transfer.offset, transfer.write, transfer.sync)?;
        if moved == 0 {
            return Err(Stop::Short);
        }
        buffers.advance(moved);
        transfer.moved(moved);
    }
    Ok(())
}

/// Through a buffer of our own: O_DIRECT refuses the addresses of `buffers`.
fn bounce(
    file: &FileStore,
    transfer: Transfer,
    buffers: &Buffers,
    ended: &AtomicBool,
) -> Result<(), Stop> {
    // At most PIECE, so within a usize.
    let size = transfer.left.min(PIECE as u64) as usize;
    let ours = Aligned::new(size).ok_or_else(Stop::no_memory)?;
    let mut copy = vec![0u8; size];
    each_piece(transfer.offset, transfer.left, ended, |at, count| {
        let from = at - transfer.offset;
        let mut whole = ours.buffers(count);
        if transfer.write {
            buffers.read(from, &mut copy[..count]);
            ours.put(0, &copy[..count]);
            return straight(file, Transfer::write(at, count as u64, false), &mut whole, ended);
        }
        straight(file, Transfer::read(at, count as u64), &mut whole, ended)?;
        ours.get(&mut copy[..count]);
        buffers.write(from, &copy[..count]);
        Ok(())
    })?;
    if transfer.sync {
        file.flush()?;
    }
    Ok(())
}
