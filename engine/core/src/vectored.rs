//! The system call that moves blocks: preadv2 and pwritev2.

use std::os::fd::RawFd;

use libc::iovec;

/// The kernel takes no more parts in one call (IOV_MAX).
pub const MAX_PARTS: usize = 1024;

/// Read or write scattered parts, as many bytes as the kernel takes.
///
/// # Errors
/// What the kernel says, but for EINTR.
pub fn vectored(
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
