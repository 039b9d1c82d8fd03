//! A tape: its image, where it stands, and the commands that move it or its data (SSC-5).
//!
//! Data goes between the guest's buffers and the image, without a copy of ours. Commands are
//! carried out one at a time, in the order they come in (`turn.rs`).

pub mod cdb;
pub mod drive;
pub mod format;
pub mod image;
pub mod index;
pub mod scan;
pub mod sidecar;
pub mod turn;

mod answers;
mod moving;
mod packing;
mod position;
pub mod progress;
mod reading;
mod spacing;
mod verifying;
mod writing;
