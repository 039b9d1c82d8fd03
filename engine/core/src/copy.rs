//! Blocks read, written and copied for the host's own sake, without a request of a guest's.
//!
//! All of it waits as long as it takes: callers have a thread of their own. Nothing in here asks
//! a gate; who may touch the blocks meanwhile is the caller's business.

use std::sync::atomic::AtomicBool;

use crate::aligned::Aligned;
use crate::backend::FileStore;
use crate::chain::Buffers;
use crate::error::{Error, Result};
use crate::medium::Medium;
use crate::store::{Stop, Store, PIECE};
use crate::transfer::Transfer;

/// Nobody ends these.
static NEVER: AtomicBool = AtomicBool::new(false);

impl Medium {
    /// Fill `into` with the blocks from byte `offset` on.
    ///
    /// # Errors
    /// The range is not of whole blocks within the medium, or the host refuses.
    pub fn read_blocks(&self, offset: u64, into: &mut [u8]) -> Result<()> {
        self.check_range("read", offset, into.len() as u64)?;
        let mut buffers = Buffers::with_capacity(1);
        buffers.push(into.as_mut_ptr(), into.len());
        let transfer = Transfer::read(offset, into.len() as u64);
        self.store.exchange(transfer, &mut buffers, &NEVER).map_err(host("read the medium"))
    }

    /// Write blocks from byte `offset` on; they are stable then if the medium has no write cache.
    ///
    /// # Errors
    /// As `read_blocks`; EROFS where the medium is read-only.
    pub fn write_blocks(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.check_range("write", offset, data.len() as u64)?;
        self.check_writable()?;
        let mut buffers = Buffers::with_capacity(1);
        // A write only reads what the list points to.
        buffers.push(data.as_ptr().cast_mut(), data.len());
        let transfer = Transfer::write(offset, data.len() as u64, self.store.sync_writes());
        self.store.exchange(transfer, &mut buffers, &NEVER).map_err(host("write the medium"))
    }

    /// Copy `length` bytes from `from` of this medium to `to` of `target`, as memmove would
    /// where both are the same bytes of one file. Between files the file system does it where it
    /// can, perhaps by sharing blocks.
    ///
    /// # Errors
    /// As `read_blocks` and `write_blocks`; part of it may have been copied.
    pub fn copy_blocks(&self, target: &Medium, from: u64, to: u64, length: u64) -> Result<()> {
        self.check_range("copy from", from, length)?;
        target.check_range("copy to", to, length)?;
        target.check_writable()?;
        let done = match (&self.store, &target.store) {
            (Store::File(source), Store::File(sink)) => offload(source, sink, from, to, length),
            _ => 0,
        };
        self.copy_pieces(target, from + done, to + done, length - done)
            .and_then(|()| if target.store.sync_writes() { target.store.flush() } else { Ok(()) })
            .map_err(host("copy blocks"))
    }

    /// Copy through a buffer of ours, beginning at the end that keeps an overlap from being
    /// written before it was read. Where the files differ either end will do.
    fn copy_pieces(
        &self,
        target: &Medium,
        from: u64,
        to: u64,
        length: u64,
    ) -> std::result::Result<(), Stop> {
        if length == 0 {
            return Ok(());
        }
        // At most PIECE, so within a usize.
        let ours = Aligned::new(length.min(PIECE as u64) as usize).ok_or_else(Stop::no_memory)?;
        let mut done = 0;
        while done < length {
            let count = (length - done).min(PIECE as u64);
            let at = if to > from { length - done - count } else { done };
            let mut whole = ours.buffers(count as usize);
            self.store.exchange(Transfer::read(from + at, count), &mut whole, &NEVER)?;
            let mut whole = ours.buffers(count as usize);
            target.store.exchange(Transfer::write(to + at, count, false), &mut whole, &NEVER)?;
            done += count;
        }
        Ok(())
    }

    /// Check a range of bytes.
    ///
    /// # Errors
    /// It is not of whole blocks within the medium.
    pub fn check_range(&self, what: &str, offset: u64, length: u64) -> Result<()> {
        let size = self.size();
        if offset.checked_add(length).is_none_or(|end| end > size) {
            return Err(Error::Setup(format!(
                "cannot {what} {length} bytes at {offset}: the medium has {size}"
            )));
        }
        let block = u64::from(self.block_size);
        if offset % block != 0 || length % block != 0 {
            return Err(Error::Setup(format!(
                "cannot {what} {length} bytes at {offset}: blocks have {block} bytes"
            )));
        }
        Ok(())
    }

    fn check_writable(&self) -> Result<()> {
        if self.read_only {
            let source = std::io::Error::from_raw_os_error(libc::EROFS);
            return Err(Error::Io { context: "write the medium", source });
        }
        Ok(())
    }
}

fn host(context: &'static str) -> impl Fn(Stop) -> Error {
    move |stop| Error::Io { context, source: stop.into_error() }
}

/// Let the kernel copy as much as it will; the number of bytes it did, from the beginning.
///
/// An error is not told: whoever copies the rest by hand meets it again if it is a real one, and
/// the list of what file systems say who merely cannot (EXDEV, EINVAL, EOPNOTSUPP, EBADF,
/// ETXTBSY ...) grows. Overlapping ranges of one file are EINVAL as long as the call is for the
/// whole rest.
fn offload(source: &FileStore, sink: &FileStore, from: u64, to: u64, length: u64) -> u64 {
    let mut done = 0;
    while done < length {
        match source.copy_to(sink, from + done, to + done, length - done) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => break,
        }
    }
    done
}
