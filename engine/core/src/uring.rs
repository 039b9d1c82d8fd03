//! A worker's io_uring.

use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use io_uring::{cqueue, opcode, squeue, types, IoUring};

use vmm_sys_util::eventfd::{EventFd, EFD_CLOEXEC, EFD_NONBLOCK};

use crate::chain::Buffers;
use crate::transfer::Transfer;
use crate::vectored::MAX_PARTS;

/// Entries of the submission queue; more are submitted in several goes.
const ENTRIES: u32 = 256;
/// user_data of a cancel request, which no token has (no thread 63, queue 1023 ...).
const CANCEL: u64 = u64::MAX;

/// An io_uring, used by the one thread that made it.
pub struct Uring {
    ring: IoUring,
    /// Signalled when completions wait. epoll on the ring's own descriptor does not wake for
    /// work that DEFER_TASKRUN leaves to us (Linux 6.18: it was tried).
    wake: EventFd,
    /// Requests the kernel has.
    pub in_flight: usize,
    deferred: bool,
}

impl Uring {
    /// None where the kernel has no io_uring or forbids it.
    #[must_use]
    pub fn new() -> Option<Self> {
        let deferred = IoUring::builder()
            .setup_single_issuer()
            .setup_defer_taskrun()
            .dontfork()
            .build(ENTRIES);
        let (ring, deferred) = match deferred {
            Ok(ring) => (ring, true),
            // Before Linux 6.1 those flags are unknown (EINVAL).
            Err(_) => (IoUring::builder().dontfork().build(ENTRIES).ok()?, false),
        };
        let wake = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC).ok()?;
        ring.submitter().register_eventfd(wake.as_raw_fd()).ok()?;
        Some(Uring { ring, wake, in_flight: 0, deferred })
    }

    /// For edge-triggered epoll: signalled when completions wait.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.wake.as_raw_fd()
    }

    /// Whether another request may be queued. More in flight than there is room for completions
    /// would make the kernel refuse submissions.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.in_flight < self.ring.params().cq_entries() as usize
    }

    /// Queue a transfer. The buffers must stay where they are until its completion.
    pub fn transfer(&mut self, fd: RawFd, parts: &Buffers, transfer: Transfer, token: u64) {
        let list = parts.parts();
        let count = list.len().min(MAX_PARTS) as u32;
        let entry = if transfer.write {
            let flags = if transfer.sync { libc::RWF_DSYNC } else { 0 };
            opcode::Writev::new(types::Fd(fd), list.as_ptr().cast(), count)
                .offset(transfer.offset)
                .rw_flags(flags)
                .build()
        } else {
            opcode::Readv::new(types::Fd(fd), list.as_ptr().cast(), count)
                .offset(transfer.offset)
                .build()
        };
        self.push(&entry.user_data(token));
        self.in_flight += 1;
    }

    /// Ask the kernel to end a transfer early; its completion comes all the same.
    pub fn cancel(&mut self, token: u64) {
        self.push(&opcode::AsyncCancel::new(token).build().user_data(CANCEL));
        self.in_flight += 1;
    }

    fn push(&mut self, entry: &squeue::Entry) {
        loop {
            // SAFETY: what the entry points to (buffers of a slot) stays until its completion.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return;
            }
            // Full: hand over what is there. An error leaves room for none, but the kernel
            // takes entries as long as it lives; EBUSY ends when completions are taken.
            let _ = self.ring.submit();
        }
    }

    /// Hand over what was queued and let the kernel finish what it can.
    pub fn submit(&mut self) {
        let queued = self.ring.submission().len();
        if queued == 0 && (self.in_flight == 0 || !self.deferred) {
            return;
        }
        let flags = if self.deferred { 1 } else { 0 }; // IORING_ENTER_GETEVENTS
                                                       // SAFETY: the entries are valid, see `push`; no signal mask is passed.
        let _ =
            unsafe { self.ring.submitter().enter::<libc::sigset_t>(queued as u32, 0, flags, None) };
    }

    /// The next completion: token and result.
    pub fn completion(&mut self) -> Option<(u64, i32)> {
        loop {
            let entry: cqueue::Entry = self.ring.completion().next()?;
            self.in_flight -= 1;
            if entry.user_data() != CANCEL {
                return Some((entry.user_data(), entry.result()));
            }
        }
    }
}

/// How long `count` writes of `data` to a scratch file take through io_uring.
#[must_use]
pub fn time_writes(fd: RawFd, data: &[u8], count: u64) -> Option<Duration> {
    let mut ring = Uring::new()?;
    let length = data.len() as u64;
    let mut parts = Buffers::with_capacity(1);
    parts.push(data.as_ptr().cast_mut(), data.len());
    let begin = Instant::now();
    for block in 0..count {
        let transfer =
            Transfer { write: true, offset: block * length, left: length, ..Transfer::default() };
        ring.transfer(fd, &parts, transfer, block);
    }
    let mut done = 0;
    while done < count {
        let queued = ring.ring.submission().len() as u32;
        // SAFETY: `data` lives until the loop has seen all completions.
        unsafe { ring.ring.submitter().enter::<libc::sigset_t>(queued, 1, 1, None) }.ok()?;
        while let Some((_, result)) = ring.completion() {
            if result < 0 {
                return None;
            }
            done += 1;
        }
    }
    Some(begin.elapsed())
}
