//! A page-aligned buffer of our own: a RAM disk, or what O_DIRECT moves through.

use crate::chain::Buffers;

/// A page-aligned buffer of our own.
#[derive(Debug)]
pub struct Aligned {
    address: *mut u8,
    length: usize,
}

// SAFETY: it owns its pages.
unsafe impl Send for Aligned {}
// SAFETY: all access is through raw pointers whose users order it among themselves.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// Zeroed memory of at least `length` bytes; None where there is none.
    #[must_use]
    pub fn new(length: usize) -> Option<Self> {
        let length = length.checked_next_multiple_of(4096)?.max(4096);
        // SAFETY: a new anonymous mapping touches nothing that exists.
        let address = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                length,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        (address != libc::MAP_FAILED).then(|| Aligned { address: address.cast(), length })
    }

    /// Where it begins.
    #[must_use]
    pub fn address(&self) -> *mut u8 {
        self.address
    }

    /// Bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.length
    }

    /// Its first `length` bytes, as a list that a transfer takes.
    #[must_use]
    pub fn buffers(&self, length: usize) -> Buffers {
        let mut buffers = Buffers::with_capacity(1);
        buffers.push(self.address, length.min(self.length));
        buffers
    }

    /// Copy `length` bytes from byte `offset` on to `others`, or from there where `write` says so.
    /// The caller has checked the range against both.
    pub fn exchange(&self, offset: u64, length: u64, others: &Buffers, write: bool) {
        let mut at = offset as usize;
        others.each(0, length as usize, |address, piece| {
            let ours = self.address.wrapping_add(at);
            // SAFETY: both ranges are mapped, of that length, and disjoint. Guests may race on the
            // same blocks as they may on any disk.
            unsafe {
                if write {
                    std::ptr::copy_nonoverlapping(address, ours, piece);
                } else {
                    std::ptr::copy_nonoverlapping(ours, address, piece);
                }
            }
            at += piece;
        });
    }

    /// Put bytes at `at`; what exceeds the buffer is cut.
    pub fn put(&self, at: usize, data: &[u8]) {
        let length = data.len().min(self.length.saturating_sub(at));
        // SAFETY: the range lies within the buffer; `data` is not in it, for nobody has a slice
        // of it.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.address.add(at), length) };
    }

    /// Get the first bytes; what `into` holds beyond the buffer stays.
    pub fn get(&self, into: &mut [u8]) {
        let length = into.len().min(self.length);
        // SAFETY: as in `put`.
        unsafe { std::ptr::copy_nonoverlapping(self.address, into.as_mut_ptr(), length) };
    }

    /// Give pages back; they read as zeros then.
    pub fn discard(&self, offset: usize, length: usize) {
        let first = offset.next_multiple_of(4096);
        let last = (offset + length) & !4095;
        // SAFETY: both ranges lie within the mapping: the caller checked offset and length.
        unsafe {
            if last > first {
                libc::madvise(self.address.add(first).cast(), last - first, libc::MADV_DONTNEED);
                std::ptr::write_bytes(self.address.add(offset), 0, first - offset);
                std::ptr::write_bytes(self.address.add(last), 0, offset + length - last);
            } else {
                std::ptr::write_bytes(self.address.add(offset), 0, length);
            }
        }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and nobody uses it any more.
        unsafe {
            libc::munmap(self.address.cast(), self.length);
        }
    }
}
