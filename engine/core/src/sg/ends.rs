//! What the end of a forwarded command means to the guest.

use super::header::Header;
use crate::outcome::{
    Outcome, Service, CHECK_CONDITION, CONDITION_MET, GOOD, INTERNAL_TARGET_FAILURE,
    INVALID_FIELD_IN_CDB, RESERVATION_CONFLICT, TASK_SET_FULL,
};

/// What an adapter's driver says of a command that has no status (Linux, include/scsi/
/// scsi_status.h, "enum scsi_host_status"): how its delivery ended, and the errno by which the
/// host's operator is told; 0: there is nothing to tell. `docs/forwarding.md` has the table.
fn delivery(host_status: u16) -> (Service, i32) {
    match host_status {
        // OK, PASSTHROUGH.
        0x00 | 0x0a => (Service::Complete, 0),
        // NO_CONNECT, BAD_TARGET: it is not there, or not any more.
        0x01 | 0x04 => (Service::AbsentTarget, libc::ENODEV),
        // BUS_BUSY, IMM_RETRY, REQUEUE.
        0x02 | 0x0c | 0x0d => (Service::Busy, 0),
        // TIME_OUT: the host's error handler has ended it.
        0x03 => (Service::Aborted, libc::ETIMEDOUT),
        // ABORT: somebody on the host has.
        0x05 => (Service::Aborted, 0),
        // RESET.
        0x08 => (Service::Reset, 0),
        // PARITY, ERROR, BAD_INTR, SOFT_ERROR, TRANSPORT_*, and what nobody knows.
        _ => (Service::Failure, libc::EIO),
    }
}

/// DRIVER_TIMEOUT, which kernels before 5.14 say beside or in place of TIME_OUT.
const DRIVER_TIMEOUT: u16 = 0x06;

/// SCSI statuses that rings and Python know (SAM-5 5.3.1).
const STATUSES: [u8; 8] =
    [GOOD, CHECK_CONDITION, CONDITION_MET, 0x08, RESERVATION_CONFLICT, TASK_SET_FULL, 0x30, 0x40];

/// How many bytes have been moved. A residual that is negative, or more than there was room for, is
/// of a device that had more to give, or would have taken more: iSCSI says so (RFC 7143 11.4.5.2),
/// and Linux's initiator passes it on as it is. What there was room for has been moved then.
fn moved(header: &Header) -> u32 {
    u32::try_from(header.resid)
        .ok()
        .and_then(|left| header.dxfer_len.checked_sub(left))
        .unwrap_or(header.dxfer_len)
}

/// The outcome of a command that was asked to move `length` bytes.
#[must_use]
pub fn outcome(header: &Header, sense: &[u8]) -> Outcome {
    let moved = u64::from(moved(header));
    let status = header.status & 0x7e;
    let sense = &sense[..usize::from(header.sb_len_wr).min(sense.len())];
    if status == GOOD {
        let timed_out = header.driver_status & 0x0f == DRIVER_TIMEOUT && header.host_status == 0;
        let (service, errno) = delivery(if timed_out { 0x03 } else { header.host_status });
        if service != Service::Complete {
            return Outcome::of(service).with_errno(errno);
        }
    } else if !STATUSES.contains(&status) {
        return Outcome::of(Service::Failure).with_errno(libc::EPROTO);
    }
    // A short READ of a tape (SSC-5 5.11: ILI, filemark, end of medium, with sense key 0) has both
    // its data and its sense.
    Outcome::from_parts(Service::Complete, status, sense, moved)
}

/// Whether the way to the device has failed, as far as its driver can tell (`delivery` has the
/// values): NO_CONNECT, TRANSPORT_DISRUPTED, TRANSPORT_FAILFAST, TRANSPORT_MARGINAL.
#[must_use]
pub fn path_failed(header: &Header) -> bool {
    header.status == GOOD && matches!(header.host_status, 0x01 | 0x0e | 0x0f | 0x14)
}

/// Whether this is how a device is refused that has gone, or is offline as the SCSI layer has it.
#[must_use]
pub fn gone(errno: i32) -> bool {
    matches!(errno, libc::ENODEV | libc::ENXIO)
}

/// What it means where SG does not take a command, or does not give it back whole.
#[must_use]
pub fn refused(errno: i32) -> Outcome {
    let outcome = match errno {
        _ if gone(errno) => Outcome::of(Service::AbsentTarget),
        // No request, no memory, too many outstanding: a moment's shortage.
        libc::ENOMEM | libc::EAGAIN | libc::EDOM => return Outcome::status(TASK_SET_FULL),
        // The guest's own pages are gone; the caller breaks the session.
        libc::EFAULT => return Outcome::of(Service::Failure),
        // A CDB or a transfer longer than the host can carry.
        libc::EINVAL | libc::EMSGSIZE => return Outcome::check(INVALID_FIELD_IN_CDB),
        _ => Outcome::check(INTERNAL_TARGET_FAILURE),
    };
    outcome.with_errno(errno)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(status: u8, host_status: u16, resid: i32) -> Header {
        Header { status, host_status, resid, dxfer_len: 4096, ..Header::blank() }
    }

    #[test]
    fn a_short_transfer_has_its_residual() {
        assert_eq!(outcome(&ended(0, 0, 0), &[]).transferred, 4096);
        assert_eq!(outcome(&ended(0, 0, 1000), &[]).transferred, 3096);
        assert_eq!(outcome(&ended(0, 0, 4096), &[]).transferred, 0);
    }

    #[test]
    fn a_residual_of_more_than_the_transfer_is_an_overflow() {
        for resid in [4097, 5000, i32::MAX, -5, i32::MIN] {
            assert_eq!(outcome(&ended(0, 0, resid), &[]).transferred, 4096, "{resid}");
            assert_eq!(outcome(&ended(2, 0, resid), &[]).transferred, 4096, "{resid}");
        }
        let no_data = Header { dxfer_len: 0, ..ended(0, 0, 512) };
        assert_eq!(outcome(&no_data, &[]).transferred, 0);
    }

    #[test]
    fn sense_goes_with_its_data() {
        let mut sense = [0u8; 96];
        sense[..3].copy_from_slice(&[0xf0, 0, 0x80]);
        let header = Header { sb_len_wr: 18, driver_status: 8, ..ended(2, 0, 96) };
        let told = outcome(&header, &sense);
        assert_eq!((told.service, told.status, told.transferred), (Service::Complete, 2, 4000));
        assert_eq!(told.sense(), &sense[..18]);
    }

    #[test]
    fn a_status_counts_more_than_the_host_byte() {
        // Kernels before 6.1 say NEXUS_FAILURE beside RESERVATION CONFLICT.
        let told = outcome(&ended(0x18, 0x11, 4096), &[]);
        assert_eq!((told.service, told.status, told.errno), (Service::Complete, 0x18, 0));
    }

    #[test]
    fn a_path_has_failed_where_nothing_answered() {
        for host_status in [0x01, 0x0e, 0x0f, 0x14] {
            assert!(path_failed(&ended(0, host_status, 0)), "{host_status:#x}");
        }
        // A status is an answer; a time-out, an abort or a reset may have been the device's.
        for (status, host_status) in [(0, 0), (2, 0x0e), (0x18, 0x11), (0, 3), (0, 5), (0, 8)] {
            assert!(!path_failed(&ended(status, host_status, 0)), "{host_status:#x}");
        }
    }

    #[test]
    fn what_never_arrived_is_no_status() {
        let services = [
            (0x01, Service::AbsentTarget),
            (0x02, Service::Busy),
            (0x03, Service::Aborted),
            (0x05, Service::Aborted),
            (0x07, Service::Failure),
            (0x08, Service::Reset),
            (0x0e, Service::Failure),
            (0xff, Service::Failure),
        ];
        for (host_status, service) in services {
            let told = outcome(&ended(0, host_status, 0), &[]);
            assert_eq!((told.service, told.transferred), (service, 0), "{host_status:#x}");
        }
        let old = Header { driver_status: DRIVER_TIMEOUT, ..ended(0, 0, 0) };
        assert_eq!(outcome(&old, &[]).service, Service::Aborted);
        assert_eq!(outcome(&ended(0x22, 0, 0), &[]).service, Service::Failure);
    }
}
