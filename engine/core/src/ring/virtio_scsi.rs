//! virtio-scsi's request queue: SCSI commands on a split ring (virtio 1.2, 5.6.6.1).

use crate::error::{Result, RingFault};
use crate::map::WELL_KNOWN_LUN;
use crate::memory::Memory;
use crate::outcome::{Outcome, Service, SENSE_MAX};
use crate::ring::split::{Framing, SplitRing};
use crate::ring::CommandRing;
use crate::slot::Slot;

/// lun 8, tag 8, task_attr, prio, crn, cdb 32 (the sizes QEMU's front-end fixes).
const REQUEST: usize = 51;
/// sense_len 4, resid 4, status_qualifier 2, status 1, response 1, sense 96.
const RESPONSE: usize = 108;
const FRAMING: Framing = Framing { request: REQUEST as u64, response: RESPONSE as u64 };

/// A request queue of a virtio-scsi device.
#[derive(Debug)]
pub struct VirtioScsiRing {
    ring: SplitRing,
    /// Requests that come first, and that a back-end which died may have taken.
    stale: u16,
}

impl VirtioScsiRing {
    /// The queue on that ring. `stale`: what lies in it may have been taken before.
    #[must_use]
    pub fn new(ring: SplitRing, stale: bool) -> Self {
        let stale = if stale { ring.waiting() } else { 0 };
        VirtioScsiRing { ring, stale }
    }
}

impl CommandRing for VirtioScsiRing {
    fn take(&mut self, memory: &Memory, slot: &mut Slot) -> std::result::Result<bool, RingFault> {
        let Some(head) = self.ring.take(memory, FRAMING, &mut slot.chain)? else {
            return Ok(false);
        };
        let mut header = [0u8; REQUEST];
        let length = slot.chain.request.read(0, &mut header);
        if length < REQUEST {
            return Err(RingFault::ShortHeader(length as u32));
        }
        if slot.chain.response.length() < RESPONSE as u64 {
            return Err(RingFault::ShortResponse(slot.chain.response.length() as u32));
        }
        slot.head = head;
        slot.stale = self.stale > 0;
        self.stale = self.stale.saturating_sub(1);
        decode(&header, slot);
        Ok(true)
    }

    fn finish(&mut self, slot: &Slot, outcome: &Outcome) {
        let response = encode(slot, outcome);
        slot.chain.response.write(0, &response);
        let written = match slot.data_in {
            0 => 0,
            _ => outcome.transferred,
        };
        // virtio's used length is a u32; a chain's buffers may be longer on paper.
        let total = u32::try_from(RESPONSE as u64 + written).unwrap_or(u32::MAX);
        self.ring.push(slot.head, total);
    }

    fn publish(&mut self) -> bool {
        self.ring.publish()
    }

    fn arm(&mut self) -> std::result::Result<bool, RingFault> {
        Ok(self.ring.arm())
    }

    fn disarm(&mut self) {
        self.ring.disarm();
    }

    fn pending(&self) -> bool {
        self.ring.pending()
    }

    fn position(&self) -> u32 {
        self.ring.position().into()
    }

    fn rebind(&mut self, memory: &Memory) -> Result<()> {
        self.ring.rebind(memory)
    }
}

fn decode(header: &[u8; REQUEST], slot: &mut Slot) {
    // virtio 1.2, 5.6.6.1: byte 0 is 1, byte 1 the target, bytes 2-3 a single level LUN; the
    // REPORT LUNS well known LUN is C1h 01h. Anything else addresses nothing.
    let [first, target, high, low, rest @ ..] = header;
    let address = match (first, high) {
        (1, 0x00..=0x7f) => {
            Some((u32::from(*target), u32::from(high & 0x3f) << 8 | u32::from(*low)))
        }
        (1, 0xc1) if *low == 1 => Some((u32::from(*target), WELL_KNOWN_LUN)),
        (0xc1, _) if *target == 1 => Some((0, WELL_KNOWN_LUN)),
        _ => None,
    };
    slot.address = address;
    let (_, rest) = rest.split_at(4);
    let (tag, rest) = rest.split_at(8);
    let mut bytes = [0u8; 8];
    bytes.copy_from_slice(tag);
    slot.tag = u64::from_le_bytes(bytes);
    slot.attribute = rest[0] & 0x7;
    slot.cdb.copy_from_slice(&rest[3..35]);
    slot.cdb_len = 32;
}

fn encode(slot: &Slot, outcome: &Outcome) -> [u8; RESPONSE] {
    let mut bytes = [0u8; RESPONSE];
    // As the guest offered them: the chain's own lists shrink while data moves.
    let offered = slot.data_in.max(slot.data_out);
    let residual = u32::try_from(offered.saturating_sub(outcome.transferred)).unwrap_or(u32::MAX);
    bytes[0..4].copy_from_slice(&(outcome.sense().len() as u32).to_le_bytes());
    bytes[4..8].copy_from_slice(&residual.to_le_bytes());
    bytes[10] = outcome.status;
    bytes[11] = match outcome.service {
        Service::Complete => 0,
        Service::Overrun => 1,
        Service::Aborted => 2,
        Service::AbsentTarget => 3,
        Service::Reset => 4,
        Service::Busy => 5,
        Service::Failure => 9,
    };
    bytes[12..12 + SENSE_MAX].copy_from_slice(outcome.padded_sense());
    bytes
}
