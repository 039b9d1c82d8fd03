//! Grants: how a Xen guest lends pages, and how they are found and pinned.

pub mod table;
pub mod translated;

use std::fmt::Debug;

use crate::memory::Memory;

/// Bytes of a granted page.
pub const PAGE: u64 = 4096;

/// What finds and pins the pages that a guest lends. Each kind of front-end has one.
pub trait Grants: Debug + Send {
    /// Find a page and keep the guest from taking it back; `write`: it will be written to.
    /// To be undone by one `unpin` with the same arguments.
    ///
    /// # Errors
    /// The guest lends no such page, or not so. Nothing is pinned.
    fn pin(&mut self, memory: &Memory, reference: u32, write: bool) -> Result<*mut u8, Refusal>;

    /// Give a pinned page back.
    fn unpin(&mut self, reference: u32, write: bool);

    /// Whether memory that was shared for this vanished.
    fn gone(&self) -> bool {
        false
    }
}

/// Why a page is not to be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such entry.
    #[error("grant reference {0} is outside the grant table")]
    NoEntry(u32),
    /// The entry grants nothing (any more), or in a way that is not ours.
    #[error("grant reference {0} grants no access to a page")]
    NoAccess(u32),
    /// It grants to another domain.
    #[error("grant reference {0} grants to another domain")]
    Domain(u32),
    /// It would be written to, and may only be read.
    #[error("grant reference {0} is read-only")]
    ReadOnly(u32),
    /// The page is no guest memory.
    #[error("the page of grant reference {0} lies outside guest memory")]
    NoMemory(u32),
    /// The guest changes the entry all the time.
    #[error("grant reference {0} does not hold still")]
    Restless(u32),
}

/// Where a guest's frame is, if all of it is one region's.
fn page(memory: &Memory, frame: u32) -> Option<*mut u8> {
    let (address, rest) = memory.find(u64::from(frame) * PAGE)?;
    (rest >= PAGE).then_some(address)
}
