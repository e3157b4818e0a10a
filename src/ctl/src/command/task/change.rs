//! `ploinkyctl task cancel`, `remove` and `retry`.

use ploinky_contract::{TaskDocument, TaskId};

use super::{Host, not_so, print_new};
use crate::failure::{Failure, Stop};
use crate::instance::Deleted;
use crate::output::Output;

/// Asks that a task ends.
pub(super) fn cancel(id: TaskId, host: &Host<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    let task = host
        .instances
        .cancel(id)
        .map_err(|e| e.failure_of(format!("cannot cancel task {id}"), id))?;
    if output.json {
        return Ok(output.value(&task)?);
    }
    Ok(output.out.line(&if task.state.is_final() {
        format!("task {id} is {}", task.state.as_str())
    } else {
        format!("task {id} was told to end")
    })?)
}

/// Removes what is left of a task.
pub(super) fn remove(id: TaskId, host: &Host<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    let what = || format!("cannot remove task {id}");
    let task = find(id, &what(), host)?;
    if !task.state.is_final() {
        let hint = format!("`ploinkyctl task cancel {id}` ends it");
        return Err(not_so(what(), &task, &hint).into());
    }
    let deleted = host.instances.delete(id).map_err(|e| e.failure_of(what(), id))?;
    match deleted {
        Deleted::Removed if output.json => Ok(output.value(&task)?),
        Deleted::Removed => Ok(output.out.line(&format!("removed task {id}"))?),
        Deleted::Cancelled(task) => {
            Err(not_so(what(), &task, "try again when it has ended").into())
        }
    }
}

/// Submits the request of a task once more.
pub(super) fn retry(id: TaskId, host: &Host<'_>, output: &mut Output<'_>) -> Result<(), Stop> {
    let task = host
        .instances
        .retry(id)
        .map_err(|e| e.failure_of(format!("cannot retry task {id}"), id))?;
    print_new(&task, output)
}

fn find(id: TaskId, what: &str, host: &Host<'_>) -> Result<TaskDocument, Failure> {
    host.instances.task(id, None).map_err(|e| e.failure_of(what, id))
}
