//! Between the words of the seam and those of the files.

use std::time::Duration;

use ploinky_contract::{TaskId, TaskState};
use ploinky_queue::{Inspected, Mode, Producer, Request, TaskHead, Terms, boottime_ns};
use rustix::time::{ClockId, clock_gettime};

use super::super::Origin;
use super::trouble;
use crate::refusal::Refusal;
use crate::task_queue::{Agreement, Listing, NewTask, Position, TaskStatus, Wanted};

/// The request of a call that is waited for.
pub(super) fn call(task: NewTask, origin: &Origin) -> Request {
    let terms = Terms { urgency: task.urgency, files: task.has_files, ..Terms::default() };
    request(task, terms, origin)
}

/// The request of a task that is kept.
pub(super) fn task(task: NewTask, agreement: Agreement, origin: &Origin) -> Request {
    let Agreement { run, retry, callback, digest } = agreement;
    let terms = Terms {
        mode: Mode::Async,
        urgency: task.urgency,
        run_ns: run.map(ns),
        deadline_in_ns: Some(ns(task.deadline)),
        attempts: retry.map_or(1, |retry| retry.attempts),
        backoff_ns: retry.map_or(0, |retry| ns(retry.backoff)),
        backoff_max_ns: retry.map_or(0, |retry| ns(retry.backoff_max)),
        submitted_ms: wall_clock_ms(),
        callback,
        digest,
        files: task.has_files,
        stream: false,
        retry_of: None,
    };
    request(task, terms, origin)
}

/// The same request once more, as a new task from now on.
pub(super) fn again(old: Request, id: TaskId, origin: &Origin) -> Request {
    let Request {
        id: retry_of,
        command,
        params,
        owner,
        seq: _,
        deadline_boot_ns,
        boot_id: _,
        submitter: _,
        attempt: _,
        terms,
    } = old;
    let deadline = Duration::from_nanos(terms.deadline_in_ns.unwrap_or(deadline_boot_ns));
    let terms = Terms {
        submitted_ms: wall_clock_ms(),
        // The key stands for the old one.
        digest: None,
        retry_of: Some(retry_of),
        ..terms
    };
    let urgency = terms.urgency;
    let has_files = terms.files;
    request(NewTask { id, command, params, owner, urgency, deadline, has_files }, terms, origin)
}

fn request(task: NewTask, terms: Terms, origin: &Origin) -> Request {
    let NewTask { id, command, params, owner, urgency: _, deadline, has_files: _ } = task;
    let seq = boottime_ns();
    Request {
        id,
        command,
        params,
        owner,
        seq,
        deadline_boot_ns: seq.saturating_add(ns(deadline)),
        boot_id: origin.boot_id.clone(),
        submitter: origin.submitter.clone(),
        attempt: 1,
        terms,
    }
}

/// Where a task stands that was accepted just now.
pub(super) fn status_of_new(request: &Request) -> TaskStatus {
    let terms = &request.terms;
    TaskStatus {
        id: request.id,
        command: request.command.clone(),
        owner: request.owner.clone(),
        state: TaskState::Queued,
        submitted_ms: terms.submitted_ms,
        started_ms: None,
        ended_ms: None,
        attempt: 0,
        attempts: terms.attempts,
        urgency: terms.urgency,
        progress: None,
        error: None,
    }
}

/// Where a task stands by what lies in the queue.
pub(super) fn status(inspected: Inspected) -> TaskStatus {
    let Inspected {
        head,
        state,
        attempt,
        submitted_ms,
        started_ms,
        ended_ms,
        progress,
        last_error,
    } = inspected;
    let TaskHead { id, command, owner, terms, .. } = head;
    TaskStatus {
        id,
        command,
        owner,
        state,
        submitted_ms,
        started_ms,
        ended_ms,
        attempt: u16::try_from(attempt).unwrap_or(u16::MAX),
        attempts: terms.attempts,
        urgency: terms.urgency,
        progress,
        error: last_error,
    }
}

/// One page of the tasks of one agent.
pub(super) fn list(producer: &Producer, wanted: &Wanted) -> Result<Listing, Refusal> {
    let Wanted { state, command, owner, after, limit } = wanted;
    let filter =
        ploinky_queue::Filter { state: *state, command: command.clone(), owner: owner.clone() };
    let after = after.map(|Position { age_ns, id }| ploinky_queue::Cursor { age_ns, id });
    let page = producer.list(&filter, after, *limit).map_err(trouble)?;
    let position = |ploinky_queue::Cursor { age_ns, id }| Position { age_ns, id };
    Ok(Listing {
        tasks: page.tasks.into_iter().map(|(at, task)| (position(at), status(task))).collect(),
        rest: page.next.map(position),
    })
}

fn wall_clock_ms() -> u64 {
    let now = clock_gettime(ClockId::Realtime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
