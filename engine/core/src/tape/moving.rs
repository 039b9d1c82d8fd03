//! What READ and WRITE have in common: how many blocks of how many bytes, and from where.

use super::drive::Tape;
use crate::cdb::invalid_field;
use crate::chain::Buffers;
use crate::outcome::{Outcome, Service};

/// Longest block that a worker moves by itself, between two looks at its other guests.
pub const INLINE: u32 = 1 << 20;

/// The end of one that was checked and found wanting.
pub type Refused = Box<Outcome>;

/// Blocks that a command is about: how many, and how many bytes each has.
pub fn blocks_of(tape: &Tape, fixed: bool, length: u32) -> Result<(u32, u32), Refused> {
    if !fixed {
        return Ok((u32::from(length > 0), length));
    }
    if tape.block_length == 0 {
        // SSC-5, "READ(6) command": no length is set.
        return Err(invalid_field(1, 0));
    }
    Ok((length, tape.block_length))
}

/// Check that buffers have room for them; how many bytes that is.
pub fn needs(buffers: &Buffers, blocks: u32, size: u32) -> Result<u64, Refused> {
    let total = u64::from(blocks) * u64::from(size);
    if buffers.length() < total {
        return Err(Box::new(Outcome::of(Service::Overrun)));
    }
    Ok(total)
}

/// Put the first `length` bytes of `buffers` behind what is in a list.
pub fn append(list: &mut Buffers, buffers: &Buffers, length: u32) {
    buffers.each(0, length as usize, |address, piece| list.append(address, piece));
}
