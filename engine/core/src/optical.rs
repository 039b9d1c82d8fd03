//! The CDBs of commands that touch the blocks of a CD or DVD (MMC-6), decoded.
//!
//! What they do is what READ, VERIFY and SYNCHRONIZE CACHE of a disk do; READ CD names its blocks
//! in another way. A sector is given as its user data alone: a disc image holds nothing else.

use crate::cdb::{self, invalid_field, refuse_reserved, row, Command, Row};
use crate::gate::Access;
use crate::outcome::{
    Outcome, ILLEGAL_MODE_FOR_THIS_TRACK, INVALID_OPERATION_CODE, LBA_OUT_OF_RANGE,
};

const READ_CD_MSF: u8 = 0xb9;
const READ_CD: u8 = 0xbe;

/// All commands that `parse` knows. Those that disks have too are theirs, bit by bit.
pub const COMMANDS: [Row; 6] = [
    like_a_disk(0x28),
    like_a_disk(0x2f),
    like_a_disk(0x35),
    like_a_disk(0xa8),
    row(
        READ_CD_MSF,
        Access::Read,
        &[0xff, 0x1e, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x07, 0],
    ),
    row(
        READ_CD,
        Access::Read,
        &[0xff, 0x1e, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xfe, 0x07, 0],
    ),
];

const fn like_a_disk(opcode: u8) -> Row {
    let mut position = 0;
    // For a constant: a code that disks do not have would not compile.
    while cdb::COMMANDS[position].opcode != opcode {
        position += 1;
    }
    cdb::COMMANDS[position]
}

fn command(opcode: u8) -> Option<&'static Row> {
    COMMANDS.iter().find(|row| row.opcode == opcode)
}

/// What a command does to the disc; None for one that is not the medium's.
#[must_use]
pub fn access(opcode: u8) -> Option<Access> {
    command(opcode).map(|row| row.access)
}

/// Take the fields out of a CDB.
///
/// # Errors
/// The CHECK CONDITION to answer with.
pub fn parse(bytes: &[u8; 32]) -> Result<Command, Box<Outcome>> {
    let Some(row) = command(bytes[0]) else {
        return Err(Box::new(Outcome::check(INVALID_OPERATION_CODE)));
    };
    if !matches!(bytes[0], READ_CD | READ_CD_MSF) {
        return cdb::parse(bytes);
    }
    refuse_reserved(bytes, row.usage)?;
    let (lba, blocks) = if bytes[0] == READ_CD { extent(bytes) } else { minutes(bytes)? };
    let blocks = if user_data(bytes)? { blocks } else { 0 };
    Ok(Command::Read { lba: lba.into(), blocks })
}

fn extent(bytes: &[u8; 32]) -> (u32, u32) {
    let lba = u32::from_be_bytes([bytes[2], bytes[3], bytes[4], bytes[5]]);
    (lba, u32::from_be_bytes([0, bytes[6], bytes[7], bytes[8]]))
}

/// First block and number of blocks from the place of the first and of the one after the last, each
/// in minutes, seconds and frames (MMC-6 4.2.3.5): 75 frames a second, block 0 at two seconds.
fn minutes(bytes: &[u8; 32]) -> Result<(u32, u32), Box<Outcome>> {
    const LEAD_IN: u32 = 150;
    let place = |at: usize| {
        let [minute, second, frame] = [bytes[at], bytes[at + 1], bytes[at + 2]].map(u32::from);
        (second < 60 && frame < 75).then_some((minute * 60 + second) * 75 + frame)
    };
    let start = place(3).ok_or_else(|| invalid_field(3, 7))?;
    let end = place(6).filter(|end| *end >= start).ok_or_else(|| invalid_field(6, 7))?;
    let Some(lba) = start.checked_sub(LEAD_IN) else {
        return Err(Box::new(Outcome::check(LBA_OUT_OF_RANGE)));
    };
    Ok((lba, end - start))
}

/// Whether the user data of sectors is asked for, or nothing of them (MMC-6 6.19.2): all are of
/// mode 1, and headers, error correction and sub-channels are not kept.
fn user_data(bytes: &[u8; 32]) -> Result<bool, Box<Outcome>> {
    const ANY_TYPE: u8 = 0;
    const MODE_1: u8 = 2;
    const USER_DATA: u8 = 0x10;
    match bytes[1] >> 2 & 7 {
        ANY_TYPE | MODE_1 => {}
        6 | 7 => return Err(invalid_field(1, 4)),
        _ => return Err(Box::new(Outcome::check(ILLEGAL_MODE_FOR_THIS_TRACK))),
    }
    if bytes[10] & 7 != 0 {
        return Err(invalid_field(10, 2));
    }
    match bytes[9] {
        0 => Ok(false),
        USER_DATA => Ok(true),
        flags if flags & 0x06 != 0 => Err(invalid_field(9, 2)),
        _ => Err(invalid_field(9, 7)),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parsed(bytes: &[u8]) -> Result<Command, Box<Outcome>> {
        let mut cdb = [0; 32];
        cdb[..bytes.len()].copy_from_slice(bytes);
        parse(&cdb)
    }

    #[test]
    fn read_cd_reads_the_user_data_of_its_blocks() {
        let command = parsed(&[0xbe, 0x08, 0, 0, 0, 16, 0, 0, 3, 0x10, 0, 0]).unwrap();
        assert_eq!(command, Command::Read { lba: 16, blocks: 3 });
        let nothing = parsed(&[0xbe, 0, 0, 0, 0, 16, 0, 0, 3, 0, 0, 0]).unwrap();
        assert_eq!(nothing, Command::Read { lba: 16, blocks: 0 });
    }

    #[test]
    fn read_cd_msf_ends_before_its_second_place() {
        let command = parsed(&[0xb9, 0, 0, 0, 2, 16, 0, 2, 19, 0x10, 0, 0]).unwrap();
        assert_eq!(command, Command::Read { lba: 16, blocks: 3 });
        for wrong in [[0, 2, 16, 0, 2, 15], [0, 2, 75, 0, 3, 0], [0, 1, 74, 0, 2, 0]] {
            let mut cdb = [0xb9, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0];
            cdb[3..9].copy_from_slice(&wrong);
            assert!(parsed(&cdb).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn what_an_image_does_not_hold_is_refused() {
        for (at, value) in [(1, 0x04), (1, 0x0c), (1, 0x18), (9, 0xf8), (9, 0x12), (10, 1)] {
            let mut cdb = [0xbe, 0, 0, 0, 0, 0, 0, 0, 1, 0x10, 0, 0];
            cdb[at] = value;
            assert!(parsed(&cdb).is_err(), "byte {at} is {value:#x}");
        }
    }

    #[test]
    fn what_only_disks_have_is_no_command() {
        for opcode in [0x08, 0x2a, 0x42, 0x88, 0x91] {
            assert_eq!(access(opcode), None);
            assert!(parsed(&[opcode; 16]).is_err());
        }
        assert!(parsed(&[0x28, 0, 0, 0, 0, 1, 0, 0, 1, 0]).is_ok());
    }
}
