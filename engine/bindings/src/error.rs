//! Errors cross the border here, and only here.

use pyo3::exceptions::{PyKeyError, PyOSError, PyRuntimeError, PyValueError};
use pyo3::PyErr;
use vhost_pvscsi_core::error::Error;

/// The Python exception for an error of the core.
pub fn to_python(error: Error) -> PyErr {
    match error {
        Error::Setup(_) => PyValueError::new_err(error.to_string()),
        // The guest's doing, not its front-end's: no ring of ours can be made of it.
        Error::Ring(_) => PyRuntimeError::new_err(error.to_string()),
        Error::Io { context, source } => {
            PyOSError::new_err((source.raw_os_error().unwrap_or(0), format!("{context}: {source}")))
        }
        Error::Unknown { .. } => PyKeyError::new_err(error.to_string()),
    }
}
