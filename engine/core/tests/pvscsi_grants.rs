//! The pages of a pvSCSI ring's requests: found, pinned, given back.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

#[path = "support/xen.rs"]
mod xen;

use std::os::fd::AsRawFd;
use vhost_pvscsi_core::grants::translated::Translated;
use vhost_pvscsi_core::grants::Frames;
use vhost_pvscsi_core::memory::{Memory, RegionSpec};
use vhost_pvscsi_core::mock::vscsiif::{
    command, segment_bytes, FROM_DEVICE, PAGE, PERMIT, READING, READONLY, TO_DEVICE, WRITING,
};
use vhost_pvscsi_core::mock::SharedMemory;
use vhost_pvscsi_core::outcome::Outcome;
use vhost_pvscsi_core::ring::vscsiif::{Place, VscsiifRing};
use vhost_pvscsi_core::slot::Asks;
use xen::*;

#[test]
fn a_read_pins_its_page_for_writing_until_its_answer() {
    let mut rig = rig();
    let reference = rig.grant(3, 0);
    let slot = rig.one(&command(7, &READ_10, FROM_DEVICE, &[(reference, 512, 1024)], false));
    assert_eq!((slot.asks, slot.tag, slot.address), (Asks::Command, 7, Some((0, 0))));
    assert_eq!((slot.data_in, slot.data_out, slot.cdb_len), (1024, 0, 16));
    assert_eq!(rig.grants.flags(reference), PERMIT | READING | WRITING);
    slot.chain.data_in.write(0, &[0xab; 1000]);
    let response = rig.answer(&slot, &Outcome::good(1000));
    assert_eq!(rig.guest.bytes(BASE + 3 * PAGE + 512, 1000), [0xab; 1000]);
    assert_eq!(rig.grants.flags(reference), PERMIT);
    assert_eq!(response[0..2], 7u16.to_le_bytes());
    assert_eq!(response[104..108], 24u32.to_le_bytes(), "residual");
    let rest = [&response[2..100], &response[100..104], &response[108..]].concat();
    assert!(rest.iter().all(|byte| *byte == 0), "what has no meaning is zero");
}

#[test]
fn a_write_takes_a_page_that_may_only_be_read() {
    let mut rig = rig();
    let reference = rig.grant(3, READONLY);
    let slot = rig.one(&command(7, &WRITE_10, TO_DEVICE, &[(reference, 0, 512)], false));
    assert_eq!((slot.data_in, slot.data_out), (0, 512));
    assert_eq!(rig.grants.flags(reference), PERMIT | READONLY | READING);
    rig.answer(&slot, &Outcome::good(512));
    assert_eq!(rig.grants.flags(reference), PERMIT | READONLY);
}

#[test]
fn a_page_lent_to_two_requests_is_free_after_both() {
    let mut rig = rig();
    let reference = rig.grant(3, 0);
    let writing = rig.one(&command(1, &READ_10, FROM_DEVICE, &[(reference, 0, 512)], false));
    let reading = rig.one(&command(2, &WRITE_10, TO_DEVICE, &[(reference, 512, 512)], false));
    rig.answer(&writing, &Outcome::good(512));
    assert_eq!(rig.grants.flags(reference), PERMIT | READING);
    rig.answer(&reading, &Outcome::good(512));
    assert_eq!(rig.grants.flags(reference), PERMIT);
}

#[test]
fn a_grant_taken_back_meanwhile_is_left_alone() {
    let mut rig = rig();
    let reference = rig.grant(3, 0);
    let slot = rig.one(&command(1, &READ_10, FROM_DEVICE, &[(reference, 0, 512)], false));
    rig.grants.set(reference, 0, 0, 0);
    slot.chain.data_in.write(0, &[1; 512]);
    rig.answer(&slot, &Outcome::good(512));
    assert_eq!(rig.grants.flags(reference), 0);
    assert_eq!(rig.pinned(), 1);
}

#[test]
fn a_grant_may_be_made_read_only_while_it_is_only_read() {
    let mut rig = rig();
    let reference = rig.grant(3, 0);
    let slot = rig.one(&command(1, &WRITE_10, TO_DEVICE, &[(reference, 0, 512)], false));
    // grant_table.h lets a guest do so while GTF_writing is not set.
    assert_eq!(rig.grants.flags(reference), PERMIT | READING);
    rig.grants.set(reference, PERMIT | READING | READONLY, BACK_END, BASE_FRAME + 3);
    rig.answer(&slot, &Outcome::good(512));
    assert_eq!(rig.grants.flags(reference), PERMIT | READONLY);
}

#[test]
fn a_grant_that_was_taken_back_and_given_again_is_not_taken_for_the_one_in_use() {
    let mut rig = rig();
    let reference = rig.grant(3, 0);
    let slot = rig.one(&command(1, &READ_10, FROM_DEVICE, &[(reference, 0, 512)], false));
    rig.grants.set(reference, PERMIT | READONLY, 7, BASE_FRAME + 4);
    rig.answer(&slot, &Outcome::good(512));
    assert_eq!(rig.grants.flags(reference), PERMIT | READONLY);
    assert_eq!(rig.pinned(), 1);
}

#[test]
fn pages_side_by_side_are_one_buffer() {
    let mut rig = rig();
    let pages = [3, 4, 5, 9, 10, 8].map(|page| rig.grant(page, 0));
    let [a, b, c, d, e, f] = pages;
    let segments = [
        (a, 512, 3584),
        (b, 0, 4096),
        (c, 0, 1024), // ends before its page
        (d, 0, 4096),
        (e, 8, 16), // begins behind its page's start
        (e, 24, 8),
        (f, 0, 4096), // before those
    ];
    let slot = rig.one(&command(1, &READ_10, FROM_DEVICE, &segments, false));
    let host = |page: u64| rig.memory.find(BASE + page * PAGE).unwrap().0 as usize;
    let parts: Vec<_> = slot
        .chain
        .data_in
        .parts()
        .iter()
        .map(|part| (part.iov_base as usize, part.iov_len))
        .collect();
    let wanted = [(host(3) + 512, 8704), (host(9), 4096), (host(10) + 8, 24), (host(8), 4096)];
    assert_eq!(parts, wanted);
    assert_eq!(slot.data_in, 8704 + 4096 + 24 + 4096);
    assert_eq!(rig.pinned(), 7, "each page is pinned, and the ring's");
    rig.answer(&slot, &Outcome::good(512));
    assert_eq!(rig.pinned(), 1);
}

#[test]
fn frames_are_those_that_are_wholly_in_one_region() {
    // Neither begins nor ends at a page of the guest; mapped memory begins at one of ours.
    let sizes = [3 * PAGE, 2 * PAGE];
    let begins = [BASE + 512, BASE + 512 + sizes[0]];
    let files = sizes.map(|size| SharedMemory::new(size as usize, 0, false).unwrap());
    let regions = [0, 1].map(|index| RegionSpec {
        guest: begins[index],
        size: sizes[index],
        user: begins[index],
        offset: 0,
        fd: files[index].file().as_raw_fd(),
    });
    let memory = Memory::new(&regions).unwrap();
    let mut frames = Frames::new(&memory);
    // From one region to the other and back, each in both orders; the page over their edge is
    // of neither.
    for index in [1, 2, 4, 2, 4, 1, 4, 3, 0, 5, 2, 3, 4] {
        let address = BASE + index * PAGE;
        let wanted = memory.find(address).filter(|(_, rest)| *rest >= PAGE).map(|(host, _)| host);
        assert_eq!(wanted.is_some(), [1, 2, 4].contains(&index), "frame {index}");
        assert_eq!(frames.find(BASE_FRAME + index as u32), wanted, "frame {index}");
    }
    assert_eq!(frames.find(u32::MAX), None);
    assert_eq!(frames.find(0), None);
    assert_eq!(Frames::new(&Memory::default()).find(0), None);
}

#[test]
fn frame_numbers_are_taken_where_the_front_end_translates() {
    let mut rig = rig();
    let place = Place::Address(BASE);
    rig.ring = None;
    let ring = VscsiifRing::new(place, Box::new(Translated), None, 128, &rig.memory).unwrap();
    rig.ring = Some(ring);
    let frame = BASE_FRAME + 9;
    let slot = rig.one(&command(1, &READ_10, FROM_DEVICE, &[(frame, 8, 16)], false));
    slot.chain.data_in.write(0, &[5; 16]);
    rig.answer(&slot, &Outcome::good(16));
    assert_eq!(rig.guest.bytes(BASE + 9 * PAGE + 8, 16), [5; 16]);
    let good = (frame, 0, 16);
    let bad = [
        (0, 0, 16),
        (BASE_FRAME - 1, 0, 16),
        (BASE_FRAME + PAGES, 0, 16),
        (u32::MAX, 0, 16),
        (frame, 4096, 1),
        (frame, u16::MAX, u16::MAX),
    ];
    for segment in bad {
        for segments in [[segment, good], [good, segment]] {
            rig.refused(&command(1, &READ_10, FROM_DEVICE, &segments, false));
        }
        // The same as a page of segments, and as a segment in one.
        rig.refused(&command(1, &READ_10, FROM_DEVICE, &[segment], true));
        rig.guest.write(BASE + 9 * PAGE, &segment_bytes(segment));
        rig.refused(&command(1, &READ_10, FROM_DEVICE, &[(frame, 0, 8)], true));
    }
}
