//! One descriptor of SG's in a worker's hands, and all of a device's.

use std::collections::VecDeque;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;

use libc::{c_void, iovec};

use super::device::Device;
use super::ends;
use super::header::{
    Header, DXFER_FROM_DEV, DXFER_NONE, DXFER_TO_DEV, FLAG_DIRECT_IO, FLAG_Q_AT_TAIL, MAX_PARTS,
    MAX_QUEUE,
};
use crate::outcome::{Outcome, SENSE_MAX};

/// What is to be sent.
#[derive(Debug)]
pub struct Command<'a> {
    /// The request.
    pub token: u64,
    /// Its CDB.
    pub cdb: &'a [u8],
    /// Its data goes to the device.
    pub write: bool,
    /// Its buffers, of at least `length` bytes.
    pub parts: &'a [iovec],
    /// Bytes to move.
    pub length: u32,
    /// Milliseconds.
    pub timeout: u32,
    /// Before whatever waits.
    pub at_head: bool,
}

impl Command<'_> {
    /// SG's block for it, with room for SENSE_MAX bytes of sense data.
    #[must_use]
    pub fn header(&self, sense: *mut u8, pack_id: i32) -> Header {
        let mut header = Header {
            // At most CDB_MAX.
            cmd_len: self.cdb.len() as u8,
            cmdp: self.cdb.as_ptr(),
            // SENSE_MAX is 96.
            mx_sb_len: SENSE_MAX as u8,
            sbp: sense,
            timeout: self.timeout,
            flags: if self.at_head { 0 } else { FLAG_Q_AT_TAIL },
            pack_id,
            usr_ptr: self.token as usize as *mut c_void,
            ..Header::blank()
        };
        match self.parts {
            [] => {}
            _ if self.length == 0 => {}
            [one] => {
                header.dxferp = one.iov_base;
                header.flags |= FLAG_DIRECT_IO;
            }
            parts => {
                header.dxferp = parts.as_ptr().cast_mut().cast();
                // The kernel cuts the list to `dxfer_len`.
                header.iovec_count = parts.len().min(MAX_PARTS) as u16;
            }
        }
        if !header.dxferp.is_null() {
            header.dxfer_len = self.length;
            header.dxfer_direction = if self.write { DXFER_TO_DEV } else { DXFER_FROM_DEV };
        }
        header
    }
}

/// A command that SG has given back.
#[derive(Debug)]
pub struct Ended {
    /// Its token.
    pub token: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The guest's pages were not there to be copied to.
    pub fault: bool,
}

/// A command that is outstanding. SG writes its sense data when its end is read.
#[derive(Debug)]
struct Place {
    sense: [u8; SENSE_MAX],
}

/// One descriptor.
#[derive(Debug)]
pub struct Lane {
    file: Arc<OwnedFd>,
    /// Something may be there to be read: it is on the worker's list.
    pub ready: bool,
    /// Named by commands on a descriptor that other threads use too.
    pack_id: Option<i32>,
    room: usize,
    /// Never moved while a command is outstanding.
    places: Box<[Place]>,
    free: Vec<u8>,
}

impl Lane {
    fn new(file: Arc<OwnedFd>, room: usize, pack_id: Option<i32>) -> Self {
        // At most MAX_QUEUE.
        let room = room.min(MAX_QUEUE);
        Lane {
            file,
            ready: false,
            pack_id,
            room,
            places: (0..room).map(|_| Place { sense: [0; SENSE_MAX] }).collect(),
            free: (0..room as u8).rev().collect(),
        }
    }

    /// For epoll.
    #[must_use]
    pub fn fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }

    /// Commands that are outstanding.
    #[must_use]
    pub fn outstanding(&self) -> usize {
        self.room - self.free.len()
    }

    /// Send a command. Its buffers must stay until its end was read.
    ///
    /// # Errors
    /// SG's errno; EDOM where there is no room.
    pub fn send(&mut self, command: &Command<'_>) -> Result<(), i32> {
        let Some(place) = self.free.pop() else { return Err(libc::EDOM) };
        // On a descriptor of our own nobody looks at the number: it says whose sense data it is.
        let number = self.pack_id.unwrap_or(place.into());
        let header = command.header(self.places[usize::from(place)].sense.as_mut_ptr(), number);
        // SAFETY: the header and the CDB are read before `write` returns; data-out is too, or its
        // pages are pinned. What is written later, the sense data and the data-in, stays where it
        // is until the end of the command was read: `places` is not moved, the slot keeps the rest.
        let done = unsafe {
            libc::write(self.fd(), (&raw const header).cast(), std::mem::size_of::<Header>())
        };
        if done < 0 {
            self.free.push(place);
            return Err(std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO));
        }
        Ok(())
    }

    /// The end of a command, if one has ended.
    pub fn receive(&mut self) -> Option<Ended> {
        if self.outstanding() == 0 {
            return None;
        }
        // What SG is asked for; overwritten by what it gives.
        let asked = self.pack_id.unwrap_or(-1);
        let mut header = Header { dxfer_direction: DXFER_NONE, pack_id: asked, ..Header::blank() };
        // SAFETY: SG writes one header here; where it writes sense data and data-in was given by
        // `send`, and is still there.
        let done = unsafe {
            libc::read(self.fd(), (&raw mut header).cast(), std::mem::size_of::<Header>())
        };
        let errno = if done < 0 {
            std::io::Error::last_os_error().raw_os_error().unwrap_or(libc::EIO)
        } else {
            0
        };
        // An error of the last copy: SG has given the header all the same, and forgets the command.
        if header.sbp.is_null() {
            return None;
        }
        let place = self.place(header.sbp)?;
        let sense = &self.places[usize::from(place)].sense;
        let outcome = if errno == 0 { ends::outcome(&header, sense) } else { ends::refused(errno) };
        self.free.push(place);
        let token = header.usr_ptr as usize as u64;
        Some(Ended { token, outcome, fault: errno == libc::EFAULT })
    }

    /// Whose sense data that is.
    fn place(&self, sense: *mut u8) -> Option<u8> {
        let found = self.places.iter().position(|place| place.sense.as_ptr() == sense.cast_const());
        // At most MAX_QUEUE of them.
        found.map(|place| place as u8)
    }
}

/// A device in a worker's hands.
#[derive(Debug)]
pub struct Lanes {
    /// The device.
    pub device: Arc<Device>,
    /// Its descriptors.
    pub lanes: Vec<Lane>,
    /// Requests that found no room, in their order.
    pub waiting: VecDeque<u64>,
    /// Commands of this thread that threads of the device have, where it was passed in.
    pub passed: usize,
}

/// In place of a descriptor's number: threads of the device have the command.
pub const PASSED: usize = usize::MAX;

impl Lanes {
    /// Those of a thread.
    #[must_use]
    pub fn new(device: Arc<Device>, thread: usize) -> Self {
        let mut left = device.share;
        let mut lanes = Vec::new();
        let own = if device.passed.is_some() { &[] } else { device.files(thread) };
        for file in own {
            // Threads are numbered from 0 to 63.
            let pack_id = device.exclusive.then_some(thread as i32);
            lanes.push(Lane::new(Arc::clone(file), left, pack_id));
            left = left.saturating_sub(MAX_QUEUE);
        }
        Lanes { device, lanes, waiting: VecDeque::with_capacity(MAX_QUEUE), passed: 0 }
    }

    /// The request that waits longest, if there is room for it.
    pub fn next_waiting(&mut self) -> Option<u64> {
        self.pick()?;
        self.waiting.pop_front()
    }

    /// The descriptor with most room, or `PASSED`; None: there is no room.
    #[must_use]
    pub fn pick(&self) -> Option<usize> {
        if self.device.passed.is_some() {
            return (self.passed < self.device.share).then_some(PASSED);
        }
        let room = |lane: &Lane| lane.free.len();
        let (best, lane) = self.lanes.iter().enumerate().max_by_key(|(_, lane)| room(lane))?;
        (room(lane) > 0).then_some(best)
    }
}
