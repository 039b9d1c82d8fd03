//! Virtual hosts: what is attached to them, and the gates of that.

use std::sync::atomic::AtomicI64;
use std::sync::Arc;

use super::{next_id, unknown, Engine, Host, MapRow};
use crate::error::Result;
use crate::gate::Gate;
use crate::mailbox::Order;
use crate::map::Entry;
use crate::tally::Tally;

impl Engine {
    /// A new virtual host.
    pub fn add_host(&self, budget: i64) -> u32 {
        let mut state = self.state();
        let id = next_id(&mut state);
        let host =
            Host { served: false, map: Arc::default(), budget: Arc::new(AtomicI64::new(budget)) };
        state.hosts.insert(id, host);
        id
    }

    /// Forget a virtual host; its sessions have ended.
    pub fn remove_host(&self, host: u32) {
        let mut state = self.state();
        if let Some(gone) = state.hosts.remove(&host) {
            for entry in gone.map.entries() {
                state.entries.remove(&entry.mapping);
            }
        }
        drop(state);
        for mailbox in &self.mailboxes {
            mailbox.post(Order::ForgetMap(host));
        }
    }

    /// Take mappings out of a host's map and put others in; done when every thread looks up in the
    /// new one.
    ///
    /// # Errors
    /// There is no such host or mapping, or an address is taken; nothing has changed then.
    pub fn change_map(
        &self,
        host: u32,
        generation: u64,
        added: Vec<MapRow>,
        removed: &[u32],
    ) -> Result<u64> {
        let mut guard = self.state();
        let state = &mut *guard;
        let owner = state.hosts.get_mut(&host).ok_or_else(|| unknown("virtual host", host))?;
        let gone = removed
            .iter()
            .map(|id| state.entries.get(id).cloned().ok_or_else(|| unknown("mapping", *id)))
            .collect::<Result<Vec<_>>>()?;
        // A mapping that is taken out and put in again is the same one, with what it has counted.
        let added: Vec<_> = added
            .into_iter()
            .map(|row| {
                let before = gone.iter().find(|entry| entry.mapping == row.mapping);
                self.entry(row, before.map(Arc::as_ref))
            })
            .collect();
        let map = Arc::new(owner.map.changed(generation, &gone, added.clone())?);
        owner.map = Arc::clone(&map);
        for id in removed {
            state.entries.remove(id);
        }
        state.entries.extend(added.into_iter().map(|entry| (entry.mapping, entry)));
        drop(guard);
        Ok(self.broadcast(|ticket| Order::SetMap(host, Arc::clone(&map), ticket)))
    }

    fn entry(&self, row: MapRow, before: Option<&Entry>) -> Arc<Entry> {
        let (gate, failures, tally) = match before {
            Some(entry) => {
                (Arc::clone(&entry.gate), Arc::clone(&entry.failures), Arc::clone(&entry.tally))
            }
            None => (Arc::default(), Arc::default(), Arc::new(Tally::new(self.mailboxes.len()))),
        };
        Arc::new(Entry {
            target: row.target,
            lun: row.lun,
            mapping: row.mapping,
            gate,
            failures,
            tally,
            medium: row.medium,
            device: row.device,
            copied: row.copied,
            short_road: row.short_road,
            protected: row.protected,
        })
    }

    fn gate(&self, mapping: u32) -> Result<Arc<Gate>> {
        let state = self.state();
        let entry = state.entries.get(&mapping).ok_or_else(|| unknown("mapping", mapping))?;
        Ok(Arc::clone(&entry.gate))
    }

    /// Close a gate. Done: no short-road command that `bits` stop will follow, and with `wait`
    /// none is in flight either.
    ///
    /// # Errors
    /// There is no such mapping.
    pub fn close_gate(&self, mapping: u32, bits: u32, wait: bool) -> Result<u64> {
        self.gate(mapping)?.close(bits);
        // No bits stop nobody: then the order is done as soon as each thread is between rounds.
        let awaited = if wait { bits } else { 0 };
        Ok(self.broadcast(|ticket| Order::Quiesce(mapping, awaited, ticket)))
    }

    /// Open a gate.
    ///
    /// # Errors
    /// There is no such mapping.
    pub fn open_gate(&self, mapping: u32, bits: u32) -> Result<()> {
        self.gate(mapping)?.open(bits);
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use std::time::Duration;

    use crate::engine::Options;
    use crate::map::OpcodeSet;

    fn row(mapping: u32, protected: bool) -> MapRow {
        MapRow {
            target: 3,
            lun: 0,
            mapping,
            medium: None,
            device: None,
            copied: OpcodeSet::default(),
            short_road: OpcodeSet::default(),
            protected,
        }
    }

    fn found(engine: &Engine, mapping: u32) -> Arc<Entry> {
        Arc::clone(&engine.state().entries[&mapping])
    }

    #[test]
    fn a_mapping_that_is_put_in_again_keeps_its_gate_and_what_it_has_counted() {
        let engine =
            Engine::new(Options { threads: 1, io_uring: false, poll: Duration::ZERO }).unwrap();
        let host = engine.add_host(1 << 20);
        engine.change_map(host, 1, vec![row(7, false)], &[]).unwrap();
        let before = found(&engine, 7);
        engine.change_map(host, 1, vec![row(7, true)], &[7]).unwrap();
        let after = found(&engine, 7);
        assert!(after.protected && !before.protected);
        assert!(Arc::ptr_eq(&before.gate, &after.gate));
        assert!(Arc::ptr_eq(&before.failures, &after.failures));
        assert!(Arc::ptr_eq(&before.tally, &after.tally));
        engine.change_map(host, 2, vec![row(8, true)], &[7]).unwrap();
        assert!(!Arc::ptr_eq(&after.gate, &found(&engine, 8).gate));
        assert!(engine.change_map(host, 3, vec![row(9, true)], &[]).is_err(), "3, 0 is taken");
    }
}
