//! READ (SSC-5, "READ(6) command").

use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;

use super::answers;
use super::drive::Tape;
use super::format::{extent, padded, Word, WORD};
use super::index::Place;
use super::moving::{append, blocks_of, needs, INLINE};
use super::scan::{Block, Form, Object};
use crate::chain::Buffers;
use crate::outcome::Outcome;
use crate::store::{go_on, Stop};
use crate::vectored::MAX_PARTS;

/// What a READ asks for.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    /// Blocks of the length that is set.
    pub fixed: bool,
    /// Another length is no error.
    pub suppress: bool,
    /// Blocks, or bytes.
    pub length: u32,
}

/// How a READ of one block of any length ends, when a good block was met.
fn read_one(tape: &Tape, length: u32, suppress: bool, found: u32) -> Outcome {
    let moved = u64::from(found.min(length));
    let residual = i64::from(length) - i64::from(found);
    // SSC-5, "READ(6) command": with SILI a longer one is an error only if a length is set.
    let wrong = if suppress { residual < 0 && tape.block_length != 0 } else { residual != 0 };
    if wrong {
        return answers::incorrect_length(residual).having_moved(moved);
    }
    Outcome::good(moved)
}

/// Read one block if the page cache has it, and the word before it was read with the last one.
pub fn read_at_once(
    tape: &mut Tape,
    suppress: bool,
    length: u32,
    buffers: &Buffers,
) -> Option<Outcome> {
    let (at, word) = tape.ahead?;
    let Word::Record { length: found, bad: false } = Word::parse(word) else { return None };
    let usable = at == tape.place.offset && tape.place.object < tape.image.end().object;
    if !usable || found == 0 || found > INLINE || length == 0 {
        return None;
    }
    if buffers.length() < length.into() {
        return None;
    }
    // Padding, the word that closes the record, the word behind it.
    let mut tail = [0u8; 9];
    let (whole, pad) = (found <= length, (found & 1) as usize);
    tape.list.clear();
    append(&mut tape.list, buffers, found.min(length));
    if whole {
        tape.list.push(tail.as_mut_ptr(), pad + 8);
    }
    if tape.list.parts().len() > MAX_PARTS {
        return None;
    }
    let read = tape.image.file.read_cached(tape.list.parts(), at + WORD);
    tape.list.clear();
    let Some(Ok(moved)) = read else { return None };
    let next = at + extent(found);
    if whole {
        // What does not close as it began is damaged: the long way tells.
        if moved < padded(found) + WORD || word_in(&tail, pad) != word {
            return None;
        }
        tape.ahead = (moved == padded(found) + 2 * WORD).then(|| (next, word_in(&tail, pad + 4)));
    } else {
        if moved < length.into() {
            return None;
        }
        tape.ahead = None;
    }
    tape.place = Place { object: tape.place.object + 1, offset: next };
    let outcome = read_one(tape, length, suppress, found);
    count_read(tape, outcome.transferred, found);
    Some(outcome)
}

fn word_in(bytes: &[u8; 9], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn count_read(tape: &mut Tape, bytes: u64, stored: u32) {
    tape.carried.blocks_read += 1;
    tape.carried.bytes_read += bytes;
    tape.carried.stored_read += u64::from(stored);
}

/// What a block was found to be.
enum Found {
    Block(u32),
    /// A block that cannot be read.
    Bad,
    Mark,
    End,
    /// No record; the tape stands before it still.
    Broken,
}

/// Look at what comes, and pass it. A block's data goes to the front of `into`, as much of it as
/// `most`; where `exactly` is set only that of a block that is as long.
fn pass(
    tape: &mut Tape,
    into: &Buffers,
    most: u32,
    exactly: bool,
    ended: &AtomicBool,
) -> Result<Found, Stop> {
    match tape.image.object(tape.place)? {
        Object::End => Ok(Found::End),
        Object::Broken(..) => Ok(Found::Broken),
        Object::Mark(offset) => {
            tape.go(Place { object: tape.place.object + 1, offset: offset + WORD });
            Ok(Found::Mark)
        }
        Object::Block(block) => {
            let length = block.length;
            let mut part = into.duplicate();
            let wanted = if exactly && length != most { 0 } else { length.min(most) };
            part.truncate(wanted.into());
            let good = take(tape, block, part, ended)?;
            pass_block(tape, block);
            look_ahead(tape);
            count_read(tape, wanted.into(), block.stored);
            Ok(if good { Found::Block(length) } else { Found::Bad })
        }
    }
}

/// Stand behind a block.
pub fn pass_block(tape: &mut Tape, block: Block) {
    tape.go(Place { object: tape.place.object + 1, offset: block.next() });
}

/// Put the beginning of a block's data in `part`; whether it is what was written.
fn take(tape: &Tape, block: Block, part: Buffers, ended: &AtomicBool) -> Result<bool, Stop> {
    if block.form != Form::Packed {
        fill(tape, block.data(), part, ended)?;
        return Ok(block.form == Form::Plain);
    }
    match tape.image.unpack(block.data(), block.stored) {
        Ok(data) => {
            part.write(0, &data);
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::InvalidData => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn fill(tape: &Tape, mut offset: u64, mut part: Buffers, ended: &AtomicBool) -> Result<(), Stop> {
    while part.length() > 0 {
        go_on(ended)?;
        let moved = tape.image.file.blocking(part.parts(), offset, false, false)?;
        if moved == 0 {
            return Err(Stop::Short);
        }
        part.advance(moved);
        offset += moved;
    }
    Ok(())
}

/// Read the word at the next object, so that a worker can read what is behind it.
fn look_ahead(tape: &mut Tape) {
    let mut word = [0; WORD as usize];
    let whole = tape.image.file.fill(tape.place.offset, &mut word);
    tape.ahead = matches!(whole, Ok(4)).then(|| (tape.place.offset, u32::from_le_bytes(word)));
}

/// Read blocks, waiting as long as it takes.
pub fn read(tape: &mut Tape, asked: Asked, buffers: &Buffers, ended: &AtomicBool) -> Outcome {
    let prepared = blocks_of(tape, asked.fixed, asked.length)
        .and_then(|(blocks, size)| needs(buffers, blocks, size).map(|_| (blocks, size)));
    let (blocks, size) = match prepared {
        Ok(prepared) => prepared,
        Err(outcome) => return *outcome,
    };
    let mut rest = buffers.duplicate();
    for done in 0..blocks {
        let found = match pass(tape, &rest, size, asked.fixed, ended) {
            Ok(found) => found,
            Err(stop) => return failed_read(tape, &stop),
        };
        let left = if asked.fixed { i64::from(blocks - done) } else { i64::from(asked.length) };
        let moved = u64::from(done) * u64::from(size);
        let outcome = match found {
            Found::Block(length) if asked.fixed => {
                if length == size {
                    rest.advance(size.into());
                    continue;
                }
                answers::incorrect_length(left)
            }
            Found::Block(length) => {
                return read_one(tape, asked.length, asked.suppress, length);
            }
            Found::Mark => answers::filemark(left),
            Found::End => answers::end_of_data(left),
            Found::Bad | Found::Broken => {
                tape.carried.read_errors += 1;
                answers::unreadable(left)
            }
        };
        return outcome.having_moved(moved);
    }
    Outcome::good(u64::from(blocks) * u64::from(size))
}

pub fn failed_read(tape: &mut Tape, stop: &Stop) -> Outcome {
    if !matches!(stop, Stop::Ended) {
        tape.carried.read_errors += 1;
    }
    *stop.outcome(false)
}
