//! Events as the tuples that `_engine.pyi` declares.

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyTuple};
use vhost_pvscsi_core::mailbox::Event;

pub const COMMAND: u8 = 0;
pub const CONTROL: u8 = 1;
pub const DONE: u8 = 2;
pub const BROKEN: u8 = 3;
pub const CANCEL: u8 = 4;
pub const EXECUTED: u8 = 5;
pub const FAILED: u8 = 6;

/// One event as a tuple.
pub fn to_tuple<'py>(py: Python<'py>, event: Event) -> PyResult<Bound<'py, PyTuple>> {
    match event {
        Event::Command {
            host,
            session,
            token,
            mapping,
            generation,
            address,
            tag,
            attribute,
            cdb,
            data_out,
            data_out_length,
            data_in_length,
        } => {
            let (target, lun) = address.map_or((-1, -1), |(t, l)| (i64::from(t), i64::from(l)));
            // More members than a Rust tuple converts: built by hand.
            let fields: Vec<Bound<'py, PyAny>> = vec![
                COMMAND.into_pyobject(py)?.into_any(),
                host.into_pyobject(py)?.into_any(),
                session.into_pyobject(py)?.into_any(),
                token.into_pyobject(py)?.into_any(),
                mapping.into_pyobject(py)?.into_any(),
                generation.into_pyobject(py)?.into_any(),
                target.into_pyobject(py)?.into_any(),
                lun.into_pyobject(py)?.into_any(),
                tag.into_pyobject(py)?.into_any(),
                attribute.into_pyobject(py)?.into_any(),
                PyBytes::new(py, &cdb).into_any(),
                PyBytes::new(py, &data_out).into_any(),
                data_out_length.into_pyobject(py)?.into_any(),
                data_in_length.into_pyobject(py)?.into_any(),
            ];
            PyTuple::new(py, fields)
        }
        Event::Control { host, session, token, data, writable } => {
            (CONTROL, host, session, token, PyBytes::new(py, &data), writable).into_pyobject(py)
        }
        Event::Done { ticket, value, error } => (DONE, ticket, value, error).into_pyobject(py),
        Event::Broken { host, session, queue, reason } => {
            (BROKEN, host, session, queue, reason).into_pyobject(py)
        }
        Event::Cancel { host, session, token, service } => {
            (CANCEL, host, session, token, service as u8).into_pyobject(py)
        }
        Event::Failed { host, mapping } => (FAILED, host, mapping).into_pyobject(py),
        Event::Executed { token, outcome, data } => {
            let sense = PyBytes::new(py, outcome.sense());
            let (service, status) = (outcome.service as u8, outcome.status);
            let data = PyBytes::new(py, &data);
            (EXECUTED, token, service, status, sense, outcome.transferred, data).into_pyobject(py)
        }
    }
}
