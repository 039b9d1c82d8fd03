//! WRITE SAME (SBC-4 5.52).

use std::sync::atomic::AtomicBool;

use super::fill::{discard, fill};
use super::{refused, Run};
use crate::chain::Buffers;
use crate::medium::Medium;
use crate::outcome::Outcome;
use crate::store::Store;

/// What one WRITE SAME asks for, as in `Slow::WriteSame`.
#[derive(Clone, Copy, Debug)]
pub struct Fill {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Blocks may be given back instead.
    pub unmap: bool,
    /// There is no data-out: zeros.
    pub no_data: bool,
}

/// Write one block of data-out over a range.
pub fn write_same(medium: &Medium, asked: Fill, buffers: &Buffers, ended: &AtomicBool) -> Run {
    let Fill { offset, length, unmap, no_data } = asked;
    let mut block = vec![0u8; medium.block_size as usize];
    let moved = if no_data { 0 } else { buffers.read(0, &mut block) as u64 };
    let zero = block.iter().all(|byte| *byte == 0);
    if zero && unmap {
        discard(medium, offset, length, ended)?;
    } else if !(zero && zero_range(medium, offset, length)) {
        fill(medium, offset, length, &block, ended)?;
    }
    if medium.store.sync_writes() {
        medium.store.flush().map_err(refused(true))?;
    }
    Ok(Outcome::good(moved))
}

fn zero_range(medium: &Medium, offset: u64, length: u64) -> bool {
    match &medium.store {
        Store::File(file) => file.zero_range(offset, length).is_ok(),
        Store::Ram(_) | Store::Null | Store::Tape(_) => false,
    }
}
