//! A SCSI device of the host, as all workers have it.

use std::fs::OpenOptions;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;
use std::sync::Arc;

use super::header::{MAX_QUEUE, SET_FORCE_PACK_ID};
use super::passed::{Passed, THREADS};
use crate::error::{Error, Result};
use crate::map::OpcodeSet;
use crate::pool::Pool;

/// What the caller knows of a device.
#[derive(Clone, Debug)]
pub struct DeviceSpec {
    /// Open for reading and writing, by this process: SG takes commands by `write` from nobody else.
    pub fd: RawFd,
    /// One command at a time, by this one descriptor; who orders them sees to it. Else each thread
    /// opens descriptors of its own.
    pub exclusive: bool,
    /// Somebody else has opened it: commands go by SG_IO, on threads that wait.
    pub passed: bool,
    /// Most commands that are outstanding at a time, of all threads.
    pub depth: usize,
    /// Most bytes that the host carries in one command.
    pub max_transfer: u32,
    /// Bytes in a block where READ and WRITE may be cut in pieces, and done again; else 0.
    pub block_size: u32,
    /// Commands that a protected mapping may not send.
    pub writes: OpcodeSet,
    /// Milliseconds that a command may take.
    pub timeout: u32,
    /// And those operation codes that may take another time.
    pub timeouts: Vec<(u8, u32)>,
}

/// Descriptors of one thread at most, each of which has room for `MAX_QUEUE` commands.
const MAX_LANES: usize = 4;

/// A device, open.
#[derive(Debug)]
pub struct Device {
    /// Unique in the process.
    pub id: u32,
    /// Most bytes that the host carries in one command.
    pub max_transfer: u64,
    /// Bytes in a block; 0: nothing is cut in pieces.
    pub block_size: u64,
    /// Commands that one thread may have outstanding.
    pub share: usize,
    /// It is shared by all threads, one command at a time.
    pub exclusive: bool,
    /// Threads that wait for commands, where it was passed in.
    pub passed: Option<Pool<Passed>>,
    /// Commands that a protected mapping may not send.
    pub writes: OpcodeSet,
    timeouts: [u32; 256],
    /// By thread.
    files: Vec<Vec<Arc<OwnedFd>>>,
}

impl Device {
    /// Open what each of `threads` needs.
    ///
    /// # Errors
    /// The device cannot be opened again, or the limits make no sense.
    pub fn new(id: u32, spec: &DeviceSpec, threads: usize) -> Result<Self> {
        let share = share(spec, threads);
        let files = if spec.passed {
            vec![vec![Arc::new(duplicate(spec.fd)?)]; threads]
        } else if spec.exclusive {
            let file = Arc::new(duplicate(spec.fd)?);
            force_pack_id(&file)?;
            vec![vec![file]; threads]
        } else {
            let lanes = share.div_ceil(MAX_QUEUE);
            let one = || (0..lanes).map(|_| reopen(spec.fd)).collect::<Result<Vec<_>>>();
            (0..threads).map(|_| one()).collect::<Result<_>>()?
        };
        Device::with_files(id, spec, files)
    }

    /// A device of descriptors that are open, for each thread; tests have some that are not SG's.
    ///
    /// # Errors
    /// The limits make no sense.
    pub fn with_files(id: u32, spec: &DeviceSpec, files: Vec<Vec<Arc<OwnedFd>>>) -> Result<Self> {
        if spec.max_transfer == 0 || spec.depth == 0 {
            return Err(Error::Setup("a device that carries nothing cannot be used".to_owned()));
        }
        let mut timeouts = [spec.timeout; 256];
        for (opcode, timeout) in &spec.timeouts {
            timeouts[usize::from(*opcode)] = *timeout;
        }
        let passed = match spec {
            DeviceSpec { passed: false, .. } => None,
            DeviceSpec { exclusive: true, .. } => Some(Pool::new(1)?),
            _ => Some(Pool::new(THREADS.min(spec.depth))?),
        };
        Ok(Device {
            id,
            passed,
            max_transfer: spec.max_transfer.into(),
            block_size: spec.block_size.into(),
            share: share(spec, files.len()),
            exclusive: spec.exclusive,
            writes: spec.writes,
            timeouts,
            files,
        })
    }

    /// The descriptors of a thread.
    #[must_use]
    pub fn files(&self, thread: usize) -> &[Arc<OwnedFd>] {
        self.files.get(thread).map_or(&[], Vec::as_slice)
    }

    /// Milliseconds that a command may take.
    #[must_use]
    pub fn timeout(&self, opcode: u8) -> u32 {
        self.timeouts[usize::from(opcode)]
    }
}

/// Commands that one of so many threads may have outstanding.
fn share(spec: &DeviceSpec, threads: usize) -> usize {
    if spec.exclusive {
        return 1;
    }
    let depth = if spec.passed { spec.depth.min(THREADS) } else { spec.depth };
    (depth / threads.max(1)).clamp(1, MAX_LANES * MAX_QUEUE)
}

fn duplicate(fd: RawFd) -> Result<OwnedFd> {
    // SAFETY: the caller keeps the descriptor open while it hands it over.
    unsafe { BorrowedFd::borrow_raw(fd) }
        .try_clone_to_owned()
        .map_err(|source| Error::Io { context: "duplicate a device's descriptor", source })
}

/// A descriptor with a queue of its own: what `dup` gives shares it.
fn reopen(fd: RawFd) -> Result<Arc<OwnedFd>> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(format!("/proc/self/fd/{fd}"))
        .map(|file| Arc::new(file.into()))
        .map_err(|source| Error::Io { context: "open a device again", source })
}

fn force_pack_id(file: &OwnedFd) -> Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: SG reads one int from a local.
    if unsafe { libc::ioctl(file.as_raw_fd(), SET_FORCE_PACK_ID, &raw const on) } < 0 {
        let source = std::io::Error::last_os_error();
        return Err(Error::Io { context: "ask for the ends of a device's commands", source });
    }
    Ok(())
}
