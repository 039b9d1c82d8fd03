//! A few threads that may wait: for commands that take long, and where io_uring is missing.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::chain::Buffers;
use crate::error::{Error, Result};
use crate::mailbox::{Mailbox, Order};
use crate::medium::Medium;
use crate::outcome::Outcome;
use crate::slow;
use crate::step::Slow;

/// A command for a pool thread. Its slot stays taken, and guest memory mapped, until `PoolDone`.
#[derive(Debug)]
pub struct Job {
    /// The request.
    pub token: u64,
    /// What is to be done.
    pub work: Slow,
    /// On what.
    pub medium: Arc<Medium>,
    /// The guest's data buffer.
    pub buffers: Buffers,
    /// Set when the command shall end early.
    pub ended: Arc<AtomicBool>,
    /// Who wants to know.
    pub reply: Arc<Mailbox>,
}

#[derive(Debug, Default)]
struct Queue {
    jobs: VecDeque<Job>,
    closed: bool,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    more: Condvar,
}

/// The threads.
#[derive(Debug)]
pub struct Pool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Pool {
    /// Start `count` threads.
    ///
    /// # Errors
    /// The host gives no more threads.
    pub fn new(count: usize) -> Result<Self> {
        let shared = Arc::new(Shared::default());
        let threads = (0..count)
            .map(|index| {
                let shared = Arc::clone(&shared);
                std::thread::Builder::new()
                    .name(format!("pool-{index}"))
                    .spawn(move || work(&shared))
                    .map_err(|source| Error::Io { context: "start a pool thread", source })
            })
            .collect::<Result<_>>()?;
        Ok(Pool { shared, threads })
    }

    /// Hand over a job.
    pub fn post(&self, job: Job) {
        self.shared.post(job);
    }
}

impl Shared {
    fn post(&self, job: Job) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(job);
        drop(queue);
        self.more.notify_one();
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.more.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work(shared: &Shared) {
    loop {
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let mut job = loop {
            if let Some(job) = queue.jobs.pop_front() {
                break job;
            }
            if queue.closed {
                return;
            }
            queue = shared.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        drop(queue);
        match (job.work, job.medium.drive()) {
            (Slow::Tape { command, .. }, Some(drive)) if drive.goes_behind(command) => {
                // Nothing of the guest's is touched any more, for it has no data.
                job.reply.post(Order::PoolDone(job.token, Box::new(Outcome::good(0))));
                drive.run_behind(command);
            }
            _ => {
                let outcome = slow::run(&job.medium, job.work, &mut job.buffers, &job.ended);
                job.reply.post(Order::PoolDone(job.token, Box::new(outcome)));
            }
        }
        // A tape's next command, behind what others wait for.
        if let Some(next) = job.medium.drive().and_then(|drive| drive.turn.next()) {
            shared.post(next);
        }
    }
}
