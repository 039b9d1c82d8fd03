//! How far a command is that was answered before it is done; read without waiting for it.

use std::sync::atomic::{AtomicU32, Ordering};

/// Of a whole: what progress is told in (SPC-5 4.4.2.4.3).
const WHOLE: u64 = 1 << 16;
/// No command was answered before it is done: more than any part of a whole.
const NONE: u32 = u32::MAX;

/// How far it is.
#[derive(Debug)]
pub struct Progress(AtomicU32);

impl Default for Progress {
    fn default() -> Self {
        Progress(AtomicU32::new(NONE))
    }
}

// Nothing else depends on it: relaxed throughout.
impl Progress {
    /// A command was answered and goes on.
    pub fn begin(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// It is so far; nothing is told where none was begun.
    pub fn at(&self, done: u64, whole: u64) {
        if self.0.load(Ordering::Relaxed) != NONE {
            let part = done.min(whole).saturating_mul(WHOLE - 1) / whole.max(1);
            // Less than WHOLE.
            self.0.store(part as u32, Ordering::Relaxed);
        }
    }

    /// It is done.
    pub fn end(&self) {
        self.0.store(NONE, Ordering::Relaxed);
    }

    /// 65536ths of the command in progress.
    #[must_use]
    pub fn now(&self) -> Option<u16> {
        u16::try_from(self.0.load(Ordering::Relaxed)).ok()
    }
}
