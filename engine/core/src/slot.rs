//! One request of a ring, from the moment it is taken to its answer. Slots are made with the
//! ring and used again: taking a request allocates nothing.

use std::rc::Rc;
use std::sync::atomic::AtomicBool;
use std::sync::Arc;
use std::time::Instant;

use crate::chain::Chain;
use crate::mailbox::Ticket;
use crate::medium::Medium;
use crate::memory::Memory;
use crate::outcome::Service;
use crate::sg::Device;
use crate::tally::Tally;
use crate::transfer::Transfer;

/// Most bytes of CDB that a ring carries.
pub const CDB_MAX: usize = 32;

/// Who has the request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// Nobody: the slot is free.
    Nobody,
    /// A timer: its medium has a latency.
    Timer,
    /// io_uring: the kernel may touch its pages.
    Kernel,
    /// A pool thread.
    Pool,
    /// A list: its device has no room for it yet.
    Waiting,
    /// SG: the device works on it, and the kernel may touch its pages.
    Device,
    /// Python.
    Upcall,
}

/// The guest memory that requests in flight lie in. Dropped with the last of them, and with it
/// the tickets of those who wait for that.
#[derive(Debug)]
pub struct MemoryUse {
    /// The regions.
    pub memory: Arc<Memory>,
    /// Who waits until nothing uses it.
    pub waiting: std::cell::RefCell<Vec<Arc<Ticket>>>,
}

/// What a ring found in a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Asks {
    /// A SCSI command.
    #[default]
    Command,
    /// Task management: `cdb` has the head of the request, for Python.
    Management,
    /// Nothing that can be made sense of: it fails.
    Nonsense,
}

/// A request.
pub struct Slot {
    /// Who has it.
    pub holder: Holder,
    /// Counts up with each use: a token of an earlier use finds nothing.
    pub sequence: u64,
    /// The ring's own name for it.
    pub head: u16,
    /// What it asks for.
    pub asks: Asks,
    /// A back-end before us took it, and died: it may have been carried out.
    pub again: bool,
    /// It lay in the ring when that was started, and a back-end that died may have taken it.
    pub stale: bool,
    /// Its buffers.
    pub chain: Chain,
    /// Data-in bytes the guest has room for, before a transfer advances through them.
    pub data_in: u64,
    /// Data-out bytes the guest offers.
    pub data_out: u64,
    /// Keeps the pages mapped.
    pub memory: Option<Rc<MemoryUse>>,
    /// Target and LUN; None for an address that is no LUN's.
    pub address: Option<(u32, u32)>,
    /// The guest's tag.
    pub tag: u64,
    /// Task attribute.
    pub attribute: u8,
    /// The CDB, padded with zeros.
    pub cdb: [u8; CDB_MAX],
    /// Bytes of CDB the ring carries.
    pub cdb_len: u8,
    /// The mapping it was resolved to, 0 for none.
    pub mapping: u32,
    /// Generation of the map that resolved it.
    pub generation: u64,
    /// Its mapping may not write.
    pub protected: bool,
    /// The short road has it: the gate may ask for its end.
    pub short: bool,
    /// The long road ordered this run: its end goes to Python, not to the guest.
    pub ordered: bool,
    /// Where it is counted; None where nothing is attached.
    pub tally: Option<Arc<Tally>>,
    /// When it was taken.
    pub taken: Option<Instant>,
    /// The blocks it works on.
    pub medium: Option<Arc<Medium>>,
    /// The host's device that it is forwarded to.
    pub device: Option<Arc<Device>>,
    /// Its data goes through here and not through the guest's buffers: Python sends it, or wants it.
    pub bounce: Option<Box<[u8]>>,
    /// A READ or WRITE on its way, or whatever is forwarded.
    pub transfer: Transfer,
    /// It shall end with this service, whatever becomes of it.
    pub mark: Option<Service>,
    /// Told to a pool thread when `mark` is set.
    pub ended: Option<Arc<AtomicBool>>,
    /// Who waits for its end; empty but for aborts and closing gates.
    pub tickets: Vec<Arc<Ticket>>,
    /// Bytes of the host's budget that its upcall holds.
    pub budget: i64,
}

impl Default for Slot {
    fn default() -> Self {
        Slot {
            holder: Holder::Nobody,
            sequence: 0,
            head: 0,
            asks: Asks::Command,
            again: false,
            stale: false,
            chain: Chain::default(),
            data_in: 0,
            data_out: 0,
            memory: None,
            address: None,
            tag: 0,
            attribute: 0,
            cdb: [0; CDB_MAX],
            cdb_len: 0,
            mapping: 0,
            generation: 0,
            protected: false,
            short: false,
            ordered: false,
            tally: None,
            taken: None,
            medium: None,
            device: None,
            bounce: None,
            transfer: Transfer::default(),
            mark: None,
            ended: None,
            tickets: Vec::new(),
            budget: 0,
        }
    }
}

impl Slot {
    /// Give everything back that the request held, and be free.
    pub fn release(&mut self) {
        self.holder = Holder::Nobody;
        self.sequence = (self.sequence + 1) & Token::SEQUENCE_MASK;
        self.chain.clear();
        self.memory = None;
        self.medium = None;
        self.device = None;
        self.bounce = None;
        self.tally = None;
        self.mark = None;
        self.ended = None;
        self.short = false;
        self.ordered = false;
        self.mapping = 0;
        self.budget = 0;
        // Dropping a ticket tells whoever waits; done last, when all of the above is true.
        self.tickets.clear();
    }
}

/// A request's name outside its thread: thread 6 bits, queue 10, slot 10, sequence 38.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token {
    /// Index of the engine thread.
    pub thread: usize,
    /// Queue of that thread.
    pub queue: usize,
    /// Slot of that queue.
    pub slot: usize,
    /// Use of that slot.
    pub sequence: u64,
}

impl Token {
    const SEQUENCE_BITS: u32 = 38;
    const SEQUENCE_MASK: u64 = (1 << Self::SEQUENCE_BITS) - 1;
    /// Most engine threads that a token can name.
    pub const MAX_THREADS: usize = 1 << 6;
    /// Most queues of one thread.
    pub const MAX_QUEUES: usize = 1 << 10;

    /// As one number.
    #[must_use]
    pub fn pack(self) -> u64 {
        (self.thread as u64) << 58
            | (self.queue as u64) << 48
            | (self.slot as u64) << Self::SEQUENCE_BITS
            | self.sequence
    }

    /// From one number.
    #[must_use]
    pub fn unpack(number: u64) -> Self {
        Token {
            thread: (number >> 58) as usize,
            queue: (number >> 48 & 0x3ff) as usize,
            slot: (number >> Self::SEQUENCE_BITS & 0x3ff) as usize,
            sequence: number & Self::SEQUENCE_MASK,
        }
    }
}
