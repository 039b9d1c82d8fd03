//! Reads an image from one end to the other, and says what is wrong with it.

use super::format::{extent, padded, Word, WORD};
use super::index::{Index, Place};
use super::packing;
use crate::backend::FileStore;

/// Filemarks and nothing before them, more than which no tape has: it is a file of zeros.
const MOST_MARKS: u64 = 1 << 10;
/// Bytes read ahead of a word: small records have many of them close together.
const AHEAD: usize = 4096;

/// How an image ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With its last object, or with a mark of its own behind it.
    Whole,
    /// In the middle of a record: the file is too short for it.
    Torn,
    /// With what is no object of the format.
    Damaged,
    /// With nothing but filemarks, more of them than anybody writes.
    Zeros,
}

/// The words of a file, some read ahead.
pub struct Words<'a> {
    file: &'a FileStore,
    start: u64,
    held: usize,
    buffer: Box<[u8; AHEAD]>,
}

impl<'a> Words<'a> {
    /// Of that file.
    #[must_use]
    pub fn new(file: &'a FileStore) -> Self {
        Words { file, start: 0, held: 0, buffer: Box::new([0; AHEAD]) }
    }

    /// The word at an offset; None where the file ends before it does.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn at(&mut self, offset: u64) -> std::io::Result<Option<u32>> {
        let end = self.start + self.held as u64;
        if offset < self.start || offset + WORD > end {
            self.held = self.file.fill(offset, &mut self.buffer[..])?;
            self.start = offset;
            if (self.held as u64) < WORD {
                return Ok(None);
            }
        }
        // Within the buffer, which was just looked at.
        let at = (offset - self.start) as usize;
        let mut word = [0; WORD as usize];
        word.copy_from_slice(&self.buffer[at..at + WORD as usize]);
        Ok(Some(u32::from_le_bytes(word)))
    }
}

/// How a block lies in an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// As it is.
    Plain,
    /// With errors.
    Bad,
    /// Compressed.
    Packed,
}

/// A block of an image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// Where its length word is.
    pub offset: u64,
    /// Bytes of data.
    pub length: u32,
    /// Bytes of them in the image.
    pub stored: u32,
    /// How they lie there.
    pub form: Form,
}

impl Block {
    fn plain(offset: u64, length: u32, bad: bool) -> Self {
        let form = if bad { Form::Bad } else { Form::Plain };
        Block { offset, length, stored: length, form }
    }

    /// Where its data is.
    #[must_use]
    pub fn data(&self) -> u64 {
        self.offset + WORD
    }

    /// Where what is behind it begins.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.offset + extent(self.stored)
    }
}

/// What stands at a place, gaps and what is somebody else's left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Object {
    /// A filemark at that offset.
    Mark(u64),
    /// A block.
    Block(Block),
    /// None: the end of data.
    End,
    /// None that can be used, for that reason, at that offset.
    Broken(Ending, u64),
}

/// Find the object at or behind an offset. `size`: where the file ends.
///
/// # Errors
/// What the kernel says.
pub fn object(words: &mut Words<'_>, mut offset: u64, size: u64) -> std::io::Result<Object> {
    loop {
        let Some(word) = words.at(offset)? else {
            // Up to three bytes of a word, or none.
            let broken = offset < size;
            return Ok(if broken { Object::Broken(Ending::Torn, offset) } else { Object::End });
        };
        match Word::parse(word) {
            Word::Mark => return Ok(Object::Mark(offset)),
            Word::EndOfMedium => return Ok(Object::End),
            Word::Unknown => return Ok(Object::Broken(Ending::Damaged, offset)),
            Word::Gap(bytes) => offset += bytes,
            Word::Foreign { length } => match closes(words, offset, length, word, size)? {
                Ending::Whole => offset += extent(length),
                broken => return Ok(Object::Broken(broken, offset)),
            },
            Word::Private { length: stored } => match closes(words, offset, stored, word, size)? {
                Ending::Whole => match packed(words, offset, stored)? {
                    Some(length) => {
                        let form = Form::Packed;
                        return Ok(Object::Block(Block { offset, length, stored, form }));
                    }
                    None => offset += extent(stored),
                },
                broken => return Ok(Object::Broken(broken, offset)),
            },
            Word::Record { length, bad } => {
                return Ok(match closes(words, offset, length, word, size)? {
                    Ending::Whole => Object::Block(Block::plain(offset, length, bad)),
                    broken => Object::Broken(broken, offset),
                });
            }
        }
    }
}

/// Bytes of the block in a record of our private class; None: it is somebody else's.
fn packed(words: &mut Words<'_>, offset: u64, stored: u32) -> std::io::Result<Option<u32>> {
    if (stored as usize) < packing::HEAD {
        return Ok(None);
    }
    let mut head = [0; packing::HEAD / WORD as usize];
    for (number, word) in (1..).zip(&mut head) {
        match words.at(offset + number * WORD)? {
            Some(found) => *word = found,
            None => return Ok(None),
        }
    }
    Ok(packing::length(head))
}

/// Whether a record ends as it begins.
fn closes(
    words: &mut Words<'_>,
    offset: u64,
    length: u32,
    word: u32,
    size: u64,
) -> std::io::Result<Ending> {
    if offset + extent(length) > size {
        return Ok(Ending::Torn);
    }
    match words.at(offset + WORD + padded(length))? {
        Some(closing) if closing == word => Ok(Ending::Whole),
        Some(_) => Ok(Ending::Damaged),
        None => Ok(Ending::Torn),
    }
}

/// Enter all objects behind the index' end into it; how the image ends, and where what is usable of
/// it does. `ours`: it may have any number of filemarks, for a guest wrote them.
///
/// # Errors
/// What the kernel says.
pub fn scan(
    file: &FileStore,
    size: u64,
    index: &mut Index,
    ours: bool,
) -> std::io::Result<(Ending, u64)> {
    let mut words = Words::new(file);
    loop {
        match object(&mut words, index.end().offset, size)? {
            Object::Mark(offset) => {
                index.push_marks(offset, 1);
                let marks = index.marks();
                if !ours && marks > MOST_MARKS && marks == index.end().object {
                    return Ok((Ending::Zeros, offset));
                }
            }
            Object::Block(block) => index.push_block(block.offset, block.next()),
            Object::End => return Ok((Ending::Whole, index.end().offset)),
            Object::Broken(ending, offset) => return Ok((ending, offset)),
        }
    }
}

/// The place of an object, found by reading from the nearest known one on, and how many objects
/// were read; the last that there is, where there are fewer.
///
/// # Errors
/// What the kernel says.
pub fn find(
    file: &FileStore,
    size: u64,
    index: &Index,
    wanted: u64,
) -> std::io::Result<(Place, u64)> {
    let near = index.near(wanted);
    let mut place = near;
    let mut words = Words::new(file);
    while place.object < wanted && place.object < index.end().object {
        let offset = match object(&mut words, place.offset, size)? {
            Object::Mark(offset) => offset + WORD,
            Object::Block(block) => block.next(),
            // The file was changed behind our back.
            Object::End | Object::Broken(..) => {
                return Err(std::io::Error::from_raw_os_error(libc::EIO));
            }
        };
        place = Place { object: place.object + 1, offset };
    }
    Ok((place, place.object - near.object))
}
