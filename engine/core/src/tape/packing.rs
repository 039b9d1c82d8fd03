//! Compressed blocks: what a record of our private class holds.
//!
//! Eight bytes that say whose it is, the block's length as a 32-bit little-endian number, and one
//! zstd frame (RFC 8878) with a checksum of the content.

use std::io::{Error, ErrorKind, Result};

use super::format::LONGEST;

/// Bytes before the frame.
pub const HEAD: usize = 12;
const MAGIC: [u8; 8] = *b"VPTAPEZ1";
/// zstd's quickest level but for the negative ones: a tape is a stream, and nobody waits for less.
const LEVEL: i32 = 1;

/// Bytes of the block whose record begins with these words; None: it is none of ours.
#[must_use]
pub fn length(head: [u32; 3]) -> Option<u32> {
    let [first, second, length] = head;
    let [low, high] = [first, second].map(u32::to_le_bytes);
    let ours = MAGIC[..4] == low && MAGIC[4..] == high;
    (ours && (1..=LONGEST).contains(&length)).then_some(length)
}

/// What compresses blocks, one after the other; its memory is used again.
#[derive(Default)]
pub struct Packer {
    compressor: Option<zstd::bulk::Compressor<'static>>,
    packed: Vec<u8>,
}

impl std::fmt::Debug for Packer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Packer").finish_non_exhaustive()
    }
}

impl Packer {
    /// What a record of a block holds; None where that is no less than the block.
    pub fn pack(&mut self, block: &[u8]) -> Option<&mut [u8]> {
        let length = u32::try_from(block.len()).ok()?;
        let room = block.len().checked_sub(HEAD + 1)?;
        if self.compressor.is_none() {
            let mut made = zstd::bulk::Compressor::new(LEVEL).ok()?;
            made.include_checksum(true).ok()?;
            self.compressor = Some(made);
        }
        self.packed.clear();
        self.packed.extend(MAGIC);
        self.packed.extend(length.to_le_bytes());
        self.packed.resize(HEAD + room, 0);
        // What does not fit is an error here: then it is not worth it.
        let done = self.compressor.as_mut()?.compress_to_buffer(block, &mut self.packed[HEAD..]);
        Some(&mut self.packed[..HEAD + done.ok()?])
    }
}

/// The block of a record.
///
/// # Errors
/// `InvalidData`: it is not what was written.
pub fn unpack(record: &[u8]) -> Result<Vec<u8>> {
    let wrong = || Error::from(ErrorKind::InvalidData);
    let (head, frame) = record.split_at_checked(HEAD).ok_or_else(wrong)?;
    let mut words = [0; 3];
    for (word, bytes) in words.iter_mut().zip(head.chunks_exact(4)) {
        *word = bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
    }
    // At most LONGEST.
    let length = length(words).ok_or_else(wrong)? as usize;
    let block = zstd::bulk::decompress(frame, length).map_err(|_| wrong())?;
    if block.len() == length {
        Ok(block)
    } else {
        Err(wrong())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_block_comes_back_as_it_was() {
        let block: Vec<u8> = (0..100_000u32).map(|n| (n / 50) as u8).collect();
        let mut packer = Packer::default();
        for block in [&block[..], &block[..77], &block[..]] {
            let record = packer.pack(block).unwrap();
            assert!(record.len() < block.len());
            assert_eq!(unpack(record).unwrap(), block);
        }
    }

    #[test]
    fn what_does_not_become_less_stays_as_it_is() {
        let mut packer = Packer::default();
        assert!(packer.pack(b"").is_none());
        assert!(packer.pack(b"0123456789abcdef").is_none());
        assert!(packer.pack(&[0; 4096]).is_some());
    }

    #[test]
    fn every_changed_byte_is_found() {
        let block = [b"abcdefgh".repeat(20), vec![0; 200]].concat();
        let mut packer = Packer::default();
        let record = packer.pack(&block).unwrap().to_vec();
        for at in 0..record.len() {
            let mut changed = record.clone();
            changed[at] ^= 0x10;
            // What changes nothing of the content is no harm: a frame has reserved bits.
            if let Ok(found) = unpack(&changed) {
                assert_eq!(found, block, "byte {at}");
            }
            assert!(unpack(&record[..at]).is_err());
        }
    }
}
