//! Where the objects of a tape are: all filemarks, and every so many blocks.
//!
//! Objects, blocks and filemarks alike, are counted from the beginning (SSC-5: logical object
//! identifiers). Kept in memory; the image has all of it, scattered.

use super::format::WORD;

/// Blocks between two that are kept: as many headers are read at most to find one.
const STRIDE: u64 = 64;

/// A place between two objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Objects before it.
    pub object: u64,
    /// Where in the image the next object begins, or a gap before it.
    pub offset: u64,
}

/// Filemarks without anything between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Run {
    /// The first.
    pub first: Place,
    /// How many.
    pub count: u64,
    /// Filemarks before them.
    pub before: u64,
}

impl Run {
    fn end(&self) -> u64 {
        self.first.object + self.count
    }

    /// The place before the mark of that number, from 0; or after the last.
    #[must_use]
    pub fn at(&self, number: u64) -> Place {
        Place { object: self.first.object + number, offset: self.first.offset + number * WORD }
    }
}

/// Where the objects of a tape are.
#[derive(Clone, Debug, Default)]
pub struct Index {
    runs: Vec<Run>,
    blocks: Vec<Place>,
    end: Place,
}

impl Index {
    /// The end of data.
    #[must_use]
    pub fn end(&self) -> Place {
        self.end
    }

    /// Filemarks on the tape.
    #[must_use]
    pub fn marks(&self) -> u64 {
        self.runs.last().map_or(0, |run| run.before + run.count)
    }

    /// The runs of filemarks, in order.
    #[must_use]
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The places of blocks that are kept, in order.
    #[must_use]
    pub fn blocks(&self) -> &[Place] {
        &self.blocks
    }

    /// An index of parts that were kept somewhere: runs with their lengths, places of blocks.
    #[must_use]
    pub fn from_parts(
        runs: impl Iterator<Item = (Place, u64)>,
        blocks: impl Iterator<Item = Place>,
        end: Place,
    ) -> Self {
        let mut before = 0u64;
        let runs = runs.map(|(first, count)| {
            let run = Run { first, count, before };
            before = before.wrapping_add(count);
            run
        });
        let runs = runs.collect();
        Index { runs, blocks: blocks.collect(), end }
    }

    /// A block was found or written there; the next object begins at `next`.
    pub fn push_block(&mut self, offset: u64, next: u64) {
        if self.end.object % STRIDE == 0 {
            self.blocks.push(Place { object: self.end.object, offset });
        }
        self.end = Place { object: self.end.object + 1, offset: next };
    }

    /// `count` filemarks were found or written there, one behind the other.
    pub fn push_marks(&mut self, offset: u64, count: u64) {
        if count == 0 {
            return;
        }
        let before = self.marks();
        let first = Place { object: self.end.object, offset };
        match self.runs.last_mut() {
            Some(run) if run.at(run.count) == first => run.count += count,
            _ => self.runs.push(Run { first, count, before }),
        }
        self.end = Place { object: first.object + count, offset: offset + count * WORD };
    }

    /// Forget all objects from a place on.
    pub fn truncate(&mut self, place: Place) {
        let kept = self.blocks.partition_point(|block| block.object < place.object);
        self.blocks.truncate(kept);
        let kept = self.runs.partition_point(|run| run.first.object < place.object);
        self.runs.truncate(kept);
        if let Some(run) = self.runs.last_mut() {
            run.count = run.count.min(place.object - run.first.object);
        }
        self.end = place;
    }

    /// The last known place that is not behind an object; the object itself, if it is known.
    #[must_use]
    pub fn near(&self, object: u64) -> Place {
        if object >= self.end.object {
            return self.end;
        }
        let known = self.blocks.partition_point(|block| block.object <= object);
        let block = known.checked_sub(1).map_or_else(Place::default, |at| self.blocks[at]);
        let known = self.runs.partition_point(|run| run.first.object <= object);
        let Some(run) = known.checked_sub(1).map(|at| self.runs[at]) else { return block };
        let mark = run.at((object - run.first.object).min(run.count));
        if mark.object > block.object {
            mark
        } else {
            block
        }
    }

    /// Filemarks before an object.
    #[must_use]
    pub fn marks_before(&self, object: u64) -> u64 {
        let known = self.runs.partition_point(|run| run.first.object < object);
        known.checked_sub(1).map_or(0, |at| {
            let run = self.runs[at];
            run.before + run.count.min(object - run.first.object)
        })
    }

    /// The place before the filemark of that number, from 0.
    #[must_use]
    pub fn mark(&self, number: u64) -> Option<Place> {
        let known = self.runs.partition_point(|run| run.before <= number);
        let run = self.runs.get(known.checked_sub(1)?)?;
        let within = number - run.before;
        (within < run.count).then(|| run.at(within))
    }

    /// The end of the first run of `count` filemarks that begins at an object or behind it.
    #[must_use]
    pub fn run_after(&self, object: u64, count: u64) -> Option<Place> {
        let from = self.runs.partition_point(|run| run.end() <= object);
        self.runs[from..].iter().find_map(|run| {
            let begin = object.max(run.first.object) - run.first.object;
            (run.count - begin >= count).then(|| run.at(begin + count))
        })
    }

    /// The beginning of the last run of `count` filemarks that ends at an object or before it.
    #[must_use]
    pub fn run_before(&self, object: u64, count: u64) -> Option<Place> {
        let until = self.runs.partition_point(|run| run.first.object < object);
        self.runs[..until].iter().rev().find_map(|run| {
            let end = object.min(run.end()) - run.first.object;
            (end >= count).then(|| run.at(end - count))
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Two blocks, two marks, a block, a mark; blocks take 10 bytes.
    fn small() -> Index {
        let mut index = Index::default();
        index.push_block(0, 10);
        index.push_block(10, 20);
        index.push_marks(20, 1);
        index.push_marks(24, 1);
        index.push_block(28, 38);
        index.push_marks(38, 1);
        index
    }

    #[test]
    fn marks_are_found_by_number_and_counted_by_place() {
        let index = small();
        assert_eq!(index.end(), Place { object: 6, offset: 42 });
        assert_eq!(index.marks(), 3);
        assert_eq!(index.mark(0), Some(Place { object: 2, offset: 20 }));
        assert_eq!(index.mark(1), Some(Place { object: 3, offset: 24 }));
        assert_eq!(index.mark(2), Some(Place { object: 5, offset: 38 }));
        assert_eq!(index.mark(3), None);
        let before: Vec<_> = (0..=6).map(|object| index.marks_before(object)).collect();
        assert_eq!(before, [0, 0, 0, 1, 2, 2, 3]);
    }

    #[test]
    fn runs_are_found_in_both_directions() {
        let index = small();
        assert_eq!(index.run_after(0, 2).unwrap().object, 4);
        assert_eq!(index.run_after(3, 2), None);
        assert_eq!(index.run_after(3, 1).unwrap().object, 4);
        assert_eq!(index.run_before(6, 2).unwrap().object, 2);
        assert_eq!(index.run_before(6, 1).unwrap().object, 5);
        assert_eq!(index.run_before(3, 2), None);
        assert_eq!(index.run_before(3, 1).unwrap().object, 2);
    }

    #[test]
    fn what_is_cut_is_forgotten() {
        let mut index = small();
        index.truncate(Place { object: 3, offset: 24 });
        assert_eq!(index.marks(), 1);
        assert_eq!(index.end().object, 3);
        assert_eq!(index.mark(1), None);
        index.push_marks(24, 5);
        assert_eq!(index.runs().len(), 1);
        assert_eq!(index.marks(), 6);
        index.truncate(Place::default());
        assert_eq!((index.marks(), index.end()), (0, Place::default()));
    }

    #[test]
    fn a_place_near_an_object_is_never_behind_it_nor_far() {
        let mut index = Index::default();
        for number in 0..1000u64 {
            let offset = index.end().offset;
            if number % 100 == 99 {
                index.push_marks(offset, 1);
            } else {
                index.push_block(offset, offset + 10);
            }
        }
        for object in 0..1000 {
            let near = index.near(object);
            assert!(near.object <= object && object - near.object < STRIDE + 1, "{object}");
        }
        assert_eq!(index.near(1000), index.end());
        assert_eq!(index.near(u64::MAX), index.end());
    }
}
