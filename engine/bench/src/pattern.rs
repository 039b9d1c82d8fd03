//! Which addresses are used, and what the data there looks like.

use crate::device::Transfer;
use crate::options::Options;
use crate::values::Pattern;

/// Yields one transfer after the other, without end.
#[derive(Clone, Debug)]
pub struct Addresses {
    pattern: Pattern,
    len: u32,
    /// In units of `len`: where this worker's part starts, and how long it is.
    first: u64,
    count: u64,
    position: u64,
    random: u64,
}

impl Addresses {
    /// The part of worker `index`: all of `span` for random order, a share of it in sequence.
    pub fn new(options: &Options, span: u64, index: u16) -> Self {
        let total = span / u64::from(options.block);
        let share = (total / u64::from(options.queues)).max(1);
        let (first, count) = if options.pattern.random {
            (0, total)
        } else {
            (share * u64::from(index) % total.max(1), share)
        };
        let random = mix(options.seed ^ (u64::from(index) << 48));
        Self { pattern: options.pattern, len: options.block, first, count, position: 0, random }
    }

    /// The next transfer.
    pub fn next(&mut self) -> Transfer {
        let index = if self.pattern.random {
            self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
            // The high half of a product scales without a division; its bias is below 2^-32.
            ((u128::from(mix(self.random)) * u128::from(self.count)) >> 64) as u64
        } else {
            let index = self.position;
            self.position = (self.position + 1) % self.count;
            index
        };
        let offset = (self.first + index) * u64::from(self.len);
        Transfer { offset, len: self.len, write: self.pattern.write }
    }
}

/// Fill a buffer with what belongs at an address.
pub fn fill(buffer: &mut [u8], seed: u64, offset: u64) {
    for (word, position) in buffer.chunks_exact_mut(8).zip((offset..).step_by(8)) {
        word.copy_from_slice(&mix(seed ^ position).to_le_bytes());
    }
}

/// The first address at which a buffer differs from what belongs there.
pub fn mismatch(buffer: &[u8], seed: u64, offset: u64) -> Option<u64> {
    let expected = |position: u64| mix(seed ^ position).to_le_bytes();
    buffer
        .chunks_exact(8)
        .zip((offset..).step_by(8))
        .find_map(|(word, position)| (word != expected(position)).then_some(position))
}

/// The finalizer of splitmix64 (Steele, Lea, Flood: Fast splittable pseudorandom number
/// generators, 2014).
fn mix(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn options(random: bool, queues: u16) -> Options {
        Options { pattern: Pattern { random, write: false }, queues, ..Options::default() }
    }

    #[test]
    fn workers_in_sequence_cover_the_span_once() {
        let options = options(false, 4);
        let span = 64 * 4096;
        let mut seen = HashSet::new();
        for index in 0..4 {
            let mut addresses = Addresses::new(&options, span, index);
            (0..16).for_each(|_| assert!(seen.insert(addresses.next().offset)));
        }
        assert_eq!(seen.len(), 64);
        assert!(seen.iter().all(|offset| *offset < span));
    }

    #[test]
    fn random_addresses_stay_inside_and_reach_everything() {
        let mut addresses = Addresses::new(&options(true, 1), 64 * 4096, 0);
        let seen: HashSet<u64> = (0..2000).map(|_| addresses.next().offset).collect();
        assert_eq!(seen.len(), 64);
        assert!(seen.iter().all(|offset| offset % 4096 == 0 && *offset < 64 * 4096));
    }

    #[test]
    fn a_changed_byte_is_found_at_its_address() {
        let mut buffer = vec![0; 4096];
        fill(&mut buffer, 7, 8192);
        assert_eq!(mismatch(&buffer, 7, 8192), None);
        buffer[100] ^= 1;
        assert_eq!(mismatch(&buffer, 7, 8192), Some(8192 + 96));
    }
}
