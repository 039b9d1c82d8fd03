//! UNMAP (SBC-4 5.35).

use std::sync::atomic::AtomicBool;

use super::fill::discard;
use super::Run;
use crate::chain::Buffers;
use crate::medium::{Medium, MAX_UNMAP_BLOCKS, MAX_UNMAP_DESCRIPTORS};
use crate::outcome::{Outcome, INVALID_FIELD_IN_PARAMETER_LIST, PARAMETER_LIST_LENGTH_ERROR};
use crate::store::go_on;

/// Give back what the parameter list in `buffers` names.
pub fn unmap(medium: &Medium, length: u16, buffers: &Buffers, ended: &AtomicBool) -> Run {
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
