//! What the host's I/O has failed to do at one mapping, for whoever tells an operator.
//!
//! A failing disk can fail hundreds of thousands of commands a second, and none of them may cost
//! an event: the first one is told, those after it are counted until somebody has taken the count.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Failures that were counted, and the last one of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// How many.
    pub count: u64,
    /// Operation code of the last.
    pub opcode: u8,
    /// What the host said of it.
    pub errno: i32,
}

/// The failures of one mapping. Workers count, Python takes.
#[derive(Debug, Default)]
pub struct Failures {
    count: AtomicU64,
    /// Operation code, above 32 bits of errno.
    last: AtomicU64,
    /// Whether somebody knows that there are some, and will take them.
    told: AtomicBool,
}

impl Failures {
    /// Count one. True: nobody knows yet, and the caller is to tell.
    #[must_use]
    pub fn count(&self, opcode: u8, errno: i32) -> bool {
        self.last
            .store(u64::from(opcode) << 32 | u64::from(errno.unsigned_abs()), Ordering::Relaxed);
        self.count.fetch_add(1, Ordering::Release);
        !self.told.swap(true, Ordering::AcqRel)
    }

    /// Take what was counted. Nothing: the next one is told; else whoever took asks once more.
    pub fn take(&self) -> Taken {
        // Before the count is taken: one that comes in between is told, and at worst twice known.
        self.told.store(false, Ordering::SeqCst);
        let count = self.count.swap(0, Ordering::AcqRel);
        if count > 0 {
            self.told.store(true, Ordering::SeqCst);
        }
        let last = self.last.load(Ordering::Relaxed);
        // The two halves that `count` put together.
        Taken { count, opcode: (last >> 32) as u8, errno: last as u32 as i32 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_is_told_and_the_others_are_counted() {
        let failures = Failures::default();
        assert!(failures.count(0x28, libc::EIO));
        assert!(!failures.count(0x28, libc::EIO));
        assert!(!failures.count(0x2a, libc::ENOSPC));
        assert_eq!(failures.take(), Taken { count: 3, opcode: 0x2a, errno: libc::ENOSPC });
    }

    #[test]
    fn who_took_some_is_not_told_of_the_next() {
        let failures = Failures::default();
        assert!(failures.count(0x28, libc::EIO));
        assert_eq!(failures.take().count, 1);
        assert!(!failures.count(0x28, libc::EIO));
        assert_eq!(failures.take().count, 1);
        assert_eq!(failures.take().count, 0);
        assert!(failures.count(0x28, libc::EIO));
    }

    #[test]
    fn none_is_lost_between_threads() {
        let failures = Failures::default();
        let told = AtomicU64::new(0);
        let mut taken = 0;
        std::thread::scope(|scope| {
            let counting: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..10_000 {
                            let first = failures.count(0x28, libc::EIO);
                            told.fetch_add(u64::from(first), Ordering::Relaxed);
                        }
                    })
                })
                .collect();
            while counting.iter().any(|thread| !thread.is_finished()) {
                taken += failures.take().count;
            }
        });
        taken += failures.take().count;
        assert_eq!(taken, 40_000);
        assert!(told.load(Ordering::Relaxed) > 0);
    }
}
