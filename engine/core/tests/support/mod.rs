//! What the ring tests share: two regions of memory, a driver's ring in them, and ours.

#![allow(dead_code, reason = "each test file uses its part")]

use std::os::fd::AsRawFd;
use std::sync::Arc;

use vhost_pvscsi_core::chain::{Buffers, Chain};
use vhost_pvscsi_core::error::RingFault;
use vhost_pvscsi_core::memory::{Memory, RegionSpec};
use vhost_pvscsi_core::mock::{DriverQueue, Layout, SharedMemory};
use vhost_pvscsi_core::ring::split::{self, Framing, SplitRing};

/// Guest address of the first region; the second follows without a gap.
pub const BASE: u64 = 0x1_0000_0000;
/// Bytes of each region.
pub const REGION: usize = 1 << 20;
/// The first address that is no memory.
pub const END: u64 = BASE + 2 * REGION as u64;
/// From here on the first region holds no ring.
pub const BUFFERS: u64 = BASE + 0x1_0000;

/// Header sizes that put both sides' headers into pieces.
pub const FRAMING: Framing = Framing { request: 51, response: 108 };

/// A small random generator with a seed: a failure can be had again.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    /// From 0 to below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    pub fn percent(&mut self, share: u64) -> bool {
        self.below(100) < share
    }

    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for last in (1..items.len()).rev() {
            items.swap(last, self.below(last as u64 + 1) as usize);
        }
    }
}

/// A driver's ring and ours, over the same memory.
pub struct Rig {
    pub regions: [Arc<SharedMemory>; 2],
    pub driver: DriverQueue,
    pub memory: Memory,
    pub ring: SplitRing,
    pub chain: Chain,
}

pub fn rig(size: u16, event_idx: bool, start: u16) -> Rig {
    let region = |guest| Arc::new(SharedMemory::new(REGION, guest, false).unwrap());
    // The second is mapped first: neighbours in the guest shall not be neighbours here.
    let second = region(BASE + REGION as u64);
    let regions = [region(BASE), second];
    let mut driver = DriverQueue::new(regions[0].clone(), Layout::packed(BASE, size), event_idx);
    driver.start_at(start);
    let memory = Memory::new(&regions.each_ref().map(|region| spec(region))).unwrap();
    let ring = SplitRing::new(layout(&driver, event_idx, start), &memory).unwrap();
    Rig { regions, driver, memory, ring, chain: Chain::default() }
}

impl Rig {
    /// Begin again, with an empty ring, in the same memory.
    pub fn restart(&mut self, event_idx: bool, start: u16) {
        let layout = self.driver.layout();
        self.driver = DriverQueue::new(self.regions[0].clone(), layout, event_idx);
        self.driver.start_at(start);
        self.ring =
            SplitRing::new(self::layout(&self.driver, event_idx, start), &self.memory).unwrap();
    }

    pub fn take(&mut self) -> Result<Option<u16>, RingFault> {
        self.ring.take(&self.memory, FRAMING, &mut self.chain)
    }

    /// All readable and all writable bytes of the chain just taken.
    pub fn taken(&self) -> [Ranges; 2] {
        [
            ranges([&self.chain.request, &self.chain.data_out]),
            ranges([&self.chain.response, &self.chain.data_in]),
        ]
    }

    /// The same of guest buffers.
    pub fn expected(&self, buffers: impl IntoIterator<Item = (u64, u32)>) -> Ranges {
        let mut ranges = Ranges::default();
        for (mut address, len) in buffers {
            let mut rest = u64::from(len);
            while rest > 0 {
                let (host, room) = self.memory.find(address).expect("a buffer in memory");
                ranges.push(host as usize, rest.min(room) as usize);
                address += rest.min(room);
                rest -= rest.min(room);
            }
        }
        ranges
    }
}

pub fn spec(region: &SharedMemory) -> RegionSpec {
    RegionSpec {
        guest: region.guest_address(),
        size: region.size() as u64,
        user: region.user_address(),
        offset: 0,
        fd: region.file().as_raw_fd(),
    }
}

pub fn layout(driver: &DriverQueue, event_idx: bool, base: u16) -> split::Layout {
    let layout = driver.layout();
    let user = |guest: u64| guest - BASE + driver.memory().user_address();
    split::Layout {
        size: layout.size,
        descriptor: user(layout.descriptors),
        available: user(layout.available),
        used: user(layout.used),
        base,
        event_idx,
        indirect: true,
    }
}

/// Host ranges in order; what touches is one, so that every way to cut them up compares equal.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Ranges(pub Vec<(usize, usize)>);

impl Ranges {
    fn push(&mut self, start: usize, len: usize) {
        match self.0.last_mut() {
            Some(last) if last.0 + last.1 == start => last.1 += len,
            _ => self.0.push((start, len)),
        }
    }
}

fn ranges(lists: [&Buffers; 2]) -> Ranges {
    let mut ranges = Ranges::default();
    for part in lists.iter().flat_map(|list| list.parts()) {
        ranges.push(part.iov_base as usize, part.iov_len);
    }
    ranges
}
