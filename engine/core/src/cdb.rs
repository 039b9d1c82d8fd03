//! The CDBs of commands that touch a disk's blocks (SBC-4 5), decoded.

use crate::gate::Access;
use crate::outcome::{Outcome, INVALID_FIELD_IN_CDB, INVALID_OPERATION_CODE};

/// A command for the medium, its fields taken out of the CDB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// READ (6), (10), (12), (16)
    Read {
        /// First block.
        lba: u64,
        /// Number of blocks.
        blocks: u32,
    },
    /// WRITE (6), (10), (12), (16)
    Write {
        /// First block.
        lba: u64,
        /// Number of blocks.
        blocks: u32,
        /// Force unit access: stable when answered.
        fua: bool,
    },
    /// SYNCHRONIZE CACHE (10), (16)
    Flush {
        /// First block.
        lba: u64,
        /// Number of blocks, 0: to the end.
        blocks: u32,
    },
    /// VERIFY (10), (12), (16)
    Verify {
        /// First block.
        lba: u64,
        /// Number of blocks.
        blocks: u32,
        /// What is compared.
        check: ByteCheck,
    },
    /// WRITE SAME (10), (16)
    WriteSame {
        /// First block.
        lba: u64,
        /// Number of blocks.
        blocks: u32,
        /// The blocks may be unmapped if they read as what is written.
        unmap: bool,
        /// There is no data-out: zeros are written.
        no_data: bool,
    },
    /// UNMAP
    Unmap {
        /// Bytes of parameter list.
        length: u16,
    },
}

/// BYTCHK of the VERIFY commands (SBC-4 5.36).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteCheck {
    /// 00b: the medium is read, nothing is compared.
    Medium,
    /// 01b: compared with as many blocks of data-out.
    Blocks,
    /// 11b: each compared with one block of data-out.
    OneBlock,
}

/// Operation codes that `parse` knows, with what they do.
pub const OPCODES: &[(u8, Access)] = &[
    (0x08, Access::Read),
    (0x0a, Access::Write),
    (0x28, Access::Read),
    (0x2a, Access::Write),
    (0x2f, Access::Read),
    (0x35, Access::Write),
    (0x41, Access::Write),
    (0x42, Access::Write),
    (0x88, Access::Read),
    (0x8a, Access::Write),
    (0x8f, Access::Read),
    (0x91, Access::Write),
    (0x93, Access::Write),
    (0xa8, Access::Read),
    (0xaa, Access::Write),
    (0xaf, Access::Read),
];

/// What a command does to the medium; None for one that is not the medium's.
#[must_use]
pub fn access(opcode: u8) -> Option<Access> {
    OPCODES.iter().find(|(code, _)| *code == opcode).map(|(_, access)| *access)
}

/// Take the fields out of a CDB of at least 16 bytes.
///
/// # Errors
/// The CHECK CONDITION to answer with: a field is not supported or reserved bits are set.
pub fn parse(cdb: &[u8; 32]) -> Result<Command, Box<Outcome>> {
    let opcode = cdb[0];
    let (lba, blocks) = extent(cdb);
    let command = match opcode {
        0x08 | 0x28 | 0xa8 | 0x88 => Command::Read { lba, blocks },
        0x0a => Command::Write { lba, blocks, fua: false },
        0x2a | 0xaa | 0x8a => Command::Write { lba, blocks, fua: cdb[1] & 0x08 != 0 },
        0x35 | 0x91 => Command::Flush { lba, blocks },
        0x2f | 0xaf | 0x8f => Command::Verify { lba, blocks, check: byte_check(cdb)? },
        0x41 => write_same(cdb, lba, blocks, false)?,
        0x93 => write_same(cdb, lba, blocks, cdb[1] & 0x01 != 0)?,
        0x42 => {
            // ANCHOR needs anchored blocks, which no file has.
            if cdb[1] & 0x01 != 0 {
                return Err(invalid_field(1));
            }
            Command::Unmap { length: u16::from_be_bytes([cdb[7], cdb[8]]) }
        }
        _ => return Err(Box::new(Outcome::check(INVALID_OPERATION_CODE))),
    };
    // RDPROTECT, WRPROTECT, VRPROTECT: no protection information is kept.
    let protected = !matches!(opcode, 0x08 | 0x0a | 0x35 | 0x91 | 0x42);
    if protected && cdb[1] & 0xe0 != 0 {
        return Err(invalid_field(1));
    }
    Ok(command)
}

fn invalid_field(byte: u16) -> Box<Outcome> {
    Box::new(Outcome::check(INVALID_FIELD_IN_CDB).with_field(byte))
}

fn byte_check(cdb: &[u8; 32]) -> Result<ByteCheck, Box<Outcome>> {
    match cdb[1] >> 1 & 3 {
        0 => Ok(ByteCheck::Medium),
        1 => Ok(ByteCheck::Blocks),
        3 => Ok(ByteCheck::OneBlock),
        _ => Err(invalid_field(1)),
    }
}

fn write_same(
    cdb: &[u8; 32],
    lba: u64,
    blocks: u32,
    no_data: bool,
) -> Result<Command, Box<Outcome>> {
    // ANCHOR as above; the obsolete PBDATA and LBDATA of WRITE SAME (10) likewise.
    if cdb[1] & 0x10 != 0 || (cdb[0] == 0x41 && cdb[1] & 0x06 != 0) {
        return Err(invalid_field(1));
    }
    Ok(Command::WriteSame { lba, blocks, unmap: cdb[1] & 0x08 != 0, no_data })
}

/// First block and number of blocks, by the length of the CDB.
fn extent(cdb: &[u8; 32]) -> (u64, u32) {
    let be32 = |at: usize| u32::from_be_bytes([cdb[at], cdb[at + 1], cdb[at + 2], cdb[at + 3]]);
    match cdb[0] >> 5 {
        0 => {
            let lba = u32::from_be_bytes([0, cdb[1] & 0x1f, cdb[2], cdb[3]]);
            // SBC-4 5.13: a transfer length of 0 means 256 blocks.
            (lba.into(), if cdb[4] == 0 { 256 } else { cdb[4].into() })
        }
        1 | 2 => (be32(2).into(), u16::from_be_bytes([cdb[7], cdb[8]]).into()),
        4 => (u64::from(be32(2)) << 32 | u64::from(be32(6)), be32(10)),
        _ => (be32(2).into(), be32(6)),
    }
}
