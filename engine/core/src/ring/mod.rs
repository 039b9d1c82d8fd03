//! Rings: how a guest hands over requests. Nothing else knows how.

pub mod split;
pub mod virtio_scsi;
pub mod vscsiif;

use crate::error::RingFault;
use crate::memory::Memory;
use crate::outcome::Outcome;
use crate::slot::Slot;

/// A ring of SCSI commands. Each kind of guest has one: virtio's and Xen's.
pub trait CommandRing: Send {
    /// Take the next request into `slot`: its header decoded, its buffers translated.
    /// False where the guest has no more.
    ///
    /// # Errors
    /// The ring breaks the rules; nothing more can be taken from it.
    fn take(&mut self, memory: &Memory, slot: &mut Slot) -> Result<bool, RingFault>;

    /// Answer a request. Not visible to the guest before `publish`.
    fn finish(&mut self, slot: &Slot, outcome: &Outcome);

    /// Show the guest all finished requests; true where it wants to be notified.
    fn publish(&mut self) -> bool;

    /// Ask to be kicked for the next request; true where one came meanwhile.
    ///
    /// # Errors
    /// As `take`.
    fn arm(&mut self) -> Result<bool, RingFault>;

    /// No kicks are needed for now.
    fn disarm(&mut self);

    /// Whether something is available, without side effects.
    fn pending(&self) -> bool;

    /// Where to go on after a stop (GET_VRING_BASE).
    fn position(&self) -> u32;

    /// Find the ring's pages again in a new memory table.
    ///
    /// # Errors
    /// A part of the ring is not in it.
    fn rebind(&mut self, memory: &Memory) -> crate::error::Result<()>;

    /// Whether memory of its own, beside the guest's, vanished.
    fn gone(&self) -> bool {
        false
    }
}
