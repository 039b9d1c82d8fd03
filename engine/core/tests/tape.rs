//! Tapes: images as other tools write them, and what a crash or a foreign file makes of them.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use vhost_pvscsi_core::chain::{Buffers, Chain};
use vhost_pvscsi_core::outcome::{Outcome, CHECK_CONDITION, GOOD};
use vhost_pvscsi_core::step::{Slow, Step};
use vhost_pvscsi_core::tape::drive::Drive;
use vhost_pvscsi_core::tape::image::Image;

const FILEMARK: (u8, u8, u8) = (0x80, 0x00, 0x01);
const END_OF_DATA: (u8, u8, u8) = (0x08, 0x00, 0x05);

fn memory_file(content: &[u8]) -> File {
    // SAFETY: a new descriptor, owned by the File.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"tape".as_ptr(), 0);
        assert!(fd >= 0);
        File::from_raw_fd(fd)
    };
    file.write_all(content).unwrap();
    file
}

fn content(file: &File) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut file = file.try_clone().unwrap();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

fn open(file: &File) -> Result<Image, String> {
    Image::open(file.as_raw_fd(), None, false, None).map_err(|error| error.to_string())
}

struct Tape(Drive);

impl Tape {
    fn of(file: &File) -> Self {
        Tape(Drive::new(open(file).unwrap(), u64::MAX, u64::MAX))
    }

    fn run(&self, cdb: &[u8], data: &mut [u8], write: bool) -> Outcome {
        let mut padded = [0; 32];
        padded[..cdb.len()].copy_from_slice(cdb);
        let mut chain = Chain::default();
        let buffers = if write { &mut chain.data_out } else { &mut chain.data_in };
        // In two parts, as guests have them.
        let (first, second) = data.split_at_mut(data.len() / 3);
        buffers.push(first.as_mut_ptr(), first.len());
        buffers.push(second.as_mut_ptr(), second.len());
        match self.0.begin(&padded, &chain, false) {
            Step::Finished(outcome) => outcome,
            Step::Slow(Slow::Tape { command, first: true }) => {
                let buffers: &Buffers = if write { &chain.data_out } else { &chain.data_in };
                self.0.run(command, buffers, &AtomicBool::new(false))
            }
            other => panic!("{other:?}"),
        }
    }

    fn order(&self, cdb: &[u8]) -> Outcome {
        self.run(cdb, &mut [], false)
    }

    fn write(&self, data: &[u8]) -> Outcome {
        let [_, a, b, c] = (data.len() as u32).to_be_bytes();
        self.run(&[0x0a, 0, a, b, c, 0], &mut data.to_vec(), true)
    }

    fn mark(&self) {
        assert_eq!(self.order(&[0x10, 0, 0, 0, 1, 0]).status, GOOD);
    }

    fn read(&self) -> Result<Vec<u8>, (u8, u8, u8)> {
        let mut data = vec![0xaa; 70_000];
        let [_, a, b, c] = (data.len() as u32).to_be_bytes();
        let outcome = self.run(&[0x08, 0x02, a, b, c, 0], &mut data, false);
        if outcome.status != GOOD {
            return Err(said(&outcome));
        }
        let rest = data.split_off(outcome.transferred as usize);
        assert!(rest.iter().all(|byte| *byte == 0xaa), "more was touched than was moved");
        Ok(data)
    }

    fn rewind(&self) {
        assert_eq!(self.order(&[0x01, 0, 0, 0, 0, 0]).status, GOOD);
    }

    /// Everything from here to the end: blocks, and None for filemarks.
    fn rest(&self) -> Vec<Option<Vec<u8>>> {
        let mut all = Vec::new();
        loop {
            match self.read() {
                Ok(block) => all.push(Some(block)),
                Err(FILEMARK) => all.push(None),
                Err(END_OF_DATA) => return all,
                Err(other) => panic!("{other:x?} after {} objects", all.len()),
            }
        }
    }
}

fn said(outcome: &Outcome) -> (u8, u8, u8) {
    assert_eq!(outcome.status, CHECK_CONDITION, "{outcome:?}");
    let sense = outcome.sense();
    (sense[2], sense[12], sense[13])
}

fn information(outcome: &Outcome) -> i32 {
    let sense = outcome.sense();
    assert_eq!(sense[0], 0xf0, "INFORMATION is not valid");
    i32::from_be_bytes([sense[3], sense[4], sense[5], sense[6]])
}

fn record(word: u32, data: &[u8]) -> Vec<u8> {
    let mut bytes = word.to_le_bytes().to_vec();
    bytes.extend(data);
    if data.len() % 2 == 1 {
        bytes.push(0);
    }
    bytes.extend(word.to_le_bytes());
    bytes
}

#[test]
fn what_is_written_is_an_image_that_others_read() {
    let file = memory_file(b"");
    let tape = Tape::of(&file);
    assert_eq!(tape.write(b"abc").transferred, 3);
    assert_eq!(tape.write(&[7; 1000]).transferred, 1000);
    tape.mark();
    let mut wanted = record(3, b"abc");
    wanted.extend(record(1000, &[7; 1000]));
    wanted.extend([0; 4]);
    assert_eq!(content(&file), wanted);
    tape.rewind();
    assert_eq!(tape.rest(), [Some(b"abc".to_vec()), Some(vec![7; 1000]), None]);
}

#[test]
fn an_image_of_others_is_read_around_what_is_no_object() {
    let mut bytes = vec![0xfe, 0xff, 0xff, 0xff];
    bytes.extend(record(2, b"ab"));
    bytes.extend(record(0xe000_0004, b"desc"));
    bytes.extend(0x7000_0001u32.to_le_bytes());
    bytes.extend(record(0x1000_0003, b"own"));
    bytes.extend([0; 4]);
    // Half a gap, whose other half is the beginning of a whole one.
    bytes.extend([0xff, 0xff, 0xfe, 0xff, 0xff, 0xff]);
    bytes.extend(record(3, b"cde"));
    bytes.extend([0xff; 4]);
    bytes.extend(b"what was there before");
    let file = memory_file(&bytes);
    let tape = Tape::of(&file);
    assert_eq!(tape.rest(), [Some(b"ab".to_vec()), None, Some(b"cde".to_vec())]);
    // Written behind the end: what followed the end mark is gone.
    assert_eq!(tape.write(b"new").transferred, 3);
    tape.mark();
    assert!(!content(&file).windows(4).any(|bytes| bytes == b"what"));
    tape.rewind();
    assert_eq!(tape.rest().len(), 5);
}

#[test]
fn a_block_with_errors_is_one_and_the_next_is_read() {
    let mut bytes = record(0x8000_0002, b"xy");
    bytes.extend(record(2, b"ok"));
    let tape = Tape::of(&memory_file(&bytes));
    assert_eq!(tape.read(), Err((3, 0x11, 0)));
    assert_eq!(tape.read(), Ok(b"ok".to_vec()));
}

#[test]
fn a_torn_tail_is_cut_wherever_it_is_torn() {
    let whole = {
        let file = memory_file(b"");
        let tape = Tape::of(&file);
        tape.write(b"one");
        tape.mark();
        tape.write(b"three!");
        content(&file)
    };
    let kept = record(3, b"one").len() + 4;
    for length in kept..whole.len() {
        let file = memory_file(&whole[..length]);
        let image = open(&file).unwrap();
        assert_eq!(image.loaded.torn, (length - kept) as u64);
        assert_eq!(image.end().object, 2);
        drop(image);
        assert_eq!(content(&file), whole[..kept]);
        let tape = Tape::of(&file);
        assert_eq!(tape.rest(), [Some(b"one".to_vec()), None]);
    }
}

#[test]
fn a_file_that_is_no_tape_is_refused_and_stays_as_it_is() {
    let gzip = [&[0x1f, 0x8b, 0x08, 0x00][..], &[9; 5000]].concat();
    let zeros = vec![0; 8192];
    let unpadded = [&3u32.to_le_bytes()[..], b"abc", &3u32.to_le_bytes()].concat();
    for (bytes, why) in [
        (gzip, "longer than the file"),
        (b"#!/bin/sh\necho hello, hello\n".to_vec(), "longer than the file"),
        (zeros, "full of zeros"),
        (b"QFI\xfb\0\0\0\x03 and so on".to_vec(), "at byte 0 is no record"),
        (unpadded.repeat(3), "at byte 0 is no record"),
        (vec![0x01], "longer than the file"),
    ] {
        let file = memory_file(&bytes);
        let error = open(&file).err().unwrap_or_default();
        assert!(error.contains(why), "{error:?} does not say {why:?}");
        assert_eq!(content(&file), bytes);
    }
}

#[test]
fn damage_in_the_middle_is_told_with_its_place() {
    let mut bytes = record(4, b"good");
    bytes.extend([0; 4]);
    let at = bytes.len();
    bytes.extend(record(4, b"evil"));
    bytes.extend(record(4, b"more"));
    bytes[at + 8] ^= 0x40;
    let error = open(&memory_file(&bytes)).err().unwrap_or_default();
    assert!(error.contains("damaged: at byte 16, behind 2 blocks and filemarks"), "{error}");
}

#[test]
fn a_block_of_another_length_is_told_with_what_is_missing() {
    let file = memory_file(b"");
    let tape = Tape::of(&file);
    tape.write(&[1; 100]);
    tape.write(&[2; 100]);
    tape.rewind();
    let mut room = vec![0; 60];
    let short = tape.run(&[0x08, 0, 0, 0, 60, 0], &mut room, false);
    assert_eq!((said(&short), information(&short)), ((0x20, 0, 0), -40));
    assert_eq!((short.transferred, room), (60, vec![1; 60]));
    let mut room = vec![0; 300];
    let long = tape.run(&[0x08, 0, 0, 1, 0x2c, 0], &mut room, false);
    assert_eq!((said(&long), information(&long)), ((0x20, 0, 0), 200));
    assert_eq!(long.transferred, 100);
    let end = tape.run(&[0x08, 0, 0, 1, 0x2c, 0], &mut room, false);
    assert_eq!((said(&end), information(&end)), (END_OF_DATA, 300));
}

#[test]
fn fixed_blocks_end_at_a_filemark_with_the_rest_told() {
    let file = memory_file(b"");
    let tape = Tape::of(&file);
    tape.0.set(10, false);
    let written = tape.run(&[0x0a, 1, 0, 0, 3, 0], &mut [5; 30], true);
    assert_eq!((written.status, written.transferred), (GOOD, 30));
    tape.mark();
    tape.rewind();
    let mut room = vec![0; 50];
    let outcome = tape.run(&[0x08, 1, 0, 0, 5, 0], &mut room, false);
    assert_eq!((said(&outcome), information(&outcome)), (FILEMARK, 2));
    assert_eq!((outcome.transferred, &room[..30]), (30, &[5; 30][..]));
    tape.0.set(0, false);
    let refused = tape.run(&[0x08, 1, 0, 0, 5, 0], &mut room, false);
    assert_eq!(said(&refused), (5, 0x24, 0));
}

#[test]
fn the_medium_ends_with_a_warning_before() {
    let file = memory_file(b"");
    let tape = Tape(Drive::new(open(&file).unwrap(), 2000, 1000));
    let mut warned = 0;
    let full = loop {
        let outcome = tape.write(&[1; 300]);
        match outcome.status {
            GOOD => assert_eq!(warned, 0, "no warning behind the place of it"),
            _ if said(&outcome) == (0x40, 0x00, 0x02) => {
                assert_eq!((information(&outcome), outcome.transferred), (0, 300));
                warned += 1;
            }
            _ => break outcome,
        }
    };
    assert!(warned > 1);
    assert_eq!((said(&full), information(&full)), ((0x4d, 0x00, 0x02), 300));
    assert!(content(&file).len() <= 2000);
}

#[test]
fn a_sidecar_is_believed_only_of_the_image_as_it_is() {
    let (file, beside) = (memory_file(b""), memory_file(b""));
    let open = |beside: &File| {
        Image::open(file.as_raw_fd(), Some(beside.as_raw_fd()), false, None).unwrap()
    };
    let tape = Tape(Drive::new(open(&beside), u64::MAX, u64::MAX));
    for number in 0..500u32 {
        tape.write(&number.to_le_bytes());
        if number % 50 == 0 {
            tape.mark();
        }
    }
    let wanted = {
        tape.rewind();
        tape.rest()
    };
    // A second daemon that finds it while it is written has to look for itself.
    assert!(open(&beside).loaded.scanned);
    tape.0.rest().unwrap();
    drop(tape);
    let image = open(&beside);
    assert!(!image.loaded.scanned);
    assert_eq!(image.index().marks(), 10);
    let tape = Tape(Drive::new(image, u64::MAX, u64::MAX));
    assert_eq!(tape.rest(), wanted);
    drop(tape);
    for at in [0, 8, 16, 30, 60, 100] {
        let mut bytes = content(&beside);
        bytes[at] ^= 1;
        assert!(open(&memory_file(&bytes)).loaded.scanned, "byte {at} was changed");
    }
    assert!(open(&memory_file(&content(&beside)[..64])).loaded.scanned);
    // Written into behind our back.
    (&file).write_all(&record(2, b"xx")).unwrap();
    assert!(open(&beside).loaded.scanned);
}

#[test]
fn the_first_record_is_cut_where_a_sidecar_says_that_the_image_is_ours() {
    let (file, beside) = (memory_file(b""), memory_file(b""));
    let open = || Image::open(file.as_raw_fd(), Some(beside.as_raw_fd()), false, None);
    let tape = Tape(Drive::new(open().unwrap(), u64::MAX, u64::MAX));
    tape.write(b"first");
    drop(tape);
    file.set_len(7).unwrap();
    let image = open().unwrap();
    assert_eq!((image.loaded.torn, image.end().object), (7, 0));
}

#[test]
fn the_end_of_a_long_tape_is_near() {
    let mut bytes = Vec::new();
    for number in 0..100_000u32 {
        bytes.extend(record(10, format!("{number:10}").as_bytes()));
        if number % 1000 == 999 {
            bytes.extend([0; 4]);
        }
    }
    let tape = Tape::of(&memory_file(&bytes));
    let end = tape.0.standing().end.object;
    assert_eq!(end, 100_100);
    let mut slowest = Duration::ZERO;
    for (cdb, object) in [
        (&[0x11u8, 3, 0, 0, 0, 0][..], end),
        (&[0x11, 1, 0xff, 0xff, 0xff, 0], end - 1),
        (&[0x11, 0, 0xff, 0xfc, 0x18, 0], end - 1001),
        (&[0x01, 0, 0, 0, 0, 0], 0),
        (&[0x11, 1, 0, 0, 100, 0], end),
        (&[0x2b, 0, 0, 0, 1, 0x86, 0x9f, 0, 0, 0], 99_999),
    ] {
        let begin = Instant::now();
        tape.order(cdb);
        slowest = slowest.max(begin.elapsed());
        assert_eq!(tape.0.standing().place.object, object, "{cdb:x?}");
    }
    assert!(slowest < Duration::from_millis(10), "{slowest:?}");
    assert_eq!(tape.read().unwrap(), b"     99900");
}

#[test]
fn a_drive_is_empty_between_two_tapes_and_counts_on() {
    const NOT_PRESENT: (u8, u8, u8) = (0x02, 0x3a, 0x00);
    let (first, second) = (memory_file(b""), memory_file(&record(2, b"ab")));
    let tape = Tape::of(&first);
    tape.write(b"first");
    tape.mark();
    tape.0.remove().unwrap();
    assert_eq!(tape.read(), Err(NOT_PRESENT));
    for cdb in [[0x01, 0, 0, 0, 0, 0], [0x11, 3, 0, 0, 0, 0], [0x10, 0, 0, 0, 1, 0]] {
        assert_eq!(said(&tape.order(&cdb)), NOT_PRESENT);
    }
    let none = tape.0.standing();
    assert_eq!((none.place.object, none.end.object, none.carried.blocks_written), (0, 0, 1));
    let image = Image::open(second.as_raw_fd(), None, true, None).unwrap();
    tape.0.insert(image, u64::MAX, u64::MAX);
    assert_eq!(tape.rest(), [Some(b"ab".to_vec())]);
    assert_eq!(said(&tape.write(b"x")), (0x07, 0x27, 0x00), "it is write-protected");
    assert_eq!(tape.0.standing().carried.blocks_read, 1);
    assert_eq!(content(&first), [record(5, b"first"), vec![0; 4]].concat());
}
