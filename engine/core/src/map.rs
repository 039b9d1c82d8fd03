//! The map of a virtual host: guest address to mapping. Immutable, swapped whole.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::failures::Failures;
use crate::gate::Gate;
use crate::medium::Medium;
use crate::sg::Device;
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
    /// The host's device that its commands go to; None for a unit of our own.
    pub device: Option<Arc<Device>>,
    /// Commands for that device whose data-out Python is to see.
    pub copied: OpcodeSet,
    /// What a worker may finish while the gate is open.
    pub short_road: OpcodeSet,
    /// Its writes are refused, as those of a read-only medium.
    pub protected: bool,
}

/// The last LUN (SAM-5 4.7.5: 14 bits of the flat space method).
const MAX_LUN: u32 = 16383;

/// Targets of a virtual host: a virtio address has one byte for it.
const TARGETS: usize = 256;

/// LUNs of a target that are kept together; their number is 14 bits wide.
const PAGE: u32 = 256;

/// Up to so many LUNs of one target, sorted.
#[derive(Clone, Debug, Default)]
struct Page(Vec<Arc<Entry>>);

impl Page {
    fn place(&self, lun: u32) -> std::result::Result<usize, usize> {
        self.0.binary_search_by_key(&lun, |entry| entry.lun)
    }
}

/// The LUNs of one target, by page.
#[derive(Clone, Debug, Default)]
struct Target(Vec<Option<Arc<Page>>>);

impl Target {
    fn page(&mut self, lun: u32) -> &mut Page {
        let number = (lun / PAGE) as usize;
        if self.0.len() <= number {
            self.0.resize(number + 1, None);
        }
        Arc::make_mut(self.0[number].get_or_insert_default())
    }
}

/// All LUNs of a virtual host at one generation. The next one shares the pages in which nothing
/// has changed, so that it costs as much with thousands of LUNs as with one.
#[derive(Clone, Debug)]
pub struct Map {
    /// Counts up with each swap.
    pub generation: u64,
    targets: Vec<Option<Arc<Target>>>,
}

impl Default for Map {
    fn default() -> Self {
        Map { generation: 0, targets: vec![None; TARGETS] }
    }
}

impl Map {
    /// What is attached at an address.
    #[must_use]
    pub fn find(&self, target: u32, lun: u32) -> Option<&Arc<Entry>> {
        let target = self.targets.get(target as usize)?.as_ref()?;
        let page = target.0.get((lun / PAGE) as usize)?.as_ref()?;
        page.0.get(page.place(lun).ok()?)
    }

    /// The map that lacks some entries and has others besides.
    ///
    /// # Errors
    /// What is added has no place, or a taken one.
    pub fn changed(
        &self,
        generation: u64,
        removed: &[Arc<Entry>],
        added: Vec<Arc<Entry>>,
    ) -> Result<Map> {
        let mut map = Map { generation, ..self.clone() };
        for gone in removed {
            let place = map.targets.get_mut(gone.target as usize);
            if let Some(target) = place.and_then(Option::as_mut) {
                let page = Arc::make_mut(target).page(gone.lun);
                page.0.retain(|entry| entry.mapping != gone.mapping);
            }
        }
        for entry in added {
            let (target, lun) = (entry.target, entry.lun);
            let place = map
                .targets
                .get_mut(target as usize)
                .ok_or_else(|| Error::Setup(format!("there is no target {target}")))?;
            if lun > MAX_LUN {
                return Err(Error::Setup(format!("there is no LUN {lun}")));
            }
            let page = Arc::make_mut(place.get_or_insert_default()).page(lun);
            match page.place(lun) {
                Ok(_) => {
                    return Err(Error::Setup(format!("target {target}, LUN {lun} is taken")));
                }
                Err(position) => page.0.insert(position, entry),
            }
        }
        Ok(map)
    }

    /// Everything that is attached.
    pub fn entries(&self) -> impl Iterator<Item = &Arc<Entry>> {
        let pages = self.targets.iter().flatten().flat_map(|target| target.0.iter().flatten());
        pages.flat_map(|page| &page.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn entry(target: u32, lun: u32, mapping: u32) -> Arc<Entry> {
        Arc::new(Entry {
            target,
            lun,
            mapping,
            gate: Arc::default(),
            failures: Arc::default(),
            tally: Arc::new(Tally::new(1)),
            medium: None,
            device: None,
            copied: OpcodeSet::default(),
            short_road: OpcodeSet::default(),
            protected: false,
        })
    }

    #[test]
    fn the_next_map_shares_what_did_not_change() {
        let there = vec![entry(0, 5, 1), entry(9, 0, 2), entry(9, 300, 4)];
        let one = Map::default().changed(1, &[], there).unwrap();
        let two = one.changed(2, &[], vec![entry(9, 3, 3)]).unwrap();
        assert!(Arc::ptr_eq(one.targets[0].as_ref().unwrap(), two.targets[0].as_ref().unwrap()));
        let page = |map: &Map| Arc::clone(map.targets[9].as_ref().unwrap().0[1].as_ref().unwrap());
        assert!(Arc::ptr_eq(&page(&one), &page(&two)));
        assert!(one.find(9, 3).is_none());
        assert_eq!(two.find(9, 3).unwrap().mapping, 3);
        assert_eq!(two.find(9, 0).unwrap().mapping, 2);
        assert_eq!(two.entries().count(), 4);
    }

    #[test]
    fn luns_are_found_in_whatever_order_they_came_and_went() {
        let entries: Vec<_> = [7, 0, 16383, 3, 256].map(|lun| entry(1, lun, lun + 1)).into();
        let map = Map::default().changed(1, &[], entries.clone()).unwrap();
        for lun in [0, 3, 7, 256, 16383] {
            assert_eq!(map.find(1, lun).unwrap().lun, lun);
        }
        let less = map.changed(2, &entries[..2], vec![entry(1, 7, 99)]).unwrap();
        assert!(less.find(1, 0).is_none());
        assert_eq!(less.find(1, 7).unwrap().mapping, 99);
    }

    #[test]
    fn an_address_that_is_not_there_is_refused_or_empty() {
        let map = Map::default().changed(1, &[], vec![entry(1, 1, 1)]).unwrap();
        assert!(map.changed(2, &[], vec![entry(1, 1, 2)]).is_err());
        assert!(map.changed(2, &[], vec![entry(256, 0, 2)]).is_err());
        assert!(map.changed(2, &[], vec![entry(0, MAX_LUN + 1, 2)]).is_err());
        for (target, lun) in [(0, 1), (1, 0), (255, 0), (256, 0), (u32::MAX, u32::MAX)] {
            assert!(map.find(target, lun).is_none());
        }
    }
}
