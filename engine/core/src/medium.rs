//! The medium executor: the one implementation of the commands that touch a disk's blocks.
//!
//! Workers call it on the short road; on the long road Python orders it for the same request.
//! `begin` checks a command and says what is left to do: nothing, a transfer that the worker
//! carries out, or a slow job for a pool thread. Commands of a tape are `tape`'s, CDBs of an optical
//! disc `optical`'s.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::aligned::Aligned;
use crate::backend::{FileOptions, FileStore};
use crate::cdb::{self, ByteCheck, Command};
use crate::chain::{Buffers, Chain};
use crate::error::{Error, Result};
use crate::gate::Access;
use crate::optical;
use crate::outcome::{
    Outcome, Service, CONDITION_MET, INVALID_FIELD_IN_CDB, LBA_OUT_OF_RANGE, WRITE_PROTECTED,
};
use crate::probe::WritePolicy;
use crate::step::{Slow, Step};
use crate::store::Store;
use crate::tape;
use crate::tape::drive::Drive;
use crate::transfer::Transfer;

/// Most blocks one UNMAP descriptor may name, and most that one WRITE SAME may write
/// (VPD B0h tells the guest).
pub const MAX_UNMAP_BLOCKS: u32 = 1 << 20;
/// Most descriptors one UNMAP may carry.
pub const MAX_UNMAP_DESCRIPTORS: u16 = 255;
/// Most blocks one WRITE SAME may write.
pub const MAX_WRITE_SAME_BLOCKS: u32 = 0x3f_ffff;

/// Most bytes one READ, WRITE or comparing VERIFY may move: 65535 sectors, what QEMU's
/// vhost-user-scsi tells the guest (`max_sectors`).
pub const MAX_TRANSFER_BYTES: u64 = 0xffff * 512;

/// Bytes of user data in a sector of a disc (MMC-6 4.2).
pub const SECTOR: u32 = 2048;

/// A disk's blocks. Shared by all mappings of its unit.
#[derive(Debug)]
pub struct Medium {
    /// Where the blocks are.
    pub store: Store,
    /// Bytes in a block, a power of two.
    pub block_size: u32,
    /// Writes are refused.
    pub read_only: bool,
    /// It is a disc, and has the commands of one.
    optical: bool,
    /// Each command is held that long before it runs, so that tests can meet it in flight.
    pub latency: Duration,
    /// Number of blocks; only ever more, so that what was in range once stays in range. Each
    /// range is checked against one load: the old size or the new one.
    blocks: AtomicU64,
    /// Sense data is given in descriptor format (D_SENSE of the control mode page).
    descriptor_sense: AtomicBool,
}

impl Medium {
    fn new(
        store: Store,
        size: u64,
        block_size: u32,
        read_only: bool,
        latency: Duration,
    ) -> Result<Self> {
        let blocks = AtomicU64::new(count_blocks(size, block_size)?);
        let descriptor_sense = AtomicBool::new(false);
        let optical = false;
        Ok(Medium { store, block_size, read_only, optical, latency, blocks, descriptor_sense })
    }

    /// A medium over a host file of `size` bytes.
    ///
    /// # Errors
    /// Size and block size do not go together, or the file cannot be used.
    pub fn file(
        fd: i32,
        size: u64,
        options: FileOptions,
        read_only: bool,
        scratch: Option<i32>,
    ) -> Result<Self> {
        count_blocks(size, options.block_size)?;
        let store = Store::File(FileStore::new(fd, options, scratch)?);
        Medium::new(store, size, options.block_size, read_only, Duration::ZERO)
    }

    /// A disc over a host file of `size` bytes.
    ///
    /// # Errors
    /// The size is no multiple of a sector's, or the file cannot be used.
    pub fn disc(fd: i32, size: u64) -> Result<Self> {
        let options = FileOptions { direct: false, sync_writes: false, block_size: SECTOR };
        let medium = Medium::file(fd, size, options, true, None)?;
        Ok(Medium { optical: true, ..medium })
    }

    /// A medium in memory of our own.
    ///
    /// # Errors
    /// Size and block size do not go together, or there is not enough memory.
    pub fn ram(size: u64, block_size: u32, read_only: bool, latency: Duration) -> Result<Self> {
        count_blocks(size, block_size)?;
        let pages = usize::try_from(size)
            .ok()
            .and_then(Aligned::new)
            .ok_or_else(|| Error::Setup(format!("no memory for a RAM disk of {size} bytes")))?;
        Medium::new(Store::Ram(pages), size, block_size, read_only, latency)
    }

    /// A medium that keeps nothing.
    ///
    /// # Errors
    /// Size and block size do not go together.
    pub fn null(size: u64, block_size: u32, read_only: bool, latency: Duration) -> Result<Self> {
        Medium::new(Store::Null, size, block_size, read_only, latency)
    }

    /// A tape in a drive.
    #[must_use]
    pub fn tape(drive: Drive) -> Self {
        Medium {
            store: Store::Tape(Box::new(drive)),
            block_size: 1,
            // Each write looks by itself: a tape may be protected by its address.
            read_only: false,
            optical: false,
            latency: Duration::ZERO,
            blocks: AtomicU64::new(0),
            descriptor_sense: AtomicBool::new(false),
        }
    }

    /// The drive, where this is a tape.
    #[must_use]
    pub fn drive(&self) -> Option<&Drive> {
        match &self.store {
            Store::Tape(drive) => Some(drive),
            _ => None,
        }
    }

    /// What a command does to the medium; None for one that is not the executor's.
    #[must_use]
    pub fn access(&self, opcode: u8) -> Option<Access> {
        match &self.store {
            Store::Tape(_) => tape::cdb::access(opcode),
            _ if self.optical => optical::access(opcode),
            _ => cdb::access(opcode),
        }
    }

    /// How writes reach the host, in a word.
    #[must_use]
    pub fn write_policy(&self, io_uring: bool) -> &'static str {
        match &self.store {
            Store::File(file) => match file.writes {
                WritePolicy::Nowait => "nowait",
                WritePolicy::Inline => "inline",
                WritePolicy::Deferred if io_uring => "io_uring",
                WritePolicy::Deferred => "pool",
            },
            Store::Ram(_) | Store::Null => "memory",
            Store::Tape(_) => "tape",
        }
    }

    /// Number of blocks.
    #[must_use]
    pub fn blocks(&self) -> u64 {
        // Relaxed: a number alone. The file had grown before anybody could tell the medium.
        self.blocks.load(Ordering::Relaxed)
    }

    /// Bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.blocks() * u64::from(self.block_size)
    }

    /// Have `size` bytes from now on: the file behind the medium has grown. What a command was
    /// checked against before stays in range, so no gate needs to be shut for it.
    ///
    /// # Errors
    /// The size is no multiple of the block size or not larger, or the medium is no file.
    pub fn grow(&self, size: u64) -> Result<()> {
        if !matches!(self.store, Store::File(_)) {
            return Err(Error::Setup("only a medium of a file can grow".to_owned()));
        }
        let blocks = count_blocks(size, self.block_size)?;
        // The larger one stays, whoever else grows the medium at the same time.
        let old = self.blocks.fetch_max(blocks, Ordering::Relaxed);
        if old >= blocks {
            let old = old * u64::from(self.block_size);
            return Err(Error::Setup(format!("cannot grow to {size} bytes: the medium has {old}")));
        }
        Ok(())
    }

    /// Have each write stable when it is answered, or no longer: the write cache is off or on.
    /// What was written before stays as it is; RAM and null have no cache.
    pub fn set_sync_writes(&self, on: bool) {
        if let Store::File(file) = &self.store {
            file.set_sync_writes(on);
        }
    }

    /// Whether sense data is to be given in descriptor format.
    #[must_use]
    pub fn descriptor_sense(&self) -> bool {
        // Relaxed: nothing else depends on it.
        self.descriptor_sense.load(Ordering::Relaxed)
    }

    /// Give sense data in descriptor format, or in fixed format.
    pub fn set_descriptor_sense(&self, on: bool) {
        self.descriptor_sense.store(on, Ordering::Relaxed);
    }

    /// Check a command, and do it if that takes no waiting. `protected`: it may not write, whatever
    /// others may.
    #[must_use]
    pub fn begin(&self, cdb: &[u8; 32], chain: &Chain, protected: bool) -> Step {
        if let Store::Tape(drive) = &self.store {
            return drive.begin(cdb, chain, protected);
        }
        match self.plan(cdb, chain, protected) {
            Ok(step) => step,
            Err(outcome) => Step::Finished(*outcome),
        }
    }

    fn plan(
        &self,
        cdb: &[u8; 32],
        chain: &Chain,
        protected: bool,
    ) -> std::result::Result<Step, Box<Outcome>> {
        let command = if self.optical { optical::parse(cdb)? } else { cdb::parse(cdb)? };
        match command {
            Command::Read { lba, blocks } => {
                let (offset, length) = self.extent(lba, blocks.into())?;
                transferable(length)?;
                needs(&chain.data_in, length)?;
                Ok(self.read(offset, length, chain))
            }
            Command::Write { lba, blocks, fua } => {
                let (offset, length) = self.extent(lba, blocks.into())?;
                transferable(length)?;
                self.writable(protected)?;
                needs(&chain.data_out, length)?;
                Ok(self.write(offset, length, fua, chain))
            }
            Command::Flush { lba, blocks } => {
                self.extent(lba, blocks.into())?;
                Ok(match self.store {
                    Store::File(_) if !self.read_only => Step::Slow(Slow::Flush),
                    _ => Step::Finished(Outcome::good(0)),
                })
            }
            Command::Verify { lba, blocks, check } => self.plan_verify(lba, blocks, check, chain),
            Command::WriteVerify { lba, blocks, compare } => {
                let (offset, length) = self.outgoing(lba, blocks, 1, chain, protected)?;
                Ok(unless_empty(length, Slow::WriteVerify { offset, length, compare }))
            }
            Command::CompareWrite { lba, blocks, fua } => {
                let (offset, length) = self.outgoing(lba, blocks, 2, chain, protected)?;
                Ok(unless_empty(length, Slow::CompareWrite { offset, length, sync: fua }))
            }
            Command::Prefetch { lba, blocks } => {
                let (offset, length) = self.extent(lba, blocks.into())?;
                Ok(self.prefetch(offset, length, blocks == 0))
            }
            Command::WriteSame { lba, blocks, unmap, no_data } => {
                // VPD B0h says WSNZ: a number of blocks of zero is not taken.
                if blocks == 0 || blocks > MAX_WRITE_SAME_BLOCKS {
                    return Err(Box::new(Outcome::check(INVALID_FIELD_IN_CDB)));
                }
                let (offset, length) = self.extent(lba, blocks.into())?;
                self.writable(protected)?;
                if !no_data {
                    needs(&chain.data_out, self.block_size.into())?;
                }
                Ok(Step::Slow(Slow::WriteSame { offset, length, unmap, no_data }))
            }
            Command::Unmap { length } => {
                self.writable(protected)?;
                needs(&chain.data_out, length.into())?;
                Ok(Step::Slow(Slow::Unmap { length }))
            }
        }
    }

    fn plan_verify(
        &self,
        lba: u64,
        blocks: u32,
        check: ByteCheck,
        chain: &Chain,
    ) -> std::result::Result<Step, Box<Outcome>> {
        let (offset, length) = self.extent(lba, blocks.into())?;
        if blocks == 0 {
            return Ok(Step::Finished(Outcome::good(0)));
        }
        let compared = match check {
            ByteCheck::Medium => 0,
            ByteCheck::Blocks => length,
            ByteCheck::OneBlock => self.block_size.into(),
        };
        transferable(compared)?;
        needs(&chain.data_out, compared)?;
        Ok(Step::Slow(Slow::Verify { offset, length, compared }))
    }

    fn read(&self, offset: u64, length: u64, chain: &Chain) -> Step {
        if length == 0 {
            return Step::Finished(Outcome::good(0));
        }
        match &self.store {
            Store::File(_) => {
                return Step::Transfer(Transfer::read(offset, length));
            }
            // length is within the guest's buffers and the medium: it fits a usize.
            Store::Ram(pages) => pages.exchange(offset, length, &chain.data_in, false),
            Store::Null => chain.data_in.zero(0, length as usize),
            // `begin` has no plan for it.
            Store::Tape(_) => {}
        }
        Step::Finished(Outcome::good(length))
    }

    fn write(&self, offset: u64, length: u64, fua: bool, chain: &Chain) -> Step {
        if length == 0 {
            return Step::Finished(Outcome::good(0));
        }
        match &self.store {
            Store::File(file) => {
                let sync = fua || file.sync_writes();
                return Step::Transfer(Transfer::write(offset, length, sync));
            }
            Store::Ram(pages) => pages.exchange(offset, length, &chain.data_out, true),
            Store::Null | Store::Tape(_) => {}
        }
        Step::Finished(Outcome::good(length))
    }

    /// Check a command that writes `blocks` blocks and whose data-out has `copies` times as many.
    fn outgoing(
        &self,
        lba: u64,
        blocks: u32,
        copies: u64,
        chain: &Chain,
        protected: bool,
    ) -> std::result::Result<(u64, u64), Box<Outcome>> {
        let (offset, length) = self.extent(lba, blocks.into())?;
        // At most 2 * 2^32 * 2^16.
        transferable(length * copies)?;
        self.writable(protected)?;
        needs(&chain.data_out, length * copies)?;
        Ok((offset, length))
    }

    fn prefetch(&self, offset: u64, length: u64, to_the_end: bool) -> Step {
        if matches!(self.store, Store::File(_)) {
            let length = if to_the_end { self.size() - offset } else { length };
            return Step::Slow(Slow::Prefetch { offset, length });
        }
        Step::Finished(Outcome::status(CONDITION_MET))
    }

    fn writable(&self, protected: bool) -> std::result::Result<(), Box<Outcome>> {
        if self.read_only || protected {
            return Err(Box::new(Outcome::check(WRITE_PROTECTED)));
        }
        Ok(())
    }

    /// Offset and length in bytes of a range of blocks, checked against the capacity.
    pub(crate) fn extent(
        &self,
        lba: u64,
        blocks: u64,
    ) -> std::result::Result<(u64, u64), Box<Outcome>> {
        match lba.checked_add(blocks) {
            // A range of no blocks at the very end is still in range (SBC-4 4.5... the LBA
            // itself must not exceed the capacity).
            Some(end) if end <= self.blocks() => {
                let size = u64::from(self.block_size);
                // Both are at most blocks * block_size, which count_blocks made from a u64.
                Ok((lba * size, blocks * size))
            }
            _ => Err(Box::new(Outcome::check(LBA_OUT_OF_RANGE).with_information(lba))),
        }
    }
}

fn unless_empty(length: u64, job: Slow) -> Step {
    if length == 0 {
        return Step::Finished(Outcome::good(0));
    }
    Step::Slow(job)
}

fn transferable(length: u64) -> std::result::Result<(), Box<Outcome>> {
    // SBC-4 6.6.4: more than MAXIMUM TRANSFER LENGTH.
    if length > MAX_TRANSFER_BYTES {
        return Err(Box::new(Outcome::check(INVALID_FIELD_IN_CDB)));
    }
    Ok(())
}

fn needs(buffers: &Buffers, length: u64) -> std::result::Result<(), Box<Outcome>> {
    if buffers.length() < length {
        return Err(Box::new(Outcome::of(Service::Overrun)));
    }
    Ok(())
}

fn count_blocks(size: u64, block_size: u32) -> Result<u64> {
    if !block_size.is_power_of_two() || !(512..=65536).contains(&block_size) {
        return Err(Error::Setup(format!("block size {block_size} is no power of two from 512")));
    }
    if size == 0 || size % u64::from(block_size) != 0 {
        return Err(Error::Setup(format!(
            "size {size} is not a multiple of the block size {block_size}"
        )));
    }
    Ok(size / u64::from(block_size))
}
