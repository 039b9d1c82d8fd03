//! VERIFY (SSC-5, "VERIFY(6) command").

use std::io::ErrorKind;
use std::sync::atomic::AtomicBool;

use super::answers;
use super::cdb::{Check, Extent};
use super::drive::Tape;
use super::format::WORD;
use super::index::Place;
use super::moving::{blocks_of, needs};
use super::progress::Progress;
use super::reading::{failed_read, pass_block};
use super::scan::{Block, Form, Object};
use crate::chain::Buffers;
use crate::outcome::{Outcome, Service, MISCOMPARE};
use crate::store::{go_on, Stop};

/// Bytes of a block that are looked at at once.
const PIECE: usize = 1 << 16;

/// What a block was found to be.
enum Found {
    /// What it should be.
    Good(u32),
    /// Readable, and not what the guest says.
    Different(u32),
    Bad,
    Mark,
    End,
}

/// Pass an object and look at it; `wanted` is what should be in a block of just that length.
fn pass(
    tape: &mut Tape,
    wanted: Option<(&Buffers, u32)>,
    ended: &AtomicBool,
) -> Result<Found, Stop> {
    go_on(ended)?;
    match tape.image.object(tape.place)? {
        Object::End => Ok(Found::End),
        Object::Broken(..) => Ok(Found::Bad),
        Object::Mark(offset) => {
            tape.go(Place { object: tape.place.object + 1, offset: offset + WORD });
            Ok(Found::Mark)
        }
        Object::Block(block) => {
            let data = wanted.filter(|(_, length)| *length == block.length).map(|(data, _)| data);
            let same = look(tape, block, data, ended)?;
            pass_block(tape, block);
            Ok(match same {
                Some(true) => Found::Good(block.length),
                Some(false) => Found::Different(block.length),
                None => Found::Bad,
            })
        }
    }
}

/// Read a block; whether it is what `wanted` says. None: it cannot be read.
fn look(
    tape: &Tape,
    block: Block,
    wanted: Option<&Buffers>,
    ended: &AtomicBool,
) -> Result<Option<bool>, Stop> {
    if block.form == Form::Packed {
        return match tape.image.unpack(block.data(), block.stored) {
            Ok(data) => Ok(Some(is_same(wanted, 0, &data))),
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(error.into()),
        };
    }
    let mut piece = vec![0; PIECE.min(block.length as usize)];
    let (mut done, mut same) = (0, true);
    while done < block.length {
        go_on(ended)?;
        // At most PIECE.
        let part = &mut piece[..(PIECE as u32).min(block.length - done) as usize];
        if tape.image.file.fill(block.data() + u64::from(done), part)? < part.len() {
            return Err(Stop::Short);
        }
        same = same && is_same(wanted, done.into(), part);
        done += part.len() as u32;
    }
    Ok((block.form == Form::Plain).then_some(same))
}

fn is_same(wanted: Option<&Buffers>, from: u64, data: &[u8]) -> bool {
    let Some(wanted) = wanted else { return true };
    let mut given = vec![0; data.len()];
    wanted.read(from, &mut given) == data.len() && given == data
}

/// Look at what is on the tape, and compare it with data of the guest's where that is asked for.
pub fn verify(
    tape: &mut Tape,
    check: Check,
    data: &Buffers,
    ended: &AtomicBool,
    progress: &Progress,
) -> Outcome {
    match check.extent {
        Extent::Blocks { fixed, length } => {
            blocks(tape, (fixed, length), check.compare.then_some(data), ended)
        }
        Extent::Marks(0) => Outcome::good(0),
        Extent::Marks(count) => far(tape, count, ended, progress),
        Extent::Everything => far(tape, u32::MAX, ended, progress),
    }
}

/// Over blocks and filemarks, up to so many of those.
fn far(tape: &mut Tape, marks: u32, ended: &AtomicBool, progress: &Progress) -> Outcome {
    let begin = tape.place.offset;
    let mut left = marks;
    while left > 0 {
        progress.at(tape.place.offset - begin, tape.image.end().offset - begin);
        match pass(tape, None, ended) {
            Ok(Found::Mark) => left -= u32::from(marks != u32::MAX),
            Ok(Found::Good(_) | Found::Different(_)) => {}
            Ok(Found::Bad) => return unreadable(tape, left.into()),
            Ok(Found::End) if marks == u32::MAX => return Outcome::good(0),
            Ok(Found::End) => return answers::end_of_data(left.into()),
            Err(stop) => return failed_read(tape, &stop),
        }
    }
    Outcome::good(0)
}

fn unreadable(tape: &mut Tape, left: i64) -> Outcome {
    tape.carried.read_errors += 1;
    answers::unreadable(left)
}

fn blocks(
    tape: &mut Tape,
    (fixed, length): (bool, u32),
    data: Option<&Buffers>,
    ended: &AtomicBool,
) -> Outcome {
    let prepared = blocks_of(tape, fixed, length).and_then(|(blocks, size)| {
        let total = u64::from(blocks) * u64::from(size);
        data.map_or(Ok(total), |data| needs(data, blocks, size)).map(|_| (blocks, size))
    });
    let (blocks, size) = match prepared {
        Ok(prepared) => prepared,
        Err(outcome) => return *outcome,
    };
    let mut rest = data.map(Buffers::duplicate);
    for done in 0..blocks {
        let left = if fixed { i64::from(blocks - done) } else { i64::from(length) };
        let wanted = rest.as_ref().map(|rest| (rest, size));
        match pass(tape, wanted, ended) {
            Ok(Found::Good(found) | Found::Different(found)) if found != size => {
                let residual = if fixed { left } else { left - i64::from(found) };
                return answers::incorrect_length(residual);
            }
            Ok(Found::Good(_)) => {}
            Ok(Found::Different(_)) => return Outcome::check(MISCOMPARE).with_residual(left),
            Ok(Found::Bad) => return unreadable(tape, left),
            Ok(Found::Mark) => return answers::filemark(left),
            Ok(Found::End) => return answers::end_of_data(left),
            Err(Stop::Ended) => return Outcome::of(Service::Aborted),
            Err(stop) => return failed_read(tape, &stop),
        }
        if let Some(rest) = &mut rest {
            rest.advance(size.into());
        }
    }
    Outcome::good(data.map_or(0, |_| u64::from(blocks) * u64::from(size)))
}
