//! Guest memory: the regions a front-end shares, and finding addresses in them.

use std::fs::File;
use std::os::fd::{BorrowedFd, RawFd};

use vm_memory::mmap::MmapRegionBuilder;
use vm_memory::{FileOffset, MmapRegion};

use crate::error::{Error, Result};
use crate::sigbus::Guard;

/// vhost-user.rst, "Memory region description": one region as the front-end describes it.
#[derive(Clone, Copy, Debug)]
pub struct RegionSpec {
    /// Guest physical address.
    pub guest: u64,
    /// Bytes.
    pub size: u64,
    /// Address in the front-end's own space; ring addresses are given in it.
    pub user: u64,
    /// Where the region begins in the file.
    pub offset: u64,
    /// The file; duplicated.
    pub fd: RawFd,
}

#[derive(Debug)]
struct Region {
    guest: u64,
    user: u64,
    size: u64,
    // Declared before the mapping, so dropped before it: the guard outlives no page.
    guard: Guard,
    map: MmapRegion,
}

/// A guest's memory, immutable: a change makes a new one.
#[derive(Debug, Default)]
pub struct Memory {
    /// Sorted by guest address, disjoint.
    regions: Vec<Region>,
}

impl Memory {
    /// Map the regions.
    ///
    /// # Errors
    /// A region is empty, wraps, overlaps another, or its file is shorter or cannot be mapped.
    pub fn new(specs: &[RegionSpec]) -> Result<Self> {
        let mut regions = specs.iter().map(map_region).collect::<Result<Vec<_>>>()?;
        regions.sort_by_key(|region| region.guest);
        for pair in regions.windows(2) {
            // Neither sum wraps: map_region refused those.
            if pair[0].guest + pair[0].size > pair[1].guest {
                return Err(Error::Setup(format!(
                    "the region at {:#x} overlaps the one at {:#x}",
                    pair[1].guest, pair[0].guest
                )));
            }
        }
        Ok(Memory { regions })
    }

    /// Host address and bytes up to the region's end of a guest physical address.
    #[must_use]
    pub fn find(&self, guest: u64) -> Option<(*mut u8, u64)> {
        let after = self.regions.partition_point(|region| region.guest <= guest);
        let region = self.regions.get(after.checked_sub(1)?)?;
        within(region, guest - region.guest)
    }

    /// The whole region of a guest physical address: where it begins, bytes, host address.
    #[must_use]
    pub fn region(&self, guest: u64) -> Option<(u64, u64, *mut u8)> {
        let after = self.regions.partition_point(|region| region.guest <= guest);
        let region = self.regions.get(after.checked_sub(1)?)?;
        let (host, size) = within(region, 0)?;
        (guest - region.guest < size).then_some((region.guest, size, host))
    }

    /// Host address of `length` bytes at a front-end address, within one region.
    #[must_use]
    pub fn find_user(&self, user: u64, length: u64) -> Option<*mut u8> {
        self.regions.iter().find_map(|region| {
            let (address, rest) = within(region, user.checked_sub(region.user)?)?;
            (rest >= length).then_some(address)
        })
    }

    /// Whether the file behind a region was truncated under us.
    #[must_use]
    pub fn gone(&self) -> bool {
        self.regions.iter().any(|region| region.guard.gone())
    }
}

fn within(region: &Region, offset: u64) -> Option<(*mut u8, u64)> {
    let rest = region.size.checked_sub(offset).filter(|rest| *rest > 0)?;
    // offset < size, which is the size of the mapping.
    Some((region.map.as_ptr().wrapping_add(offset as usize), rest))
}

fn map_region(spec: &RegionSpec) -> Result<Region> {
    let fault = |what: &str| {
        Error::Setup(format!(
            "region at {:#x}, size {:#x}, file offset {:#x}: {what}",
            spec.guest, spec.size, spec.offset
        ))
    };
    if spec.size == 0 {
        return Err(fault("it is empty"));
    }
    if [spec.guest, spec.user, spec.offset].iter().any(|base| base.checked_add(spec.size).is_none())
    {
        return Err(fault("it wraps around the end of the address space"));
    }
    let size = usize::try_from(spec.size).map_err(|_| fault("it is larger than our own memory"))?;
    // SAFETY: the caller holds the descriptor open during this call; it is duplicated here.
    let file = unsafe { BorrowedFd::borrow_raw(spec.fd) }
        .try_clone_to_owned()
        .map(File::from)
        .map_err(|source| Error::Io { context: "duplicate a region's descriptor", source })?;
    check_length(&file, spec).map_err(|what| fault(&what))?;
    let map = MmapRegionBuilder::<()>::new(size)
        .with_file_offset(FileOffset::new(file, spec.offset))
        .with_mmap_prot(libc::PROT_READ | libc::PROT_WRITE)
        .with_mmap_flags(libc::MAP_SHARED | libc::MAP_NORESERVE)
        .build()
        .map_err(|error| fault(&error.to_string()))?;
    let guard = Guard::new(map.as_ptr(), size)
        .ok_or_else(|| fault("too many regions are mapped in this process"))?;
    Ok(Region { guest: spec.guest, user: spec.user, size: spec.size, guard, map })
}

/// A region that is longer than its file would fault at the first touch.
fn check_length(file: &File, spec: &RegionSpec) -> std::result::Result<(), String> {
    let metadata = file.metadata().map_err(|error| error.to_string())?;
    let length = metadata.len();
    if metadata.is_file() && length < spec.offset + spec.size {
        return Err(format!("its file has only {length:#x} bytes"));
    }
    Ok(())
}
