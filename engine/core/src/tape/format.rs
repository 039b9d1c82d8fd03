//! SIMH's tape image format (.tap), word by word ("SIMH Magtape Representation and Handling").
//!
//! A record is its length as a 32-bit little-endian number, that many bytes, one more where the
//! number is odd, and the length again. Single words are marks. The top four bits are a class.

/// Bytes of a length or of a mark.
pub const WORD: u64 = 4;
/// A tape mark, what SCSI calls a filemark.
pub const MARK: u32 = 0;
/// What follows is not the tape's any more.
const END_OF_MEDIUM: u32 = 0xffff_ffff;
/// Four bytes of a gap.
const GAP: u32 = 0xffff_fffe;
/// A gap whose end lies in the middle of this word.
const HALF_GAP: u32 = 0xfffe_ffff;
/// The private class that compressed blocks have here (`packing.rs`).
const PACKED: u32 = 0x5;
/// Bits of a length.
const LENGTH: u32 = 0x00ff_ffff;
/// Where the class is.
const CLASS_SHIFT: u32 = 28;

/// Longest record that the format can hold.
pub const LONGEST: u32 = LENGTH;

/// What a word at the beginning of an object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// A filemark.
    Mark,
    /// The end of what was recorded.
    EndOfMedium,
    /// Nothing, that many bytes of it.
    Gap(u64),
    /// A block.
    Record {
        /// Bytes of data.
        length: u32,
        /// It could not be read without errors when the image was made.
        bad: bool,
    },
    /// A record of the class that compressed blocks have; what it holds says if it is one.
    Private {
        /// Bytes of data.
        length: u32,
    },
    /// A record that is somebody else's: of a private class, or a description of the tape.
    Foreign {
        /// Bytes of data.
        length: u32,
    },
    /// No word of the format.
    Unknown,
}

impl Word {
    /// Read a word.
    #[must_use]
    pub fn parse(word: u32) -> Self {
        match word {
            MARK => return Word::Mark,
            END_OF_MEDIUM => return Word::EndOfMedium,
            GAP => return Word::Gap(WORD),
            HALF_GAP => return Word::Gap(WORD / 2),
            _ => {}
        }
        let length = word & LENGTH;
        match word >> CLASS_SHIFT {
            0x0 | 0x8 if word & 0x0f00_0000 != 0 => Word::Unknown,
            0x0 => Word::Record { length, bad: false },
            0x8 => Word::Record { length, bad: true },
            PACKED => Word::Private { length },
            // Private data, and the description of the tape.
            0x1..=0x6 | 0xe => Word::Foreign { length },
            // A private mark.
            0x7 => Word::Gap(WORD),
            _ => Word::Unknown,
        }
    }
}

/// The word before and behind a compressed block of that many bytes.
#[must_use]
pub fn packed_word(stored: u32) -> u32 {
    PACKED << CLASS_SHIFT | stored & LENGTH
}

/// Bytes of an image that a record with `length` bytes of data takes.
#[must_use]
pub fn extent(length: u32) -> u64 {
    WORD + padded(length) + WORD
}

/// A record's data with its padding.
#[must_use]
pub fn padded(length: u32) -> u64 {
    u64::from(length) + u64::from(length & 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_what_the_format_says() {
        assert_eq!(Word::parse(0), Word::Mark);
        assert_eq!(Word::parse(0xffff_ffff), Word::EndOfMedium);
        assert_eq!(Word::parse(0xffff_fffe), Word::Gap(4));
        assert_eq!(Word::parse(0xfffe_ffff), Word::Gap(2));
        assert_eq!(Word::parse(512), Word::Record { length: 512, bad: false });
        assert_eq!(Word::parse(0x8000_0200), Word::Record { length: 512, bad: true });
        assert_eq!(Word::parse(0x8000_0000), Word::Record { length: 0, bad: true });
        assert_eq!(Word::parse(0x1000_0010), Word::Foreign { length: 16 });
        assert_eq!(Word::parse(packed_word(16)), Word::Private { length: 16 });
        assert_eq!(Word::parse(0xe000_0010), Word::Foreign { length: 16 });
        assert_eq!(Word::parse(0x7123_4567), Word::Gap(4));
        for unknown in [0x0100_0000, 0x8100_0200, 0x9000_0001, 0xd000_0000, 0xffff_0000] {
            assert_eq!(Word::parse(unknown), Word::Unknown, "{unknown:#x}");
        }
    }

    #[test]
    fn odd_records_are_padded() {
        assert_eq!(extent(1), 10);
        assert_eq!(extent(2), 10);
        assert_eq!(extent(0), 8);
    }
}
