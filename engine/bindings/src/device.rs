//! `Device`: a SCSI device of the host, opened for the engine.

use std::sync::Arc;

use pyo3::prelude::*;
use vhost_pvscsi_core::sg::Device;

/// A device of the host.
#[pyclass(frozen, name = "Device", module = "vhost_pvscsi._engine")]
pub struct PyDevice(pub Arc<Device>);

#[pymethods]
impl PyDevice {
    #[getter]
    fn max_transfer(&self) -> u64 {
        self.0.max_transfer
    }
}
