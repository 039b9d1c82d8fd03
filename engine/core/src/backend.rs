//! The only code that touches a host file or device, and what was learned about it.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use libc::iovec;

use crate::error::{Error, Result};

/// The kernel takes no more parts in one call (IOV_MAX).
pub const MAX_PARTS: usize = 1024;

/// How a write reaches the host without holding up the other requests of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WritePolicy {
    /// RWF_NOWAIT works: tried at once, what would block goes to io_uring.
    Nowait,
    /// A blocking pwritev2, at most a few a batch; it may stall the worker while the kernel
    /// throttles dirty pages.
    Inline,
    /// io_uring, or the pool where there is none.
    Deferred,
}

/// How a file is to be used.
#[derive(Clone, Copy, Debug)]
pub struct FileOptions {
    /// The descriptor was opened with O_DIRECT.
    pub direct: bool,
    /// Each write is stable when it is answered.
    pub sync_writes: bool,
    /// It is a block device.
    pub block_device: bool,
    /// Logical block size, bytes.
    pub block_size: u32,
}

/// An open image file or block device.
#[derive(Debug)]
pub struct FileStore {
    fd: OwnedFd,
    /// What O_DIRECT asks of addresses and lengths; 1 for buffered I/O.
    pub alignment: usize,
    /// Each write is stable when it is answered.
    pub sync_writes: bool,
    /// It is a block device.
    pub block_device: bool,
    /// How writes go.
    pub writes: WritePolicy,
    /// Data is always in memory (tmpfs): a plain read never waits for a device.
    pub in_memory: bool,
    nowait_reads: AtomicBool,
}

const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;

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
            sync_writes: options.sync_writes,
            block_device: options.block_device,
            writes,
            in_memory,
            nowait_reads: AtomicBool::new(!options.direct && !in_memory),
        })
    }

    /// The descriptor, for io_uring.
    #[must_use]
    pub fn raw(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Read what the page cache has; None where waiting would be needed.
    pub fn read_cached(&self, parts: &[iovec], offset: u64) -> Option<std::io::Result<u64>> {
        if self.in_memory {
            return Some(transfer(self.raw(), parts, offset, 0, false));
        }
        if !self.nowait_reads.load(Ordering::Relaxed) {
            return None;
        }
        match transfer(self.raw(), parts, offset, libc::RWF_NOWAIT, false) {
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
        match transfer(self.raw(), parts, offset, flags, true) {
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
        transfer(self.raw(), parts, offset, flags, write)
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

fn transfer(
    fd: RawFd,
    parts: &[iovec],
    offset: u64,
    flags: i32,
    write: bool,
) -> std::io::Result<u64> {
    let count = parts.len().min(MAX_PARTS) as i32;
    loop {
        // SAFETY: the parts point to mapped memory; a page that vanished gives EFAULT. The
        // offset is within the unit.
        let done = unsafe {
            if write {
                libc::pwritev2(fd, parts.as_ptr(), count, offset as i64, flags)
            } else {
                libc::preadv2(fd, parts.as_ptr(), count, offset as i64, flags)
            }
        };
        if let Ok(done) = u64::try_from(done) {
            return Ok(done);
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

fn in_memory(fd: RawFd) -> bool {
    // SAFETY: a zeroed statfs is valid, and the call only fills it.
    unsafe {
        let mut status: libc::statfs = std::mem::zeroed();
        libc::fstatfs(fd, &mut status) == 0 && matches!(status.f_type, TMPFS_MAGIC | RAMFS_MAGIC)
    }
}

/// What O_DIRECT asks for: statx says since Linux 6.1; before, 512 or what a read shows.
fn direct_alignment(fd: RawFd) -> usize {
    // SAFETY: a zeroed statx is valid, and the call only fills it.
    unsafe {
        let mut status: libc::statx = std::mem::zeroed();
        let asked = libc::STATX_DIOALIGN;
        if libc::statx(fd, c"".as_ptr(), libc::AT_EMPTY_PATH, asked, &mut status) == 0
            && status.stx_mask & asked != 0
            && status.stx_dio_offset_align != 0
        {
            return status.stx_dio_offset_align.max(status.stx_dio_mem_align) as usize;
        }
    }
    [512usize, 1024, 2048].into_iter().find(|size| direct_read_works(fd, *size)).unwrap_or(4096)
}

fn direct_read_works(fd: RawFd, size: usize) -> bool {
    let Some(buffer) = Aligned::new(8192) else { return false };
    // A start that is a multiple of `size` and of nothing larger.
    let part = [iovec { iov_base: buffer.address().wrapping_add(size).cast(), iov_len: size }];
    transfer(fd, &part, size as u64, 0, false).is_ok()
}

/// Measure on a temporary file which way of writing into the page cache is quickest here.
fn measure_writes(scratch: RawFd) -> WritePolicy {
    const LENGTH: usize = 4096;
    const BLOCKS: u64 = 64;
    let data = [0x5au8; LENGTH];
    let part = [iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: LENGTH }];
    let fill = |flags| {
        (0..BLOCKS).try_for_each(|block| {
            transfer(scratch, &part, block * LENGTH as u64, flags, true).map(|_| ())
        })
    };
    if fill(0).is_err() {
        return WritePolicy::Deferred;
    }
    if fill(libc::RWF_NOWAIT).is_ok() {
        return WritePolicy::Nowait;
    }
    let begin = Instant::now();
    if fill(0).is_err() {
        return WritePolicy::Deferred;
    }
    let inline = begin.elapsed();
    match crate::uring::time_writes(scratch, &data, BLOCKS) {
        Some(deferred) if deferred < inline => WritePolicy::Deferred,
        // A page-cache write that takes a millisecond is being throttled: keep it off the worker.
        _ if inline > Duration::from_millis(BLOCKS) => WritePolicy::Deferred,
        _ => WritePolicy::Inline,
    }
}

/// A page-aligned buffer of our own.
#[derive(Debug)]
pub struct Aligned {
    address: *mut u8,
    length: usize,
}

// SAFETY: it owns its pages.
unsafe impl Send for Aligned {}
// SAFETY: all access is through raw pointers whose users order it among themselves.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// Zeroed memory of at least `length` bytes; None where there is none.
    #[must_use]
    pub fn new(length: usize) -> Option<Self> {
        let length = length.checked_next_multiple_of(4096)?.max(4096);
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        (address != libc::MAP_FAILED).then(|| Aligned { address: address.cast(), length })
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.address
    }

    /// Bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Give pages back; they read as zeros then.
    pub fn discard(&self, offset: usize, length: usize) {
        let first = offset.next_multiple_of(4096);
        let last = (offset + length) & !4095;
        // SAFETY: both ranges lie within the mapping: the caller checked offset and length.
        unsafe {
            if last > first {
                libc::madvise(self.address.add(first).cast(), last - first, libc::MADV_DONTNEED);
                std::ptr::write_bytes(self.address.add(offset), 0, first - offset);
                std::ptr::write_bytes(self.address.add(last), 0, offset + length - last);
            } else {
                std::ptr::write_bytes(self.address.add(offset), 0, length);
            }
        }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody uses it any more.
        unsafe {
            libc::munmap(self.address.cast(), self.length);
        }
    }
}
