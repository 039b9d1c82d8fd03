//! Commands that may take long: done by a pool thread, in pieces, so that they can be ended.

use std::sync::atomic::AtomicBool;

use crate::chain::Buffers;
use crate::medium::Medium;
use crate::outcome::{Outcome, CONDITION_MET, INVALID_OPERATION_CODE};
use crate::step::Slow;
use crate::store::{Stop, Store};
use crate::transfer::Transfer;

mod fill;
mod unmap;
mod verify;
mod write_same;

/// Most bytes that one PRE-FETCH brings into the host's cache.
const PREFETCH_BYTES: u64 = 64 << 20;

type Run<T = Outcome> = Result<T, Box<Outcome>>;

/// Carry out a job. `buffers` is the command's data buffer in the direction it moves.
#[must_use]
pub fn run(medium: &Medium, job: Slow, buffers: &mut Buffers, ended: &AtomicBool) -> Outcome {
    let result = match job {
        Slow::Flush => flush(medium),
        Slow::Unmap { length } => unmap::unmap(medium, length, buffers, ended),
        Slow::WriteSame { offset, length, unmap, no_data } => {
            let fill = write_same::Fill { offset, length, unmap, no_data };
            write_same::write_same(medium, fill, buffers, ended)
        }
        Slow::Verify { offset, length, compared } => {
            verify::verify(medium, offset, length, compared, buffers, ended)
        }
        Slow::WriteVerify { offset, length, compare } => {
            verify::write_verify(medium, offset, length, compare, buffers, ended)
        }
        Slow::CompareWrite { offset, length, sync } => {
            verify::compare_write(medium, offset, length, sync, buffers, ended)
        }
        Slow::Prefetch { offset, length } => Ok(prefetch(medium, offset, length)),
        Slow::Transfer(transfer) => move_data(medium, transfer, buffers, ended),
        Slow::Tape { command, .. } => match medium.drive() {
            Some(drive) => Ok(drive.run(command, buffers, ended)),
            None => Err(Box::new(Outcome::check(INVALID_OPERATION_CODE))),
        },
    };
    result.unwrap_or_else(|outcome| *outcome)
}

/// What an error of the host's means to the guest.
fn refused(writing: bool) -> impl Fn(Stop) -> Box<Outcome> {
    move |stop| stop.outcome(writing)
}

fn flush(medium: &Medium) -> Run {
    medium.store.flush().map_err(refused(true))?;
    Ok(Outcome::good(0))
}

fn move_data(
    medium: &Medium,
    transfer: Transfer,
    buffers: &mut Buffers,
    ended: &AtomicBool,
) -> Run {
    medium.store.exchange(transfer, buffers, ended).map_err(refused(transfer.write))?;
    Ok(Outcome::good(transfer.done + transfer.left))
}

/// SBC-4 5.10: CONDITION MET where the cache has room for the whole range, else GOOD.
fn prefetch(medium: &Medium, offset: u64, length: u64) -> Outcome {
    let Store::File(file) = &medium.store else { return Outcome::status(CONDITION_MET) };
    if file.alignment > 1 {
        // O_DIRECT: there is no cache that reads look into.
        return Outcome::good(0);
    }
    // One guest's wish shall not turn the host's cache over.
    file.fetch(offset, length.min(PREFETCH_BYTES));
    if length > PREFETCH_BYTES {
        return Outcome::good(0);
    }
    Outcome::status(CONDITION_MET)
}
