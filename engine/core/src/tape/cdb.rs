//! The CDBs of commands that move a tape or its data (SSC-5), decoded.

use crate::cdb::{invalid_field, refuse_reserved, row, Row};
use crate::gate::Access;
use crate::outcome::{Outcome, INVALID_OPERATION_CODE};

/// A command for the tape, its fields taken out of the CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// READ(6)
    Read {
        /// Blocks of the length that is set, not one of any length.
        fixed: bool,
        /// A block of another length is no error.
        suppress: bool,
        /// Bytes, or blocks where it is fixed.
        length: u32,
    },
    /// WRITE(6)
    Write {
        /// Blocks of the length that is set, not one of any length.
        fixed: bool,
        /// Bytes, or blocks where it is fixed.
        length: u32,
    },
    /// WRITE FILEMARKS(6)
    Marks {
        /// How many.
        count: u32,
        /// They need not be stable when it is answered.
        immediate: bool,
    },
    /// VERIFY(6)
    Verify(Check),
    /// SPACE(6), SPACE(16)
    Space {
        /// Over what.
        over: Over,
        /// How many, below 0: backwards.
        count: i64,
    },
    // IMMED of these asks for an answer once what was written is stable (SSC-5, each command): what
    // is left to be done then takes no time.
    /// LOCATE(10), LOCATE(16): where to.
    Locate(Target),
    /// REWIND
    Rewind,
    /// READ POSITION
    Position {
        /// In what form.
        form: Form,
        /// Most bytes of it.
        allocation: usize,
    },
    /// ERASE(6), ERASE(16)
    Erase,
}

impl Command {
    /// Its data comes from the guest.
    #[must_use]
    pub fn outgoing(self) -> bool {
        matches!(self, Command::Write { .. } | Command::Verify(Check { compare: true, .. }))
    }

    /// It is answered before it is done.
    #[must_use]
    pub fn goes_behind(self) -> bool {
        matches!(self, Command::Verify(Check { immediate: true, .. }))
    }
}

/// What VERIFY is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Check {
    /// How far.
    pub extent: Extent,
    /// With data from the guest.
    pub compare: bool,
    /// It is answered before it is done.
    pub immediate: bool,
}

/// How far VERIFY goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Over blocks.
    Blocks {
        /// Of the length that is set, not one of any length.
        fixed: bool,
        /// Bytes, or blocks where it is fixed.
        length: u32,
    },
    /// Over whatever there is, and so many filemarks.
    Marks(u32),
    /// To the end of data.
    Everything,
}

/// CODE of SPACE (SSC-5, "SPACE(6) command").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Over {
    /// 0h
    Blocks,
    /// 1h
    Marks,
    /// 2h: that many filemarks one behind the other
    Row,
    /// 3h: to the end of data
    Everything,
}

/// What LOCATE looks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The object of that number.
    Object(u64),
    /// What is behind the filemark of that number, from 1; 0: the beginning.
    File(u64),
    /// The end of data.
    End,
}

/// Forms of READ POSITION.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Service actions 00h and 01h: block addresses are object numbers here.
    Short,
    /// 06h
    Long,
    /// 08h
    Extended,
}

/// All commands that `parse` knows.
pub const COMMANDS: [Row; 12] = [
    // REWIND: IMMED.
    row(0x01, Access::Read, &[0xff, 0x01, 0, 0, 0, 0]),
    // READ(6): SILI and FIXED.
    row(0x08, Access::Read, &[0xff, 0x03, 0xff, 0xff, 0xff, 0]),
    // WRITE(6): FIXED.
    row(0x0a, Access::Write, &[0xff, 0x01, 0xff, 0xff, 0xff, 0]),
    // WRITE FILEMARKS(6): IMMED; setmarks are obsolete.
    row(0x10, Access::Write, &[0xff, 0x01, 0xff, 0xff, 0xff, 0]),
    // SPACE(6): CODE.
    row(0x11, Access::Read, &[0xff, 0x0f, 0xff, 0xff, 0xff, 0]),
    // VERIFY(6): VTE, VBF, IMMED, BYTCMP and FIXED; nothing protects blocks, so no VLBPM.
    row(0x13, Access::Read, &[0xff, 0x2f, 0xff, 0xff, 0xff, 0]),
    // ERASE(6): IMMED and LONG.
    row(0x19, Access::Write, &[0xff, 0x03, 0, 0, 0, 0]),
    // LOCATE(10): BT, CP and IMMED; the partition is byte 8.
    row(0x2b, Access::Read, &[0xff, 0x07, 0, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0]),
    // READ POSITION
    row(0x34, Access::Read, &[0xff, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, 0]),
    // SPACE(16): CODE, COUNT, PARAMETER LIST LENGTH.
    row(
        0x91,
        Access::Read,
        &[0xff, 0x0f, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0],
    ),
    // LOCATE(16): DEST_TYPE, CP and IMMED; the partition is byte 3.
    row(
        0x92,
        Access::Read,
        &[0xff, 0x3b, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0],
    ),
    // ERASE(16) erases what is behind a place in commands with addresses, which are not here; in
    // those without it is ERASE(6): FCS, LCS and addresses are 0.
    row(0x93, Access::Write, &[0xff, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
];

/// What a command does to the tape; None for one that is not the executor's.
#[must_use]
pub fn access(opcode: u8) -> Option<Access> {
    COMMANDS.iter().find(|row| row.opcode == opcode).map(|row| row.access)
}

/// Take the fields out of a CDB.
///
/// # Errors
/// The CHECK CONDITION to answer with: a field is not supported or reserved bits are set.
pub fn parse(cdb: &[u8; 32]) -> Result<Command, Box<Outcome>> {
    let Some(row) = COMMANDS.iter().find(|row| row.opcode == cdb[0]) else {
        return Err(Box::new(Outcome::check(INVALID_OPERATION_CODE)));
    };
    refuse_reserved(cdb, row.usage)?;
    let short = u32::from_be_bytes([0, cdb[2], cdb[3], cdb[4]]);
    let fixed = cdb[1] & 0x01 != 0;
    Ok(match cdb[0] {
        0x01 => Command::Rewind,
        0x08 => {
            let suppress = cdb[1] & 0x02 != 0;
            if suppress && fixed {
                // SSC-5, "READ(6) command".
                return Err(invalid_field(1, 1));
            }
            Command::Read { fixed, suppress, length: short }
        }
        0x0a => Command::Write { fixed, length: short },
        0x10 => Command::Marks { count: short, immediate: cdb[1] & 0x01 != 0 },
        0x13 => Command::Verify(check(cdb, fixed, short)?),
        0x11 => {
            // 24 bits with a sign.
            let count = i32::from_be_bytes((short << 8).to_be_bytes()) >> 8;
            Command::Space { over: over(cdb)?, count: count.into() }
        }
        0x2b => {
            if cdb[1] & 0x02 != 0 && cdb[8] != 0 {
                return Err(invalid_field(8, 7));
            }
            let object = u32::from_be_bytes([cdb[3], cdb[4], cdb[5], cdb[6]]);
            Command::Locate(Target::Object(object.into()))
        }
        0x34 => position(cdb)?,
        0x91 => {
            if cdb[12] | cdb[13] != 0 {
                return Err(invalid_field(12, 7));
            }
            Command::Space { over: over(cdb)?, count: i64::from_be_bytes(long(cdb).to_be_bytes()) }
        }
        0x92 => {
            if cdb[1] & 0x02 != 0 && cdb[3] != 0 {
                return Err(invalid_field(3, 7));
            }
            Command::Locate(match cdb[1] >> 3 {
                0 => Target::Object(long(cdb)),
                1 => Target::File(long(cdb)),
                3 => Target::End,
                _ => return Err(invalid_field(1, 5)),
            })
        }
        _ => Command::Erase,
    })
}

fn long(cdb: &[u8; 32]) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&cdb[4..12]);
    u64::from_be_bytes(bytes)
}

fn check(cdb: &[u8; 32], fixed: bool, length: u32) -> Result<Check, Box<Outcome>> {
    let [everything, marks, immediate, compare] = [5, 3, 2, 1].map(|bit| cdb[1] >> bit & 1 != 0);
    if everything && marks {
        return Err(invalid_field(1, 5));
    }
    // SSC-5, "VERIFY(6) command": what is compared are blocks.
    if compare && (everything || marks) {
        return Err(invalid_field(1, 1));
    }
    let extent = match (everything, marks) {
        (true, _) => Extent::Everything,
        (_, true) => Extent::Marks(length),
        _ => Extent::Blocks { fixed, length },
    };
    // What is compared is in the guest's buffers: it is waited for, whatever IMMED says.
    Ok(Check { extent, compare, immediate: immediate && !compare })
}

fn over(cdb: &[u8; 32]) -> Result<Over, Box<Outcome>> {
    Ok(match cdb[1] & 0x0f {
        0 => Over::Blocks,
        1 => Over::Marks,
        2 => Over::Row,
        3 => Over::Everything,
        _ => return Err(invalid_field(1, 3)),
    })
}

fn position(cdb: &[u8; 32]) -> Result<Command, Box<Outcome>> {
    let allocation = usize::from(u16::from_be_bytes([cdb[7], cdb[8]]));
    let form = match cdb[1] & 0x1f {
        0x00 | 0x01 => Form::Short,
        0x06 => Form::Long,
        0x08 => return Ok(Command::Position { form: Form::Extended, allocation }),
        _ => return Err(invalid_field(1, 4)),
    };
    // SSC-5: only the extended form has an allocation length.
    if allocation != 0 {
        return Err(invalid_field(7, 7));
    }
    Ok(Command::Position { form, allocation: usize::from(u16::MAX) })
}
