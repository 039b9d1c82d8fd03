//! SG's request block (Linux, include/scsi/sg.h, "sg_io_hdr").

use libc::c_void;

/// No data.
pub const DXFER_NONE: i32 = -1;
/// Data-out.
pub const DXFER_TO_DEV: i32 = -2;
/// Data-in.
pub const DXFER_FROM_DEV: i32 = -3;
/// Straight between the device and the buffer, where the host allows that and it can be done.
pub const FLAG_DIRECT_IO: u32 = 1;
/// Behind what waits already; without it SG puts a command before that.
pub const FLAG_Q_AT_TAIL: u32 = 0x10;
/// ioctl: a command, from its beginning to its end.
pub const SG_IO: libc::c_ulong = 0x2285;
/// ioctl of a multipath device: find out which paths work (Linux, include/uapi/linux/dm-ioctl.h,
/// "DM_MPATH_PROBE_PATHS", since 6.16).
pub const PROBE_PATHS: libc::c_ulong = 0xfd12;
/// ioctl: `read` gives the end of the command that it names, and no other.
pub const SET_FORCE_PACK_ID: libc::c_ulong = 0x227b;
/// Most commands that one open descriptor may have outstanding (SG_MAX_QUEUE).
pub const MAX_QUEUE: usize = 16;
/// Most parts of a scatter list (UIO_MAXIOV).
pub const MAX_PARTS: usize = 1024;

const INTERFACE: i32 = b'S' as i32;

/// The block itself.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// `S`.
    pub interface_id: i32,
    /// One of `DXFER_*`.
    pub dxfer_direction: i32,
    /// Bytes of CDB.
    pub cmd_len: u8,
    /// Room for sense data.
    pub mx_sb_len: u8,
    /// Parts of the scatter list; 0: `dxferp` is the buffer itself.
    pub iovec_count: u16,
    /// Bytes to move.
    pub dxfer_len: u32,
    /// The buffer, or the scatter list.
    pub dxferp: *mut c_void,
    /// The CDB.
    pub cmdp: *const u8,
    /// Where sense data goes.
    pub sbp: *mut u8,
    /// Milliseconds.
    pub timeout: u32,
    /// `FLAG_*`.
    pub flags: u32,
    /// Ours.
    pub pack_id: i32,
    /// Ours: the token of the request.
    pub usr_ptr: *mut c_void,
    /// SCSI status.
    pub status: u8,
    /// Of no use.
    pub masked_status: u8,
    /// Of no use.
    pub msg_status: u8,
    /// Bytes of sense data written.
    pub sb_len_wr: u8,
    /// What the host adapter's driver says: `DID_*`.
    pub host_status: u16,
    /// What the SCSI layer says.
    pub driver_status: u16,
    /// Bytes that were not moved.
    pub resid: i32,
    /// Milliseconds.
    pub duration: u32,
    /// Not looked at.
    pub info: u32,
}

impl Header {
    /// One that asks for nothing.
    #[must_use]
    pub fn blank() -> Self {
        Header {
            interface_id: INTERFACE,
            dxfer_direction: DXFER_NONE,
            cmd_len: 0,
            mx_sb_len: 0,
            iovec_count: 0,
            dxfer_len: 0,
            dxferp: std::ptr::null_mut(),
            cmdp: std::ptr::null(),
            sbp: std::ptr::null_mut(),
            timeout: 0,
            flags: 0,
            pack_id: 0,
            usr_ptr: std::ptr::null_mut(),
            status: 0,
            masked_status: 0,
            msg_status: 0,
            sb_len_wr: 0,
            host_status: 0,
            driver_status: 0,
            resid: 0,
            duration: 0,
            info: 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::mem::{offset_of, size_of};

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn the_layout_is_the_kernels() {
        assert_eq!(size_of::<Header>(), 88);
        assert_eq!(offset_of!(Header, dxferp), 16);
        assert_eq!(offset_of!(Header, usr_ptr), 56);
        assert_eq!(offset_of!(Header, host_status), 68);
        assert_eq!(offset_of!(Header, resid), 72);
    }
}
