//! `Medium`: a disk's blocks, made by Python.

use std::collections::HashMap;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use pyo3::prelude::*;
use pyo3::types::PyBytes;
use vhost_pvscsi_core::backend::FileOptions;
use vhost_pvscsi_core::cdb::{Row, COMMANDS};
use vhost_pvscsi_core::error::Error;
use vhost_pvscsi_core::gate::Access;
use vhost_pvscsi_core::medium::Medium;
use vhost_pvscsi_core::optical;
use vhost_pvscsi_core::tape;
use vhost_pvscsi_core::tape::drive::Drive;
use vhost_pvscsi_core::tape::image::Image;
use vhost_pvscsi_core::tape::scan::{Block, Form};

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
    fn disc(py: Python<'_>, fd: i32, size: u64) -> PyResult<Self> {
        py.detach(|| Medium::disc(fd, size))
            .map(|medium| PyMedium(Arc::new(medium)))
            .map_err(to_python)
    }

    #[staticmethod]
    fn disc_commands() -> HashMap<u8, (bool, &'static [u8])> {
        listed(&optical::COMMANDS)
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
    fn tape_drive() -> Self {
        PyMedium(Arc::new(Medium::tape(Drive::empty())))
    }

    #[pyo3(signature = (fd, *, sidecar_fd, read_only, capacity, warning, scratch_fd=None))]
    #[allow(clippy::too_many_arguments)]
    fn tape_insert(
        &self,
        py: Python<'_>,
        fd: i32,
        sidecar_fd: Option<i32>,
        read_only: bool,
        capacity: u64,
        warning: u64,
        scratch_fd: Option<i32>,
    ) -> PyResult<()> {
        let drive = self.drive()?;
        py.detach(|| {
            Image::open(fd, sidecar_fd, read_only, scratch_fd)
                .map(|image| drive.insert(image, capacity, warning))
        })
        .map_err(to_python)
    }

    fn tape_remove(&self, py: Python<'_>) -> PyResult<()> {
        let drive = self.drive()?;
        py.detach(|| drive.remove()).map_err(to_python)
    }

    #[staticmethod]
    fn tape_commands() -> HashMap<u8, (bool, &'static [u8])> {
        listed(&tape::cdb::COMMANDS)
    }

    fn tape_loaded(&self) -> PyResult<(u64, u64, bool)> {
        let loaded = self.drive()?.loaded();
        Ok((loaded.torn_at, loaded.torn, loaded.scanned))
    }

    fn tape_standing(&self, py: Python<'_>) -> PyResult<[u64; 16]> {
        let drive = self.drive()?;
        let at = py.detach(|| drive.standing());
        let carried = at.carried;
        Ok([
            at.place.object,
            at.place.offset,
            at.file,
            at.end.object,
            at.end.offset,
            at.marks,
            carried.blocks_written,
            carried.bytes_written,
            carried.stored_written,
            carried.blocks_read,
            carried.bytes_read,
            carried.stored_read,
            carried.marks_written,
            carried.read_errors,
            carried.write_errors,
            carried.refused,
        ])
    }

    fn tape_set(
        &self,
        py: Python<'_>,
        block_length: u32,
        unbuffered: bool,
        compress: bool,
    ) -> PyResult<()> {
        let drive = self.drive()?;
        py.detach(|| drive.set(block_length, unbuffered, compress));
        Ok(())
    }

    fn tape_progress(&self) -> PyResult<Option<u16>> {
        Ok(self.drive()?.progress.now())
    }

    fn tape_end_behind(&self, py: Python<'_>) -> PyResult<()> {
        let drive = self.drive()?;
        py.detach(|| drive.end_behind());
        Ok(())
    }

    fn tape_rest(&self, py: Python<'_>) -> PyResult<()> {
        let drive = self.drive()?;
        py.detach(|| drive.rest()).map_err(to_python)
    }

    #[staticmethod]
    fn commands() -> HashMap<u8, (bool, &'static [u8])> {
        listed(&COMMANDS)
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

impl PyMedium {
    fn drive(&self) -> PyResult<&Drive> {
        let none = || to_python(Error::Setup("it is no tape".into()));
        self.0.drive().ok_or_else(none)
    }
}

fn listed(rows: &[Row]) -> HashMap<u8, (bool, &'static [u8])> {
    rows.iter().map(|row| (row.opcode, (row.access != Access::Read, row.usage))).collect()
}

/// A block: where its data is, its length, its length in the image, bad, compressed.
type Told = (u64, u32, u32, bool, bool);

fn unread(source: std::io::Error) -> PyErr {
    to_python(Error::Io { context: "read the tape image", source })
}

/// A tape image, looked at without a drive.
#[pyclass(frozen, name = "TapeImage", module = "vhost_pvscsi._engine")]
pub struct PyTapeImage(Image);

#[pymethods]
impl PyTapeImage {
    #[staticmethod]
    fn open(py: Python<'_>, fd: i32, sidecar_fd: Option<i32>) -> PyResult<Self> {
        py.detach(|| Image::open(fd, sidecar_fd, true, None)).map(PyTapeImage).map_err(to_python)
    }

    fn state(&self) -> (u64, u64, u64, u64, u64) {
        let (end, loaded) = (self.0.end(), self.0.loaded);
        (end.object, end.offset, self.0.index().marks(), loaded.torn_at, loaded.torn)
    }

    fn objects(&self, py: Python<'_>, first: u64, limit: usize) -> PyResult<Vec<Option<Told>>> {
        let found = py.detach(|| self.0.objects(first, limit)).map_err(unread)?;
        let told = |block: Block| {
            let (bad, packed) = (block.form == Form::Bad, block.form == Form::Packed);
            (block.data(), block.length, block.stored, bad, packed)
        };
        Ok(found.into_iter().map(|block| block.map(told)).collect())
    }

    fn unpack<'py>(
        &self,
        py: Python<'py>,
        offset: u64,
        stored: u32,
    ) -> PyResult<Option<Bound<'py, PyBytes>>> {
        match py.detach(|| self.0.unpack(offset, stored)) {
            Ok(data) => Ok(Some(PyBytes::new(py, &data))),
            Err(error) if error.kind() == ErrorKind::InvalidData => Ok(None),
            Err(error) => Err(unread(error)),
        }
    }
}
