//! `Medium`: a disk's blocks, made by Python.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use vhost_pvscsi_core::backend::FileOptions;
use vhost_pvscsi_core::cdb::COMMANDS;
use vhost_pvscsi_core::gate::Access;
use vhost_pvscsi_core::medium::Medium;

use crate::error::to_python;

/// A disk's blocks.
#[pyclass(frozen, name = "Medium", module = "vhost_pvscsi._engine")]
pub struct PyMedium(pub Arc<Medium>);

#[pymethods]
impl PyMedium {
    #[staticmethod]
    #[pyo3(signature = (fd, *, size, block_size, read_only, direct, sync_writes, scratch_fd=None))]
    #[allow(clippy::too_many_arguments)]
    fn file(
        py: Python<'_>,
        fd: i32,
        size: u64,
        block_size: u32,
        read_only: bool,
        direct: bool,
        sync_writes: bool,
        scratch_fd: Option<i32>,
    ) -> PyResult<Self> {
        let options = FileOptions { direct, sync_writes, block_size };
        py.detach(|| Medium::file(fd, size, options, read_only, scratch_fd))
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
    fn commands() -> HashMap<u8, (bool, &'static [u8])> {
        COMMANDS.iter().map(|row| (row.opcode, (row.access != Access::Read, row.usage))).collect()
    }

    fn grow(&self, size: u64) -> PyResult<()> {
        self.0.grow(size).map_err(to_python)
    }

    fn set_sync_writes(&self, on: bool) {
        self.0.set_sync_writes(on);
    }

    fn set_descriptor_sense(&self, on: bool) {
        self.0.set_descriptor_sense(on);
    }

    fn read<'py>(
        &self,
        py: Python<'py>,
        offset: u64,
        length: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        // Before a buffer is made for it.
        self.0.check_range("read", offset, length as u64).map_err(to_python)?;
        PyBytes::new_with(py, length, |into| {
            py.detach(|| self.0.read_blocks(offset, into)).map_err(to_python)
        })
    }

    fn write(&self, py: Python<'_>, offset: u64, data: &[u8]) -> PyResult<()> {
        py.detach(|| self.0.write_blocks(offset, data)).map_err(to_python)
    }

    fn copy_to(
        &self,
        py: Python<'_>,
        target: &PyMedium,
        source_offset: u64,
        target_offset: u64,
        length: u64,
    ) -> PyResult<u64> {
        py.detach(|| self.0.copy_blocks(&target.0, source_offset, target_offset, length))
            .map(|()| length)
            .map_err(to_python)
    }

    #[getter]
    fn write_policy(&self) -> &'static str {
        self.0.write_policy(true)
    }
}
