//! The two eventfds of a ring, from the driver's side.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::Duration;

use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

use crate::error::{Context, Error};

/// The two eventfds of a ring, and the socket whose end tells that nobody writes them any more.
#[derive(Debug)]
pub struct Signals {
    /// We write it.
    pub kick: EventFd,
    /// The device writes it.
    pub call: EventFd,
    socket: OwnedFd,
}

impl Signals {
    /// A new pair.
    pub fn new(socket: OwnedFd) -> Result<Self, Error> {
        let eventfd = || EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).context("make an eventfd");
        Ok(Self { kick: eventfd()?, call: eventfd()?, socket })
    }

    /// Kick the device.
    pub fn kick(&self) -> Result<(), Error> {
        self.kick.write(1).context("kick")
    }

    /// Wait for a call; false: none came in time. An error where the back-end has gone.
    pub fn called(&self, timeout: Duration) -> Result<bool, Error> {
        if readable(self.call.as_raw_fd(), timeout).context("wait for a call")? {
            // Another chain's call may have been taken with this one's: then it is empty.
            let _ = self.call.read();
            return Ok(true);
        }
        if hung_up(self.socket.as_raw_fd()) {
            return Err(Error::BackEnd("closed the connection".into()));
        }
        Ok(false)
    }
}

fn readable(fd: RawFd, timeout: Duration) -> io::Result<bool> {
    let mut entry = libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
    // SAFETY: one valid entry.
    match unsafe { libc::poll(&mut entry, 1, timeout.as_millis() as i32) } {
        0 => Ok(false),
        1 => Ok(true),
        _ => match io::Error::last_os_error() {
            error if error.kind() == io::ErrorKind::Interrupted => Ok(true),
            error => Err(error),
        },
    }
}

fn hung_up(socket: RawFd) -> bool {
    let mut entry = libc::pollfd { fd: socket, events: libc::POLLRDHUP, revents: 0 };
    // SAFETY: one valid entry.
    unsafe { libc::poll(&mut entry, 1, 0) == 1 }
}
