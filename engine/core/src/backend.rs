//! The only code that touches a host file or device, and what was learned about it.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use libc::iovec;

use crate::error::{Error, Result};
use crate::probe::{direct_alignment, in_memory, measure_writes, WritePolicy};
use crate::vectored::vectored;

/// How a file is to be used.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// The descriptor was opened with O_DIRECT.
    pub direct: bool,
    /// Each write is stable when it is answered.
    pub sync_writes: bool,
    /// Logical block size, bytes.
    pub block_size: u32,
}

/// An open image file or block device.
#[derive(Debug)]
pub struct FileStore {
    fd: OwnedFd,
    /// What O_DIRECT asks of addresses and lengths; 1 for buffered I/O.
    pub alignment: usize,
    /// How writes go.
    pub writes: WritePolicy,
    /// Data is always in memory (tmpfs): a plain read never waits for a device.
    pub in_memory: bool,
    sync_writes: AtomicBool,
    nowait_reads: AtomicBool,
}

impl FileStore {
    /// Take over a descriptor (duplicated) and find out how to use it.
    ///
    /// `scratch` is an empty temporary file on the same file system, to measure writes on.
    ///
    /// # Errors
    /// The descriptor cannot be used, or O_DIRECT asks for more than the block size.
    pub fn new(fd: RawFd, options: FileOptions, scratch: Option<RawFd>) -> Result<Self> {
        // SAFETY: the caller holds the descriptor open during this call.
        let fd = unsafe { BorrowedFd::borrow_raw(fd) }
            .try_clone_to_owned()
            .map_err(|source| Error::Io { context: "duplicate the file's descriptor", source })?;
        let alignment = if options.direct { direct_alignment(fd.as_raw_fd()) } else { 1 };
        if alignment > options.block_size as usize {
            return Err(Error::Setup(format!(
                "O_DIRECT needs blocks of {alignment} bytes here, the unit has {}",
                options.block_size
            )));
        }
        let in_memory = !options.direct && in_memory(fd.as_raw_fd());
        let writes = match scratch {
            _ if in_memory => WritePolicy::Inline,
            _ if options.direct || options.sync_writes => WritePolicy::Deferred,
            Some(scratch) => measure_writes(scratch),
            None => WritePolicy::Deferred,
        };
        Ok(FileStore {
            fd,
            alignment,
            sync_writes: AtomicBool::new(options.sync_writes),
            writes,
            in_memory,
            nowait_reads: AtomicBool::new(!options.direct && !in_memory),
        })
    }

    /// Whether each write is to be stable when it is answered.
    #[must_use]
    pub fn sync_writes(&self) -> bool {
        // Relaxed: whoever changes it and wants all later writes to know shuts the gate for that.
        self.sync_writes.load(Ordering::Relaxed)
    }

    /// Have each write stable when it is answered, or no longer.
    pub fn set_sync_writes(&self, on: bool) {
        self.sync_writes.store(on, Ordering::Relaxed);
    }

    /// The descriptor, for io_uring.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Read what the page cache has; None where waiting would be needed.
    pub fn read_cached(&self, parts: &[iovec], offset: u64) -> Option<std::io::Result<u64>> {
        if self.in_memory {
            return Some(vectored(self.raw(), parts, offset, 0, false));
        }
        if !self.nowait_reads.load(Ordering::Relaxed) {
            return None;
        }
        match vectored(self.raw(), parts, offset, libc::RWF_NOWAIT, false) {
            Err(error) if error.raw_os_error() == Some(libc::EOPNOTSUPP) => {
                self.nowait_reads.store(false, Ordering::Relaxed);
                None
            }
            Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => None,
            other => Some(other),
        }
    }

    /// Write without waiting, by the policy; None where the write must be deferred.
    pub fn write_at_once(&self, parts: &[iovec], offset: u64) -> Option<std::io::Result<u64>> {
        let flags = match self.writes {
            WritePolicy::Nowait => libc::RWF_NOWAIT,
            WritePolicy::Inline => 0,
            WritePolicy::Deferred => return None,
        };
        match vectored(self.raw(), parts, offset, flags, true) {
            Err(error)
                if flags != 0
                    && matches!(error.raw_os_error(), Some(libc::EAGAIN | libc::EOPNOTSUPP)) =>
            {
                None
            }
            other => Some(other),
        }
    }

    /// Read or write, waiting as long as it takes.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn blocking(
        &self,
        parts: &[iovec],
        offset: u64,
        write: bool,
        sync: bool,
    ) -> std::io::Result<u64> {
        let flags = if write && sync { libc::RWF_DSYNC } else { 0 };
        vectored(self.raw(), parts, offset, flags, write)
    }

    /// Cut the file, or make it longer by a hole.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn set_length(&self, length: u64) -> std::io::Result<()> {
        // SAFETY: a plain system call on a descriptor of ours; a length beyond i64 is negative,
        // which the kernel refuses.
        check(unsafe { libc::ftruncate(self.raw(), length as i64) })
    }

    /// How long the file is.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn length(&self) -> std::io::Result<u64> {
        // SAFETY: a zeroed stat is valid, and the call only fills it.
        let status = unsafe {
            let mut status: libc::stat = std::mem::zeroed();
            check(libc::fstat(self.raw(), &mut status))?;
            status
        };
        Ok(u64::try_from(status.st_size).unwrap_or(0))
    }

    /// Fill `into` from byte `offset` on, waiting as long as it takes; how many bytes there were.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn fill(&self, offset: u64, into: &mut [u8]) -> std::io::Result<usize> {
        let mut done = 0;
        while done < into.len() {
            let rest = &mut into[done..];
            let part = [iovec { iov_base: rest.as_mut_ptr().cast(), iov_len: rest.len() }];
            // At most the length of `rest`.
            match vectored(self.raw(), &part, offset + done as u64, 0, false)? as usize {
                0 => break,
                moved => done += moved,
            }
        }
        Ok(done)
    }

    /// Write all of `from` at byte `offset`, waiting as long as it takes.
    ///
    /// # Errors
    /// What the kernel says; ENOSPC where it takes no more. Some of it may have been written.
    pub fn put(&self, offset: u64, from: &[u8]) -> std::io::Result<()> {
        let mut done = 0;
        while done < from.len() {
            let rest = &from[done..];
            // The kernel only reads it.
            let part = [iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() }];
            // At most the length of `rest`.
            match vectored(self.raw(), &part, offset + done as u64, 0, true)? as usize {
                0 => return Err(std::io::Error::from_raw_os_error(libc::ENOSPC)),
                moved => done += moved,
            }
        }
        Ok(())
    }

    /// Make everything written stable.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn flush(&self) -> std::io::Result<()> {
        // SAFETY: a plain system call on a descriptor of ours.
        check(unsafe { libc::fdatasync(self.raw()) })
    }

    /// Ask the host to have a range in its cache; a wish, so there is nothing to fail.
    pub fn fetch(&self, offset: u64, length: u64) {
        self.advise(libc::POSIX_FADV_WILLNEED, offset, length);
    }

    /// Ask the host to forget what it caches of a range, so that the next read is the device's.
    pub fn forget(&self, offset: u64, length: u64) {
        self.advise(libc::POSIX_FADV_DONTNEED, offset, length);
    }

    fn advise(&self, advice: i32, offset: u64, length: u64) {
        // SAFETY: a plain system call on a descriptor of ours; offsets as in `allocate`.
        unsafe { libc::posix_fadvise(self.raw(), offset as i64, length as i64, advice) };
    }

    /// Give blocks back to the host; they read as zeros then.
    ///
    /// # Errors
    /// EOPNOTSUPP where the file system cannot; else what the kernel says.
    pub fn punch(&self, offset: u64, length: u64) -> std::io::Result<()> {
        self.allocate(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE, offset, length)
    }

    /// Zero blocks without writing them.
    ///
    /// # Errors
    /// As `punch`.
    pub fn zero_range(&self, offset: u64, length: u64) -> std::io::Result<()> {
        self.allocate(libc::FALLOC_FL_ZERO_RANGE | libc::FALLOC_FL_KEEP_SIZE, offset, length)
    }

    /// Copy blocks to another file inside the kernel; how many bytes it did.
    ///
    /// # Errors
    /// Many mean only that this pair of files cannot be copied so.
    pub fn copy_to(&self, sink: &Self, from: u64, to: u64, length: u64) -> std::io::Result<u64> {
        // Offsets as in `allocate`.
        let (mut from, mut to) = (from as i64, to as i64);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        // SAFETY: descriptors of ours; the kernel advances the two offsets, which are locals.
        let done =
            unsafe { libc::copy_file_range(self.raw(), &mut from, sink.raw(), &mut to, length, 0) };
        u64::try_from(done).map_err(|_| std::io::Error::last_os_error())
    }

    fn allocate(&self, mode: i32, offset: u64, length: u64) -> std::io::Result<()> {
        // Offsets are within the unit, whose size the kernel reported as an off_t.
        // SAFETY: a plain system call on a descriptor of ours.
        check(unsafe { libc::fallocate(self.raw(), mode, offset as i64, length as i64) })
    }
}

fn check(result: i32) -> std::io::Result<()> {
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(())
}
