//! Grants that were used of late, bounded in number and bytes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use ploinky_contract::TokenDigest;
use ploinky_contract::limits::{GRANTS_IN_MEMORY, GRANTS_IN_MEMORY_BYTES};

use super::files::Found;

/// Two generations: when the young one is full it becomes the old one, and what was not used since then is gone.
#[derive(Debug, Default)]
pub(super) struct Memory {
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    young: HashMap<TokenDigest, Looked>,
    old: HashMap<TokenDigest, Looked>,
    /// Of the files of the young ones.
    young_bytes: usize,
    /// Counts everything that was told to be different.
    age: u64,
}

/// A grant and when its file was looked at last.
#[derive(Clone, Debug)]
pub(super) struct Looked {
    pub(super) found: Arc<Found>,
    pub(super) at: Instant,
}

impl Memory {
    /// The grant, if it is held.
    pub(super) fn find(&self, digest: &TokenDigest, now: Instant) -> Option<Looked> {
        let mut held = self.lock();
        if let Some(looked) = held.young.get(digest) {
            return Some(looked.clone());
        }
        let looked = held.old.remove(digest)?;
        held.put(digest, looked.clone());
        // A clock that goes back would make it look older for ever.
        Some(Looked { at: looked.at.min(now), ..looked })
    }

    /// To be asked before a file is read that is to be kept.
    pub(super) fn age(&self) -> u64 {
        self.lock().age
    }

    /// Keeps what was read since `age`, unless something was told to be different meanwhile.
    pub(super) fn keep(&self, digest: &TokenDigest, found: &Arc<Found>, age: u64, now: Instant) {
        let mut held = self.lock();
        if held.age == age {
            held.forget(digest);
            held.put(digest, Looked { found: Arc::clone(found), at: now });
        }
    }

    /// Notes that the file is still the same.
    pub(super) fn looked(&self, digest: &TokenDigest, now: Instant) {
        if let Some(looked) = self.lock().young.get_mut(digest) {
            looked.at = now;
        }
    }

    /// The file is another one, or gone.
    pub(super) fn forget(&self, digest: &TokenDigest) {
        let mut held = self.lock();
        held.age += 1;
        held.forget(digest);
    }

    /// Nobody knows which files are other ones.
    pub(super) fn forget_all(&self) {
        let mut held = self.lock();
        *held = Held { age: held.age + 1, ..Held::default() };
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn put(&mut self, digest: &TokenDigest, looked: Looked) {
        let bytes = looked.found.bytes();
        if GRANTS_IN_MEMORY <= self.young.len() || GRANTS_IN_MEMORY_BYTES < self.young_bytes + bytes
        {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(digest.clone(), looked);
    }

    fn forget(&mut self, digest: &TokenDigest) {
        self.old.remove(digest);
        if let Some(gone) = self.young.remove(digest) {
            self.young_bytes = self.young_bytes.saturating_sub(gone.found.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use ploinky_contract::Grant;

    use super::*;

    fn digest(number: usize) -> TokenDigest {
        format!("{number:064x}").parse().unwrap()
    }

    fn found(bytes: usize) -> Arc<Found> {
        let text = br#"{"userId":"a","allowedCommands":[],"name":"n","createdAt":1}"#;
        Arc::new(Found::of_test(Grant::parse(text).unwrap(), bytes))
    }

    #[test]
    fn what_was_read_before_a_change_was_told_is_not_kept() {
        let (memory, now) = (Memory::default(), Instant::now());
        let found = found(1);
        let age = memory.age();
        memory.forget(&digest(1));
        memory.keep(&digest(1), &found, age, now);
        assert!(memory.find(&digest(1), now).is_none());
        memory.keep(&digest(1), &found, memory.age(), now);
        assert!(memory.find(&digest(1), now).is_some());
        memory.forget_all();
        assert!(memory.find(&digest(1), now).is_none());
    }

    #[test]
    fn number_and_bytes_are_bounded_and_what_is_used_stays() {
        let now = Instant::now();
        for (bytes, kept) in [(1, GRANTS_IN_MEMORY), (1 << 16, GRANTS_IN_MEMORY_BYTES >> 16)] {
            let memory = Memory::default();
            let found = found(bytes);
            memory.keep(&digest(0), &found, 0, now);
            for number in 1..=3 * kept {
                memory.keep(&digest(number), &found, 0, now);
                assert!(memory.find(&digest(0), now).is_some(), "{number}");
                let held = memory.lock();
                assert!(held.young.len() <= kept && held.old.len() <= kept, "{number}");
            }
            assert!(memory.find(&digest(1), now).is_none());
            (0..=3 * kept).for_each(|number| memory.forget(&digest(number)));
            let held = memory.lock();
            assert_eq!((held.young.len(), held.old.len(), held.young_bytes), (0, 0, 0));
        }
    }
}
