//! Commands by a descriptor that somebody else has opened: SG takes `write` and `read` from nobody
//! but its opener, and SG_IO from everybody. That waits, so a few threads of the device's own do it.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;

use super::ends;
use super::header::SG_IO;
use super::lane::{Command, Ended};
use crate::chain::Buffers;
use crate::mailbox::{Mailbox, Order};
use crate::outcome::SENSE_MAX;
use crate::pool::Work;
use crate::slot::CDB_MAX;

/// Threads of one device that takes several commands at a time.
pub const THREADS: usize = 4;

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
        let mut sense = [0u8; SENSE_MAX];
        let command = Command {
            token: self.token,
            cdb: &self.cdb[..self.cdb_len],
            write: self.write,
            parts: self.buffers.parts(),
            length: self.length,
            timeout: self.timeout,
            at_head: self.at_head,
        };
        let mut header = command.header(sense.as_mut_ptr(), 0);
        // SAFETY: SG reads the header, the CDB and the list of parts, and writes the header and the
        // sense data, all of them locals that outlive the call, and the guest's or the slot's
        // buffers, which stay until `DeviceDone`.
        let done = unsafe { libc::ioctl(self.file.as_raw_fd(), SG_IO, &raw mut header) };
        let errno = if done < 0 {
            std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
        } else {
            0
        };
        let outcome =
            if errno == 0 { ends::outcome(&header, &sense) } else { ends::refused(errno) };
        let ended = Ended { token: self.token, outcome, fault: errno == libc::EFAULT };
        self.reply.post(Order::DeviceDone(self.device, Box::new(ended)));
        None
    }
}
