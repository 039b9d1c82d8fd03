//! A request's slot as a value (Xen's public header io/vscsiif.h).

use crate::grants::{Piece, PIECE};
use crate::inflight::SLOT;

/// Segments, or pages of them, that a slot has room for.
pub const DIRECT: usize = 26;
/// Bytes of CDB that a slot has room for.
const CDB: u8 = 16;
/// Where the segments begin.
const SEGMENTS: usize = 32;
/// nr_segments counts pages of segments.
const SG_GRANT: u8 = 0x80;

/// What a request asks for. SG_PRESET (4) is dead, and like any other number none of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// Carry out a CDB.
    Command,
    /// Abort the request of `ref_rqid`.
    Abort,
    /// Reset the logical unit.
    Reset,
}

/// Where data goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Undocumented, but Linux's back-end takes it.
    Both,
    /// Data-out.
    ToDevice,
    /// Data-in.
    FromDevice,
    /// There is none.
    None,
}

/// All of a request but its CDB and segments.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// The guest's name for it.
    pub rqid: u16,
    /// None: nothing that there is.
    pub action: Option<Action>,
    cdb_length: u8,
    /// Channel.
    pub channel: u16,
    /// Target.
    pub target: u16,
    /// LUN.
    pub lun: u16,
    /// Where data goes; meaningless where `segments` gives nothing.
    pub direction: Direction,
    known_direction: bool,
    count: usize,
    /// The segments are those of granted pages.
    pub indirect: bool,
}

impl Header {
    /// Read it from a copy of a slot.
    #[must_use]
    pub fn parse(slot: &[u8; SLOT]) -> Self {
        let word = |offset: usize| u16::from_le_bytes([slot[offset], slot[offset + 1]]);
        let action = match slot[2] {
            1 => Some(Action::Command),
            2 => Some(Action::Abort),
            3 => Some(Action::Reset),
            _ => None,
        };
        let direction = match slot[30] {
            0 => Direction::Both,
            1 => Direction::ToDevice,
            2 => Direction::FromDevice,
            _ => Direction::None,
        };
        Header {
            rqid: word(0),
            action,
            cdb_length: slot[3],
            channel: word(22),
            target: word(24),
            lun: word(26),
            direction,
            known_direction: slot[30] <= 3,
            count: usize::from(slot[31] & !SG_GRANT),
            indirect: slot[31] & SG_GRANT != 0,
        }
    }

    /// Its CDB; None where its length is impossible.
    #[must_use]
    pub fn cdb<'a>(&self, slot: &'a [u8; SLOT]) -> Option<&'a [u8]> {
        let length = (1..=CDB).contains(&self.cdb_length).then_some(self.cdb_length)?;
        slot.get(4..4 + usize::from(length))
    }

    /// Its segments, or pages of segments; None where their number or direction is impossible.
    #[must_use]
    pub fn segments<'a>(
        &self,
        slot: &'a [u8; SLOT],
    ) -> Option<impl Iterator<Item = Piece> + Clone + 'a> {
        let possible = self.known_direction && self.count <= DIRECT;
        let bytes = slot.get(SEGMENTS..SEGMENTS + self.count.min(DIRECT) * PIECE)?;
        possible.then(|| bytes.chunks_exact(PIECE).map(Piece::parse))
    }
}
