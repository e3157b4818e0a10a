//! Who waits for the end of which kept task. A hint is only that: whoever gets one looks at the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ploinky_contract::TaskId;
use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// The tasks of one agent that somebody waits for.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    waited: Mutex<HashMap<TaskId, Arc<Notify>>>,
}

/// The wish for hints on one task, until drop.
#[derive(Debug)]
pub(super) struct Hint<'a> {
    hints: &'a Hints,
    id: TaskId,
    notify: Arc<Notify>,
}

impl Hints {
    /// Hints on a task from now on.
    pub(super) fn of(&self, id: TaskId) -> Hint<'_> {
        let notify = Arc::clone(self.lock().entry(id).or_default());
        Hint { hints: self, id, notify }
    }

    /// Something happened to the names of these tasks; whether somebody waits for one of them.
    pub(in crate::orchestrator) fn tell(&self, ids: &[TaskId]) -> bool {
        let waited = self.lock();
        if waited.is_empty() {
            return false;
        }
        let told = ids.iter().filter_map(|id| waited.get(id));
        told.inspect(|notify| notify.notify_waiters()).count() != 0
    }

    /// Something happened, and nobody knows to which.
    pub(in crate::orchestrator) fn tell_all(&self) {
        self.lock().values().for_each(|notify| notify.notify_waiters());
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<TaskId, Arc<Notify>>> {
        self.waited.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Hint<'_> {
    /// Done at the first hint after this call, whenever it is awaited.
    pub(super) fn told(&self) -> OwnedNotified {
        Arc::clone(&self.notify).notified_owned()
    }
}

impl Drop for Hint<'_> {
    fn drop(&mut self) {
        let mut waited = self.hints.lock();
        // This one, and the one in the map.
        if Arc::strong_count(&self.notify) <= 2 {
            waited.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[test]
    fn hints_go_to_those_who_wait_and_nothing_stays_of_them() {
        let hints = Hints::default();
        let [one, other] = [1, 2].map(|number| TaskId::from_random([number; 16]));
        let (first, second, third) = (hints.of(one), hints.of(one), hints.of(other));
        // What was told before is no hint on what comes.
        assert!(hints.tell(&[other, one]));
        let told = [first.told(), second.told(), third.told()];
        assert!(hints.tell(&[one]) && !hints.tell(&[TaskId::from_random([3; 16])]));
        let [a, b, c] = told;
        assert!(a.now_or_never().is_some() && b.now_or_never().is_some());
        assert!(c.now_or_never().is_none());
        let told = third.told();
        hints.tell_all();
        assert!(told.now_or_never().is_some());
        drop((first, third));
        assert_eq!(hints.lock().len(), 1);
        drop(second);
        assert!(hints.lock().is_empty());
    }
}
