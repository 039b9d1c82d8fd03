//! What the engine has counted, as its caller asks for it.

use std::sync::atomic::Ordering;

use super::{find_session, unknown, CounterRow, Engine};
use crate::error::Result;
use crate::failures::Taken;
use crate::tally::Counted;

impl Engine {
    /// What the host's I/O has failed to do at a mapping since this was asked last. Nothing: the
    /// next failure is told by an event.
    #[must_use]
    pub fn take_failures(&self, mapping: u32) -> Taken {
        let state = self.state();
        let entry = state.entries.get(&mapping);
        entry.map(|entry| entry.failures.take()).unwrap_or_default()
    }

    /// What a mapping has carried since it was made.
    ///
    /// # Errors
    /// There is no such mapping.
    pub fn counted(&self, mapping: u32) -> Result<Counted> {
        let state = self.state();
        let entry = state.entries.get(&mapping);
        entry.map(|entry| entry.tally.counted()).ok_or_else(|| unknown("mapping", mapping))
    }

    /// What each ring of a front-end has carried.
    ///
    /// # Errors
    /// There is no such front-end.
    pub fn counters(&self, session: u32) -> Result<Vec<CounterRow>> {
        let mut state = self.state();
        let owner = find_session(&mut state, session)?;
        let mut rows: Vec<_> = owner
            .rings
            .iter()
            .map(|(index, (_, c))| {
                let all = [
                    &c.reads,
                    &c.writes,
                    &c.others,
                    &c.long_road,
                    &c.bytes_read,
                    &c.bytes_written,
                    &c.bounced,
                ];
                (*index, all.map(|counter| counter.load(Ordering::Relaxed)))
            })
            .collect();
        rows.sort_unstable();
        Ok(rows)
    }
}
