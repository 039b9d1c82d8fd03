//! When a worker looks, asks for kicks and sleeps.

use std::cmp::Reverse;
use std::time::{Duration, Instant};

use vmm_sys_util::epoll::EpollEvent;

use super::{Worker, DEVICE, FIRST_QUEUE};
use crate::queue::Queue;

/// Longest look for more after work was done, before sleeping.
const LINGER: Duration = Duration::from_micros(20);

impl Worker {
    /// Ask for kicks everywhere; false where something is available already.
    pub(super) fn rearm(&mut self) -> bool {
        if self.has_work() {
            return false;
        }
        std::mem::swap(&mut self.unarmed, &mut self.spare);
        for position in 0..self.spare.len() {
            let id = self.spare[position];
            let Some(mut queue) = self.queues.get_mut(id).and_then(Option::take) else { continue };
            queue.unarmed = false;
            if queue.open() {
                match queue.arm() {
                    Ok(true) => self.mark_ready(id, &mut queue),
                    Ok(false) => {}
                    Err(fault) => self.break_session(&queue, fault),
                }
            }
            self.put_back(id, queue);
        }
        self.spare.clear();
        self.ready.is_empty()
    }

    fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.readable.is_empty() || self.mailbox.has_mail()
    }

    pub(super) fn mark_ready(&mut self, id: usize, queue: &mut Queue) {
        if !queue.ready {
            queue.ready = true;
            self.ready.push(id);
        }
    }

    pub(super) fn mark_all_ready(&mut self, only: impl Fn(&Queue) -> bool) {
        for id in 0..self.queues.len() {
            if let Some(mut queue) = self.queues[id].take() {
                if only(&queue) {
                    self.mark_ready(id, &mut queue);
                }
                self.queues[id] = Some(queue);
            }
        }
    }

    pub(super) fn sleep(&mut self) {
        let mut timeout = -1;
        if let Some(Reverse((due, _))) = self.held.peek() {
            // Rounded up: waking early would only mean waking twice.
            let rest = due.saturating_duration_since(Instant::now()).as_millis() + 1;
            timeout = i32::try_from(rest).unwrap_or(i32::MAX);
        }
        if self.kickless > 0 {
            timeout = 1;
        }
        let asleep = Instant::now();
        self.listen(timeout);
        self.awake_since = Instant::now();
        // Polling would have paid: look longer next time.
        if self.awake_since.saturating_duration_since(asleep) < self.shared.poll {
            self.window = self.shared.poll;
        }
    }

    /// Hear who kicked, waiting for up to `timeout` milliseconds (-1: as long as it takes).
    pub(super) fn listen(&mut self, timeout: i32) {
        self.rounds = 0;
        let mut events = [EpollEvent::default(); 32];
        // EINTR and the like: the loop looks around and comes back.
        let count = self.epoll.wait(timeout, &mut events).unwrap_or(0);
        for event in &events[..count] {
            if event.data() & DEVICE != 0 {
                self.device_woke(event.data());
                continue;
            }
            let Some(id) = event.data().checked_sub(FIRST_QUEUE) else { continue };
            // An id that this thread gave out: it was an index.
            let id = id as usize;
            if let Some(mut queue) = self.queues.get_mut(id).and_then(Option::take) {
                self.mark_ready(id, &mut queue);
                self.queues[id] = Some(queue);
            }
        }
        if self.kickless > 0 {
            self.mark_all_ready(|queue| queue.kick.is_none());
        }
    }

    /// Look for more before asking for kicks and sleeping; true where something came.
    ///
    /// Without `poll` it looks for as long as it has just worked, and not longer than
    /// `LINGER`: a guest with requests in flight sends the next ones while we answer, and to
    /// sleep in between costs both sides a wake-up. That at most doubles the CPU time of work
    /// that was done, and costs nothing when idle. With `poll` it looks for the window, which
    /// halves when nothing comes and is whole again when something does.
    pub(super) fn stay_awake(&mut self) -> bool {
        if self.has_work() {
            return true;
        }
        let now = Instant::now();
        let linger = now.saturating_duration_since(self.awake_since).min(LINGER);
        let end = now + linger.max(self.window);
        loop {
            if self.look() {
                self.window = self.shared.poll;
                self.awake_since = Instant::now();
                return true;
            }
            if Instant::now() >= end {
                break;
            }
            std::hint::spin_loop();
        }
        self.window /= 2;
        false
    }

    pub(super) fn look(&mut self) -> bool {
        let mut found = self.mailbox.has_mail();
        for id in 0..self.queues.len() {
            let Some(mut queue) = self.queues[id].take() else { continue };
            // Only those that had something lately: the others are armed and will kick.
            if queue.unarmed && queue.open() && queue.pending() {
                self.mark_ready(id, &mut queue);
                found = true;
            }
            self.queues[id] = Some(queue);
        }
        found
    }
}
