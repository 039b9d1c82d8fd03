//! A Xen guest's ring and grant table, and ours over them.

#![allow(dead_code, reason = "each test file uses its part")]

use std::os::fd::AsRawFd;
use std::sync::Arc;
use vhost_pvscsi_core::error::{Error, RingFault};
use vhost_pvscsi_core::grants::table::{GrantTable, TableSpec};
use vhost_pvscsi_core::inflight::{AreaSpec, Inflight};
use vhost_pvscsi_core::memory::{Memory, RegionSpec};
use vhost_pvscsi_core::mock::vscsiif::{result, FrontRing, GuestGrants, PAGE, PERMIT, SLOT};
use vhost_pvscsi_core::mock::SharedMemory;
use vhost_pvscsi_core::outcome::{Outcome, Service};
use vhost_pvscsi_core::ring::vscsiif::{Place, VscsiifRing};
use vhost_pvscsi_core::ring::CommandRing;
use vhost_pvscsi_core::slot::{Asks, Slot};

pub const BASE: u64 = 0x1_0000_0000;
pub const BASE_FRAME: u32 = (BASE / PAGE) as u32;
pub const PAGES: u32 = 256;
pub const TABLE: usize = 16384;
pub const REFERENCES: u32 = TABLE as u32 / 8;
pub const RING_REFERENCE: u32 = 8;
/// Domain 0 is the back-end's.
pub const BACK_END: u16 = 0;
pub const READ_10: [u8; 10] = [0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0];
pub const WRITE_10: [u8; 10] = [0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0];
pub const SEGMENTS: u32 = 13312;

pub struct Rig {
    pub guest: Arc<SharedMemory>,
    pub grants: GuestGrants,
    pub area: SharedMemory,
    pub memory: Memory,
    pub front: FrontRing,
    pub ring: Option<VscsiifRing>,
}

pub fn rig() -> Rig {
    let guest = Arc::new(SharedMemory::new(PAGES as usize * PAGE as usize, BASE, false).unwrap());
    let grants = GuestGrants::new(TABLE).unwrap();
    let area = SharedMemory::new(8192 + REFERENCES as usize, 0, false).unwrap();
    let region = RegionSpec {
        guest: BASE,
        size: guest.size() as u64,
        user: BASE,
        offset: 0,
        fd: guest.file().as_raw_fd(),
    };
    let memory = Memory::new(&[region]).unwrap();
    let front = FrontRing::new(guest.clone(), BASE);
    grants.set(RING_REFERENCE, PERMIT, BACK_END, BASE_FRAME);
    let mut rig = Rig { guest, grants, area, memory, front, ring: None };
    rig.start().unwrap();
    rig
}

impl Rig {
    pub fn start(&mut self) -> Result<(), Error> {
        let inflight = Inflight::new(self.area_spec(), u64::from(REFERENCES))?;
        let grants = GrantTable::new(self.table_spec(), Some(inflight.pins()))?;
        let place = Place::Grant(RING_REFERENCE);
        let ring =
            VscsiifRing::new(place, Box::new(grants), Some(inflight), SEGMENTS, &self.memory)?;
        self.ring = Some(ring);
        Ok(())
    }

    pub fn table_spec(&self) -> TableSpec {
        let fd = self.grants.0.file().as_raw_fd();
        TableSpec { fd, offset: 0, size: TABLE as u64, domain: BACK_END }
    }

    pub fn area_spec(&self) -> AreaSpec {
        AreaSpec { fd: self.area.file().as_raw_fd(), offset: 0, size: self.area.size() as u64 }
    }

    pub fn ring(&mut self) -> &mut VscsiifRing {
        self.ring.as_mut().unwrap()
    }

    /// Grant data page `page` (not the ring's, page 0) as reference 100 + page.
    pub fn grant(&self, page: u32, flags: u16) -> u32 {
        let reference = 100 + page;
        self.grants.set(reference, PERMIT | flags, BACK_END, BASE_FRAME + page);
        reference
    }

    pub fn send(&mut self, slot: &[u8; SLOT]) {
        assert!(self.front.put(slot));
        self.front.publish();
    }

    pub fn take(&mut self) -> Result<Option<Slot>, RingFault> {
        let mut slot = Slot::default();
        let taken = self.ring.as_mut().unwrap().take(&self.memory, &mut slot)?;
        slot.data_in = slot.chain.data_in.length();
        slot.data_out = slot.chain.data_out.length();
        Ok(taken.then_some(slot))
    }

    /// Answer as a worker would.
    pub fn answer(&mut self, slot: &Slot, outcome: &Outcome) -> [u8; SLOT] {
        self.ring().finish(slot, outcome);
        self.ring().publish();
        self.front.pop().expect("a response")
    }

    pub fn one(&mut self, slot: &[u8; SLOT]) -> Slot {
        self.send(slot);
        self.take().unwrap().expect("a request")
    }

    /// What the guest is told of a request that makes no sense; nothing stays pinned.
    pub fn refused(&mut self, slot: &[u8; SLOT]) {
        let before = self.pinned();
        let taken = self.one(slot);
        assert_eq!(taken.asks, Asks::Nonsense);
        assert_eq!((taken.data_in, taken.data_out), (0, 0));
        let response = self.answer(&taken, &Outcome::of(Service::Failure));
        assert_eq!(result(&response), 7 << 16, "DID_ERROR");
        assert_eq!(response[0..2], slot[0..2]);
        assert_eq!(self.pinned(), before, "the ring's page alone is pinned, if it is granted");
    }

    pub fn pinned(&self) -> usize {
        let map = self.area.bytes(8192, REFERENCES as usize);
        assert_eq!(map.iter().filter(|byte| **byte != 0).count(), self.grants.in_use());
        self.grants.in_use()
    }
}
