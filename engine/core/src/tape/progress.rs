//! How far a command is that was answered before it is done; read without waiting for it.

use std::sync::atomic::{AtomicU32, Ordering};

/// Of a whole: what progress is told in (SPC-5 4.4.2.4.3).
const WHOLE: u64 = 1 << 16;

/// Of what command, and how far it is.
#[derive(Debug, Default)]
pub struct Progress(AtomicU32);

// Nothing else depends on it: relaxed throughout.
impl Progress {
    /// A command was answered and goes on.
    pub fn begin(&self, opcode: u8) {
        self.0.store(u32::from(opcode) << 16, Ordering::Relaxed);
    }

    /// It is so far; nothing is told where none was begun.
    pub fn at(&self, done: u64, whole: u64) {
        let part = done.min(whole).saturating_mul(WHOLE - 1) / whole.max(1);
        let _ = self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |now| {
            // Less than WHOLE.
            (now >> 16 != 0).then_some(now & 0xffff_0000 | part as u32)
        });
    }

    /// It is done.
    pub fn end(&self) {
        self.0.store(0, Ordering::Relaxed);
    }

    /// Operation code of the command in progress, and 65536ths of it.
    #[must_use]
    pub fn now(&self) -> Option<(u8, u16)> {
        let now = self.0.load(Ordering::Relaxed);
        // The upper half holds an operation code.
        (now >> 16 != 0).then_some(((now >> 16) as u8, now as u16))
    }
}
