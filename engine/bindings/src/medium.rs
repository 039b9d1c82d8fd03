//! `Medium`: a disk's blocks, made by Python.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use vhost_pvscsi_core::backend::FileOptions;
use vhost_pvscsi_core::cdb::OPCODES;
use vhost_pvscsi_core::medium::Medium;

use crate::error::to_python;

/// A disk's blocks.
#[pyclass(frozen, name = "Medium", module = "vhost_pvscsi._engine")]
pub struct PyMedium(pub Arc<Medium>);

#[pymethods]
impl PyMedium {
    #[staticmethod]
    #[pyo3(signature = (fd, *, size, block_size, read_only, direct, sync_writes, block_device, scratch_fd=-1))]
    #[allow(clippy::too_many_arguments)]
    fn file(
        py: Python<'_>,
        fd: i32,
        size: u64,
        block_size: u32,
        read_only: bool,
        direct: bool,
        sync_writes: bool,
        block_device: bool,
        scratch_fd: i32,
    ) -> PyResult<Self> {
        let options = FileOptions { direct, sync_writes, block_device, block_size };
        let scratch = (scratch_fd >= 0).then_some(scratch_fd);
        py.detach(|| Medium::file(fd, size, options, read_only, scratch))
            .map(|medium| PyMedium(Arc::new(medium)))
            .map_err(to_python)
    }

    #[staticmethod]
    #[pyo3(signature = (*, size, block_size, read_only, latency_us=0))]
    fn ram(size: u64, block_size: u32, read_only: bool, latency_us: u64) -> PyResult<Self> {
        Medium::ram(size, block_size, read_only, Duration::from_micros(latency_us))
            .map(|medium| PyMedium(Arc::new(medium)))
            .map_err(to_python)
    }

    #[staticmethod]
    #[pyo3(signature = (*, size, block_size, read_only, latency_us=0))]
    fn null(size: u64, block_size: u32, read_only: bool, latency_us: u64) -> PyResult<Self> {
        Medium::null(size, block_size, read_only, Duration::from_micros(latency_us))
            .map(|medium| PyMedium(Arc::new(medium)))
            .map_err(to_python)
    }

    #[staticmethod]
    fn opcodes(py: Python<'_>) -> PyResult<Py<pyo3::types::PyFrozenSet>> {
        let codes: HashSet<u8> = OPCODES.iter().map(|(code, _)| *code).collect();
        Ok(pyo3::types::PyFrozenSet::new(py, codes)?.unbind())
    }

    #[getter]
    fn write_policy(&self) -> &'static str {
        self.0.write_policy(true)
    }
}
