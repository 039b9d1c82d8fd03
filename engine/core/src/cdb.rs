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
    /// WRITE AND VERIFY (10), (12), (16)
    WriteVerify {
        /// First block.
        lba: u64,
        /// Number of blocks.
        blocks: u32,
        /// What was written is read again and compared.
        compare: bool,
    },
    /// COMPARE AND WRITE
    CompareWrite {
        /// First block.
        lba: u64,
        /// Number of blocks: data-out has twice as many.
        blocks: u32,
        /// Force unit access: stable when answered.
        fua: bool,
    },
    /// PRE-FETCH (10), (16)
    Prefetch {
        /// First block.
        lba: u64,
        /// Number of blocks, 0: to the end.
        blocks: u32,
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

/// A command of the medium's: its operation code, what it does, which bits of its CDB mean
/// something here (SPC-5, "CDB usage data"; the last byte is CONTROL). `vhost_pvscsi/scsi/
/// rows/` describes all commands; a test there holds these rows against it.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Operation code.
    pub opcode: u8,
    /// What it does to the medium.
    pub access: Access,
    /// CDB usage, as long as the CDB.
    pub usage: &'static [u8],
}

pub(crate) const fn row(opcode: u8, access: Access, usage: &'static [u8]) -> Row {
    Row { opcode, access, usage }
}

const fn usage_6() -> [u8; 6] {
    [0xff, 0x1f, 0xff, 0xff, 0xff, 0]
}

const fn usage_10(flags: u8) -> [u8; 10] {
    [0xff, flags, 0xff, 0xff, 0xff, 0xff, 0x3f, 0xff, 0xff, 0]
}

const fn usage_12(flags: u8) -> [u8; 12] {
    [0xff, flags, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x3f, 0]
}

const fn usage_16(flags: u8) -> [u8; 16] {
    let mut usage = [0xff; 16];
    usage[1] = flags;
    usage[14] = 0x3f;
    usage[15] = 0;
    usage
}

/// DPO and FUA; RDPROTECT and WRPROTECT must be 0: no protection information is kept.
const CACHING: u8 = 0x18;
/// DPO and BYTCHK.
const CHECKING: u8 = 0x16;
/// IMMED.
const IMMEDIATE: u8 = 0x02;

/// All commands that `parse` knows.
pub const COMMANDS: [Row; 22] = [
    row(0x08, Access::Read, &usage_6()),
    row(0x0a, Access::Write, &usage_6()),
    row(0x28, Access::Read, &usage_10(CACHING)),
    row(0x2a, Access::Write, &usage_10(CACHING)),
    row(0x2e, Access::Write, &usage_10(CHECKING)),
    row(0x2f, Access::Read, &usage_10(CHECKING)),
    row(0x34, Access::Read, &usage_10(IMMEDIATE)),
    row(0x35, Access::Write, &usage_10(IMMEDIATE)),
    // UNMAP; ANCHOR needs anchored blocks, which no file has.
    row(0x41, Access::Write, &usage_10(0x08)),
    row(0x42, Access::Write, &[0xff, 0, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0]),
    row(0x88, Access::Read, &usage_16(CACHING)),
    // COMPARE AND WRITE: the number of blocks is one byte.
    row(
        0x89,
        Access::Exclusive,
        &[0xff, CACHING, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0x3f, 0],
    ),
    row(0x8a, Access::Write, &usage_16(CACHING)),
    row(0x8e, Access::Write, &usage_16(CHECKING)),
    row(0x8f, Access::Read, &usage_16(CHECKING)),
    row(0x90, Access::Read, &usage_16(IMMEDIATE)),
    row(0x91, Access::Write, &usage_16(IMMEDIATE)),
    // UNMAP and NDOB.
    row(0x93, Access::Write, &usage_16(0x09)),
    row(0xa8, Access::Read, &usage_12(CACHING)),
    row(0xaa, Access::Write, &usage_12(CACHING)),
    row(0xae, Access::Write, &usage_12(CHECKING)),
    row(0xaf, Access::Read, &usage_12(CHECKING)),
];

/// Row numbers by operation code, `COMMANDS.len()` for what is not the medium's.
const INDEX: [u8; 256] = {
    let mut index = [COMMANDS.len() as u8; 256];
    let mut position = 0;
    while position < COMMANDS.len() {
        index[COMMANDS[position].opcode as usize] = position as u8;
        position += 1;
    }
    index
};

/// The row of an operation code; None for one that is not the medium's.
#[must_use]
pub fn command(opcode: u8) -> Option<&'static Row> {
    COMMANDS.get(usize::from(INDEX[usize::from(opcode)]))
}

/// What a command does to the medium; None for one that is not the medium's.
#[must_use]
pub fn access(opcode: u8) -> Option<Access> {
    command(opcode).map(|row| row.access)
}

/// Take the fields out of a CDB of at least 16 bytes.
///
/// # Errors
/// The CHECK CONDITION to answer with: a field is not supported or reserved bits are set.
pub fn parse(cdb: &[u8; 32]) -> Result<Command, Box<Outcome>> {
    let Some(row) = command(cdb[0]) else {
        return Err(Box::new(Outcome::check(INVALID_OPERATION_CODE)));
    };
    refuse_reserved(cdb, row.usage)?;
    let (lba, blocks) = extent(cdb);
    Ok(match cdb[0] {
        0x08 | 0x28 | 0xa8 | 0x88 => Command::Read { lba, blocks },
        0x0a => Command::Write { lba, blocks, fua: false },
        0x2a | 0xaa | 0x8a => Command::Write { lba, blocks, fua: cdb[1] & 0x08 != 0 },
        0x35 | 0x91 => Command::Flush { lba, blocks },
        0x2f | 0xaf | 0x8f => Command::Verify { lba, blocks, check: byte_check(cdb)? },
        0x2e | 0xae | 0x8e => {
            let compare = match byte_check(cdb)? {
                ByteCheck::Medium => false,
                ByteCheck::Blocks => true,
                // SBC-4 5.47: 11b is reserved here.
                ByteCheck::OneBlock => return Err(invalid_field(1, 2)),
            };
            Command::WriteVerify { lba, blocks, compare }
        }
        0x34 | 0x90 => Command::Prefetch { lba, blocks },
        // Bytes 10 to 12 are reserved, so the four bytes of `extent` are the one.
        0x89 => Command::CompareWrite { lba, blocks, fua: cdb[1] & 0x08 != 0 },
        0x42 => Command::Unmap { length: u16::from_be_bytes([cdb[7], cdb[8]]) },
        opcode => Command::WriteSame {
            lba,
            blocks,
            unmap: cdb[1] & 0x08 != 0,
            no_data: opcode == 0x93 && cdb[1] & 0x01 != 0,
        },
    })
}

/// Refuse a CDB with a bit set that means nothing here (SPC-5 4.2.5.1), NACA among them: ACA is
/// not supported. The top bits of CONTROL are vendor specific and ignored, and so are obsolete
/// bits of byte 1 where old initiators still set them: RELADR, and FUA_NV of READ and WRITE.
pub(crate) fn refuse_reserved(cdb: &[u8; 32], usage: &[u8]) -> Result<(), Box<Outcome>> {
    for (byte, (value, used)) in cdb.iter().zip(usage).enumerate() {
        let mut stray = value & !used;
        if byte == 1 {
            stray &= !obsolete(cdb[0]);
        }
        if byte + 1 == usage.len() {
            stray &= 0x3f;
        }
        if stray != 0 {
            // byte < 16, and a byte that is not 0 has a highest bit from 0 to 7.
            return Err(invalid_field(byte as u16, 7 - stray.leading_zeros() as u8));
        }
    }
    Ok(())
}

/// Obsolete bits of byte 1 (SBC-2): RELADR is bit 0 of READ, WRITE and VERIFY of 10 and 12 bytes;
/// FUA_NV is bit 1 of READ and WRITE of 10, 12 and 16 bytes.
fn obsolete(opcode: u8) -> u8 {
    match opcode {
        0x28 | 0x2a | 0xa8 | 0xaa => 0x03,
        0x88 | 0x8a => 0x02,
        0x2e | 0x2f | 0xae | 0xaf => 0x01,
        _ => 0,
    }
}

pub(crate) fn invalid_field(byte: u16, bit: u8) -> Box<Outcome> {
    Box::new(Outcome::check(INVALID_FIELD_IN_CDB).with_field(byte, bit))
}

fn byte_check(cdb: &[u8; 32]) -> Result<ByteCheck, Box<Outcome>> {
    match cdb[1] >> 1 & 3 {
        0 => Ok(ByteCheck::Medium),
        1 => Ok(ByteCheck::Blocks),
        3 => Ok(ByteCheck::OneBlock),
        _ => Err(invalid_field(1, 2)),
    }
}

/// First block and number of blocks, by the length of the CDB.
pub(crate) fn extent(cdb: &[u8; 32]) -> (u64, u32) {
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
