//! How commands of a tape end (SSC-5 4.2 and the commands' own clauses).

use crate::outcome::{
    Outcome, BEGINNING_OF_PARTITION, EARLY_WARNING, END_OF_DATA, END_OF_MEDIUM, FILEMARK,
    FILEMARK_DETECTED, INCORRECT_LENGTH, NO_ADDITIONAL_SENSE, UNRECOVERED_READ_ERROR,
    VOLUME_OVERFLOW,
};

/// A filemark was met; `residual` is what was not done.
pub fn filemark(residual: i64) -> Outcome {
    Outcome::check(FILEMARK_DETECTED).with_stream(FILEMARK).with_residual(residual)
}

/// There is no more data.
pub fn end_of_data(residual: i64) -> Outcome {
    Outcome::check(END_OF_DATA).with_residual(residual)
}

/// The beginning was met on the way back.
pub fn beginning(residual: i64) -> Outcome {
    Outcome::check(BEGINNING_OF_PARTITION).with_stream(END_OF_MEDIUM).with_residual(residual)
}

/// A block has another length.
pub fn incorrect_length(residual: i64) -> Outcome {
    Outcome::check(NO_ADDITIONAL_SENSE).with_stream(INCORRECT_LENGTH).with_residual(residual)
}

/// A block has errors.
pub fn unreadable(residual: i64) -> Outcome {
    Outcome::check(UNRECOVERED_READ_ERROR).with_residual(residual)
}

/// All was written, and the medium ends soon.
pub fn early_warning() -> Outcome {
    Outcome::check(EARLY_WARNING).with_stream(END_OF_MEDIUM).with_residual(0)
}

/// The medium is full; `residual` was not written.
pub fn overflow(residual: i64) -> Outcome {
    Outcome::check(VOLUME_OVERFLOW).with_stream(END_OF_MEDIUM).with_residual(residual)
}

/// What the host said, while it read or wrote; one that is full is a medium that is.
pub fn host(error: &std::io::Error, writing: bool, residual: i64) -> Outcome {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    match errno {
        libc::ENOSPC | libc::EDQUOT | libc::EFBIG => overflow(residual).because_of(errno),
        _ => Outcome::host_error(errno, writing),
    }
}
