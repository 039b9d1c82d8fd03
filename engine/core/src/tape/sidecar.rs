//! The file beside an image that holds its index. It can be lost: the index is made anew then.
//!
//! Numbers are little-endian. A head: magic, whether the image is as it was when this was written,
//! the image's length and time of modification, its end of data, how many runs of filemarks and
//! places of blocks follow. Then those, then a checksum of all that is before it.

use super::index::{Index, Place};
use crate::backend::FileStore;

const MAGIC: u64 = u64::from_le_bytes(*b"VPTAPIX1");
/// Words of the head.
const HEAD: usize = 8;
/// Words of a run, and of a place.
const RUN: usize = 3;
const PLACE: usize = 2;
/// No index that is read is larger.
const MOST_BYTES: u64 = 1 << 30;

/// What a sidecar says.
#[derive(Debug, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it is empty, or somebody else's.
    Nothing,
    /// That the image is ours, and has been changed since.
    Ours,
    /// The index of the image as it is.
    Index(Box<Index>),
}

impl PartialEq for Index {
    fn eq(&self, other: &Self) -> bool {
        self.runs() == other.runs() && self.blocks() == other.blocks() && self.end() == other.end()
    }
}

impl Eq for Index {}

/// Length and time of modification in nanoseconds.
fn stamp(image: &FileStore) -> std::io::Result<(u64, u64)> {
    // SAFETY: a zeroed stat is valid, and the call only fills it.
    let status = unsafe {
        let mut status: libc::stat = std::mem::zeroed();
        if libc::fstat(image.raw(), &mut status) < 0 {
            return Err(std::io::Error::last_os_error());
        }
        status
    };
    // A file of before 1970 has none of our indexes: whatever the cast makes of it will do.
    let time = (status.st_mtime as u64).wrapping_mul(1_000_000_000);
    Ok((status.st_size as u64, time.wrapping_add(status.st_mtime_nsec as u64)))
}

/// Read it.
///
/// # Errors
/// What the kernel says.
pub fn read(file: &FileStore, image: &FileStore) -> std::io::Result<Known> {
    let length = file.length()?;
    let words = length / 8;
    if length % 8 != 0 || length > MOST_BYTES || words < HEAD as u64 + 1 {
        return Ok(Known::Nothing);
    }
    // At most MOST_BYTES.
    let mut bytes = vec![0u8; length as usize];
    if file.fill(0, &mut bytes)? < bytes.len() {
        return Ok(Known::Nothing);
    }
    let words: Vec<u64> = bytes.chunks_exact(8).map(word).collect();
    if words[0] != MAGIC {
        return Ok(Known::Nothing);
    }
    let (body, sum) = words.split_at(words.len() - 1);
    let (size, time) = stamp(image)?;
    if words[1] != 1 || words[2] != size || words[3] != time || checksum(body) != sum[0] {
        return Ok(Known::Ours);
    }
    Ok(index_of(body, size).map_or(Known::Ours, |index| Known::Index(Box::new(index))))
}

fn index_of(words: &[u64], size: u64) -> Option<Index> {
    let end = Place { object: words[4], offset: words[5] };
    let runs = usize::try_from(words[6]).ok()?.checked_mul(RUN)?;
    let places = usize::try_from(words[7]).ok()?.checked_mul(PLACE)?;
    let rest = &words[HEAD..];
    if end.offset > size || rest.len() != runs.checked_add(places)? {
        return None;
    }
    // Whoever made it up had the checksum right: it must not lead anywhere all the same.
    let beyond = |one: &[u64]| one[0] >= end.object || one[1] >= end.offset;
    let (runs, places) = rest.split_at(runs);
    if runs.chunks_exact(RUN).any(|one| beyond(one) || one[2] > end.object - one[0])
        || places.chunks_exact(PLACE).any(beyond)
    {
        return None;
    }
    let runs = runs.chunks_exact(RUN).map(|one| (place(one), one[2]));
    Some(Index::from_parts(runs, places.chunks_exact(PLACE).map(place), end))
}

fn place(words: &[u64]) -> Place {
    Place { object: words[0], offset: words[1] }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte))
}

/// FNV-1a, by words.
fn checksum(words: &[u64]) -> u64 {
    words.iter().fold(0xcbf2_9ce4_8422_2325, |sum, word| {
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(17)
    })
}

/// Write it: the image is as the index says, and stable.
///
/// # Errors
/// What the kernel says; what it said before is not believed any more.
pub fn write(file: &FileStore, image: &FileStore, index: &Index) -> std::io::Result<()> {
    let (size, time) = stamp(image)?;
    let end = index.end();
    let (runs, blocks) = (index.runs().len() as u64, index.blocks().len() as u64);
    let mut words = vec![MAGIC, 1, size, time, end.object, end.offset, runs, blocks];
    for run in index.runs() {
        words.extend([run.first.object, run.first.offset, run.count]);
    }
    for block in index.blocks() {
        words.extend([block.object, block.offset]);
    }
    words.push(checksum(&words));
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    file.set_length(0)?;
    file.put(0, &bytes)
}

/// Say that the image is about to be changed, so that nobody believes the index.
///
/// # Errors
/// What the kernel says.
pub fn distrust(file: &FileStore) -> std::io::Result<()> {
    let words = [MAGIC, 0, 0, 0, 0, 0, 0, 0, 0];
    let bytes: Vec<u8> = words.iter().flat_map(|word: &u64| word.to_le_bytes()).collect();
    file.set_length(0)?;
    file.put(0, &bytes)?;
    // Before the image is changed: a power failure must not bring back what it said before.
    file.flush()
}
