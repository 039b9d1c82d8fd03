//! What is found out about a file when it is opened: alignment, and how best to write.

use std::os::fd::RawFd;
use std::time::{Duration, Instant};

use libc::iovec;

use crate::aligned::Aligned;
use crate::uring::time_writes;
use crate::vectored::vectored;

const TMPFS_MAGIC: i64 = 0x0102_1994;
const RAMFS_MAGIC: i64 = 0x8584_58f6;

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

/// Whether data is always in memory (tmpfs): a plain read never waits for a device.
#[must_use]
pub fn in_memory(fd: RawFd) -> bool {
    // SAFETY: a zeroed statfs is valid, and the call only fills it.
    unsafe {
        let mut status: libc::statfs = std::mem::zeroed();
        libc::fstatfs(fd, &mut status) == 0 && matches!(status.f_type, TMPFS_MAGIC | RAMFS_MAGIC)
    }
}

/// What O_DIRECT asks for: statx says since Linux 6.1; before, 512 or what a read shows.
#[must_use]
pub fn direct_alignment(fd: RawFd) -> usize {
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
    vectored(fd, &part, size as u64, 0, false).is_ok()
}

/// Measure on a temporary file which way of writing into the page cache is quickest here.
#[must_use]
pub fn measure_writes(scratch: RawFd) -> WritePolicy {
    const LENGTH: usize = 4096;
    const BLOCKS: u64 = 64;
    let data = [0x5au8; LENGTH];
    let part = [iovec { iov_base: data.as_ptr().cast_mut().cast(), iov_len: LENGTH }];
    let fill = |flags| {
        (0..BLOCKS).try_for_each(|block| {
            vectored(scratch, &part, block * LENGTH as u64, flags, true).map(|_| ())
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
    match time_writes(scratch, &data, BLOCKS) {
        Some(deferred) if deferred < inline => WritePolicy::Deferred,
        // A page-cache write that takes a millisecond is being throttled: keep it off the worker.
        _ if inline > Duration::from_millis(BLOCKS) => WritePolicy::Deferred,
        _ => WritePolicy::Inline,
    }
}
