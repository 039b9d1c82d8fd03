//! The pvSCSI ring against a guest's side: what is good, what is hostile, what is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail so")]

mod support;
#[path = "support/xen.rs"]
mod xen;

use support::Random;
use vhost_pvscsi_core::error::{Error, RingFault};
use vhost_pvscsi_core::grants::table::{GrantTable, TableSpec};
use vhost_pvscsi_core::grants::translated::Translated;
use vhost_pvscsi_core::grants::Refusal;
use vhost_pvscsi_core::inflight::{AreaSpec, Inflight};
use vhost_pvscsi_core::mock::vscsiif::{
    command, result, segment_bytes, FROM_DEVICE, NO_DATA, PAGE, PERMIT, READING, READONLY, SLOT,
    WRITING,
};
use vhost_pvscsi_core::outcome::{self, Outcome, Service};
use vhost_pvscsi_core::ring::vscsiif::{Place, VscsiifRing};
use vhost_pvscsi_core::ring::CommandRing;
use vhost_pvscsi_core::slot::Asks;
use xen::*;

#[test]
fn both_ways_is_a_write_for_a_write_and_a_read_for_all_else() {
    let mut rig = rig();
    let reference = rig.grant(3, 0);
    for (cdb, expected) in [(WRITE_10, (0, 512)), (READ_10, (512, 0)), ([0x12; 10], (512, 0))] {
        let slot = rig.one(&command(1, &cdb, 0, &[(reference, 0, 512)], false));
        assert_eq!((slot.data_in, slot.data_out), expected);
        rig.answer(&slot, &Outcome::good(0));
    }
}

#[test]
fn what_cannot_be_done_fails_and_leaves_nothing_pinned() {
    let mut rig = rig();
    let good = rig.grant(3, 0);
    let read_only = rig.grant(4, READONLY);
    rig.grants.set(50, PERMIT, 3, BASE_FRAME + 5); // another domain
    rig.grants.set(51, 0, BACK_END, BASE_FRAME + 5); // nothing granted
    rig.grants.set(52, 2, BACK_END, BASE_FRAME + 5); // GTF_accept_transfer
    rig.grants.set(53, PERMIT, BACK_END, BASE_FRAME + PAGES); // outside of memory
    rig.grants.set(54, PERMIT, BACK_END, u32::MAX);
    let bad = [read_only, 50, 51, 52, 53, 54, REFERENCES, u32::MAX];
    for reference in bad {
        let segments = [(good, 0, 512), (reference, 0, 512), (good, 512, 512)];
        rig.refused(&command(1, &READ_10, FROM_DEVICE, &segments, false));
    }
    for segment in [(good, 1, 4096), (good, 4096, 1), (good, u16::MAX, u16::MAX)] {
        rig.refused(&command(2, &READ_10, FROM_DEVICE, &[segment], false));
    }
    rig.refused(&command(3, &READ_10, NO_DATA, &[(good, 0, 512)], false));
    let plain = command(4, &READ_10, FROM_DEVICE, &[(good, 0, 512)], false);
    for (offset, value) in [(2, 0), (2, 4), (2, 255), (3, 0), (3, 17), (30, 4), (31, 27), (31, 127)]
    {
        let mut slot = plain;
        slot[offset] = value;
        rig.refused(&slot);
    }
    // And a good one after all of them.
    let slot = rig.one(&plain);
    rig.answer(&slot, &Outcome::good(512));
}

#[test]
fn all_of_the_segments_of_granted_pages_are_taken() {
    let mut rig = rig();
    // 26 pages of 512 descriptors, all of one data page and one descriptor page.
    let data = rig.grant(3, 0);
    let table = rig.grant(4, READONLY);
    for index in 0..512u16 {
        let segment = segment_bytes((data, index * 8, 8));
        rig.guest.write(BASE + 4 * PAGE + u64::from(index) * 8, &segment);
    }
    let pages = [(table, 0, 4096); 26];
    let slot = rig.one(&command(1, &READ_10, FROM_DEVICE, &pages, true));
    assert_eq!(slot.data_in, u64::from(SEGMENTS) * 8);
    assert_eq!(rig.grants.flags(table), PERMIT | READONLY, "descriptors were copied");
    assert_eq!(rig.grants.flags(data), PERMIT | READING | WRITING);
    // The guest may write what it likes now.
    rig.guest.write(BASE + 4 * PAGE, &[0xff; 4096]);
    slot.chain.data_in.write(0, &[7; 4096]);
    rig.answer(&slot, &Outcome::good(4096));
    assert_eq!(rig.guest.bytes(BASE + 3 * PAGE, 4096), [7; 4096]);
    assert_eq!(rig.pinned(), 1);
    rig.refused(&command(2, &READ_10, FROM_DEVICE, &[(table, 0, 12)], true));
    rig.refused(&command(2, &READ_10, FROM_DEVICE, &[(table, 8, 4096)], true));
    rig.refused(&command(2, &READ_10, FROM_DEVICE, &pages, true));
}

#[test]
fn task_management_is_handed_up_whole() {
    let mut rig = rig();
    for (act, outcome, expected) in [
        (2, Outcome::good(0), 0x2002),
        (3, Outcome::good(0), 0x2002),
        (3, Outcome::of(Service::Failure), 0x2003),
    ] {
        let mut request = command(9, &[], NO_DATA, &[], false);
        request[2] = act;
        request[24] = 5;
        request[28] = 77;
        let slot = rig.one(&request);
        assert_eq!(slot.asks, Asks::Management);
        assert_eq!(slot.cdb[..], request[..32]);
        assert_eq!(result(&rig.answer(&slot, &outcome)), expected);
    }
}

#[test]
fn services_statuses_and_sense_have_their_places() {
    let mut rig = rig();
    let cases = [
        (Outcome::status(0x18), 0x18),
        (Outcome::of(Service::AbsentTarget), 1 << 16),
        (Outcome::of(Service::Busy), 2 << 16),
        (Outcome::of(Service::Aborted), 5 << 16),
        (Outcome::of(Service::Overrun), 7 << 16),
        (Outcome::of(Service::Failure), 7 << 16),
        (Outcome::of(Service::Reset), 8 << 16),
    ];
    for (answer, expected) in cases {
        let slot = rig.one(&command(1, &[0; 6], NO_DATA, &[], false));
        let response = rig.answer(&slot, &answer);
        assert_eq!((result(&response), response[3]), (expected, 0));
    }
    let slot = rig.one(&command(1, &[0; 6], NO_DATA, &[], false));
    let response = rig.answer(&slot, &Outcome::check(outcome::LBA_OUT_OF_RANGE));
    assert_eq!((result(&response), response[3]), (2, 18));
    assert_eq!(response[4 + 12], 0x21);
    // As long as the sense data says, and never longer than there is room.
    let mut long = [0x70u8; 252];
    long[7] = 244;
    let slot = rig.one(&command(1, &[0; 6], NO_DATA, &[], false));
    let answer = Outcome::from_parts(Service::Complete, 2, &long, 0);
    assert_eq!(rig.answer(&slot, &answer)[3], 96);
}

#[test]
fn notifications_come_where_they_are_asked_for_and_nowhere_else() {
    let mut rig = rig();
    rig.front.start_at(u32::MAX - 3); // the indices wrap on the way
    rig.ring = None;
    rig.start().unwrap();
    let request = command(1, &[0; 6], NO_DATA, &[], false);
    for _ in 0..3 {
        assert!(rig.ring().arm().is_ok_and(|more| !more));
        rig.front.put(&request);
        assert!(rig.front.publish(), "armed: the first request kicks");
        rig.front.put(&request);
        assert!(!rig.front.publish(), "and the next one does not");
        assert!(rig.ring().pending());
        assert!(rig.ring().arm().unwrap(), "something is there already");
        let first = rig.take().unwrap().unwrap();
        let second = rig.take().unwrap().unwrap();
        assert!(rig.take().unwrap().is_none());
        rig.ring().finish(&first, &Outcome::good(0));
        assert!(rig.ring().publish(), "the guest waits for the next response");
        rig.ring().finish(&second, &Outcome::good(0));
        assert!(!rig.ring().publish(), "it has not asked again");
        assert!(rig.front.pop().is_some() && rig.front.pop().is_some());
        assert!(rig.front.enable_call());
    }
}

#[test]
fn more_requests_than_slots_break_the_ring() {
    let mut rig = rig();
    for jump in [17, 1000, 0x8000_0000, u32::MAX] {
        rig.front.set_word(0, jump);
        assert!(matches!(rig.take(), Err(RingFault::RequestJump(_))));
        assert!(rig.ring().arm().is_err());
    }
    // Against what the guest can see, not against what it was not shown yet.
    rig.front.set_word(0, 0);
    for _ in 0..16 {
        rig.front.put(&command(1, &[0; 6], NO_DATA, &[], false));
    }
    rig.front.publish();
    let taken: Vec<_> = (0..16).map(|_| rig.take().unwrap().unwrap()).collect();
    rig.ring().finish(&taken[0], &Outcome::good(0));
    rig.front.set_word(0, 17);
    assert!(matches!(rig.take(), Err(RingFault::RequestJump(17))));
    rig.ring().publish();
    assert!(rig.take().unwrap().is_some());
}

#[test]
fn a_page_that_is_no_ring_is_the_guests_mistake() {
    let mut rig = rig();
    rig.ring = None;
    assert_eq!(rig.pinned(), 0, "a stopped ring has given its page back");
    rig.grants.set(RING_REFERENCE, PERMIT | READONLY, BACK_END, BASE_FRAME);
    let refusal = RingFault::Page(Refusal::ReadOnly(RING_REFERENCE));
    assert!(matches!(rig.start(), Err(Error::Ring(fault)) if fault == refusal));
    rig.grants.set(RING_REFERENCE, PERMIT, BACK_END, BASE_FRAME);
    rig.front.set_word(0, 17);
    assert!(matches!(rig.start(), Err(Error::Ring(RingFault::RequestJump(17)))));
    assert_eq!(rig.pinned(), 0);
    for address in [BASE + 1, BASE + u64::from(PAGES) * PAGE, u64::MAX - 4095] {
        let place = Place::Address(address);
        let ring = VscsiifRing::new(place, Box::new(Translated), None, 0, &rig.memory);
        assert!(matches!(ring, Err(Error::Ring(RingFault::BadAddress(..)))));
    }
}

#[test]
fn a_broken_ring_gives_its_pages_back_without_answers() {
    let mut rig = rig();
    let reference = rig.grant(3, 0);
    rig.one(&command(1, &READ_10, FROM_DEVICE, &[(reference, 0, 512)], false));
    assert_eq!(rig.pinned(), 2);
    rig.ring = None;
    assert_eq!(rig.pinned(), 0);
}

/// Leak the ring: what it had pinned stays so, as after kill -9.
fn killed(rig: &mut Rig) {
    std::mem::forget(rig.ring.take());
}

#[test]
fn what_a_killed_back_end_left_is_done_again_in_order() {
    let mut rig = rig();
    let reference = rig.grant(3, 0);
    let request = |rqid| command(rqid, &READ_10, FROM_DEVICE, &[(reference, 0, 512)], false);
    for rqid in 0..8 {
        rig.front.put(&request(rqid));
    }
    rig.front.publish();
    let taken: Vec<_> = (0..6).map(|_| rig.take().unwrap().unwrap()).collect();
    for position in [4, 1] {
        rig.ring().finish(&taken[position], &Outcome::good(512));
    }
    rig.ring().publish();
    // Written, and never shown by the one that wrote it.
    rig.ring().finish(&taken[3], &Outcome::good(512));
    killed(&mut rig);
    assert_eq!(rig.grants.flags(reference), PERMIT | READING | WRITING);

    rig.start().unwrap();
    assert_eq!(rig.grants.flags(reference), PERMIT, "stale pins are gone");
    let shown: Vec<_> = std::iter::from_fn(|| rig.front.pop()).map(|slot| slot[0]).collect();
    assert_eq!(shown, [4, 1, 3]);
    assert!(rig.ring().pending());
    let mut again = Vec::new();
    while let Some(slot) = rig.take().unwrap() {
        again.push((slot.tag, slot.again));
        rig.answer(&slot, &Outcome::good(512));
    }
    assert_eq!(again, [(0, true), (2, true), (5, true), (6, false), (7, false)]);
    assert_eq!(rig.pinned(), 1);
    assert_eq!(rig.front.in_flight(), 0);
}

#[test]
fn an_area_that_is_too_small_is_refused() {
    let rig = rig();
    let spec = AreaSpec { size: 8191 + u64::from(REFERENCES), ..rig.area_spec() };
    assert!(matches!(Inflight::new(spec, u64::from(REFERENCES)), Err(Error::Setup(_))));
    for spec in [
        TableSpec { size: 0, ..rig.table_spec() },
        TableSpec { size: 8192 + 8, ..rig.table_spec() },
        TableSpec { size: 8 << 20, ..rig.table_spec() },
        TableSpec { offset: 8, ..rig.table_spec() },
        TableSpec { size: 2 * TABLE as u64, ..rig.table_spec() },
    ] {
        assert!(matches!(GrantTable::new(spec, None), Err(Error::Setup(_))));
    }
}

#[test]
fn whatever_is_in_slots_tables_and_areas_each_request_ends_once() {
    for seed in 0..40 {
        let mut random = Random(seed);
        let mut rig = rig();
        for reference in 0..REFERENCES {
            if reference != RING_REFERENCE {
                let flags = [PERMIT, PERMIT, PERMIT | READONLY, random.next() as u16];
                let frame = BASE_FRAME + 1 + random.below(u64::from(PAGES)) as u32;
                let domain = u16::from(random.percent(5));
                rig.grants.set(reference, flags[random.below(4) as usize], domain, frame);
            }
        }
        for round in 0..200u32 {
            let mut slot = [0u8; SLOT];
            slot.iter_mut().for_each(|byte| *byte = random.next() as u8);
            slot[0..2].copy_from_slice(&(round as u16).to_le_bytes());
            if random.percent(80) {
                (slot[2], slot[3], slot[30]) = (1, 10, random.below(4) as u8);
                slot[31] = random.below(27) as u8 | if random.percent(30) { 0x80 } else { 0 };
                for segment in slot[32..240].chunks_exact_mut(8) {
                    let reference = random.below(u64::from(REFERENCES) + 8) as u32;
                    let offset = random.below(4096) as u16;
                    let length = random.below(4098 - u64::from(offset)) as u16 & !7;
                    segment.copy_from_slice(&segment_bytes((reference, offset, length)));
                }
            }
            let taken = rig.one(&slot);
            if taken.asks == Asks::Command {
                taken.chain.data_in.write(0, &[0xee; 64]);
            }
            let response = rig.answer(&taken, &Outcome::good(0));
            assert_eq!(response[0..2], slot[0..2], "seed {seed}, round {round}");
            assert!(rig.front.pop().is_none());
        }
        killed(&mut rig);
        rig.start().unwrap();
        rig.ring = None;
    }
}
