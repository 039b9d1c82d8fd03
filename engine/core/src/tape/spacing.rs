//! SPACE and LOCATE (SSC-5, those commands).

use super::answers::{beginning, end_of_data, filemark};
use super::cdb::{Over, Target};
use super::drive::Tape;
use super::format::WORD;
use super::index::Place;
use crate::outcome::Outcome;

type Done = std::io::Result<Outcome>;

/// Move over so many objects of a kind; backwards below 0.
pub fn space(tape: &mut Tape, over: Over, count: i64) -> Done {
    // Counts beyond this many objects are as good as it.
    let many = count.unsigned_abs().min(1 << 62);
    match over {
        Over::Everything => {
            tape.go(tape.image.end());
            Ok(Outcome::good(0))
        }
        _ if count == 0 => Ok(Outcome::good(0)),
        Over::Blocks if count > 0 => blocks_forward(tape, many),
        Over::Blocks => blocks_backward(tape, many),
        Over::Marks if count > 0 => Ok(marks_forward(tape, many)),
        Over::Marks => Ok(marks_backward(tape, many)),
        Over::Row if count > 0 => {
            let found = tape.image.index().run_after(tape.place.object, many);
            tape.go(found.unwrap_or(tape.image.end()));
            Ok(if found.is_some() { Outcome::good(0) } else { end_of_data(left(many)) })
        }
        Over::Row => {
            let found = tape.image.index().run_before(tape.place.object, many);
            tape.go(found.unwrap_or_default());
            Ok(if found.is_some() { Outcome::good(0) } else { beginning(left(many)) })
        }
    }
}

/// What was not done, as sense data has it. At most 2 to the 62nd.
fn left(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn behind(mark: Place) -> Place {
    Place { object: mark.object + 1, offset: mark.offset + WORD }
}

fn blocks_forward(tape: &mut Tape, count: u64) -> Done {
    let from = tape.place.object;
    let index = tape.image.index();
    let mark = index.mark(index.marks_before(from));
    // How many blocks there are before the next mark, or the end.
    let there = mark.map_or(index.end().object, |mark| mark.object) - from;
    if count <= there {
        let place = tape.image.find(from + count)?;
        tape.go(place);
        return Ok(Outcome::good(0));
    }
    match mark {
        Some(mark) => {
            tape.go(behind(mark));
            Ok(filemark(left(count - there)))
        }
        None => {
            tape.go(tape.image.end());
            Ok(end_of_data(left(count - there)))
        }
    }
}

fn blocks_backward(tape: &mut Tape, count: u64) -> Done {
    let from = tape.place.object;
    let index = tape.image.index();
    let before = index.marks_before(from);
    let mark = before.checked_sub(1).and_then(|number| index.mark(number));
    let there = from - mark.map_or(0, |mark| mark.object + 1);
    if count <= there {
        let place = tape.image.find(from - count)?;
        tape.go(place);
        return Ok(Outcome::good(0));
    }
    match mark {
        Some(mark) => {
            tape.go(mark);
            Ok(filemark(left(count - there)))
        }
        None => {
            tape.go(Place::default());
            Ok(beginning(left(count - there)))
        }
    }
}

fn marks_forward(tape: &mut Tape, count: u64) -> Outcome {
    let index = tape.image.index();
    let before = index.marks_before(tape.place.object);
    if let Some(mark) = index.mark(before + count - 1) {
        tape.go(behind(mark));
        return Outcome::good(0);
    }
    let missing = count - (index.marks() - before);
    tape.go(tape.image.end());
    end_of_data(left(missing))
}

fn marks_backward(tape: &mut Tape, count: u64) -> Outcome {
    let index = tape.image.index();
    let before = index.marks_before(tape.place.object);
    let found = before.checked_sub(count).and_then(|number| index.mark(number));
    if let Some(mark) = found {
        tape.go(mark);
        return Outcome::good(0);
    }
    tape.go(Place::default());
    beginning(left(count - before))
}

/// Go to a place; where it does not exist, to the end of data.
pub fn locate(tape: &mut Tape, target: Target) -> Done {
    let index = tape.image.index();
    let end = index.end();
    let found = match target {
        Target::End => Some(end),
        Target::Object(object) if object <= end.object => Some(tape.image.find(object)?),
        Target::File(0) => Some(Place::default()),
        Target::File(file) => index.mark(file - 1).map(behind),
        Target::Object(_) => None,
    };
    tape.go(found.unwrap_or(end));
    Ok(match found {
        Some(_) => Outcome::good(0),
        // SSC-5, "LOCATE(10) command": no residual, but where it would have been.
        None => Outcome::check(crate::outcome::END_OF_DATA),
    })
}
