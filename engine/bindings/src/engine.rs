//! `Engine`: orders in, tickets out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyTuple;
use vhost_pvscsi_core::engine::{Engine, MapRow, Options, PvscsiSpec, RingSpec};
use vhost_pvscsi_core::grants::table::TableSpec;
use vhost_pvscsi_core::inflight::AreaSpec;
use vhost_pvscsi_core::mailbox::{QueueKind, Selector};
use vhost_pvscsi_core::map::OpcodeSet;
use vhost_pvscsi_core::memory::RegionSpec;
use vhost_pvscsi_core::outcome::{Outcome, Service};
use vhost_pvscsi_core::ring::split::Layout;
use vhost_pvscsi_core::ring::vscsiif::Place;
use vhost_pvscsi_core::sg::DeviceSpec;
use vhost_pvscsi_core::tally::Histogram;

use crate::device::PyDevice;
use crate::error::to_python;
use crate::events::to_tuple;
use crate::medium::PyMedium;

pub const QUEUE_CONTROL: u8 = 0;
pub const QUEUE_EVENT: u8 = 1;
pub const QUEUE_REQUEST: u8 = 2;

/// Target, LUN, mapping, medium, device, short-road opcodes, copied opcodes, protected.
type Row =
    (u32, u32, u32, Option<Py<PyMedium>>, Option<Py<PyDevice>>, HashSet<u8>, HashSet<u8>, bool);

/// The engine threads.
#[pyclass(frozen, name = "Engine", module = "vhost_pvscsi._engine")]
pub struct PyEngine(Engine);

#[pymethods]
impl PyEngine {
    #[new]
    #[pyo3(signature = (threads, *, io_uring=true, poll_us=0))]
    fn new(py: Python<'_>, threads: usize, io_uring: bool, poll_us: u64) -> PyResult<Self> {
        let options = Options { threads, io_uring, poll: Duration::from_micros(poll_us) };
        py.detach(|| Engine::new(options)).map(PyEngine).map_err(to_python)
    }

    #[getter]
    fn io_uring(&self) -> bool {
        self.0.io_uring()
    }

    fn fileno(&self) -> i32 {
        self.0.fd()
    }

    fn take<'py>(&self, py: Python<'py>, limit: usize) -> PyResult<Vec<Bound<'py, PyTuple>>> {
        self.0.take(limit).into_iter().map(|event| to_tuple(py, event)).collect()
    }

    fn stop(&self, py: Python<'_>) {
        py.detach(|| self.0.stop());
    }

    fn add_host(&self, budget: i64) -> u32 {
        self.0.add_host(budget)
    }

    fn remove_host(&self, host: u32) {
        self.0.remove_host(host);
    }

    fn change_map(
        &self,
        host: u32,
        generation: u64,
        added: Vec<Row>,
        removed: Vec<u32>,
    ) -> PyResult<u64> {
        let rows = added.into_iter().map(
            |(target, lun, mapping, medium, device, opcodes, copied, protected)| MapRow {
                target,
                lun,
                mapping,
                medium: medium.map(|medium| Arc::clone(&medium.get().0)),
                device: device.map(|device| Arc::clone(&device.get().0)),
                copied: set(copied),
                short_road: set(opcodes),
                protected,
            },
        );
        self.0.change_map(host, generation, rows.collect(), &removed).map_err(to_python)
    }

    fn take_failures(&self, mapping: u32) -> (u64, u8, i32) {
        let taken = self.0.take_failures(mapping);
        (taken.count, taken.opcode, taken.errno)
    }

    #[allow(clippy::type_complexity)]
    fn lun_counters(&self, mapping: u32) -> PyResult<([u64; 8], Histogram, Histogram)> {
        let c = self.0.counted(mapping).map_err(to_python)?;
        let plain = [
            c.reads,
            c.writes,
            c.others,
            c.long_road,
            c.errors,
            c.bytes_read,
            c.bytes_written,
            c.in_flight,
        ];
        Ok((plain, c.read_latency, c.write_latency))
    }

    #[pyo3(signature = (mapping, bits, wait=true))]
    fn close_gate(&self, mapping: u32, bits: u32, wait: bool) -> PyResult<u64> {
        self.0.close_gate(mapping, bits, wait).map_err(to_python)
    }

    fn open_gate(&self, mapping: u32, bits: u32) -> PyResult<()> {
        self.0.open_gate(mapping, bits).map_err(to_python)
    }

    fn add_session(&self, host: u32) -> PyResult<u32> {
        self.0.add_session(host).map_err(to_python)
    }

    fn set_memory(
        &self,
        py: Python<'_>,
        session: u32,
        regions: Vec<(u64, u64, u64, u64, i32)>,
    ) -> PyResult<u64> {
        let specs: Vec<_> = regions
            .into_iter()
            .map(|(guest, size, user, offset, fd)| RegionSpec { guest, size, user, offset, fd })
            .collect();
        py.detach(|| self.0.set_memory(session, &specs)).map_err(to_python)
    }

    #[allow(clippy::too_many_arguments)]
    fn start_ring(
        &self,
        session: u32,
        index: u32,
        kind: u8,
        size: u16,
        descriptor: u64,
        available: u64,
        used: u64,
        base: u16,
        event_idx: bool,
        indirect: bool,
        kick_fd: i32,
        call_fd: i32,
    ) -> PyResult<u64> {
        let kind = match kind {
            QUEUE_CONTROL => QueueKind::Control,
            QUEUE_EVENT => QueueKind::Event,
            QUEUE_REQUEST => QueueKind::Request,
            other => return Err(PyValueError::new_err(format!("there is no queue kind {other}"))),
        };
        let layout = Layout { size, descriptor, available, used, base, event_idx, indirect };
        let spec = RingSpec { index, kind, layout, kick: kick_fd, call: call_fd };
        self.0.start_ring(session, spec).map_err(to_python)
    }

    #[allow(clippy::too_many_arguments)]
    fn start_pvscsi(
        &self,
        session: u32,
        granted: bool,
        place: u64,
        table: Option<(i32, u64, u64, u16)>,
        area: Option<(i32, u64, u64)>,
        segments: u32,
        kick_fd: i32,
        call_fd: i32,
    ) -> PyResult<u64> {
        let place = if granted {
            let beyond = |_| PyValueError::new_err(format!("{place} is no grant reference"));
            Place::Grant(u32::try_from(place).map_err(beyond)?)
        } else {
            Place::Address(place)
        };
        let table = table.map(|(fd, offset, size, domain)| TableSpec { fd, offset, size, domain });
        let area = area.map(|(fd, offset, size)| AreaSpec { fd, offset, size });
        let spec = PvscsiSpec { place, table, area, segments, kick: kick_fd, call: call_fd };
        self.0.start_pvscsi(session, spec).map_err(to_python)
    }

    fn set_enabled(&self, session: u32, index: u32, enabled: bool) -> PyResult<u64> {
        self.0.set_enabled(session, index, enabled).map_err(to_python)
    }

    fn set_call(&self, session: u32, index: u32, call_fd: i32) -> PyResult<()> {
        self.0.set_call(session, index, call_fd).map_err(to_python)
    }

    fn stop_ring(&self, session: u32, index: u32) -> PyResult<u64> {
        self.0.stop_ring(session, index).map_err(to_python)
    }

    fn end_session(&self, session: u32) -> PyResult<u64> {
        self.0.end_session(session).map_err(to_python)
    }

    fn push_event(&self, session: u32, index: u32, data: Vec<u8>) -> PyResult<u64> {
        self.0.push_event(session, index, data).map_err(to_python)
    }

    fn execute(&self, token: u64, medium: &PyMedium, cdb: &[u8]) -> PyResult<()> {
        self.0.execute(token, Arc::clone(&medium.0), cdb).map_err(to_python)
    }

    #[pyo3(signature = (fd, *, exclusive, passed, depth, max_transfer, block_size, writes, timeout_ms, timeouts_ms))]
    #[allow(clippy::too_many_arguments)]
    fn add_device(
        &self,
        py: Python<'_>,
        fd: i32,
        exclusive: bool,
        passed: bool,
        depth: usize,
        max_transfer: u32,
        block_size: u32,
        writes: HashSet<u8>,
        timeout_ms: u32,
        timeouts_ms: HashMap<u8, u32>,
    ) -> PyResult<PyDevice> {
        let spec = DeviceSpec {
            fd,
            exclusive,
            passed,
            depth,
            max_transfer,
            block_size,
            writes: set(writes),
            timeout: timeout_ms,
            timeouts: timeouts_ms.into_iter().collect(),
        };
        py.detach(|| self.0.add_device(&spec)).map(PyDevice).map_err(to_python)
    }

    fn remove_device(&self, py: Python<'_>, device: &PyDevice) {
        py.detach(|| self.0.remove_device(&device.0));
    }

    #[pyo3(signature = (token, device, cdb, *, send=None, fetch=None))]
    fn forward(
        &self,
        token: u64,
        device: &PyDevice,
        cdb: &[u8],
        send: Option<Vec<u8>>,
        fetch: Option<usize>,
    ) -> PyResult<()> {
        self.0.forward(token, Arc::clone(&device.0), cdb, send, fetch).map_err(to_python)
    }

    fn complete(
        &self,
        token: u64,
        service: u8,
        status: u8,
        sense: &[u8],
        data: &[u8],
        transferred: i64,
    ) {
        let moved = u64::try_from(transferred);
        let service = Service::from_number(service);
        let outcome = Outcome::from_parts(service, status, sense, *moved.as_ref().unwrap_or(&0));
        self.0.complete(token, outcome, moved.is_err().then(|| data.to_vec()));
    }

    fn complete_control(&self, token: u64, data: &[u8]) {
        self.0.complete_control(token, data.to_vec());
    }

    fn abort(&self, host: u32, target: i64, lun: i64, tag: i128, service: u8) -> u64 {
        self.0.abort(selector(host, target, lun, tag), Service::from_number(service))
    }

    fn count(&self, host: u32, target: i64, lun: i64, tag: i128) -> u64 {
        self.0.count(selector(host, target, lun, tag))
    }

    #[allow(clippy::type_complexity)]
    fn counters(&self, session: u32) -> PyResult<Vec<(u32, u64, u64, u64, u64, u64, u64, u64)>> {
        let rows = self.0.counters(session).map_err(to_python)?;
        Ok(rows.into_iter().map(|(i, [a, b, c, d, e, f, g])| (i, a, b, c, d, e, f, g)).collect())
    }
}

fn set(opcodes: HashSet<u8>) -> OpcodeSet {
    OpcodeSet::new(&opcodes.into_iter().collect::<Vec<_>>())
}

fn selector(host: u32, target: i64, lun: i64, tag: i128) -> Selector {
    Selector {
        host,
        target: u32::try_from(target).ok(),
        lun: u32::try_from(lun).ok(),
        tag: u64::try_from(tag).ok(),
    }
}
