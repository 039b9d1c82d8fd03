//! The answer to SIGBUS: a front-end truncated the file behind guest memory.
//!
//! A handler puts anonymous pages where the region was and marks it; the worker that touched
//! it goes on, finds the mark and ends that guest's session. A sealed memfd would forbid the
//! truncation, but a front-end need not seal, so sealing cannot be relied on.

use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::sync::{Mutex, Once};

/// As many regions as all guests together may map at a time.
const SLOTS: usize = 8192;

struct Slot {
    start: AtomicUsize,
    length: AtomicUsize,
    gone: AtomicPtr<AtomicBool>,
}

static TABLE: [Slot; SLOTS] = [const {
    Slot {
        start: AtomicUsize::new(0),
        length: AtomicUsize::new(0),
        gone: AtomicPtr::new(std::ptr::null_mut()),
    }
}; SLOTS];
/// Slots at or above were never used: how far the handler must look.
static HIGH: AtomicUsize = AtomicUsize::new(0);
static CHANGE: Mutex<()> = Mutex::new(());
static INSTALL: Once = Once::new();

/// A mapping that the handler watches over, until this is dropped.
#[derive(Debug)]
pub struct Guard {
    slot: usize,
    gone: Box<AtomicBool>,
}

impl Guard {
    /// Watch `length` bytes at `start`. None where the table is full.
    pub fn new(start: *mut u8, length: usize) -> Option<Self> {
        install();
        let _turn = CHANGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let index = TABLE.iter().position(|slot| slot.length.load(Ordering::Relaxed) == 0)?;
        let gone = Box::new(AtomicBool::new(false));
        let slot = &TABLE[index];
        slot.gone.store(std::ptr::from_ref(&*gone).cast_mut(), Ordering::Relaxed);
        slot.start.store(start as usize, Ordering::Relaxed);
        // Release: a handler that sees the length sees the rest of the slot.
        slot.length.store(length, Ordering::Release);
        HIGH.fetch_max(index + 1, Ordering::Release);
        Some(Guard { slot: index, gone })
    }

    /// Whether pages of the mapping were found to be gone.
    #[must_use]
    pub fn gone(&self) -> bool {
        self.gone.load(Ordering::SeqCst)
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        let _turn = CHANGE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        // Nobody touches the mapping any more, so no handler is looking for this slot.
        TABLE[self.slot].length.store(0, Ordering::Release);
    }
}

fn install() {
    INSTALL.call_once(|| {
        // SAFETY: a zeroed sigaction is a valid one; the handler only does what is
        // async-signal-safe (atomics and the mmap system call).
        unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handler as *const () as usize;
            action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
            libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut());
        }
    });
}

extern "C" fn handler(_signal: i32, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    // SAFETY: the kernel passes a valid siginfo to a SA_SIGINFO handler.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in TABLE.iter().take(HIGH.load(Ordering::Acquire)) {
        let length = slot.length.load(Ordering::Acquire);
        let start = slot.start.load(Ordering::Relaxed);
        if length == 0 || address.wrapping_sub(start) >= length {
            continue;
        }
        // SAFETY: the range is a mapping of ours that a Guard watches; replacing its pages
        // keeps every pointer into it valid. The flag lives as long as the slot is in use.
        unsafe {
            // First the mark: another thread that reads the zeros of the new pages must find it.
            (*slot.gone.load(Ordering::Relaxed)).store(true, Ordering::SeqCst);
            let done = libc::mmap(
                start as *mut libc::c_void,
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED | libc::MAP_NORESERVE,
                -1,
                0,
            );
            if done != libc::MAP_FAILED {
                return;
            }
        }
        break;
    }
    // Not ours: let the fault happen again with the default action.
    // SAFETY: signal() with SIG_DFL is async-signal-safe.
    unsafe {
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
    }
}
