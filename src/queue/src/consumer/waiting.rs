//! What waits for a run, as far as a scheduler has to know.

use std::io;

use ploinky_contract::limits::URGENCY_DEFAULT;
use ploinky_contract::{CommandName, TaskId, UserId};

use super::{Consumer, ids_in};
use crate::directories::exists;
use crate::note::read_note;
use crate::read_result::BadResult;
use crate::request::read_head;

/// A task that nobody has and that has no outcome.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Waiting {
    /// The task.
    pub id: TaskId,
    /// Its place among all tasks of the agent, small ones first.
    pub order: u64,
    /// 0 to 7, 0 first.
    pub urgency: u8,
    /// For whom it runs, and what; `None` if the request cannot be read. Claim it all the same: that ends it.
    pub what: Option<(UserId, CommandName)>,
    /// When its next run may begin, in nanoseconds of `CLOCK_BOOTTIME`; 0 is at once.
    pub not_before_boot_ns: u64,
    /// When it is over at the latest, in nanoseconds of `CLOCK_BOOTTIME`; 0 is now.
    pub deadline_boot_ns: u64,
    /// Runs that failed.
    pub failed: u32,
    /// Runs at most.
    pub attempts: u16,
}

impl Waiting {
    /// A task whose request is no request: it comes last, and its claim ends it.
    pub(crate) fn unreadable(id: TaskId) -> Self {
        Self {
            id,
            order: u64::MAX,
            urgency: URGENCY_DEFAULT,
            what: None,
            not_before_boot_ns: 0,
            deadline_boot_ns: 0,
            failed: 0,
            attempts: 1,
        }
    }
}

impl Consumer {
    /// All tasks whose requests are there, whatever became of them.
    ///
    /// # Errors
    /// When the inbox cannot be listed.
    pub fn requests(&self) -> io::Result<Vec<TaskId>> {
        ids_in(&self.directories.requests, usize::MAX)
    }

    /// Whether a task has its outcome.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub fn is_over(&self, id: TaskId) -> io::Result<bool> {
        self.directories.has_outcome(id)
    }

    /// Tasks that wait, in the order of their submission; those that cannot be read come last, those that
    /// wait for their next run not at all. Tasks for which `skip` holds are not looked at.
    ///
    /// # Errors
    /// When the inbox cannot be listed.
    pub fn waiting(&self, skip: &dyn Fn(TaskId) -> bool) -> io::Result<Vec<TaskId>> {
        let now_ns = crate::boottime_ns();
        let mut waiting = self.waiting_tasks(skip)?;
        waiting.retain(|task| task.not_before_boot_ns <= now_ns);
        Ok(waiting.into_iter().map(|task| task.id).collect())
    }

    /// All tasks that wait, in the order of their submission; those that cannot be read come last. Tasks for
    /// which `skip` holds are not looked at.
    ///
    /// # Errors
    /// When the inbox cannot be listed.
    pub fn waiting_tasks(&self, skip: &dyn Fn(TaskId) -> bool) -> io::Result<Vec<Waiting>> {
        let mut waiting = Vec::new();
        for id in ids_in(&self.directories.requests, usize::MAX)? {
            if !skip(id)
                && let Some(task) = self.waiting_task(id)?
            {
                waiting.push(task);
            }
        }
        waiting.sort_unstable_by_key(|task| (task.order, task.id));
        Ok(waiting)
    }

    /// A task that a hint of the kernel named; `None` if it does not wait, or cannot be read at present.
    ///
    /// # Errors
    /// When the queue cannot be read.
    pub fn waiting_task(&self, id: TaskId) -> io::Result<Option<Waiting>> {
        if exists(&self.directories.locks, id)? || self.directories.has_outcome(id)? {
            return Ok(None);
        }
        let head = match read_head(&self.directories.requests, id) {
            Ok(Some((head, _about))) => head,
            Err(BadResult::Record(_)) => return Ok(Some(Waiting::unreadable(id))),
            Ok(None) | Err(_) => return Ok(None),
        };
        let note = if head.terms.is_retried() {
            read_note(&self.directories.locks, id).unwrap_or_default()
        } else {
            None
        };
        Ok(Some(Waiting {
            id,
            order: head.order_on(&self.boot_id),
            urgency: head.terms.urgency,
            not_before_boot_ns: note.as_ref().map_or(0, |note| note.not_before_on(&self.boot_id)),
            deadline_boot_ns: head.deadline_on(&self.boot_id).unwrap_or(0),
            failed: note.map_or(0, |note| note.attempt),
            attempts: head.terms.attempts,
            what: Some((head.owner, head.command)),
        }))
    }
}
