//! `vhost_pvscsi._engine`: the list of what Python may see. No logic; see `_engine.pyi`.

use pyo3::prelude::*;

mod device;
mod engine;
mod error;
mod events;
mod medium;

#[pymodule]
fn _engine(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<engine::PyEngine>()?;
    module.add_class::<medium::PyMedium>()?;
    module.add_class::<medium::PyTapeImage>()?;
    module.add_class::<device::PyDevice>()?;
    module.add("COMMAND", events::COMMAND)?;
    module.add("CONTROL", events::CONTROL)?;
    module.add("DONE", events::DONE)?;
    module.add("BROKEN", events::BROKEN)?;
    module.add("CANCEL", events::CANCEL)?;
    module.add("EXECUTED", events::EXECUTED)?;
    module.add("FAILED", events::FAILED)?;
    module.add("QUEUE_CONTROL", engine::QUEUE_CONTROL)?;
    module.add("QUEUE_EVENT", engine::QUEUE_EVENT)?;
    module.add("QUEUE_REQUEST", engine::QUEUE_REQUEST)?;
    module.add("MAX_TRANSFER_BYTES", vhost_pvscsi_core::medium::MAX_TRANSFER_BYTES)?;
    module.add("MAX_UNMAP_BLOCKS", vhost_pvscsi_core::medium::MAX_UNMAP_BLOCKS)?;
    module.add("MAX_UNMAP_DESCRIPTORS", vhost_pvscsi_core::medium::MAX_UNMAP_DESCRIPTORS)?;
    module.add("MAX_WRITE_SAME_BLOCKS", vhost_pvscsi_core::medium::MAX_WRITE_SAME_BLOCKS)?;
    module.add("MAX_TAPE_BLOCK", vhost_pvscsi_core::tape::drive::MAX_BLOCK)?;
    let seconds = vhost_pvscsi_core::tally::bounds_ns().map(|ns| ns as f64 / 1e9);
    module.add("LATENCY_BOUNDS", pyo3::types::PyTuple::new(module.py(), seconds)?)?;
    module.add("MAX_QUEUE_SIZE", vhost_pvscsi_core::ring::split::MAX_SIZE)?;
    Ok(())
}
