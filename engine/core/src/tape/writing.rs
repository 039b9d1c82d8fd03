//! WRITE and WRITE FILEMARKS (SSC-5, those commands).

use std::sync::atomic::AtomicBool;

use super::answers;
use super::drive::{Tape, MAX_BLOCK};
use super::format::{extent, packed_word, WORD};
use super::moving::{append, blocks_of, needs, INLINE};
use crate::backend::FileStore;
use crate::cdb::invalid_field;
use crate::chain::Buffers;
use crate::outcome::{Outcome, Service};
use crate::store::go_on;
use crate::vectored::MAX_PARTS;

/// Bytes of one block before and behind its data.
struct Frame {
    head: [u8; 4],
    /// Padding, and the length again.
    tail: [u8; 5],
}

impl Frame {
    fn new(word: u32) -> Self {
        let [a, b, c, d] = word.to_le_bytes();
        Frame { head: [a, b, c, d], tail: [0, a, b, c, d] }
    }

    /// A record with the first `length` bytes of `data`, as a list to be written.
    fn list(&mut self, list: &mut Buffers, data: &Buffers, length: u32) {
        list.clear();
        list.push(self.head.as_mut_ptr(), 4);
        append(list, data, length);
        let skip = if length & 1 == 1 { 0 } else { 1 };
        let tail = &mut self.tail[skip..];
        list.push(tail.as_mut_ptr(), tail.len());
    }
}

/// Write one block if that takes no waiting: behind the last one, into the page cache.
pub fn write_at_once(tape: &mut Tape, length: u32, buffers: &Buffers) -> Option<Outcome> {
    let ready = tape.image.is_open_at(tape.place)
        && !tape.unbuffered
        && !tape.compress
        && (1..=INLINE).contains(&length)
        && buffers.length() >= length.into()
        && tape.place.offset + extent(length) <= tape.capacity;
    if !ready {
        return None;
    }
    let mut frame = Frame::new(length);
    frame.list(&mut tape.list, buffers, length);
    let written = if tape.list.parts().len() <= MAX_PARTS {
        tape.image.file.write_at_once(tape.list.parts(), tape.place.offset)
    } else {
        None
    };
    tape.list.clear();
    // What was written in part, or not, is written again by whoever may wait.
    match written {
        Some(Ok(moved)) if moved == extent(length) => {
            wrote(tape, length, length);
            Some(warned(tape, length.into()))
        }
        _ => None,
    }
}

fn wrote(tape: &mut Tape, length: u32, stored: u32) {
    tape.image.wrote_block(stored);
    tape.go(tape.image.end());
    tape.carried.blocks_written += 1;
    tape.carried.bytes_written += u64::from(length);
    tape.carried.stored_written += u64::from(stored);
}

/// All was written; perhaps the medium ends soon.
fn warned(tape: &Tape, moved: u64) -> Outcome {
    if tape.place.offset >= tape.warning {
        return answers::early_warning().having_moved(moved);
    }
    Outcome::good(moved)
}

/// Write blocks, waiting as long as it takes.
pub fn write(
    tape: &mut Tape,
    fixed: bool,
    length: u32,
    buffers: &Buffers,
    ended: &AtomicBool,
) -> Outcome {
    let prepared = blocks_of(tape, fixed, length).and_then(|(blocks, size)| {
        if size > MAX_BLOCK {
            // More than READ BLOCK LIMITS says.
            return Err(invalid_field(2, 7));
        }
        needs(buffers, blocks, size).map(|total| (blocks, size, total))
    });
    let (blocks, size, total) = match prepared {
        Ok(prepared) => prepared,
        Err(outcome) => return *outcome,
    };
    if blocks == 0 {
        return Outcome::good(0);
    }
    let mut rest = buffers.duplicate();
    for done in 0..blocks {
        if go_on(ended).is_err() {
            return Outcome::of(Service::Aborted);
        }
        let left = if fixed { i64::from(blocks - done) } else { i64::from(length) };
        let moved = u64::from(done) * u64::from(size);
        match write_block(tape, &rest, size) {
            Ok(true) => {}
            Ok(false) => return answers::overflow(left).having_moved(moved),
            Err(error) => {
                tape.carried.write_errors += 1;
                return answers::host(&error, true, left).having_moved(moved);
            }
        }
        rest.advance(size.into());
    }
    if tape.unbuffered {
        if let Err(error) = tape.image.sync() {
            tape.carried.write_errors += 1;
            return answers::host(&error, true, 0);
        }
    }
    warned(tape, total)
}

/// Write a block; false: there is no room for it.
fn write_block(tape: &mut Tape, data: &Buffers, length: u32) -> std::io::Result<bool> {
    if tape.compress {
        // A copy: the guest may change its pages while they are compressed.
        let mut copy = vec![0; length as usize];
        data.read(0, &mut copy);
        // Taken out for as long as it is in use, and put back.
        let mut packer = std::mem::take(&mut tape.packer);
        let written = packer.pack(&copy).map(|packed| {
            let stored = packed.len() as u32; // less than `length`
            let mut data = Buffers::with_capacity(1);
            data.push(packed.as_mut_ptr(), packed.len());
            write_record(tape, &data, length, stored, packed_word(stored))
        });
        tape.packer = packer;
        if let Some(written) = written {
            return written;
        }
    }
    write_record(tape, data, length, length, length)
}

/// Write a record of a block of `length` bytes; false: there is no room for it.
fn write_record(
    tape: &mut Tape,
    data: &Buffers,
    length: u32,
    stored: u32,
    word: u32,
) -> std::io::Result<bool> {
    if tape.place.offset + extent(stored) > tape.capacity {
        return Ok(false);
    }
    tape.image.open_at(tape.place)?;
    let mut frame = Frame::new(word);
    let mut list = Buffers::with_capacity(data.parts().len() + 2);
    frame.list(&mut list, data, stored);
    if let Err(error) = write_list(&tape.image.file, list, tape.place.offset) {
        tape.image.forget_tail();
        return Err(error);
    }
    wrote(tape, length, stored);
    Ok(true)
}

fn write_list(file: &FileStore, mut list: Buffers, mut offset: u64) -> std::io::Result<()> {
    while list.length() > 0 {
        match file.blocking(list.parts(), offset, true, false)? {
            0 => return Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
            moved => {
                list.advance(moved);
                offset += moved;
            }
        }
    }
    Ok(())
}

/// Write filemarks; stable when it is answered, unless that is `immediate`.
pub fn marks(tape: &mut Tape, count: u32, immediate: bool) -> Outcome {
    let count = u64::from(count);
    if count > 0 && tape.place.offset + count * WORD > tape.capacity {
        // At most 24 bits.
        return answers::overflow(count as i64);
    }
    let written = write_marks(tape, count).and_then(|()| {
        if immediate && !tape.unbuffered {
            return Ok(());
        }
        tape.image.sync()
    });
    if let Err(error) = written {
        tape.carried.write_errors += 1;
        return answers::host(&error, true, count as i64);
    }
    tape.carried.marks_written += count;
    if count == 0 {
        return Outcome::good(0);
    }
    warned(tape, 0)
}

fn write_marks(tape: &mut Tape, count: u64) -> std::io::Result<()> {
    if count == 0 {
        return Ok(());
    }
    tape.image.open_at(tape.place)?;
    tape.image.write_marks(count)?;
    tape.go(tape.image.end());
    Ok(())
}
