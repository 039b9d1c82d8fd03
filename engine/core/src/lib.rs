//! The data plane of `vhost_pvscsi`: rings, guest memory, the medium executor, the short road.
//!
//! No Python in here, and no policy: who may do what is decided above and told by maps, opcode
//! sets and gates. Nothing that a guest writes can panic, loop without end, or reach memory
//! outside its regions.
//!
//! The way of a request: `ring` takes it into a `slot`; `map` says what it addresses; `gate`
//! whether a `worker` may finish it; `medium` checks it and moves data, with `backend`, `uring`
//! or a `pool` thread; `sg` gives it to a device of the host; what is not the engine's goes up
//! through `mailbox`.

pub mod aligned;
pub mod backend;
pub mod cdb;
pub mod chain;
pub mod copy;
pub mod counters;
pub mod engine;
pub mod error;
pub mod failures;
pub mod gate;
pub mod grants;
pub mod inflight;
pub mod mailbox;
pub mod map;
pub mod medium;
pub mod memory;
#[cfg(feature = "test-utils")]
pub mod mock;
pub mod optical;
pub mod outcome;
pub mod pool;
pub mod probe;
pub mod queue;
pub mod ring;
pub mod sg;
pub mod sigbus;
pub mod slot;
pub mod slow;
pub mod step;
pub mod store;
pub mod tally;
pub mod tape;
pub mod transfer;
pub mod uring;
pub mod vectored;
pub mod worker;
