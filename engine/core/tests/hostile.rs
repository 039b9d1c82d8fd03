//! Rings that break the rules: each gets its own error, none panics, loops or reaches beyond
//! guest memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread;

use support::{layout, rig, spec, Random, Rig, BASE, BUFFERS, END, REGION};
use vhost_pvscsi_core::chain::Buffers;
use vhost_pvscsi_core::error::RingFault;
use vhost_pvscsi_core::memory::Memory;
use vhost_pvscsi_core::mock::{Descriptor, Segment, DESC_INDIRECT, DESC_NEXT, DESC_WRITE};
use vhost_pvscsi_core::ring::split::SplitRing;

const SIZE: u16 = 8;

fn plain(address: u64, len: u32, flags: u16, next: u16) -> Descriptor {
    Descriptor { address, len, flags, next }
}

/// What a ring of these descriptors, the first of which is available, is refused with.
fn fault_of(table: &[Descriptor], inner: &[Descriptor]) -> RingFault {
    let mut rig = rig(SIZE, true, 0);
    for (index, entry) in (0..).zip(table) {
        rig.driver.set_descriptor(index, *entry);
    }
    for (index, entry) in (0..).zip(inner) {
        rig.driver.set_indirect(BUFFERS, index, *entry);
    }
    rig.driver.make_available(0);
    rig.driver.publish();
    let before = rig.ring.position();
    let fault = rig.take().unwrap_err();
    assert_eq!(rig.ring.position(), before, "a broken chain was counted as taken");
    assert_eq!(rig.take(), Err(fault), "the second look found something else");
    fault
}

#[test]
fn a_chain_that_loops_is_refused() {
    let next = |index| plain(BUFFERS, 16, DESC_NEXT, index);
    assert_eq!(fault_of(&[next(0)], &[]), RingFault::Loop);
    assert_eq!(fault_of(&[next(1), next(2), next(1)], &[]), RingFault::Loop);
    let ring: Vec<_> = (0..SIZE).map(|index| next((index + 1) % SIZE)).collect();
    assert_eq!(fault_of(&ring, &[]), RingFault::Loop);
    let table = plain(BUFFERS, 32, DESC_INDIRECT, 0);
    assert_eq!(fault_of(&[table], &[next(1), next(0)]), RingFault::Loop);
}

#[test]
fn indexes_outside_a_table_are_refused() {
    for index in [SIZE, SIZE + 1, 0x7fff, 0xffff] {
        let entry = plain(BUFFERS, 16, DESC_NEXT, index);
        assert_eq!(fault_of(&[entry], &[]), RingFault::BadIndex(index));
        let table = plain(BUFFERS, 32, DESC_INDIRECT, 0);
        assert_eq!(fault_of(&[table], &[entry]), RingFault::BadIndex(index));
    }
    for head in [SIZE, 0x8000, 0xffff] {
        let mut rig = rig(SIZE, true, 0);
        rig.driver.make_available(head);
        rig.driver.publish();
        assert_eq!(rig.take(), Err(RingFault::BadIndex(head)));
    }
}

#[test]
fn malformed_indirect_tables_are_refused() {
    let inner = plain(BUFFERS + 4096, 16, 0, 0);
    for len in [0, 1, 15, 17, 16 * 1024 + 16, u32::MAX, u32::MAX - 15] {
        let table = plain(BUFFERS, len, DESC_INDIRECT, 0);
        assert_eq!(fault_of(&[table], &[inner]), RingFault::BadIndirect, "length {len}");
    }
    let both = plain(BUFFERS, 16, DESC_INDIRECT | DESC_NEXT, 1);
    assert_eq!(fault_of(&[both, inner], &[inner]), RingFault::BadIndirect);
    let nested = plain(BUFFERS, 16, DESC_INDIRECT, 0);
    assert_eq!(fault_of(&[nested], &[nested]), RingFault::BadIndirect);
    let last = plain(BUFFERS + 4096, 16, DESC_NEXT, 1);
    let table = plain(BUFFERS, 32, DESC_INDIRECT, 0);
    assert_eq!(fault_of(&[table], &[last, nested]), RingFault::BadIndirect);
}

#[test]
fn indirect_tables_are_refused_where_they_were_not_negotiated() {
    let mut rig = rig(SIZE, true, 0);
    let layout =
        vhost_pvscsi_core::ring::split::Layout { indirect: false, ..layout(&rig.driver, true, 0) };
    rig.ring = SplitRing::new(layout, &rig.memory).unwrap();
    rig.driver.add_indirect(&[Segment::readable(BUFFERS + 4096, 64)], BUFFERS).unwrap();
    rig.driver.publish();
    assert_eq!(rig.take(), Err(RingFault::BadIndirect));
}

#[test]
fn buffers_and_tables_outside_memory_are_refused() {
    for (address, len) in [
        (0, 1),
        (BASE - 1, 2),
        (END, 1),
        (END - 1, 2),
        (BASE, u32::MAX),
        (END - 16, 0x1000),
        (u64::MAX, 1),
        (u64::MAX - 15, 16),
        (u64::MAX - 15, u32::MAX),
    ] {
        for flags in [0, DESC_WRITE] {
            let fault = fault_of(&[plain(address, len, flags, 0)], &[]);
            assert_eq!(fault, RingFault::BadAddress(address, len));
        }
        let inner = plain(address, len, 0, 0);
        let table = plain(BUFFERS, 16, DESC_INDIRECT, 0);
        assert_eq!(fault_of(&[table], &[inner]), RingFault::BadAddress(address, len));
    }
    for address in [0, BASE - 8, END, END - 8, u64::MAX - 7, u64::MAX - 15] {
        let fault = fault_of(&[plain(address, 16, DESC_INDIRECT, 0)], &[]);
        assert!(matches!(fault, RingFault::BadAddress(..)), "{address:#x}: {fault}");
    }
}

#[test]
fn a_readable_buffer_behind_a_writable_one_is_refused() {
    let chain = [plain(BUFFERS, 16, DESC_WRITE | DESC_NEXT, 1), plain(BUFFERS, 16, 0, 0)];
    assert_eq!(fault_of(&chain, &[]), RingFault::Order);
    let table = plain(BUFFERS, 32, DESC_INDIRECT, 0);
    assert_eq!(fault_of(&[table], &chain), RingFault::Order);
    let outer =
        [plain(BUFFERS, 16, DESC_WRITE | DESC_NEXT, 1), plain(BUFFERS, 16, DESC_INDIRECT, 0)];
    assert_eq!(fault_of(&outer, &chain[1..]), RingFault::Order);
}

#[test]
fn an_available_index_that_jumps_is_refused() {
    for start in [0, 1, 0xfffd] {
        for ahead in [SIZE + 1, SIZE * 2, 0x8000, 0xffff] {
            let mut rig = rig(SIZE, true, start);
            rig.driver.set_available_index(start.wrapping_add(ahead));
            assert_eq!(rig.take(), Err(RingFault::IndexJump(ahead)), "from {start}");
        }
    }
}

#[test]
fn one_head_may_be_available_many_times_and_is_only_repeated() {
    let mut rig = rig(SIZE, true, 0);
    rig.driver.set_descriptor(3, plain(BUFFERS, 16, 0, 0));
    (0..SIZE).for_each(|_| rig.driver.make_available(3));
    rig.driver.publish();
    for _ in 0..SIZE {
        assert_eq!(rig.take(), Ok(Some(3)));
    }
    assert_eq!(rig.take(), Ok(None));
}

#[test]
fn a_table_across_two_regions_and_off_alignment_is_legal() {
    for address in [BASE + REGION as u64 - 8, BASE + REGION as u64 - 16, BUFFERS + 3] {
        let mut rig = rig(SIZE, true, 0);
        let entries =
            [plain(BUFFERS + 4096, 100, DESC_NEXT, 1), plain(BUFFERS + 8192, 200, DESC_WRITE, 0)];
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_bytes()).collect();
        for (position, byte) in (address..).zip(bytes) {
            let region = usize::from(position >= BASE + REGION as u64);
            rig.regions[region].write(position, &[byte]);
        }
        rig.driver.set_descriptor(0, plain(address, 32, DESC_INDIRECT, 0));
        rig.driver.make_available(0);
        rig.driver.publish();
        assert_eq!(rig.take(), Ok(Some(0)));
        let wanted = [(BUFFERS + 4096, 100), (BUFFERS + 8192, 200)];
        assert_eq!(rig.taken(), wanted.map(|buffer| rig.expected([buffer])));
    }
}

#[test]
fn rings_outside_memory_or_misaligned_cannot_be_made() {
    let rig = rig(SIZE, true, 0);
    let good = layout(&rig.driver, true, 0);
    assert!(SplitRing::new(good, &rig.memory).is_ok());
    let mut bad = Vec::new();
    for size in [0, 3, 7, 2048, 0x8000, u16::MAX] {
        bad.push(changed(good, |layout| layout.size = size));
    }
    let behind = rig.regions[0].user_address() + REGION as u64;
    for address in [0, 16, u64::MAX - 15, behind - 16] {
        bad.push(changed(good, |layout| layout.descriptor = address));
        bad.push(changed(good, |layout| layout.available = address));
        bad.push(changed(good, |layout| layout.used = address));
    }
    bad.push(changed(good, |layout| layout.descriptor += 8));
    bad.push(changed(good, |layout| layout.available += 1));
    bad.push(changed(good, |layout| layout.used += 2));
    for layout in bad {
        assert!(SplitRing::new(layout, &rig.memory).is_err(), "{layout:?} was taken");
    }
}

fn changed(
    good: vhost_pvscsi_core::ring::split::Layout,
    change: impl FnOnce(&mut vhost_pvscsi_core::ring::split::Layout),
) -> vhost_pvscsi_core::ring::split::Layout {
    let mut layout = good;
    change(&mut layout);
    layout
}

/// Writes random words over descriptors, tables and the available ring until told to stop.
fn scribble(rig: &Rig, stop: &Arc<AtomicBool>) -> thread::JoinHandle<()> {
    let (memory, stop) = (rig.regions[0].clone(), stop.clone());
    let layout = rig.driver.layout();
    let start = rig.ring.position();
    thread::spawn(move || {
        let mut random = Random(99);
        while !stop.load(Ordering::Relaxed) {
            let index = random.below(u64::from(layout.size));
            let table = if random.percent(50) { layout.descriptors } else { BUFFERS };
            let word = random.next();
            match random.below(4) {
                0 => memory.write(table + index * 16, &(BASE + word % 0x30_0000).to_le_bytes()),
                1 => memory.write(table + index * 16 + 8, &(word as u32 % 5000).to_le_bytes()),
                2 => memory
                    .write(table + index * 16 + 12, &[word as u8 & 7, 0, (word >> 8) as u8 % 9, 0]),
                _ => memory.write(layout.available + 4 + index * 2, &[word as u8 % 9, 0]),
            }
            if random.percent(5) {
                let ahead = (word % 10) as u16;
                memory.write(layout.available + 2, &start.wrapping_add(ahead).to_le_bytes());
            }
        }
    })
}

#[test]
fn memory_that_changes_while_it_is_read_leads_nowhere_else() {
    let mut rig = rig(SIZE, true, 0);
    for index in 0..SIZE {
        let entry = plain(BUFFERS, 48, DESC_INDIRECT, 0);
        rig.driver.set_descriptor(index, entry);
    }
    let stop = Arc::new(AtomicBool::new(false));
    let writer = scribble(&rig, &stop);
    let (mut taken, mut refused) = (0u64, 0u64);
    // Bounded by rounds, not by time: a slow machine only takes longer. On a busy one the
    // writer may have no turn for a while, so there are more rounds until both were met.
    for round in 0..100_000_000 {
        if round >= 300_000 && taken > 0 && refused > 0 {
            break;
        }
        if round % 10_000 == 0 {
            thread::yield_now();
        }
        rig.ring = SplitRing::new(layout(&rig.driver, true, 0), &rig.memory).unwrap();
        match rig.take() {
            Ok(Some(_)) => {
                taken += 1;
                assert_inside(&rig);
            }
            Ok(None) => {}
            Err(_) => refused += 1,
        }
    }
    stop.store(true, Ordering::Relaxed);
    writer.join().unwrap();
    assert!(taken > 0 && refused > 0, "{taken} taken, {refused} refused: nothing was tried");
}

fn assert_inside(rig: &Rig) {
    let (first, _) = rig.memory.find(BASE).unwrap();
    let (second, _) = rig.memory.find(BASE + REGION as u64).unwrap();
    let inside = |start: usize, end: usize, region: *mut u8| {
        start >= region as usize && end <= region as usize + REGION
    };
    let chain = &rig.chain;
    let lists: [&Buffers; 4] = [&chain.request, &chain.data_out, &chain.response, &chain.data_in];
    for part in lists.iter().flat_map(|list| list.parts()) {
        let (start, end) = (part.iov_base as usize, part.iov_base as usize + part.iov_len);
        assert!(inside(start, end, first) || inside(start, end, second), "{part:?} is outside");
    }
}

#[test]
fn a_ring_whose_file_was_truncated_marks_its_memory_as_gone() {
    let mut broken = rig(SIZE, true, 0);
    let mut other = rig(SIZE, true, 0);
    // The driver's own mapping would fault here too: it is not touched again.
    broken.regions[0].file().set_len(0).unwrap();
    assert!(!broken.memory.gone());
    let _ = broken.take();
    assert!(broken.memory.gone(), "the truncation went unseen");
    other.driver.add(&[Segment::readable(BUFFERS, 64)]).unwrap();
    other.driver.publish();
    assert_eq!(other.take(), Ok(Some(other.driver.layout().size - SIZE)));
    assert!(!other.memory.gone(), "another guest's memory was marked");
    assert!(Memory::new(&[spec(&broken.regions[0])]).is_err(), "a short file was mapped");
}
