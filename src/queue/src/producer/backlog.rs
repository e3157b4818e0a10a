//! How much was accepted and is still there.

use std::collections::HashMap;
use std::io;

use ploinky_contract::{TaskId, UserId};
use rustix::fs::Dir;

use super::Producer;
use crate::request::read_head;

/// The accepted tasks of one agent.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Backlog {
    /// All requests, those that are kept after their end included.
    pub kept: usize,
    /// Those that wait or run, by owner.
    pub open: HashMap<UserId, usize>,
}

impl Producer {
    /// How many requests lie in the queue. Lists names only: a tenth of a second for 200,000.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub fn count(&self) -> io::Result<usize> {
        let mut count = 0;
        for entry in Dir::read_from(&self.directories.requests)? {
            count += usize::from(TaskId::from_bytes(entry?.file_name().to_bytes()).is_ok());
        }
        Ok(count)
    }

    /// What was accepted and is still there. Opens each task that has no outcome: some seconds for 200,000, so
    /// call it at the start, and count from then on.
    ///
    /// # Errors
    /// When the tasks cannot be listed. One that cannot be read is nobody's.
    pub fn backlog(&self) -> io::Result<Backlog> {
        let mut backlog = Backlog::default();
        for entry in Dir::read_from(&self.directories.requests)? {
            let Ok(id) = TaskId::from_bytes(entry?.file_name().to_bytes()) else { continue };
            backlog.kept += 1;
            if self.directories.has_outcome(id)? {
                continue;
            }
            if let Ok(Some((head, _about))) = read_head(&self.directories.requests, id)
                && head.terms.is_async()
            {
                *backlog.open.entry(head.owner).or_default() += 1;
            }
        }
        Ok(backlog)
    }
}
