//! A few threads that may wait: for commands that take long, and where io_uring is missing.

use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use crate::chain::Buffers;
use crate::error::{Error, Result};
use crate::mailbox::{Mailbox, Order};
use crate::medium::Medium;
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

/// What a thread of a pool does.
pub trait Work: Send + Sized + 'static {
    /// Do it, and tell who wants to know. What comes next goes behind what others wait for.
    fn run(self) -> Option<Self>;
}

impl Work for Job {
    fn run(mut self) -> Option<Self> {
        let behind = match (self.work, self.medium.drive()) {
            (Slow::Tape { command, .. }, Some(drive)) if command.goes_behind() => {
                drive.begin_behind().map(|outcome| (drive, command, outcome))
            }
            _ => None,
        };
        if let Some((drive, command, outcome)) = behind {
            // Nothing of the guest's is touched any more, for it has no data.
            self.reply.post(Order::PoolDone(self.token, Box::new(outcome)));
            drive.run_behind(command);
        } else {
            let outcome = slow::run(&self.medium, self.work, &mut self.buffers, &self.ended);
            self.reply.post(Order::PoolDone(self.token, Box::new(outcome)));
        }
        // A tape's next command.
        self.medium.drive().and_then(|drive| drive.turn.next())
    }
}

#[derive(Debug)]
struct Queue<W> {
    jobs: VecDeque<W>,
    closed: bool,
}

#[derive(Debug)]
struct Shared<W> {
    queue: Mutex<Queue<W>>,
    more: Condvar,
}

/// The threads.
#[derive(Debug)]
pub struct Pool<W = Job> {
    shared: Arc<Shared<W>>,
    threads: Vec<JoinHandle<()>>,
}

impl<W: Work> Pool<W> {
    /// Start `count` threads.
    ///
    /// # Errors
    /// The host gives no more threads.
    pub fn new(count: usize) -> Result<Self> {
        let queue = Queue { jobs: VecDeque::new(), closed: false };
        let shared = Arc::new(Shared { queue: Mutex::new(queue), more: Condvar::new() });
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
    pub fn post(&self, job: W) {
        self.shared.post(job);
    }
}

impl<W> Shared<W> {
    fn post(&self, job: W) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.jobs.push_back(job);
        drop(queue);
        self.more.notify_one();
    }
}

impl<W> Drop for Pool<W> {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.shared.more.notify_all();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn work<W: Work>(shared: &Shared<W>) {
    leave_signals_to_others();
    loop {
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let job = loop {
            if let Some(job) = queue.jobs.pop_front() {
                break job;
            }
            if queue.closed {
                return;
            }
            queue = shared.more.wait(queue).unwrap_or_else(PoisonError::into_inner);
        };
        drop(queue);
        if let Some(next) = job.run() {
            shared.post(next);
        }
    }
}

/// A signal would cut a system call short that waits here: SG gives the end of such a command to
/// nobody. Those that the thread itself causes still come (see sigbus.rs).
fn leave_signals_to_others() {
    // SAFETY: the set is a local, filled before it is read; blocking signals of one's own thread
    // touches nothing else.
    unsafe {
        let mut set = std::mem::MaybeUninit::<libc::sigset_t>::uninit();
        libc::sigfillset(set.as_mut_ptr());
        for own in [libc::SIGBUS, libc::SIGSEGV, libc::SIGILL, libc::SIGFPE] {
            libc::sigdelset(set.as_mut_ptr(), own);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, set.as_ptr(), std::ptr::null_mut());
    }
}
