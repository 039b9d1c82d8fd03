//! Commands that may take long: done by a pool thread, in pieces, so that they can be ended.

use std::sync::atomic::{AtomicBool, Ordering};

use libc::iovec;

use crate::backend::Aligned;
use crate::chain::Buffers;
use crate::medium::{Medium, Store, MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS};
use crate::outcome::{
    Outcome, Service, CONDITION_MET, INVALID_FIELD_IN_PARAMETER_LIST, MISCOMPARE,
    PARAMETER_LIST_LENGTH_ERROR, UNRECOVERED_READ_ERROR,
};

/// Bytes that are handled between two looks at whether the command was aborted.
const PIECE: usize = 1 << 20;

/// Most bytes that one PRE-FETCH brings into the host's cache.
const PREFETCH_BYTES: u64 = 64 << 20;

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
    Transfer(crate::medium::Transfer),
}

type Run = Result<Outcome, Box<Outcome>>;

/// Carry out a job. `buffers` is the command's data buffer in the direction it moves.
#[must_use]
pub fn run(medium: &Medium, job: Slow, buffers: &mut Buffers, ended: &AtomicBool) -> Outcome {
    let result = match job {
        Slow::Flush => flush(medium),
        Slow::Unmap { length } => unmap(medium, length, buffers, ended),
        Slow::WriteSame { offset, length, unmap, no_data } => {
            write_same(medium, offset, length, unmap, no_data, buffers, ended)
        }
        Slow::Verify { offset, length, compared } => {
            verify(medium, offset, length, compared, buffers, ended)
        }
        Slow::WriteVerify { offset, length, compare } => {
            write_verify(medium, offset, length, compare, buffers, ended)
        }
        Slow::CompareWrite { offset, length, sync } => {
            compare_write(medium, offset, length, sync, buffers, ended)
        }
        Slow::Prefetch { offset, length } => Ok(prefetch(medium, offset, length)),
        Slow::Transfer(transfer) => move_data(medium, transfer, buffers, ended),
    };
    result.unwrap_or_else(|outcome| *outcome)
}

fn host(error: &std::io::Error, writing: bool) -> Box<Outcome> {
    Box::new(Outcome::host_error(error.raw_os_error().unwrap_or(libc::EIO), writing))
}

fn go_on(ended: &AtomicBool) -> Result<(), Box<Outcome>> {
    if ended.load(Ordering::Relaxed) {
        return Err(Box::new(Outcome::of(Service::Aborted)));
    }
    Ok(())
}

fn flush(medium: &Medium) -> Run {
    if let Store::File(file) = &medium.store {
        file.flush().map_err(|error| host(&error, true))?;
    }
    Ok(Outcome::good(0))
}

fn move_data(
    medium: &Medium,
    mut transfer: crate::medium::Transfer,
    buffers: &mut Buffers,
    ended: &AtomicBool,
) -> Run {
    let Store::File(file) = &medium.store else { return Ok(Outcome::good(0)) };
    if !buffers.aligned(file.alignment) {
        return bounce(medium, transfer, buffers, ended);
    }
    while transfer.left > 0 {
        go_on(ended)?;
        let moved = file
            .blocking(buffers.parts(), transfer.offset, transfer.write, transfer.sync)
            .map_err(|error| host(&error, transfer.write))?;
        if moved == 0 {
            return Err(Box::new(transfer.cut_short()));
        }
        buffers.advance(moved);
        transfer.moved(moved);
    }
    Ok(Outcome::good(transfer.done))
}

/// Move data through a buffer of our own: O_DIRECT refuses the guest's addresses.
fn bounce(
    medium: &Medium,
    transfer: crate::medium::Transfer,
    buffers: &Buffers,
    ended: &AtomicBool,
) -> Run {
    // At most PIECE, so within a usize.
    let size = transfer.left.min(PIECE as u64) as usize;
    let ours = piece(size)?;
    let mut copy = vec![0u8; size];
    each_piece(transfer.offset, transfer.left, ended, |at, count| {
        let from = at - transfer.offset;
        if transfer.write {
            buffers.read(from, &mut copy[..count]);
            copy_in(&ours, 0, &copy[..count]);
            let part = [iovec { iov_base: ours.address().cast(), iov_len: count }];
            return store(medium, at, &part, count);
        }
        load(medium, at, &ours, count)?;
        copy_out(&ours, &mut copy[..count]);
        buffers.write(from, &copy[..count]);
        Ok(())
    })?;
    if transfer.sync {
        flush(medium)?;
    }
    Ok(Outcome::good(transfer.done + transfer.left))
}

fn unmap(medium: &Medium, length: u16, buffers: &Buffers, ended: &AtomicBool) -> Run {
    // SBC-4 5.35: a length of zero is no error; less than a header is.
    if length == 0 {
        return Ok(Outcome::good(0));
    }
    let mut list = vec![0u8; usize::from(length)];
    buffers.read(0, &mut list);
    let header = |at: usize| list.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]));
    let Some(descriptors) = header(2).filter(|_| length >= 8) else {
        return Err(Box::new(Outcome::check(PARAMETER_LIST_LENGTH_ERROR)));
    };
    let available = usize::from(length) - 8;
    let count = usize::from(descriptors).min(available) / 16;
    if count > usize::from(MAX_UNMAP_DESCRIPTORS) {
        return Err(Box::new(Outcome::check(INVALID_FIELD_IN_PARAMETER_LIST)));
    }
    let mut extents = Vec::with_capacity(count);
    // All are checked before the first is carried out.
    for descriptor in list[8..].chunks_exact(16).take(count) {
        let (lba, rest) = descriptor.split_at(8);
        let lba = lba.iter().fold(0u64, |value, byte| value << 8 | u64::from(*byte));
        let blocks = rest[..4].iter().fold(0u32, |value, byte| value << 8 | u32::from(*byte));
        if blocks > MAX_UNMAP_BLOCKS {
            return Err(Box::new(Outcome::check(INVALID_FIELD_IN_PARAMETER_LIST)));
        }
        extents.push(medium.extent(lba, blocks.into())?);
    }
    for (offset, bytes) in extents {
        go_on(ended)?;
        if bytes > 0 {
            discard(medium, offset, bytes, ended)?;
        }
    }
    Ok(Outcome::good(length.into()))
}

/// Make a range read as zeros and give its space back, where that can be done.
fn discard(
    medium: &Medium,
    offset: u64,
    length: u64,
    ended: &AtomicBool,
) -> Result<(), Box<Outcome>> {
    match &medium.store {
        Store::File(file) => match file.punch(offset, length) {
            // VPD B2h promises LBPRZ, so blocks that cannot be given back are zeroed.
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                fill(medium, offset, length, &[0; 512], ended)
            }
            other => other.map_err(|error| host(&error, true)),
        },
        Store::Ram(pages) => {
            // Within the medium, so within a usize.
            pages.discard(offset as usize, length as usize);
            Ok(())
        }
        Store::Null => Ok(()),
    }
}

fn write_same(
    medium: &Medium,
    offset: u64,
    length: u64,
    unmap: bool,
    no_data: bool,
    buffers: &Buffers,
    ended: &AtomicBool,
) -> Run {
    let mut block = vec![0u8; medium.block_size as usize];
    let moved = if no_data { 0 } else { buffers.read(0, &mut block) as u64 };
    let zero = block.iter().all(|byte| *byte == 0);
    if zero && unmap {
        discard(medium, offset, length, ended)?;
    } else if !(zero && zero_range(medium, offset, length)) {
        fill(medium, offset, length, &block, ended)?;
    }
    if let Store::File(file) = &medium.store {
        if file.sync_writes {
            file.flush().map_err(|error| host(&error, true))?;
        }
    }
    Ok(Outcome::good(moved))
}

fn zero_range(medium: &Medium, offset: u64, length: u64) -> bool {
    match &medium.store {
        Store::File(file) => file.zero_range(offset, length).is_ok(),
        _ => false,
    }
}

/// Write `pattern`, over and over.
fn fill(
    medium: &Medium,
    offset: u64,
    length: u64,
    pattern: &[u8],
    ended: &AtomicBool,
) -> Result<(), Box<Outcome>> {
    // At most PIECE, so within a usize.
    let size = length.min(PIECE as u64) as usize;
    let buffer = piece(size)?;
    for at in (0..size).step_by(pattern.len()) {
        copy_in(&buffer, at, &pattern[..pattern.len().min(size - at)]);
    }
    each_piece(offset, length, ended, |at, count| {
        let part = [iovec { iov_base: buffer.address().cast(), iov_len: count }];
        store(medium, at, &part, count)
    })
}

fn store(
    medium: &Medium,
    offset: u64,
    part: &[iovec; 1],
    count: usize,
) -> Result<(), Box<Outcome>> {
    let mut source = Buffers::with_capacity(1);
    source.push(part[0].iov_base.cast(), count);
    match &medium.store {
        Store::File(file) => {
            let mut at = offset;
            while source.length() > 0 {
                let moved = file
                    .blocking(source.parts(), at, true, false)
                    .map_err(|error| host(&error, true))?;
                if moved == 0 {
                    return Err(host(&std::io::Error::from_raw_os_error(libc::EIO), true));
                }
                source.advance(moved);
                at += moved;
            }
            Ok(())
        }
        Store::Ram(pages) => {
            crate::medium::copy_ram(pages, offset, count as u64, &source, true);
            Ok(())
        }
        Store::Null => Ok(()),
    }
}

fn verify(
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
    let ours = piece(size)?;
    let mut theirs = vec![0u8; if compared == 0 { 0 } else { size }];
    let mut mine = vec![0u8; size];
    each_piece(offset, length, ended, |at, count| {
        load(medium, at, &ours, count)?;
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
        copy_out(&ours, &mut mine[..count]);
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

fn write_verify(
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

fn compare_write(
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
) -> Result<(), Box<Outcome>> {
    data.truncate(length);
    match &medium.store {
        Store::File(file) => {
            let sync = sync || file.sync_writes;
            let transfer =
                crate::medium::Transfer { write: true, sync, offset, left: length, done: 0 };
            move_data(medium, transfer, &mut data, ended)?;
        }
        Store::Ram(pages) => crate::medium::copy_ram(pages, offset, length, &data, true),
        Store::Null => {}
    }
    Ok(())
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

fn load(medium: &Medium, offset: u64, into: &Aligned, count: usize) -> Result<(), Box<Outcome>> {
    let mut parts = Buffers::with_capacity(1);
    parts.push(into.address(), count);
    match &medium.store {
        Store::File(file) => {
            let mut at = offset;
            while parts.length() > 0 {
                let moved = file
                    .blocking(parts.parts(), at, false, false)
                    .map_err(|error| host(&error, false))?;
                if moved == 0 {
                    return Err(Box::new(Outcome::check(UNRECOVERED_READ_ERROR)));
                }
                parts.advance(moved);
                at += moved;
            }
        }
        Store::Ram(pages) => {
            crate::medium::copy_ram(pages, offset, count as u64, &parts, false);
        }
        Store::Null => parts.zero(0, count),
    }
    Ok(())
}

fn each_piece(
    offset: u64,
    length: u64,
    ended: &AtomicBool,
    mut act: impl FnMut(u64, usize) -> Result<(), Box<Outcome>>,
) -> Result<(), Box<Outcome>> {
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

fn piece(size: usize) -> Result<Aligned, Box<Outcome>> {
    Aligned::new(size).ok_or_else(|| host(&std::io::Error::from_raw_os_error(libc::ENOMEM), false))
}

fn copy_in(buffer: &Aligned, at: usize, data: &[u8]) {
    let length = data.len().min(buffer.length().saturating_sub(at));
    // SAFETY: the range lies within the buffer, which only this thread has.
    unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), buffer.address().add(at), length) };
}

fn copy_out(buffer: &Aligned, into: &mut [u8]) {
    let length = into.len().min(buffer.length());
    // SAFETY: as in `copy_in`.
    unsafe { std::ptr::copy_nonoverlapping(buffer.address(), into.as_mut_ptr(), length) };
}
