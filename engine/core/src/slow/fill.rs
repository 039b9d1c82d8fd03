//! One pattern over a range, and ranges that read as zeros.

use std::sync::atomic::AtomicBool;

use super::{refused, Run};
use crate::aligned::Aligned;
use crate::medium::Medium;
use crate::store::{each_piece, Stop, Store, PIECE};
use crate::transfer::Transfer;

/// Write `pattern`, over and over.
pub fn fill(
    medium: &Medium,
    offset: u64,
    length: u64,
    pattern: &[u8],
    ended: &AtomicBool,
) -> Run<()> {
    // At most PIECE, so within a usize.
    let size = length.min(PIECE as u64) as usize;
    let ours = Aligned::new(size).ok_or_else(|| Stop::no_memory().outcome(true))?;
    for at in (0..size).step_by(pattern.len()) {
        ours.put(at, &pattern[..pattern.len().min(size - at)]);
    }
    each_piece(offset, length, ended, |at, count| {
        let transfer = Transfer::write(at, count as u64, false);
        medium.store.exchange(transfer, &mut ours.buffers(count), ended).map_err(refused(true))
    })
}

/// Make a range read as zeros and give its space back, where that can be done.
pub fn discard(medium: &Medium, offset: u64, length: u64, ended: &AtomicBool) -> Run<()> {
    match &medium.store {
        Store::File(file) => match file.punch(offset, length) {
            // VPD B2h promises LBPRZ, so blocks that cannot be given back are zeroed.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                fill(medium, offset, length, &[0; 512], ended)
            }
            other => other.map_err(|error| Stop::Host(error).outcome(true)),
        },
        Store::Ram(pages) => {
            // Within the medium, so within a usize.
            pages.discard(offset as usize, length as usize);
            Ok(())
        }
        Store::Null | Store::Tape(_) => Ok(()),
    }
}
