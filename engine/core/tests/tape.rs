//! Tapes: images as other tools write them, and what a crash or a foreign file makes of them.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::sync::atomic::AtomicBool;

use vhost_pvscsi_core::chain::{Buffers, Chain};
use vhost_pvscsi_core::outcome::{Outcome, CHECK_CONDITION, GOOD};
use vhost_pvscsi_core::step::{Slow, Step};
use vhost_pvscsi_core::tape::drive::Drive;
use vhost_pvscsi_core::tape::image::Image;
use vhost_pvscsi_core::tape::scan::{self, Form};

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
                if command.goes_behind() {
                    if let Some(outcome) = self.0.begin_behind() {
                        assert_eq!(self.0.progress.now(), Some(0));
                        self.0.run_behind(command);
                        assert_eq!(self.0.progress.now(), None);
                        return outcome;
                    }
                }
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
    tape.0.set(10, false, false);
    let written = tape.run(&[0x0a, 1, 0, 0, 3, 0], &mut [5; 30], true);
    assert_eq!((written.status, written.transferred), (GOOD, 30));
    tape.mark();
    tape.rewind();
    let mut room = vec![0; 50];
    let outcome = tape.run(&[0x08, 1, 0, 0, 5, 0], &mut room, false);
    assert_eq!((said(&outcome), information(&outcome)), (FILEMARK, 2));
    assert_eq!((outcome.transferred, &room[..30]), (30, &[5; 30][..]));
    tape.0.set(0, false, false);
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
    let file = memory_file(&bytes);
    let tape = Tape::of(&file);
    let end = tape.0.standing().end.object;
    assert_eq!(end, 100_100);
    for (cdb, object) in [
        (&[0x11u8, 3, 0, 0, 0, 0][..], end),
        (&[0x11, 1, 0xff, 0xff, 0xff, 0], end - 1),
        (&[0x11, 0, 0xff, 0xfc, 0x18, 0], end - 1001),
        (&[0x01, 0, 0, 0, 0, 0], 0),
        (&[0x11, 1, 0, 0, 100, 0], end),
        (&[0x2b, 0, 0, 0, 1, 0x86, 0x9f, 0, 0, 0], 99_999),
    ] {
        tape.order(cdb);
        assert_eq!(tape.0.standing().place.object, object, "{cdb:x?}");
    }
    assert_eq!(tape.read().unwrap(), b"     99900");
    // However long the tape is, few objects are looked at to find one.
    let (image, size) = (open(&file).unwrap(), content(&file).len() as u64);
    for wanted in (0..=end).step_by(777).chain([end - 1, end]) {
        let (place, steps) = scan::find(&image.file, size, image.index(), wanted).unwrap();
        assert_eq!(place.object, wanted);
        assert!(steps <= 64, "{steps} to {wanted}");
    }
}

/// Bytes that nobody can compress (xorshift).
fn noise(length: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    (0..length).map(|_| next()).collect()
}

fn compressing(file: &File, capacity: u64) -> Tape {
    let tape = Tape(Drive::new(open(file).unwrap(), capacity, u64::MAX));
    tape.0.set(0, false, true);
    tape
}

#[test]
fn compressed_blocks_are_blocks_and_records_that_others_pass_over() {
    let file = memory_file(b"");
    let tape = compressing(&file, u64::MAX);
    let noise = noise(500);
    for block in [&b"text ".repeat(3000)[..], b"short", &noise] {
        assert_eq!(tape.write(block).transferred, block.len() as u64);
    }
    tape.mark();
    let carried = tape.0.standing().carried;
    assert_eq!(carried.bytes_written, 15_505);
    assert!(carried.stored_written < 1000, "{carried:?}");
    let image = open(&file).unwrap();
    let forms: Vec<_> = image.objects(0, 9).unwrap();
    let forms: Vec<_> = forms.into_iter().map(|one| one.map(|one| one.form)).collect();
    let wanted = [Some(Form::Packed), Some(Form::Plain), Some(Form::Plain), None];
    assert_eq!(forms, wanted);
    // The format's class for what is private, whatever is in it.
    assert_eq!(content(&file)[3] >> 4, 5);
    let read = || {
        tape.rewind();
        tape.rest()
    };
    let wanted = vec![Some(b"text ".repeat(3000)), Some(b"short".to_vec()), Some(noise), None];
    assert_eq!(read(), wanted);
    tape.0.set(0, false, false);
    assert_eq!(read(), wanted, "reading takes no setting");
    // A part of a compressed block.
    tape.rewind();
    let mut room = vec![0; 60];
    let short = tape.run(&[0x08, 0, 0, 0, 60, 0], &mut room, false);
    assert_eq!((said(&short), information(&short)), ((0x20, 0, 0), 60 - 15_000));
    assert_eq!(room, b"text ".repeat(12));
}

#[test]
fn a_capacity_is_of_what_lies_in_the_image() {
    let file = memory_file(b"");
    let tape = compressing(&file, 20_000);
    for _ in 0..20 {
        assert_eq!(tape.write(&[7; 10_000]).status, GOOD);
    }
    assert_eq!(said(&tape.write(&noise(30_000))), (0x4d, 0x00, 0x02));
    assert_eq!(tape.0.standing().end.object, 20);
}

#[test]
fn a_compressed_block_that_was_damaged_is_a_medium_error_and_others_are_read() {
    let file = memory_file(b"");
    let tape = compressing(&file, u64::MAX);
    tape.write(&[1; 10_000]);
    tape.write(&[2; 10_000]);
    drop(tape);
    let mut bytes = content(&file);
    bytes[4 + 12 + 9] ^= 0xff;
    let tape = Tape::of(&memory_file(&bytes));
    assert_eq!(tape.read(), Err((3, 0x11, 0)));
    assert_eq!(tape.read(), Ok(vec![2; 10_000]));
    tape.rewind();
    assert_eq!(said(&tape.order(&[0x13, 0x20, 0, 0, 0, 0])), (3, 0x11, 0));
    // Without its head it is somebody else's record, and no block.
    bytes[4] ^= 0xff;
    assert_eq!(Tape::of(&memory_file(&bytes)).rest(), [Some(vec![2; 10_000])]);
}

#[test]
fn verify_says_what_a_read_would_and_compares() {
    let file = memory_file(b"");
    let tape = Tape::of(&file);
    for byte in [1, 2, 3] {
        tape.write(&[byte; 1000]);
    }
    tape.mark();
    tape.write(&[4; 70_000]);
    let verify = |flags: u8, length: u32, data: &mut [u8]| {
        let [_, a, b, c] = length.to_be_bytes();
        tape.run(&[0x13, flags, a, b, c, 0], data, true)
    };
    let at = || tape.0.standing().place.object;
    let begin = || tape.rewind();
    begin();
    assert_eq!(verify(0, 1000, &mut []).status, GOOD);
    let short = verify(0, 900, &mut []);
    assert_eq!((said(&short), information(&short)), ((0x20, 0, 0), -100));
    assert_eq!(at(), 2);
    begin();
    let same = verify(0x02, 1000, &mut [1; 1000]);
    assert_eq!((same.status, same.transferred), (GOOD, 1000));
    let mut almost = [2; 1000];
    almost[999] = 0;
    let other = verify(0x02, 1000, &mut almost);
    assert_eq!((said(&other), information(&other), at()), ((0xe, 0x1d, 0), 1000, 2));
    begin();
    tape.0.set(1000, false, false);
    let other = verify(0x03, 3, &mut [vec![1; 1000], vec![2; 1000], vec![9; 1000]].concat());
    assert_eq!((said(&other), information(&other), at()), ((0xe, 0x1d, 0), 1, 3));
    begin();
    let mark = verify(0x01, 8, &mut []);
    assert_eq!((said(&mark), information(&mark), at()), (FILEMARK, 5, 4));
    let longer = verify(0x02, 70_000, &mut vec![4; 70_000]);
    assert_eq!(longer.status, GOOD);
    assert_eq!(said(&verify(0, 1, &mut [])), END_OF_DATA);
    begin();
    assert_eq!((verify(0x08, 1, &mut []).status, at()), (GOOD, 4));
    let missing = verify(0x08, 2, &mut []);
    assert_eq!((said(&missing), information(&missing)), (END_OF_DATA, 2));
    begin();
    assert_eq!((verify(0x20, 0, &mut []).status, at()), (GOOD, 5));
    for wrong in [0x28, 0x0a, 0x22, 0x10] {
        assert_eq!(said(&verify(wrong, 1, &mut [0; 8])), (5, 0x24, 0), "{wrong:#x}");
    }
    // With data to compare IMMED is waited for.
    tape.0.set(0, false, false);
    begin();
    let other = verify(0x06, 1000, &mut [2; 1000]);
    assert_eq!((said(&other), at()), ((0xe, 0x1d, 0), 1));
}

#[test]
fn a_command_that_fails_behind_its_answer_is_told_with_the_next_one() {
    let file = memory_file(&record(0x8000_0002, b"xy"));
    let tape = Tape::of(&file);
    // VTE and IMMED.
    assert_eq!(tape.order(&[0x13, 0x24, 0, 0, 0, 0]).status, GOOD);
    let next = tape.order(&[0x01, 0, 0, 0, 0, 0]);
    assert_eq!((next.sense()[0] & 0x7f, said(&next)), (0x71, (3, 0x11, 0)));
    assert_eq!(next.clone().in_descriptors().sense()[0], 0x73);
    assert_eq!(tape.0.standing().place.object, 1, "and is not carried out");
    assert_eq!(tape.order(&[0x01, 1, 0, 0, 0, 0]).status, GOOD);
    assert_eq!(tape.0.standing().place.object, 0);
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
