//! Removes what crashes leave behind and what was kept long enough. It lists what the server owns, and
//! strangers' files, in slices, and goes on in the next pass where it stopped.

mod kept;
mod slice;
mod strays;

use std::io;
use std::sync::PoisonError;
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_contract::limits::SYNC_TIMEOUT_MAX;

pub(crate) use self::slice::{Name, Place, Slice, changed, settled};
use self::strays::Strays;
pub(crate) use self::strays::{is_older, remove_staged, remove_stray};
use crate::directories::Directories;
use crate::request::{TaskHead, read_head};
use crate::{Cancel, Producer, Submitter, TaskError, boottime_ns, code};

/// Age from which a request that cannot be read is removed: until then somebody may wait for its outcome.
pub(crate) const UNREADABLE_AGE: Duration = SYNC_TIMEOUT_MAX;
/// Age from which a file that belongs to no task is litter: far longer than any step takes.
pub(crate) const STRAY_AGE: Duration = Duration::from_secs(60);
/// How long after the deadline the agent may still say how a task ended.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What one pass did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Swept {
    /// Names looked at.
    pub looked: usize,
    /// Plain calls of dead servers, of other boots and old files that are no requests: removed.
    pub tasks: usize,
    /// Tasks that nobody waits for, or whose time is over, and that an agent still works on; it was asked to
    /// end them.
    pub asked: usize,
    /// Accepted tasks that got an outcome because nobody else gave them one.
    pub ended: usize,
    /// Accepted tasks that were kept long enough after their end: removed.
    pub expired: usize,
    /// Files that belong to no task: removed.
    pub strays: usize,
    /// There was more than one pass may look at; the next one goes on there.
    pub more: bool,
}

/// What a pass goes by.
#[derive(Clone, Copy)]
pub struct Rules<'a> {
    /// The current boot.
    pub boot_id: &'a str,
    /// Tells whether the server that submitted a plain call still lives.
    pub is_alive: &'a dyn Fn(&Submitter) -> bool,
    /// Names that are looked at in each directory.
    pub limit: usize,
    /// How long an accepted task is kept after its end.
    pub task_retention: Duration,
    /// How long one is kept that failed in its last retry.
    pub dead_task_retention: Duration,
}

/// Sweeps one queue, and remembers where each pass stopped. Several processes may sweep a queue at once.
#[derive(Debug, Default)]
pub struct Janitor {
    requests: Place,
    urgent: Place,
    responses: Place,
    errors: Place,
    locks: Place,
    outputs: Place,
    files: Place,
}

impl Janitor {
    /// One pass. As many passes as the largest directory has slices look at everything.
    ///
    /// # Errors
    /// When a directory cannot be listed, where the pass ends, or something cannot be ended or removed; the
    /// pass goes on then and gives the first error.
    pub fn pass(&mut self, producer: &Producer, rules: &Rules<'_>) -> io::Result<Swept> {
        let mut swept = Swept::default();
        let directories = &producer.directories;
        let mut all = Ok(());
        let mut expired = Vec::new();
        let Slice { names } =
            Slice::of(&directories.requests, &mut self.requests, rules.limit, &mut swept)?;
        for name in names {
            let done = match name {
                Name::Task(id) => sweep_task(producer, id, rules, &mut expired, &mut swept),
                Name::Staged(name) => remove_staged(&directories.requests, &name, &mut swept),
                Name::OfTask(..) => Ok(()),
            };
            all = all.and(done);
        }
        if !expired.is_empty() {
            match producer.remove_all(&expired) {
                Ok(removed) => swept.expired += removed,
                Err(e) => all = all.and(Err(e)),
            }
        }
        let mut strays = Strays::new(producer);
        all = all.and(strays.sweep(self, rules.limit, &mut swept)?);
        all.map(|()| swept)
    }
}

impl Producer {
    /// One pass of the janitor of this handle, which goes on where the one before stopped.
    ///
    /// # Errors
    /// Those of [`Janitor::pass`].
    pub fn sweep(&self, rules: &Rules<'_>) -> io::Result<Swept> {
        self.janitor.lock().unwrap_or_else(PoisonError::into_inner).pass(self, rules)
    }
}

fn sweep_task(
    producer: &Producer,
    id: TaskId,
    rules: &Rules<'_>,
    expired: &mut Vec<TaskId>,
    swept: &mut Swept,
) -> io::Result<()> {
    let Directories { requests, .. } = &producer.directories;
    let head = match read_head(requests, id) {
        Ok(Some((head, _about))) => head,
        Ok(None) => return Ok(()),
        Err(e) if e.is_fault_of_agent() => {
            if is_older(requests, id.as_str(), UNREADABLE_AGE)? {
                producer.clean(id)?;
                swept.tasks += 1;
            }
            return Ok(());
        }
        Err(e) => return Err(io::Error::other(e)),
    };
    if head.terms.is_async() {
        return kept::sweep(producer, &head, rules, expired, swept);
    }
    let is_over = if head.boot_id != rules.boot_id {
        true
    } else if (rules.is_alive)(&head.submitter) {
        return Ok(());
    } else {
        match end(producer, &head) {
            // A full disk keeps no record of the end, but nobody reads it; removing needs no space.
            Err(error) if is_past_last_word(head.deadline_boot_ns) => {
                producer.clean(id)?;
                swept.tasks += 1;
                return Err(error);
            }
            ended => ended?,
        }
    };
    if is_over {
        producer.clean(id)?;
        swept.tasks += 1;
    } else {
        swept.asked += 1;
    }
    Ok(())
}

/// Ends the task of a dead server; `false` if the agent has still time to do so.
fn end(producer: &Producer, head: &TaskHead) -> io::Result<bool> {
    let cancelled = TaskError::new(code::CANCELLED, "the server that waited for the task ended");
    if producer.cancel(head.id, &cancelled)? != Cancel::Asked {
        return Ok(true);
    }
    if !is_past_last_word(head.deadline_boot_ns) {
        return Ok(false);
    }
    producer.give_up(
        head.id,
        &TaskError::new(code::DEADLINE, "the agent did not end the task in time"),
    )?;
    Ok(true)
}

/// Whether a deadline of this boot and the time for the agent's last word are over.
fn is_past_last_word(deadline_boot_ns: u64) -> bool {
    let last_word = u64::try_from(LAST_WORD.as_nanos()).unwrap_or(u64::MAX);
    deadline_boot_ns.saturating_add(last_word) <= boottime_ns()
}

impl std::fmt::Debug for Rules<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { boot_id, is_alive: _, limit, task_retention, dead_task_retention } = self;
        f.debug_struct("Rules")
            .field("boot_id", boot_id)
            .field("limit", limit)
            .field("task_retention", task_retention)
            .field("dead_task_retention", dead_task_retention)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
