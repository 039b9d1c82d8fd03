//! Whose turn it is: a tape has one command at a time, first come first served.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::pool::Job;

/// The queue in front of a tape.
#[derive(Debug, Default)]
pub struct Turn(Mutex<Queue>);

#[derive(Debug, Default)]
struct Queue {
    busy: bool,
    waiting: VecDeque<Job>,
}

impl Turn {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Take the turn, if nobody has it or waits for it.
    #[must_use]
    pub fn take(&self) -> bool {
        let mut queue = self.lock();
        let free = !queue.busy && queue.waiting.is_empty();
        queue.busy |= free;
        free
    }

    /// Queue up for it; the job comes back if it has the turn at once.
    #[must_use]
    pub fn queue(&self, job: Job) -> Option<Job> {
        let mut queue = self.lock();
        if queue.busy || !queue.waiting.is_empty() {
            queue.waiting.push_back(job);
            return None;
        }
        queue.busy = true;
        Some(job)
    }

    /// Take those out of the queue that shall end: they are not carried out any more.
    #[must_use]
    pub fn leave(&self) -> Vec<Job> {
        let mut queue = self.lock();
        let waiting = std::mem::take(&mut queue.waiting);
        let (ended, stay): (Vec<_>, _) =
            waiting.into_iter().partition(|job| job.ended.load(Ordering::Relaxed));
        queue.waiting = VecDeque::from(stay);
        ended
    }

    /// Give it back.
    pub fn give_back(&self) {
        self.lock().busy = false;
    }

    /// Give it to whoever waits longest, if nobody has it.
    #[must_use]
    pub fn next(&self) -> Option<Job> {
        let mut queue = self.lock();
        if queue.busy {
            return None;
        }
        let job = queue.waiting.pop_front();
        queue.busy = job.is_some();
        job
    }
}
