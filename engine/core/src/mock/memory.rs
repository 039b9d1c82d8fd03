//! Memory that a front-end shares with a device, by descriptor.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::ptr;
use std::sync::atomic::{AtomicU16, AtomicU32};

/// Memory that a front-end shares: a memfd, mapped here at one guest address.
#[derive(Debug)]
pub struct SharedMemory {
    file: File,
    base: *mut u8,
    len: usize,
    guest: u64,
}

// SAFETY: the mapping lives as long as the value, and every access goes through raw pointers
// or atomics; that the other side changes bytes beneath us is what this memory is for.
unsafe impl Send for SharedMemory {}
// SAFETY: as above; callers that share it partition it among themselves.
unsafe impl Sync for SharedMemory {}

impl SharedMemory {
    /// Make `len` zeroed bytes that the guest knows at `guest`; `huge`: from 2 MiB pages.
    pub fn new(len: usize, guest: u64, huge: bool) -> io::Result<Self> {
        let flags = libc::MFD_CLOEXEC | if huge { libc::MFD_HUGETLB } else { 0 };
        // SAFETY: the name is a NUL-terminated literal.
        let fd = unsafe { libc::memfd_create(c"vhost-pvscsi-guest".as_ptr(), flags) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor is new and nobody else's.
        let file = unsafe { File::from_raw_fd(fd) };
        file.set_len(len as u64)?;
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing of ours.
        let base = unsafe {
            libc::mmap(ptr::null_mut(), len, protection, libc::MAP_SHARED, file.as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { file, base: base.cast(), len, guest })
    }

    /// The memfd, to be passed to the device's side.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Size in bytes.
    pub fn size(&self) -> usize {
        self.len
    }

    /// Guest address of the first byte.
    pub fn guest_address(&self) -> u64 {
        self.guest
    }

    /// Our own address of the first byte (what vhost-user calls the user address).
    pub fn user_address(&self) -> u64 {
        self.base as u64
    }

    /// Where `len` bytes at a guest address are in our own address space.
    pub fn pointer(&self, address: u64, len: usize) -> *mut u8 {
        let offset = address.wrapping_sub(self.guest);
        let fits = offset <= self.len as u64 && len as u64 <= self.len as u64 - offset;
        assert!(fits, "{len} bytes at {address:#x} are outside the shared memory");
        // SAFETY: offset lies within the mapping, checked above.
        unsafe { self.base.add(offset as usize) }
    }

    /// Copy bytes in.
    pub fn write(&self, address: u64, bytes: &[u8]) {
        let to = self.pointer(address, bytes.len());
        // SAFETY: `pointer` checked the range, and a Rust slice does not overlap the mapping.
        unsafe { ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) }
    }

    /// Copy bytes out.
    pub fn read(&self, address: u64, bytes: &mut [u8]) {
        let from = self.pointer(address, bytes.len());
        // SAFETY: `pointer` checked the range, and a Rust slice does not overlap the mapping.
        unsafe { ptr::copy_nonoverlapping(from, bytes.as_mut_ptr(), bytes.len()) }
    }

    /// Copy `len` bytes out into a new vector.
    pub fn bytes(&self, address: u64, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.read(address, &mut bytes);
        bytes
    }

    /// A 16-bit word of a ring.
    pub(super) fn word(&self, address: u64) -> &AtomicU16 {
        let pointer = self.pointer(address, 2).cast::<u16>();
        assert!(pointer.is_aligned(), "ring word at {address:#x} is not aligned");
        // SAFETY: in range, aligned, lives as long as self; the other side uses atomics too.
        unsafe { AtomicU16::from_ptr(pointer) }
    }

    /// A 32-bit word of a ring or a grant table.
    pub fn word32(&self, address: u64) -> &AtomicU32 {
        let pointer = self.pointer(address, 4).cast::<u32>();
        assert!(pointer.is_aligned(), "word at {address:#x} is not aligned");
        // SAFETY: as in `word`.
        unsafe { AtomicU32::from_ptr(pointer) }
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours, and no pointer into it outlives the value.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}
