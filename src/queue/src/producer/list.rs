//! Pages of tasks, the newest first. What a page costs is bounded: names are only looked at, and no more than
//! a window of tasks is opened.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::io;
use std::str::FromStr;

use ploinky_contract::{CommandName, TaskId, TaskState, UserId};
use rustix::fs::{AtFlags, Dir, Stat, statat};
use rustix::io::Errno;

use super::Producer;
use super::inspect::Inspected;

/// Tasks that one call opens at most.
const WINDOW: usize = 4096;

/// Which tasks to list; what is `None` is not asked for. Only tasks that were accepted for good are listed.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// In this state.
    pub state: Option<TaskState>,
    /// With this command.
    pub command: Option<CommandName>,
    /// Of this owner.
    pub owner: Option<UserId>,
}

/// The place between two tasks at which the next page begins.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Cursor {
    /// When the request was written, in nanoseconds since 1970.
    pub age_ns: u64,
    /// Decides between equals.
    pub id: TaskId,
}

/// A text is no cursor.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a cursor: take the one that came with the page before")]
pub struct InvalidCursor;

/// Tasks, the newest first.
#[derive(Clone, Debug)]
pub struct Page {
    /// At most as many as were asked for; fewer do not mean that there are no more.
    pub tasks: Vec<(Cursor, Inspected)>,
    /// Where the next page begins, if there may be more.
    pub next: Option<Cursor>,
}

impl Producer {
    /// Up to `limit` tasks that were submitted before `cursor`, or the newest ones.
    ///
    /// # Errors
    /// When the tasks cannot be listed or read, or an end not be made durable.
    pub fn list(&self, filter: &Filter, cursor: Option<Cursor>, limit: usize) -> io::Result<Page> {
        let (window, mut has_more) = self.newest(cursor)?;
        let mut page = Page { tasks: Vec::new(), next: None };
        let mut last = None;
        let mut ended = Vec::new();
        for at in window {
            if page.tasks.len() == limit {
                has_more = true;
                break;
            }
            last = Some(at);
            let inspected = match self.inspect_unsynced(at.id) {
                Ok(Some(inspected)) if filter.admits(&inspected) => inspected,
                // A request that cannot be read is no task, and the janitor's.
                Ok(_) => continue,
                Err(e) if e.is_fault_of_agent() => continue,
                Err(e) => return Err(io::Error::other(e)),
            };
            if inspected.state.is_final() {
                ended.push(at.id);
            }
            page.tasks.push((at, inspected));
        }
        if !ended.is_empty() {
            self.make_durable(&ended)?;
        }
        page.next = last.filter(|_| has_more).or(cursor.filter(|_| has_more));
        Ok(page)
    }

    /// The newest requests before `cursor`, the newest first, and whether there are more.
    fn newest(&self, cursor: Option<Cursor>) -> io::Result<(Vec<Cursor>, bool)> {
        let requests = &self.directories.requests;
        let mut newest: BinaryHeap<Reverse<Cursor>> = BinaryHeap::with_capacity(WINDOW + 1);
        let mut has_more = false;
        for entry in Dir::read_from(requests)? {
            let entry = entry?;
            let Ok(id) = TaskId::from_bytes(entry.file_name().to_bytes()) else { continue };
            let age = match statat(requests, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(about) => Cursor { age_ns: mtime_ns(&about), id },
                Err(Errno::NOENT) => continue,
                Err(e) => return Err(e.into()),
            };
            if cursor.is_some_and(|cursor| cursor <= age) {
                continue;
            }
            newest.push(Reverse(age));
            if WINDOW < newest.len() {
                newest.pop();
                has_more = true;
            }
        }
        // Sorted by the reverse of the age.
        Ok((newest.into_sorted_vec().into_iter().map(|Reverse(age)| age).collect(), has_more))
    }
}

impl Filter {
    fn admits(&self, task: &Inspected) -> bool {
        let Self { state, command, owner } = self;
        task.head.terms.is_async()
            && state.is_none_or(|state| state == task.state)
            && command.as_ref().is_none_or(|command| *command == task.head.command)
            && owner.as_ref().is_none_or(|owner| *owner == task.head.owner)
    }
}

fn mtime_ns(about: &Stat) -> u64 {
    let seconds = u64::try_from(about.st_mtime).unwrap_or(0);
    #[expect(clippy::useless_conversion, reason = "its type depends on the architecture")]
    let nanoseconds = u64::try_from(about.st_mtime_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { age_ns: ns, id } = self;
        write!(f, "{ns:016x}{id}")
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let is_plain = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let (ns, id) = text.split_at_checked(16).filter(|_| is_plain).ok_or(InvalidCursor)?;
        let ns = u64::from_str_radix(ns, 16).map_err(|_digits| InvalidCursor)?;
        Ok(Self { age_ns: ns, id: id.parse().map_err(|_shape| InvalidCursor)? })
    }
}
