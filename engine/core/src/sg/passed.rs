//! Commands by SG_IO: SG takes `write` and `read` from nobody but its opener, so a descriptor that
//! somebody else has opened has nothing else; nor has a block device that several paths lead to. It
//! waits, so a few threads of the device's own do it.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use super::ends;
use super::header::{PROBE_PATHS, SG_IO};
use super::lane::{Command, Ended};
use crate::chain::Buffers;
use crate::mailbox::{Mailbox, Order};
use crate::outcome::{Outcome, SENSE_MAX};
use crate::pool::Work;
use crate::slot::CDB_MAX;

/// Threads of one device that takes several commands at a time.
pub const THREADS: usize = 4;
/// How many times a command whose path has failed is sent by another one: paths may go while we look.
const OTHER_PATHS: usize = 5;

/// A command for one of them. Its slot stays taken, and its buffers where they are, until
/// `DeviceDone`.
#[derive(Debug)]
pub struct Passed {
    token: u64,
    device: u32,
    file: Arc<OwnedFd>,
    cdb: [u8; CDB_MAX],
    cdb_len: usize,
    write: bool,
    buffers: Buffers,
    length: u32,
    timeout: u32,
    at_head: bool,
    reply: Arc<Mailbox>,
}

impl Passed {
    /// Take a command along; `device` is who has an end less to wait for when it is done.
    #[must_use]
    pub fn new(
        command: &Command<'_>,
        device: u32,
        file: Arc<OwnedFd>,
        reply: Arc<Mailbox>,
    ) -> Self {
        let mut cdb = [0; CDB_MAX];
        // At most CDB_MAX, by `pieces::cdb_length`.
        let cdb_len = command.cdb.len().min(CDB_MAX);
        cdb[..cdb_len].copy_from_slice(&command.cdb[..cdb_len]);
        let mut buffers = Buffers::with_capacity(command.parts.len());
        for part in command.parts {
            buffers.push(part.iov_base.cast(), part.iov_len);
        }
        Passed {
            token: command.token,
            device,
            file,
            cdb,
            cdb_len,
            write: command.write,
            buffers,
            length: command.length,
            timeout: command.timeout,
            at_head: command.at_head,
            reply,
        }
    }
}

impl Work for Passed {
    fn run(self) -> Option<Self> {
        let command = Command {
            token: self.token,
            cdb: &self.cdb[..self.cdb_len],
            write: self.write,
            parts: self.buffers.parts(),
            length: self.length,
            timeout: self.timeout,
            at_head: self.at_head,
        };
        let fd = self.file.as_raw_fd();
        let mut done = carry_out(fd, &command);
        for _ in 0..OTHER_PATHS {
            if !(done.path_failed && look_for_paths(fd)) {
                break;
            }
            done = carry_out(fd, &command);
        }
        let Done { outcome, fault, .. } = done;
        let ended = Ended { token: self.token, outcome, fault };
        self.reply.post(Order::DeviceDone(self.device, Box::new(ended)));
        None
    }
}

/// How a command has ended.
struct Done {
    outcome: Outcome,
    fault: bool,
    /// The device has not answered: where there is another path to it, that may do.
    path_failed: bool,
}

fn carry_out(fd: RawFd, command: &Command<'_>) -> Done {
    let mut sense = [0u8; SENSE_MAX];
    let mut header = command.header(sense.as_mut_ptr(), 0);
    // SAFETY: SG reads the header, the CDB and the list of parts, and writes the header and the
    // sense data, all of which outlive the call, and the guest's or the slot's buffers, which stay
    // until `DeviceDone`.
    let done = unsafe { libc::ioctl(fd, SG_IO, &raw mut header) };
    if done < 0 {
        let errno = std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO);
        return Done {
            outcome: ends::refused(errno),
            fault: errno == libc::EFAULT,
            path_failed: ends::gone(errno),
        };
    }
    let path_failed = ends::path_failed(&header);
    Done { outcome: ends::outcome(&header, &sense), fault: false, path_failed }
}

/// Have device-mapper try all paths, since SG_IO tells it nothing of the one that it has taken:
/// what fails is used no more. False: there are no paths to choose from.
fn look_for_paths(fd: RawFd) -> bool {
    let mut found = MaybeUninit::<libc::stat>::uninit();
    // SAFETY: fstat writes one `stat`, which is there.
    if unsafe { libc::fstat(fd, found.as_mut_ptr()) } < 0 {
        return false;
    }
    // SAFETY: fstat has succeeded, so all of it is written.
    let mode = unsafe { found.assume_init() }.st_mode;
    // An SG node would hand what it does not know to its adapter's driver.
    if mode & libc::S_IFMT != libc::S_IFBLK {
        return false;
    }
    // SAFETY: this one takes no argument. Kernels before 6.16 refuse it, and choose another path
    // for each command all the same.
    unsafe { libc::ioctl(fd, PROBE_PATHS) };
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_block_device_has_paths() -> std::io::Result<()> {
        let file = std::fs::File::open("/dev/null")?;
        assert!(!look_for_paths(file.as_raw_fd()));
        assert!(!look_for_paths(-1));
        Ok(())
    }
}
