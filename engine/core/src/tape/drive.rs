//! The drive: an image, where it stands, what was set; one command after the other.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::answers;
use super::cdb::{self, Command};
use super::image::{Image, Loaded};
use super::index::Place;
use super::packing::Packer;
use super::progress::Progress;
use super::turn::Turn;
use super::{position, reading, spacing, verifying, writing};
use crate::chain::{Buffers, Chain};
use crate::error::{Error, Result};
use crate::outcome::{Outcome, Service, GOOD, MEDIUM_NOT_PRESENT, WRITE_PROTECTED};
use crate::step::{Slow, Step};

/// Longest block that can be written: READ BLOCK LIMITS tells the guest.
pub const MAX_BLOCK: u32 = 8 << 20;

/// What a tape has carried since it was attached.
#[derive(Clone, Copy, Debug, Default)]
pub struct Carried {
    /// Blocks written.
    pub blocks_written: u64,
    /// Bytes in them.
    pub bytes_written: u64,
    /// Bytes that they take in the image: fewer, where they are compressed.
    pub stored_written: u64,
    /// Blocks read.
    pub blocks_read: u64,
    /// Bytes in them.
    pub bytes_read: u64,
    /// Bytes that they take in the image.
    pub stored_read: u64,
    /// Filemarks written.
    pub marks_written: u64,
    /// Blocks that could not be read.
    pub read_errors: u64,
    /// Writes that failed.
    pub write_errors: u64,
    /// Commands that would have written a protected tape.
    pub refused: u64,
}

/// How a tape stands.
#[derive(Clone, Copy, Debug, Default)]
pub struct Standing {
    /// Where it stands.
    pub place: Place,
    /// Filemarks before that.
    pub file: u64,
    /// The end of data.
    pub end: Place,
    /// Filemarks on it.
    pub marks: u64,
    /// What it has carried.
    pub carried: Carried,
}

/// What the turn's holder works on.
#[derive(Debug)]
pub struct Tape {
    /// The image.
    pub image: Image,
    /// Where it stands.
    pub place: Place,
    /// The word at the next object's beginning, if it was read already: where, what.
    pub ahead: Option<(u64, u32)>,
    /// Bytes in a block of the fixed kind, 0: none is set.
    pub block_length: u32,
    /// A write is stable when it is answered: no buffered mode.
    pub unbuffered: bool,
    /// Blocks are compressed, where that makes them less.
    pub compress: bool,
    /// What compresses them.
    pub packer: Packer,
    /// Bytes of the image that may be used.
    pub capacity: u64,
    /// Bytes of it from where on writes are answered with a warning.
    pub warning: u64,
    /// What it has carried.
    pub carried: Carried,
    /// The end of a command that was answered before it failed; the next one is told.
    deferred: Option<Outcome>,
    /// Used by one command after the other, so that none allocates.
    pub list: Buffers,
}

/// What is in a drive.
#[derive(Debug)]
enum Holding {
    Tape(Box<Tape>),
    /// No tape; what those before it have carried is counted on with the next one.
    Nothing(Carried),
}

impl Holding {
    fn tape(&mut self) -> Option<&mut Tape> {
        match self {
            Holding::Tape(tape) => Some(tape),
            Holding::Nothing(_) => None,
        }
    }

    fn standing(&self) -> Standing {
        match self {
            Holding::Tape(tape) => {
                let index = tape.image.index();
                Standing {
                    place: tape.place,
                    file: index.marks_before(tape.place.object),
                    end: index.end(),
                    marks: index.marks(),
                    carried: tape.carried,
                }
            }
            Holding::Nothing(carried) => Standing { carried: *carried, ..Standing::default() },
        }
    }
}

/// A drive, and the tape in it.
#[derive(Debug)]
pub struct Drive {
    /// Whose turn it is.
    pub turn: Turn,
    /// How far a command is that goes on behind its answer.
    pub progress: Progress,
    holding: Mutex<Holding>,
    /// How it stood when what goes on behind its answer began.
    seen: Mutex<Standing>,
    /// What is in it may not be written. Changed where no command is on its way.
    read_only: AtomicBool,
    /// Commands that would have written a protected tape.
    protected: AtomicU64,
    /// What goes on behind its answer shall end: somebody waits for it.
    resting: AtomicBool,
}

impl Drive {
    /// Put an image in a drive, at its beginning. `capacity`: bytes of it that may be used;
    /// `warning`: from how many on writes are answered with a warning.
    #[must_use]
    pub fn new(image: Image, capacity: u64, warning: u64) -> Self {
        let drive = Drive::empty();
        drive.insert(image, capacity, warning);
        drive
    }

    /// A drive without a tape.
    #[must_use]
    pub fn empty() -> Self {
        Drive {
            turn: Turn::default(),
            progress: Progress::default(),
            holding: Mutex::new(Holding::Nothing(Carried::default())),
            seen: Mutex::default(),
            read_only: AtomicBool::new(false),
            protected: AtomicU64::new(0),
            resting: AtomicBool::new(false),
        }
    }

    /// Put an image into the drive, in the place of what is in there: as `new`. Nothing is set.
    ///
    /// What was in there is let go of as it is: `remove` has made it stable.
    pub fn insert(&self, image: Image, capacity: u64, warning: u64) {
        let mut holding = self.holding();
        let carried = match &*holding {
            Holding::Tape(tape) => tape.carried,
            Holding::Nothing(carried) => *carried,
        };
        self.read_only.store(image.read_only, Ordering::Relaxed);
        *holding = Holding::Tape(Box::new(Tape {
            image,
            place: Place::default(),
            ahead: None,
            block_length: 0,
            unbuffered: false,
            compress: false,
            packer: Packer::default(),
            capacity,
            warning,
            carried,
            deferred: None,
            list: Buffers::with_capacity(256),
        }));
    }

    /// Make what is in the drive stable, keep its index, and let go of it.
    ///
    /// # Errors
    /// What the kernel says; the tape is in the drive still, at its beginning.
    pub fn remove(&self) -> Result<()> {
        self.rest()?;
        let mut holding = self.holding();
        if let Holding::Tape(tape) = &*holding {
            *holding = Holding::Nothing(tape.carried);
        }
        Ok(())
    }

    fn holding(&self) -> MutexGuard<'_, Holding> {
        // Nothing under this lock can panic half way.
        self.holding.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Check a command, and carry it out if that takes no waiting and nobody is before it.
    #[must_use]
    pub fn begin(&self, cdb: &[u8; 32], chain: &Chain, protected: bool) -> Step {
        let command = match cdb::parse(cdb) {
            Ok(command) => command,
            Err(outcome) => return Step::Finished(*outcome),
        };
        if let Err(outcome) = self.refused(command, protected) {
            return Step::Finished(*outcome);
        }
        if !self.turn.take() {
            return Step::Slow(Slow::Tape { command, first: false });
        }
        // Somebody else may look at how the tape stands: not waited for here.
        let done = self.holding.try_lock().ok().and_then(|mut holding| match holding.tape() {
            Some(tape) => tape.at_once(command, chain),
            None => Some(Outcome::check(MEDIUM_NOT_PRESENT)),
        });
        match done {
            Some(outcome) => {
                self.turn.give_back();
                Step::Finished(outcome)
            }
            None => Step::Slow(Slow::Tape { command, first: true }),
        }
    }

    fn refused(&self, command: Command, protected: bool) -> std::result::Result<(), Box<Outcome>> {
        let writes =
            matches!(command, Command::Write { .. } | Command::Marks { .. } | Command::Erase);
        if writes && (protected || self.read_only.load(Ordering::Relaxed)) {
            self.protected.fetch_add(1, Ordering::Relaxed);
            return Err(Box::new(Outcome::check(WRITE_PROTECTED)));
        }
        Ok(())
    }

    /// Carry a command out whose turn it is, and give the turn back. `buffers` is its data buffer.
    #[must_use]
    pub fn run(&self, command: Command, buffers: &Buffers, ended: &AtomicBool) -> Outcome {
        let outcome = if ended.load(Ordering::Relaxed) {
            Outcome::of(Service::Aborted)
        } else {
            match self.holding().tape() {
                Some(tape) => tape.carry_out(command, buffers, ended, &self.progress),
                None => Outcome::check(MEDIUM_NOT_PRESENT),
            }
        };
        self.turn.give_back();
        outcome
    }

    /// Make what was written stable for a command whose turn it is and that goes on behind its
    /// answer, which this is (SSC-5, "VERIFY(6) command", IMMED).
    ///
    /// Some: it is in progress, and `run_behind` carries it out.
    #[must_use]
    pub fn begin_behind(&self) -> Option<Outcome> {
        let mut holding = self.holding();
        let tape = holding.tape().filter(|tape| tape.deferred.is_none())?;
        tape.image.sync().ok()?;
        *self.seen() = holding.standing();
        self.progress.begin();
        Some(Outcome::good(0))
    }

    /// Carry out a command that was answered already, and give the turn back; whoever comes next is
    /// told if it fails.
    pub fn run_behind(&self, command: Command) {
        let nothing = Buffers::with_capacity(0);
        if let Some(tape) = self.holding().tape() {
            let outcome = tape.carry_out(command, &nothing, &self.resting, &self.progress);
            if outcome.status != GOOD {
                tape.deferred = Some(outcome.deferred());
            }
        }
        self.progress.end();
        self.turn.give_back();
    }

    /// How it stands; without a tape, at the beginning of nothing. Of a tape on which something goes
    /// on behind its answer, how it stood when that began: it may take hours.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let going_on = self.progress.now().is_some();
        let mut at = match self.holding.try_lock() {
            Ok(holding) => holding.standing(),
            Err(_) if going_on => *self.seen(),
            Err(_) => self.holding().standing(),
        };
        at.carried.refused = self.protected.load(Ordering::Relaxed);
        at
    }

    fn seen(&self) -> MutexGuard<'_, Standing> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What became of the image when it was opened.
    #[must_use]
    pub fn loaded(&self) -> Loaded {
        self.holding().tape().map_or_else(Loaded::default, |tape| tape.image.loaded)
    }

    /// Set the length of blocks of the fixed kind, 0: none; whether each write is stable when it is
    /// answered; whether blocks are compressed. It holds for the tape that is in the drive.
    pub fn set(&self, block_length: u32, unbuffered: bool, compress: bool) {
        if let Some(tape) = self.holding().tape() {
            tape.block_length = block_length;
            tape.unbuffered = unbuffered;
            tape.compress = compress;
        }
    }

    /// Have what is in the drive. A VERIFY that goes on behind its answer is ended for that.
    fn interrupt(&self) -> MutexGuard<'_, Holding> {
        self.resting.store(true, Ordering::Relaxed);
        let holding = self.holding();
        self.resting.store(false, Ordering::Relaxed);
        holding
    }

    /// End what goes on behind its answer; the tape stands where that was.
    pub fn end_behind(&self) {
        drop(self.interrupt());
    }

    /// Make everything stable, keep the index, and stand at the beginning. What goes on behind its
    /// answer is ended.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn rest(&self) -> Result<()> {
        let mut holding = self.interrupt();
        let Some(tape) = holding.tape() else { return Ok(()) };
        tape.go(Place::default());
        tape.image.close().map_err(|source| Error::Io { context: "write the tape image", source })
    }
}

impl Tape {
    /// Stand somewhere else.
    pub fn go(&mut self, place: Place) {
        self.place = place;
        self.ahead = None;
    }

    /// Do it if it takes no waiting.
    fn at_once(&mut self, command: Command, chain: &Chain) -> Option<Outcome> {
        if self.deferred.is_some() {
            return self.deferred.take();
        }
        match command {
            Command::Read { fixed: false, suppress, length } => {
                reading::read_at_once(self, suppress, length, &chain.data_in)
            }
            Command::Write { fixed: false, length } => {
                writing::write_at_once(self, length, &chain.data_out)
            }
            Command::Position { form, allocation } => {
                Some(position::read(self, form, allocation, &chain.data_in))
            }
            _ => None,
        }
    }

    fn carry_out(
        &mut self,
        command: Command,
        buffers: &Buffers,
        ended: &AtomicBool,
        progress: &Progress,
    ) -> Outcome {
        if let Some(failed) = self.deferred.take() {
            return failed;
        }
        match command {
            Command::Read { fixed, suppress, length } => {
                let asked = reading::Asked { fixed, suppress, length };
                reading::read(self, asked, buffers, ended)
            }
            Command::Write { fixed, length } => writing::write(self, fixed, length, buffers, ended),
            Command::Marks { count, immediate } => writing::marks(self, count, immediate),
            Command::Position { form, allocation } => {
                position::read(self, form, allocation, buffers)
            }
            Command::Erase => {
                self.stable(|tape| tape.image.open_at(tape.place).map(|()| Outcome::good(0)))
            }
            Command::Rewind => self.stable(|tape| {
                tape.go(Place::default());
                Ok(Outcome::good(0))
            }),
            Command::Space { over, count } => self.stable(|tape| spacing::space(tape, over, count)),
            Command::Locate(target) => self.stable(|tape| spacing::locate(tape, target)),
            Command::Verify(check) => {
                self.stable(|tape| Ok(verifying::verify(tape, check, buffers, ended, progress)))
            }
        }
    }

    /// Make what was written stable, then do it (SSC-5: a command that moves the tape elsewhere
    /// writes buffered blocks first).
    fn stable(&mut self, act: impl FnOnce(&mut Self) -> std::io::Result<Outcome>) -> Outcome {
        if let Err(error) = self.image.sync() {
            self.carried.write_errors += 1;
            return answers::host(&error, true, 0);
        }
        act(self).unwrap_or_else(|error| answers::host(&error, false, 0))
    }
}
