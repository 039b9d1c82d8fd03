//! A tape image as a file: what is on it, and how it is changed so that a crash harms nothing.
//!
//! Behind the last object of the index there is nothing in the file, or nothing that counts; the
//! file is cut there, and the cut made stable, before anything is written. So a crash leaves the
//! objects that were there, and perhaps the beginning of one more, which is cut when it is loaded.

use super::format::{extent, WORD};
use super::index::{Index, Place};
use super::packing;
use super::scan::{find, object, scan, Block, Ending, Object, Words};
use super::sidecar::{self, Known};
use crate::backend::{FileOptions, FileStore};
use crate::error::{Error, Result};

/// Zeros that are written at once.
const ZEROS: usize = 1 << 16;

/// What was done to an image, or found out about it, when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    /// Where a torn tail began.
    pub torn_at: u64,
    /// Its bytes, 0: there was none.
    pub torn: u64,
    /// The index was made anew.
    pub scanned: bool,
}

/// An open image.
#[derive(Debug)]
pub struct Image {
    /// The file.
    pub file: FileStore,
    /// Nothing may be written.
    pub read_only: bool,
    /// What became of it when it was opened.
    pub loaded: Loaded,
    sidecar: Option<FileStore>,
    index: Index,
    /// How long the file is.
    size: u64,
    /// The sidecar has been told that the image changes.
    changing: bool,
    /// Something is not on stable storage.
    unstable: bool,
}

impl Image {
    /// Take over an image (its descriptors are duplicated), and find out what is on it.
    ///
    /// # Errors
    /// It is no image of the format, or damaged, or cannot be read.
    pub fn open(
        fd: i32,
        sidecar: Option<i32>,
        read_only: bool,
        scratch: Option<i32>,
    ) -> Result<Self> {
        let options = FileOptions { direct: false, sync_writes: false, block_size: 1 };
        let file = FileStore::new(fd, options, scratch)?;
        let sidecar = match sidecar {
            Some(fd) => Some(FileStore::new(fd, options, None)?),
            None => None,
        };
        let size = file.length().map_err(refused)?;
        let known = match &sidecar {
            // One that cannot be read is as good as none.
            Some(beside) => sidecar::read(beside, &file).unwrap_or(Known::Nothing),
            None => Known::Nothing,
        };
        let mut image = Image {
            file,
            read_only,
            loaded: Loaded::default(),
            sidecar,
            index: Index::default(),
            size,
            changing: false,
            unstable: false,
        };
        match known {
            Known::Index(index) => image.index = *index,
            Known::Ours => image.load(true)?,
            Known::Nothing => image.load(false)?,
        }
        Ok(image)
    }

    fn load(&mut self, ours: bool) -> Result<()> {
        self.loaded.scanned = true;
        let (ending, at) = scan(&self.file, self.size, &mut self.index, ours).map_err(refused)?;
        let nothing = self.index.end().object == 0;
        match ending {
            Ending::Whole => Ok(()),
            Ending::Torn if nothing && !ours => Err(Error::Setup(
                "it is no tape image: its first record is longer than the file".into(),
            )),
            Ending::Torn => self.cut(at),
            Ending::Zeros => Err(Error::Setup("it is no tape image: it is full of zeros".into())),
            Ending::Damaged if nothing => {
                Err(Error::Setup(format!("it is no tape image: at byte {at} is no record")))
            }
            Ending::Damaged => Err(Error::Setup(format!(
                "it is damaged: at byte {at}, behind {} blocks and filemarks, is no record",
                self.index.end().object
            ))),
        }
    }

    /// Cut a torn tail. One that is opened for reading only is left as it is.
    fn cut(&mut self, at: u64) -> Result<()> {
        self.loaded.torn_at = at;
        self.loaded.torn = self.size - at;
        if !self.read_only {
            self.file.set_length(at).and_then(|()| self.file.flush()).map_err(refused)?;
            self.size = at;
        }
        Ok(())
    }

    /// The index.
    #[must_use]
    pub fn index(&self) -> &Index {
        &self.index
    }

    /// The end of data.
    #[must_use]
    pub fn end(&self) -> Place {
        self.index.end()
    }

    /// The place of an object; the end of data where there are fewer.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn find(&self, wanted: u64) -> std::io::Result<Place> {
        Ok(find(&self.file, self.size, &self.index, wanted)?.0)
    }

    /// What stands at a place; both ends of a block have been looked at.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn object(&self, place: Place) -> std::io::Result<Object> {
        if place.object >= self.end().object {
            return Ok(Object::End);
        }
        object(&mut Words::new(&self.file), place.offset, self.size)
    }

    /// Whether the next object can be written at a place without anything being cut before.
    #[must_use]
    pub fn is_open_at(&self, place: Place) -> bool {
        self.changing && place.offset == self.size && place.object == self.end().object
    }

    /// Cut everything from a place on, so that the next object can be written there.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open_at(&mut self, place: Place) -> std::io::Result<()> {
        if self.is_open_at(place) {
            return Ok(());
        }
        if !self.changing {
            if let Some(beside) = &self.sidecar {
                sidecar::distrust(beside)?;
            }
            self.changing = true;
        }
        if place.offset < self.size {
            // Before anything is written: what is there may not be taken for what comes.
            self.file.set_length(place.offset)?;
            self.file.flush()?;
            self.size = place.offset;
        }
        self.index.truncate(place);
        Ok(())
    }

    /// A block was written at the end of data, `stored` bytes of the image; the next one can be.
    pub fn wrote_block(&mut self, stored: u32) {
        let at = self.end().offset;
        self.index.push_block(at, at + extent(stored));
        self.size = self.end().offset;
        self.unstable = true;
    }

    /// Write filemarks at the end of data.
    ///
    /// # Errors
    /// What the kernel says; none has been written then.
    pub fn write_marks(&mut self, count: u64) -> std::io::Result<()> {
        let at = self.end().offset;
        let total = count * WORD;
        let zeros = [0u8; ZEROS];
        let mut done = 0;
        while done < total {
            let piece = (total - done).min(ZEROS as u64);
            // At most ZEROS.
            if let Err(error) = self.file.put(at + done, &zeros[..piece as usize]) {
                self.forget_tail();
                return Err(error);
            }
            done += piece;
        }
        self.index.push_marks(at, count);
        self.size = self.end().offset;
        self.unstable |= count > 0;
        Ok(())
    }

    /// Take away what a write that failed has left behind the end of data.
    pub fn forget_tail(&mut self) {
        // Where this fails too, what is left is cut when the image is loaded, or written over.
        if self.file.set_length(self.end().offset).is_ok() {
            self.size = self.end().offset;
        }
    }

    /// Make everything stable.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn sync(&mut self) -> std::io::Result<()> {
        if self.unstable {
            self.file.flush()?;
            self.unstable = false;
        }
        Ok(())
    }

    /// Make everything stable, and keep the index for the next time the image is opened.
    ///
    /// # Errors
    /// What the kernel says of the image. Without a sidecar the index is made anew.
    pub fn close(&mut self) -> std::io::Result<()> {
        self.sync()?;
        let worth = self.changing || self.loaded.scanned;
        if let (true, Some(beside)) = (worth, &self.sidecar) {
            let ends = self.loaded.torn == 0 || !self.read_only;
            if ends && sidecar::write(beside, &self.file, &self.index).is_ok() {
                self.changing = false;
                self.loaded.scanned = false;
            }
        }
        Ok(())
    }

    /// The data of a compressed block, whose `stored` bytes are at an offset.
    ///
    /// # Errors
    /// What the kernel says; InvalidData where they are not what was written.
    pub fn unpack(&self, offset: u64, stored: u32) -> std::io::Result<Vec<u8>> {
        let mut bytes = vec![0; stored as usize];
        if self.file.fill(offset, &mut bytes)? < bytes.len() {
            return Err(std::io::Error::from_raw_os_error(libc::EIO));
        }
        packing::unpack(&bytes)
    }

    /// What up to `limit` objects are, from one on: None is a filemark.
    ///
    /// # Errors
    /// What the kernel says; EIO where the file has been changed since it was opened.
    pub fn objects(&self, first: u64, limit: usize) -> std::io::Result<Vec<Option<Block>>> {
        let mut place = self.find(first)?;
        let mut words = Words::new(&self.file);
        let mut found = Vec::new();
        while found.len() < limit && place.object < self.end().object {
            let next = match object(&mut words, place.offset, self.size)? {
                Object::Mark(offset) => {
                    found.push(None);
                    offset + WORD
                }
                Object::Block(block) => {
                    found.push(Some(block));
                    block.next()
                }
                Object::End | Object::Broken(..) => {
                    return Err(std::io::Error::from_raw_os_error(libc::EIO));
                }
            };
            place = Place { object: place.object + 1, offset: next };
        }
        Ok(found)
    }
}

fn refused(source: std::io::Error) -> Error {
    Error::Io { context: "read the tape image", source }
}
