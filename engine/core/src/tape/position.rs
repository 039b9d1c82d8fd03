//! READ POSITION (SSC-5, that command).

use super::cdb::Form;
use super::drive::Tape;
use crate::chain::Buffers;
use crate::outcome::{Outcome, Service};

/// At the beginning of the partition.
const BOP: u8 = 0x80;
/// Between early warning and the end.
const EOP: u8 = 0x40;
/// PERR: the short form has no room for the object's number.
const OVERFLOW: u8 = 0x02;

/// Tell where the tape stands.
pub fn read(tape: &Tape, form: Form, allocation: usize, buffers: &Buffers) -> Outcome {
    let place = tape.place;
    let mut flags = 0;
    if place.object == 0 {
        flags |= BOP;
    }
    if place.offset >= tape.warning {
        flags |= EOP;
    }
    let object = place.object.to_be_bytes();
    let mut data = [0u8; 32];
    // Nothing is in a buffer of ours: the last object is where the first is.
    let length = match form {
        Form::Short => {
            match u32::try_from(place.object) {
                Ok(short) => {
                    data[4..8].copy_from_slice(&short.to_be_bytes());
                    data[8..12].copy_from_slice(&short.to_be_bytes());
                }
                Err(_) => flags |= OVERFLOW,
            }
            20
        }
        Form::Long => {
            data[8..16].copy_from_slice(&object);
            let file = tape.image.index().marks_before(place.object);
            data[16..24].copy_from_slice(&file.to_be_bytes());
            32
        }
        Form::Extended => {
            // ADDITIONAL LENGTH
            data[3] = 32 - 4;
            data[8..16].copy_from_slice(&object);
            data[16..24].copy_from_slice(&object);
            32
        }
    };
    data[0] = flags;
    let wanted = length.min(allocation);
    let moved = buffers.write(0, &data[..wanted]);
    if moved < wanted {
        return Outcome::of(Service::Overrun).having_moved(moved as u64);
    }
    Outcome::good(moved as u64)
}
