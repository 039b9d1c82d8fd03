//! The map of a virtual host: guest address to mapping. Immutable, swapped whole.

use std::collections::HashMap;
use std::sync::Arc;

use crate::failures::Failures;
use crate::gate::Gate;
use crate::medium::Medium;
use crate::tally::Tally;

/// The REPORT LUNS well known logical unit (SAM-5 4.7.5.2), as a number beside the others.
pub const WELL_KNOWN_LUN: u32 = 0xc101;

/// A set of operation codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpcodeSet([u64; 4]);

impl OpcodeSet {
    /// The set of those codes.
    #[must_use]
    pub fn new(opcodes: &[u8]) -> Self {
        let mut set = OpcodeSet::default();
        for opcode in opcodes {
            set.0[usize::from(opcode >> 6)] |= 1 << (opcode & 63);
        }
        set
    }

    /// Whether it holds that code.
    #[must_use]
    pub fn contains(&self, opcode: u8) -> bool {
        self.0[usize::from(opcode >> 6)] >> (opcode & 63) & 1 == 1
    }
}

/// One LUN of a virtual host.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Target number.
    pub target: u32,
    /// LUN.
    pub lun: u32,
    /// The mapping's id, above 0.
    pub mapping: u32,
    /// May a worker finish its commands?
    pub gate: Arc<Gate>,
    /// What the host's I/O has failed to do there.
    pub failures: Arc<Failures>,
    /// What has been carried there.
    pub tally: Arc<Tally>,
    /// The blocks; None for a unit without any.
    pub medium: Option<Arc<Medium>>,
    /// What a worker may finish while the gate is open.
    pub short_road: OpcodeSet,
    /// Its writes are refused, as those of a read-only medium.
    pub protected: bool,
}

/// All LUNs of a virtual host at one generation.
#[derive(Debug, Default)]
pub struct Map {
    /// Counts up with each swap.
    pub generation: u64,
    entries: Vec<Arc<Entry>>,
    index: HashMap<(u32, u32), usize>,
}

impl Map {
    /// A map of those entries.
    #[must_use]
    pub fn new(generation: u64, entries: Vec<Entry>) -> Self {
        let entries: Vec<_> = entries.into_iter().map(Arc::new).collect();
        let index = entries
            .iter()
            .enumerate()
            .map(|(position, entry)| ((entry.target, entry.lun), position))
            .collect();
        Map { generation, entries, index }
    }

    /// What is attached at an address.
    #[must_use]
    pub fn find(&self, target: u32, lun: u32) -> Option<&Arc<Entry>> {
        self.index.get(&(target, lun)).and_then(|position| self.entries.get(*position))
    }

    /// The gate of a mapping.
    #[must_use]
    pub fn gate(&self, mapping: u32) -> Option<&Arc<Gate>> {
        self.entry(mapping).map(|entry| &entry.gate)
    }

    /// The entry of a mapping.
    #[must_use]
    pub fn entry(&self, mapping: u32) -> Option<&Arc<Entry>> {
        self.entries.iter().find(|entry| entry.mapping == mapping)
    }
}
