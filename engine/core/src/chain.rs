//! Scattered guest buffers, and bounded copies in and out of them.

use libc::iovec;

/// A list of guest buffers, already translated. The memory it points to must outlive it.
#[derive(Debug)]
pub struct Buffers {
    parts: Vec<iovec>,
    length: u64,
}

// SAFETY: the pointers are into shared guest memory, which any thread may touch; whoever
// moves a list to another thread keeps the memory mapped (see slot.rs).
unsafe impl Send for Buffers {}

impl Buffers {
    /// An empty list with room for `capacity` parts.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Buffers { parts: Vec::with_capacity(capacity), length: 0 }
    }

    /// Forget all parts; the room stays.
    pub fn clear(&mut self) {
        self.parts.clear();
        self.length = 0;
    }

    /// Append a part.
    #[inline]
    pub fn push(&mut self, base: *mut u8, length: usize) {
        if length > 0 {
            self.parts.push(iovec { iov_base: base.cast(), iov_len: length });
            self.length += length as u64;
        }
    }

    /// Append a part, as more of the last one where it begins at that one's end.
    #[inline]
    pub fn append(&mut self, base: *mut u8, length: usize) {
        match self.parts.last_mut() {
            Some(last)
                if last.iov_base.cast::<u8>().wrapping_add(last.iov_len) == base && length > 0 =>
            {
                last.iov_len += length;
                self.length += length as u64;
            }
            _ => self.push(base, length),
        }
    }

    /// Bytes in all parts.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.length
    }

    /// The parts.
    #[must_use]
    pub fn parts(&self) -> &[iovec] {
        &self.parts
    }

    /// A list of the same parts.
    #[must_use]
    pub fn duplicate(&self) -> Self {
        Buffers { parts: self.parts.clone(), length: self.length }
    }

    /// Copy out from byte `from` on; returns how many bytes there were.
    pub fn read(&self, from: u64, into: &mut [u8]) -> usize {
        let mut done = 0;
        self.each(from, into.len(), |address, length| {
            // SAFETY: the part lies in mapped guest memory, `into` has room for it: `each`
            // gives no more than was asked. The guest may write meanwhile: bytes, any value.
            unsafe { copy_volatile(address, into[done..].as_mut_ptr(), length) };
            done += length;
        });
        done
    }

    /// Copy in at byte `from`; returns how many bytes fitted.
    pub fn write(&self, from: u64, data: &[u8]) -> usize {
        let mut done = 0;
        self.each(from, data.len(), |address, length| {
            // SAFETY: as in `read`, the other way round.
            unsafe { copy_volatile(data[done..].as_ptr(), address, length) };
            done += length;
        });
        done
    }

    /// Zero `length` bytes from byte `from` on.
    pub fn zero(&self, from: u64, length: usize) {
        self.each(from, length, |address, length| {
            // SAFETY: as in `read`.
            unsafe { std::ptr::write_bytes(address, 0, length) };
        });
    }

    /// Call `visit` for each contiguous piece of `length` bytes from byte `from` on.
    pub fn each(&self, mut from: u64, length: usize, mut visit: impl FnMut(*mut u8, usize)) {
        let mut rest = length;
        for part in &self.parts {
            if rest == 0 {
                return;
            }
            if from >= part.iov_len as u64 {
                from -= part.iov_len as u64;
                continue;
            }
            // from < iov_len, a usize.
            let skip = from as usize;
            let piece = (part.iov_len - skip).min(rest);
            visit(part.iov_base.cast::<u8>().wrapping_add(skip), piece);
            rest -= piece;
            from = 0;
        }
    }

    /// Whether each part's address and length are multiples of `alignment` (O_DIRECT).
    #[must_use]
    pub fn aligned(&self, alignment: usize) -> bool {
        self.parts.iter().all(|part| (part.iov_base as usize | part.iov_len) & (alignment - 1) == 0)
    }

    /// Drop the first `count` bytes, in place.
    pub fn advance(&mut self, mut count: u64) {
        self.length = self.length.saturating_sub(count);
        let mut gone = 0;
        for part in &mut self.parts {
            if count < part.iov_len as u64 {
                // count < iov_len, a usize.
                part.iov_base = part.iov_base.cast::<u8>().wrapping_add(count as usize).cast();
                part.iov_len -= count as usize;
                break;
            }
            count -= part.iov_len as u64;
            gone += 1;
        }
        self.parts.drain(..gone);
    }

    /// Keep only the first `count` bytes.
    pub fn truncate(&mut self, count: u64) {
        let mut rest = count;
        let mut keep = 0;
        for part in &mut self.parts {
            if rest == 0 {
                break;
            }
            // The minimum with a usize is one.
            part.iov_len = rest.min(part.iov_len as u64) as usize;
            rest -= part.iov_len as u64;
            keep += 1;
        }
        self.parts.truncate(keep);
        self.length = count - rest;
    }
}

/// Copy bytes that the guest may change meanwhile.
///
/// # Safety
/// Both ranges must be mapped and must not overlap.
unsafe fn copy_volatile(from: *const u8, to: *mut u8, length: usize) {
    // The platform's memcpy: it reads each byte at least once, and whoever calls this checks
    // only the copy. The compiler cannot see through the raw pointers to re-read the source.
    // SAFETY: the caller's promise.
    unsafe { std::ptr::copy_nonoverlapping(std::hint::black_box(from), to, length) };
}

/// One request's buffers as a ring found them: header and data apart, in both directions.
#[derive(Debug)]
pub struct Chain {
    /// The request header (readable).
    pub request: Buffers,
    /// Data-out (readable).
    pub data_out: Buffers,
    /// Room for the response header (writable).
    pub response: Buffers,
    /// Room for data-in (writable).
    pub data_in: Buffers,
}

impl Default for Chain {
    fn default() -> Self {
        // A typical request has one header, one response and few data pages; a longer one
        // grows its list once and keeps the room.
        Chain {
            request: Buffers::with_capacity(2),
            data_out: Buffers::with_capacity(32),
            response: Buffers::with_capacity(2),
            data_in: Buffers::with_capacity(32),
        }
    }
}

impl Chain {
    /// The data buffer of a command: data-out if it writes, else data-in.
    #[must_use]
    pub fn data(&self, write: bool) -> &Buffers {
        if write {
            &self.data_out
        } else {
            &self.data_in
        }
    }

    /// The same, to be changed.
    pub fn data_mut(&mut self, write: bool) -> &mut Buffers {
        if write {
            &mut self.data_out
        } else {
            &mut self.data_in
        }
    }

    /// Forget everything; the room stays.
    pub fn clear(&mut self) {
        self.request.clear();
        self.data_out.clear();
        self.response.clear();
        self.data_in.clear();
    }
}
