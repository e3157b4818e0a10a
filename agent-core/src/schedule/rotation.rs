//! Tasks of one urgency: their owners take turns, and each owner's oldest task comes first.

use std::collections::hash_map::Entry::Vacant;
use std::collections::{BTreeSet, HashMap};

use super::Entry;

/// Waiting tasks among which only owners and ages decide.
#[derive(Debug, Default)]
pub(super) struct Rotation {
    /// By owner, then age.
    tasks: BTreeSet<(u64, u64, u128)>,
    /// Owners that have tasks here, by the turn that they wait for.
    turns: BTreeSet<(u64, u64)>,
    turn_of: HashMap<u64, u64>,
}

impl Rotation {
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Adds a task; its owner comes after all others, unless it waits already. `turn` is later than all before.
    pub(super) fn add(&mut self, entry: &Entry, turn: u64) {
        let Entry { id, owner, seq, .. } = *entry;
        self.tasks.insert((owner, seq, id));
        if let Vacant(place) = self.turn_of.entry(owner) {
            place.insert(turn);
            self.turns.insert((turn, owner));
        }
    }

    /// For how long the owner that is next has waited: the smaller, the longer.
    pub(super) fn next_turn(&self) -> Option<u64> {
        self.turns.first().map(|(turn, _owner)| *turn)
    }

    /// Takes the oldest task of the owner that is next; the owner goes to the end. `None` if nothing waits.
    pub(super) fn take(&mut self, turn: u64) -> Option<(u64, u128)> {
        let (_, owner) = *self.turns.first()?;
        let task = self.tasks.range((owner, 0, 0)..).next().copied()?;
        self.tasks.remove(&task);
        self.pass(owner, turn);
        Some((owner, task.2))
    }

    /// The owner had a turn, here or elsewhere, and goes to the end.
    pub(super) fn pass(&mut self, owner: u64, turn: u64) {
        let Some(before) = self.turn_of.remove(&owner) else { return };
        self.turns.remove(&(before, owner));
        let has_more = self.tasks.range((owner, 0, 0)..=(owner, u64::MAX, u128::MAX));
        if has_more.into_iter().next().is_some() {
            self.turn_of.insert(owner, turn);
            self.turns.insert((turn, owner));
        }
    }

    /// Takes a task out of the order; `false` if it is not here. Looks at all of them.
    pub(super) fn remove(&mut self, id: u128) -> bool {
        let Some(task) = self.tasks.iter().find(|(_, _, found)| *found == id).copied() else {
            return false;
        };
        self.tasks.remove(&task);
        let (owner, ..) = task;
        let has_more = self.tasks.range((owner, 0, 0)..=(owner, u64::MAX, u128::MAX));
        if has_more.into_iter().next().is_none()
            && let Some(turn) = self.turn_of.remove(&owner)
        {
            self.turns.remove(&(turn, owner));
        }
        true
    }
}
