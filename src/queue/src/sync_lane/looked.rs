//! Requests that were read when their order was decided, kept until they are claimed: each is read once.

use std::collections::{HashMap, HashSet};

use ploinky_contract::TaskId;

use crate::request::RequestHead;

/// Bytes of all of them; what is beyond is read again.
const KEPT_BYTES: usize = 16 * 1024 * 1024;

/// The requests.
#[derive(Debug, Default)]
pub(super) struct Looked {
    requests: HashMap<TaskId, (RequestHead, Vec<u8>)>,
    bytes: usize,
}

impl Looked {
    /// Keeps a request if there is room.
    pub(super) fn keep(&mut self, head: RequestHead, bytes: Vec<u8>) {
        let size = bytes.capacity();
        if self.bytes + size <= KEPT_BYTES {
            self.bytes += size;
            if let Some((_, replaced)) = self.requests.insert(head.id, (head, bytes)) {
                self.bytes -= replaced.capacity();
            }
        }
    }

    /// Gives a request away.
    pub(super) fn take(&mut self, id: TaskId) -> Option<(RequestHead, Vec<u8>)> {
        let taken = self.requests.remove(&id)?;
        self.bytes -= taken.1.capacity();
        Some(taken)
    }

    /// Forgets those that are none of `there`: they were cancelled.
    pub(super) fn retain(&mut self, there: &[TaskId]) {
        if self.requests.is_empty() {
            return;
        }
        let there: HashSet<&TaskId> = there.iter().collect();
        self.requests.retain(|id, _| there.contains(id));
        self.bytes = self.requests.values().map(|(_, bytes)| bytes.capacity()).sum();
    }
}
