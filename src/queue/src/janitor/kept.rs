//! Tasks that were accepted for good: each gets an outcome in the end, and is kept for a while.

use std::io;
use std::time::Duration;

use ploinky_contract::limits::CANCEL_GRACE;
use ploinky_contract::{TaskId, TaskState};
use rustix::fs::{AtFlags, Stat, statat};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::{Rules, Swept, is_past_last_word};
use crate::clock::wall_clock_s;
use crate::directories::Directories;
use crate::request::TaskHead;
use crate::{Cancel, Producer, TaskError, boottime_ns, code};

/// Age from which a lock of the server means that it died while it cancelled the task.
const CANCEL_AGE: Duration = Duration::from_secs(7);

/// Ends the task if that is due; names it in `expired` if it was kept long enough.
pub(super) fn sweep(
    producer: &Producer,
    head: &TaskHead,
    rules: &Rules<'_>,
    expired: &mut Vec<TaskId>,
    swept: &mut Swept,
) -> io::Result<()> {
    let id = head.id;
    let Directories { responses, errors, .. } = &producer.directories;
    let record = match about(responses, id)? {
        Some(record) => Some(record),
        None => about(errors, id)?,
    };
    if let Some(record) = record {
        if is_expired(producer, id, &record, rules)? {
            expired.push(id);
        }
        return Ok(());
    }
    if is_half_cancelled(producer, id)? {
        let why = TaskError::new(code::CANCELLED, "the task was cancelled");
        producer.give_up_durable(id, &why)?;
        producer.directories.unlock(id)?;
        swept.ended += 1;
        return Ok(());
    }
    let deadline_ns = head.deadline_on(rules.boot_id).unwrap_or(0);
    if boottime_ns() < deadline_ns {
        if was_asked_long_ago(producer, id)? {
            let why = TaskError::new(code::CANCELLED, "the agent did not end the task in time");
            producer.give_up_durable(id, &why)?;
            swept.ended += 1;
        }
        return Ok(());
    }
    let why = TaskError::new(code::DEADLINE, "the task did not end in time");
    match producer.cancel_durable(id, &why)? {
        Cancel::NeverStarted => swept.ended += 1,
        Cancel::Finished => {}
        Cancel::Asked if is_past_last_word(deadline_ns) => {
            producer.give_up_durable(id, &why)?;
            swept.ended += 1;
        }
        Cancel::Asked => swept.asked += 1,
    }
    Ok(())
}

/// Whether a server took the lock to cancel the task and died before it said so. A runner would hold it, and
/// belongs to somebody else.
fn is_half_cancelled(producer: &Producer, id: TaskId) -> io::Result<bool> {
    let Directories { locks, .. } = &producer.directories;
    let Some(lock) = about(locks, id)? else { return Ok(false) };
    Ok(lock.st_uid == geteuid().as_raw()
        && age_s(lock.st_ctime) >= seconds(CANCEL_AGE)
        && !producer.directories.is_locked(id)?)
}

/// Whether the agent was asked to end the task, and had the time to.
fn was_asked_long_ago(producer: &Producer, id: TaskId) -> io::Result<bool> {
    let wish = about(&producer.directories.urgent, id)?;
    Ok(wish.is_some_and(|wish| age_s(wish.st_ctime) > seconds(CANCEL_GRACE)))
}

/// Whether an ended task was kept long enough. The age is that of the last change of the record, as the agent
/// can set its time of modification.
fn is_expired(
    producer: &Producer,
    id: TaskId,
    record: &Stat,
    rules: &Rules<'_>,
) -> io::Result<bool> {
    let Rules { task_retention, dead_task_retention, .. } = rules;
    let age = age_s(record.st_ctime);
    if age < seconds(*task_retention.min(dead_task_retention)) {
        return Ok(false);
    }
    if age >= seconds(*task_retention.max(dead_task_retention)) {
        return Ok(true);
    }
    match producer.inspect_unsynced(id) {
        Ok(Some(task)) if task.state == TaskState::Dead => Ok(age >= seconds(*dead_task_retention)),
        Ok(Some(_)) => Ok(age >= seconds(*task_retention)),
        Ok(None) => Ok(false),
        Err(e) => Err(io::Error::other(e)),
    }
}

fn age_s(time_s: i64) -> i64 {
    wall_clock_s().saturating_sub(time_s)
}

fn seconds(span: Duration) -> i64 {
    i64::try_from(span.as_secs()).unwrap_or(i64::MAX)
}

fn about(directory: &std::os::fd::OwnedFd, id: TaskId) -> io::Result<Option<Stat>> {
    match statat(directory, id.as_str(), AtFlags::SYMLINK_NOFOLLOW) {
        Ok(about) => Ok(Some(about)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}
