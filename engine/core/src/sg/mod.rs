//! Commands for SCSI devices of the host, by the kernel's SG driver (version 3 of its interface).
//!
//! A command is written to /dev/sgN and its end is read from there; each worker has descriptors of
//! its own, watched by its epoll. `worker/forwarding.rs` puts it to use.

pub mod device;
pub mod ends;
pub mod header;
pub mod lane;
pub mod passed;
pub mod pieces;

pub use device::{Device, DeviceSpec};
