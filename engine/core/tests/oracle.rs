//! Our split ring against two others: the virtio-queue crate, and a slow plain reading of the
//! rules that is written down here.
//!
//! virtio-queue turns a malformed chain into a short one, so it says nothing about those; the
//! plain reading does.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail that way"
)]

mod support;

use support::{rig, Random, Ranges, Rig, BASE, BUFFERS, END, REGION};
use vhost_pvscsi_core::mock::{
    Descriptor, Segment, AVAIL_NO_INTERRUPT, DESC_INDIRECT, DESC_NEXT, DESC_WRITE, USED_NO_NOTIFY,
};
use virtio_queue::{Queue, QueueT};
use vm_memory::{FileOffset, GuestAddress, GuestMemoryMmap};

type Buffer = (u64, u32, bool);

/// The oracle's view of the same pages.
fn oracle_memory(rig: &Rig) -> GuestMemoryMmap {
    let ranges = rig.regions.each_ref().map(|region| {
        let file = region.file().try_clone().unwrap();
        (GuestAddress(region.guest_address()), region.size(), Some(FileOffset::new(file, 0)))
    });
    GuestMemoryMmap::from_ranges_with_files(ranges).unwrap()
}

fn oracle(rig: &Rig, memory: &GuestMemoryMmap, event_idx: bool, start: u16) -> Queue {
    let layout = rig.driver.layout();
    let mut queue = Queue::new(layout.size).unwrap();
    queue.try_set_desc_table_address(GuestAddress(layout.descriptors)).unwrap();
    queue.try_set_avail_ring_address(GuestAddress(layout.available)).unwrap();
    queue.try_set_used_ring_address(GuestAddress(layout.used)).unwrap();
    queue.set_event_idx(event_idx);
    queue.set_next_avail(start);
    queue.set_next_used(start);
    queue.set_ready(true);
    assert!(queue.is_valid(memory));
    queue
}

/// What virtio-queue makes of the next chain.
fn ask_oracle(queue: &mut Queue, memory: &GuestMemoryMmap) -> Option<(u16, Vec<Buffer>)> {
    let chain = queue.pop_descriptor_chain(memory)?;
    let head = chain.head_index();
    Some((head, chain.map(|d| (d.addr().0, d.len(), d.is_write_only())).collect()))
}

fn host_ranges(rig: &Rig, buffers: &[Buffer]) -> [Ranges; 2] {
    [false, true].map(|writable| {
        let chosen = buffers.iter().filter(|buffer| buffer.2 == writable);
        rig.expected(chosen.map(|&(address, len, _)| (address, len)))
    })
}

/// Readable buffers, then writable ones; some empty, some across the two regions.
fn random_segments(random: &mut Random, most: u64) -> Vec<Segment> {
    let count = 1 + random.below(most);
    let readable = random.below(count + 1);
    let segment = |position| {
        let len = random.next() % [1, 64, 300, 70_000][random.below(4) as usize];
        let room = END - BUFFERS - len;
        let address = match random.percent(10) {
            true => BASE + REGION as u64 - len / 2,
            false => BUFFERS + random.below(room),
        };
        Segment { address, len: len as u32, writable: position >= readable }
    };
    (0..count).map(segment).collect()
}

fn add_random_chain(random: &mut Random, rig: &mut Rig, table: u64) -> Option<Vec<Segment>> {
    let most = u64::from(rig.driver.layout().size.min(9));
    let segments = random_segments(random, most);
    let direct = match random.below(3) {
        0 => segments.len(),
        1 => 0,
        _ => random.below(segments.len() as u64) as usize,
    };
    let (outer, inner) = segments.split_at(direct);
    let tail = (!inner.is_empty()).then_some((inner, table));
    rig.driver.add_with_tail(outer, tail).map(|_| segments)
}

#[test]
fn legal_chains_of_any_form_are_read_as_they_were_built() {
    for seed in 0..200 {
        let random = &mut Random(seed);
        let (size, start) = (1 << random.below(8), random.next() as u16 | 0xffc0);
        let mut rig = rig(size, true, start);
        let memory = oracle_memory(&rig);
        let mut queue = oracle(&rig, &memory, true, start);
        for _ in 0..20 {
            rig.driver.reorder_free(|free| random.shuffle(free));
            let mut built = Vec::new();
            // Tables of one round do not overlap: 9 entries of 16 bytes, fewer than 144.
            while let Some(chain) =
                add_random_chain(random, &mut rig, BASE + 0x8000 + built.len() as u64 * 144)
            {
                built.push(chain);
            }
            rig.driver.publish();
            let heads = walk_round(&mut rig, &mut queue, &memory, &built, seed);
            give_back(random, &mut rig, &mut queue, &memory, heads);
        }
    }
}

fn walk_round(
    rig: &mut Rig,
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    built: &[Vec<Segment>],
    seed: u64,
) -> Vec<u16> {
    let mut heads = Vec::new();
    for segments in built {
        let head = rig.take().unwrap().unwrap();
        let (oracle_head, theirs) = ask_oracle(queue, memory).unwrap();
        let wanted: Vec<Buffer> = segments.iter().map(|s| (s.address, s.len, s.writable)).collect();
        assert_eq!(wanted, theirs, "seed {seed}: virtio-queue reads something else");
        assert_eq!(rig.taken(), host_ranges(rig, &wanted), "seed {seed}");
        assert_eq!(head, oracle_head, "seed {seed}");
        heads.push(head);
    }
    assert_eq!(rig.take(), Ok(None), "seed {seed}");
    heads
}

/// Complete in any order, in batches; both decide alike whether to notify.
fn give_back(
    random: &mut Random,
    rig: &mut Rig,
    queue: &mut Queue,
    memory: &GuestMemoryMmap,
    mut heads: Vec<u16>,
) {
    random.shuffle(&mut heads);
    let mut returned = Vec::new();
    for batch in heads.chunks(1 + random.below(4) as usize) {
        let near = rig.driver.used_index().wrapping_add(random.below(6) as u16);
        rig.driver.set_used_event(near.wrapping_sub(3));
        batch.iter().for_each(|head| rig.ring.push(*head, u32::from(*head) * 3));
        let ours = rig.ring.publish();
        while let Some(used) = rig.driver.pop() {
            let used = used.unwrap();
            assert_eq!(used.len, u32::from(used.head) * 3);
            returned.push(used.head);
        }
        // Only now, because it writes the same entries again.
        for head in batch {
            queue.add_used(memory, *head, u32::from(*head) * 3).unwrap();
        }
        assert_eq!(ours, queue.needs_notification(memory).unwrap());
    }
    assert_eq!(returned, heads, "given back in another order");
    assert_eq!(rig.driver.free(), usize::from(rig.driver.layout().size));
}

/// A table of descriptors that are wrong as often as right.
fn random_descriptor(random: &mut Random, size: u16) -> Descriptor {
    let mut flags = 0;
    for (flag, share) in [(DESC_NEXT, 60), (DESC_WRITE, 40), (DESC_INDIRECT, 15)] {
        flags |= if random.percent(share) { flag } else { 0 };
    }
    if random.percent(3) {
        flags |= random.next() as u16;
    }
    let indirect = flags & DESC_INDIRECT != 0;
    let address = match random.below(20) {
        0 => random.next(),
        1 => END - random.below(200),
        _ if indirect => BUFFERS + 16 * random.below(64),
        _ => BUFFERS + random.below(END - BUFFERS),
    };
    let len = match random.below(20) {
        0 => random.next() as u32,
        1 => 0,
        _ if indirect => 16 * random.below(6) as u32,
        _ => random.below(3000) as u32,
    };
    let next = random.below(u64::from(size) + 1) as u16;
    Descriptor { address, len, flags, next }
}

/// virtio 1.2, 2.7.4 and 2.7.5, read as plainly as can be: the chain's buffers, or None.
fn plain_reading(rig: &Rig, head: u16) -> Option<Vec<Buffer>> {
    let layout = rig.driver.layout();
    let mut buffers = Vec::new();
    let (mut table, mut entries, mut inside) = (layout.descriptors, layout.size, false);
    let mut seen = vec![false; usize::from(entries)];
    let mut index = head;
    loop {
        if index >= entries || std::mem::replace(&mut seen[usize::from(index)], true) {
            return None;
        }
        let Descriptor { address, len, flags, next } =
            read_entry(rig, table.checked_add(16 * u64::from(index))?)?;
        if flags & DESC_INDIRECT != 0 {
            let count = len / 16;
            if inside || flags & DESC_NEXT != 0 || len % 16 != 0 || !(1..=1024).contains(&count) {
                return None;
            }
            (table, entries, inside, index) = (address, count as u16, true, 0);
            seen = vec![false; usize::from(entries)];
            continue;
        }
        let end = address.checked_add(u64::from(len))?;
        if len > 0 && (address < BASE || end > END) {
            return None;
        }
        buffers.push((address, len, flags & DESC_WRITE != 0));
        if flags & DESC_NEXT == 0 {
            return buffers.is_sorted_by_key(|buffer| buffer.2).then_some(buffers);
        }
        index = next;
    }
}

fn read_entry(rig: &Rig, address: u64) -> Option<Descriptor> {
    let mut bytes = [0; 16];
    for (position, byte) in (address..).zip(&mut bytes) {
        if !(BASE..END).contains(&position) {
            return None;
        }
        let region = usize::from(position >= BASE + REGION as u64);
        rig.regions[region].read(position, std::slice::from_mut(byte));
    }
    Some(Descriptor {
        address: u64::from_le_bytes(bytes[..8].try_into().unwrap()),
        len: u32::from_le_bytes(bytes[8..12].try_into().unwrap()),
        flags: u16::from_le_bytes(bytes[12..14].try_into().unwrap()),
        next: u16::from_le_bytes(bytes[14..].try_into().unwrap()),
    })
}

#[test]
fn any_table_is_read_by_the_rules_or_refused() {
    let (mut legal, mut illegal) = (0, 0);
    for size in [2, 4, 8, 16] {
        let mut rig = rig(size, true, 0);
        let memory = oracle_memory(&rig);
        for seed in 0..10_000 {
            rig.restart(true, 0);
            match try_random_table(&mut rig, &memory, &mut Random(seed << 20 | u64::from(size))) {
                Ok(true) => legal += 1,
                Ok(false) => illegal += 1,
                Err(difference) => panic!("size {size}, seed {seed}: {difference}"),
            }
        }
    }
    assert!(legal > 5_000 && illegal > 5_000, "one-sided: {legal} legal, {illegal} illegal");
}

/// Whether a random table was legal; an error where somebody thinks otherwise.
fn try_random_table(
    rig: &mut Rig,
    memory: &GuestMemoryMmap,
    random: &mut Random,
) -> Result<bool, String> {
    let size = rig.driver.layout().size;
    for index in 0..size {
        rig.driver.set_descriptor(index, random_descriptor(random, size));
    }
    for entry in 0..72 {
        rig.driver.set_indirect(BUFFERS, entry, random_descriptor(random, 6));
    }
    let head = random.below(u64::from(size) + 1) as u16;
    rig.driver.make_available(head);
    rig.driver.publish();
    let (found, buffers) = match (rig.take(), plain_reading(rig, head)) {
        (Err(_), None) => return Ok(false),
        (Ok(Some(found)), Some(buffers)) => (found, buffers),
        (ours, plain) => return Err(format!("ours {ours:?}, by the rules {plain:?}")),
    };
    let (wanted, taken) = (host_ranges(rig, &buffers), rig.taken());
    if found != head || taken != wanted {
        return Err(format!("ours {found} {taken:?}, by the rules {head} {wanted:?}"));
    }
    match ask_oracle(&mut oracle(rig, memory, true, 0), memory) {
        Some(theirs) if theirs == (head, buffers) => Ok(true),
        theirs => Err(format!("virtio-queue reads {theirs:?}")),
    }
}

#[test]
fn kicks_are_asked_for_as_virtio_queue_does() {
    for (seed, event_idx) in (0..200).flat_map(|seed| [(seed, true), (seed, false)]) {
        let random = &mut Random(seed);
        let start = random.next() as u16;
        let mut rig = rig(16, event_idx, start);
        let memory = oracle_memory(&rig);
        let mut queue = oracle(&rig, &memory, event_idx, start);
        for _ in 0..30 {
            let buffer = [Segment::readable(BUFFERS, 64)];
            for _ in 0..random.below(3) {
                let _ = rig.driver.add(&buffer); // None once the ring is full
            }
            rig.driver.publish();
            if random.percent(50) {
                assert_eq!(rig.take().unwrap(), ask_oracle(&mut queue, &memory).map(|(h, _)| h));
            }
            let (more, event) = (rig.ring.arm(), rig.driver.available_event());
            assert_eq!(more, queue.enable_notification(&memory).unwrap());
            assert_eq!(rig.driver.used_flags() & USED_NO_NOTIFY, 0);
            assert_eq!(event, rig.driver.available_event(), "another avail_event was asked for");
        }
    }
}

#[test]
fn a_driver_without_event_idx_is_heard_by_flags() {
    let mut rig = rig(8, false, 0);
    let buffer = [Segment::readable(BUFFERS, 64)];
    for (flags, wanted) in [(0, true), (AVAIL_NO_INTERRUPT, false)] {
        rig.driver.set_available_flags(flags);
        rig.driver.add(&buffer).unwrap();
        rig.ring.disarm();
        assert!(!rig.driver.publish(), "a kick was wanted though none was asked for");
        let head = rig.take().unwrap().unwrap();
        rig.ring.push(head, 0);
        assert_eq!(rig.ring.publish(), wanted);
        assert!(!rig.ring.arm());
        rig.driver.add(&buffer).unwrap();
        assert!(rig.driver.publish(), "no kick was wanted though one was asked for");
        let head = rig.take().unwrap().unwrap();
        rig.ring.push(head, 0);
        assert_eq!(rig.ring.publish(), wanted);
    }
}
