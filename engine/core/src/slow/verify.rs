//! VERIFY, WRITE AND VERIFY, COMPARE AND WRITE (SBC-4 5.36, 5.47, 5.3).

use std::sync::atomic::AtomicBool;

use super::{refused, Run};
use crate::aligned::Aligned;
use crate::chain::Buffers;
use crate::medium::Medium;
use crate::outcome::{Outcome, MISCOMPARE};
use crate::store::{each_piece, Stop, Store, PIECE};
use crate::transfer::Transfer;

/// Read, and compare with the first `compared` bytes of `buffers`, over and over if that is one
/// block of many.
pub fn verify(
    medium: &Medium,
    offset: u64,
    length: u64,
    compared: u64,
    buffers: &Buffers,
    ended: &AtomicBool,
) -> Run {
    let block = medium.block_size as usize;
    let repeated = compared == u64::from(medium.block_size) && length > compared;
    // At most PIECE, so within a usize; a whole number of blocks, as both terms are.
    let size = length.min(PIECE as u64) as usize;
    let ours = Aligned::new(size).ok_or_else(|| Stop::no_memory().outcome(false))?;
    let mut theirs = vec![0u8; if compared == 0 { 0 } else { size }];
    let mut mine = vec![0u8; size];
    each_piece(offset, length, ended, |at, count| {
        let transfer = Transfer::read(at, count as u64);
        medium.store.exchange(transfer, &mut ours.buffers(count), ended).map_err(refused(false))?;
        if compared == 0 {
            return Ok(());
        }
        if repeated {
            for chunk in theirs[..count].chunks_mut(block) {
                buffers.read(0, chunk);
            }
        } else {
            buffers.read(at - offset, &mut theirs[..count]);
        }
        ours.get(&mut mine[..count]);
        match theirs[..count].iter().zip(&mine[..count]).position(|(a, b)| a != b) {
            // SBC-4 5.36: the information field holds the offset of the first difference.
            Some(first) => Err(Box::new(
                Outcome::check(MISCOMPARE).with_information(at - offset + first as u64),
            )),
            None => Ok(()),
        }
    })?;
    Ok(Outcome::good(compared))
}

/// Write, make it stable, read it again and `compare` what is read.
pub fn write_verify(
    medium: &Medium,
    offset: u64,
    length: u64,
    compare: bool,
    buffers: &Buffers,
    ended: &AtomicBool,
) -> Run {
    put(medium, offset, length, true, buffers.duplicate(), ended)?;
    if let Store::File(file) = &medium.store {
        // Else the page cache would be compared with itself.
        file.forget(offset, length);
    }
    verify(medium, offset, length, if compare { length } else { 0 }, buffers, ended)?;
    Ok(Outcome::good(length))
}

/// Compare with the first half of `buffers`; if equal, write the second.
pub fn compare_write(
    medium: &Medium,
    offset: u64,
    length: u64,
    sync: bool,
    buffers: &Buffers,
    ended: &AtomicBool,
) -> Run {
    verify(medium, offset, length, length, buffers, ended)?;
    let mut data = buffers.duplicate();
    data.advance(length);
    // From here on it is carried out whole: half a lock record helps nobody.
    put(medium, offset, length, sync, data, &AtomicBool::new(false))?;
    Ok(Outcome::good(2 * length))
}

/// Write the first `length` bytes of `data`; they are stable then if `sync` or the medium says so.
fn put(
    medium: &Medium,
    offset: u64,
    length: u64,
    sync: bool,
    mut data: Buffers,
    ended: &AtomicBool,
) -> Run<()> {
    data.truncate(length);
    let sync = sync || medium.store.sync_writes();
    let transfer = Transfer::write(offset, length, sync);
    medium.store.exchange(transfer, &mut data, ended).map_err(refused(true))
}
