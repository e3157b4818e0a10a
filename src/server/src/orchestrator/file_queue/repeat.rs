//! A task that has ended, submitted once more as a new one.
//!
//! The files of an upload get second names below the new id before the new request is there, and lose the old
//! ones only when the old task is removed. So wherever this process dies, each task that is there has all its
//! files; those without a task are strays, and the janitor's.

use std::io;
use std::sync::Arc;

use ploinky_contract::TaskId;
use ploinky_queue::{Request, is_no_space};

use super::{FileQueue, trouble, words};
use crate::refusal::Refusal;
use crate::task_queue::TaskStatus;
use crate::uploads::{Stage, moved};

/// Accepts the request of `old` as `new`, an id of its own. `None`: `old` or a file of it is gone.
pub(super) async fn repeat(
    queue: &FileQueue,
    old: TaskId,
    new: TaskId,
) -> Result<Option<TaskStatus>, Refusal> {
    let read = queue.on_disk(move |shared| shared.producer.request(old).map_err(trouble));
    let Some(request) = read.await? else { return Ok(None) };
    let mut request = words::again(request, new, &queue.shared.origin);
    if !request.terms.files {
        return queue.commit(request).await.map(Some);
    }
    let (params, count) = moved(old, new, request.params).ok_or(Refusal::UnknownFiles)?;
    request.params = params;
    // Who gives up waiting does not stop it half-way: the files would go, and the task stay.
    let repeating = tokio::spawn(with_files(queue.clone(), request, old, count));
    repeating.await.unwrap_or_else(|e| Err(Refusal::Internal(io::Error::other(e))))
}

async fn with_files(
    queue: FileQueue,
    request: Request,
    old: TaskId,
    count: usize,
) -> Result<Option<TaskStatus>, Refusal> {
    let new = request.id;
    let staged = queue.on_disk(move |shared| {
        let producer = Arc::clone(&shared.producer);
        let staged = Stage::again(producer, old, new, count).map_err(refused)?;
        let Some(mut stage) = staged else { return Ok(None) };
        // The id is random: nobody has files of that name.
        stage.publish(new, true).map_err(refused)?;
        Ok(Some(stage))
    });
    let Some(stage) = staged.await? else { return Ok(None) };
    let committed = queue.commit(request).await;
    match &committed {
        // It may run, with its files.
        Ok(_) | Err(Refusal::OutcomeUnknown { .. }) => stage.hand_over(),
        Err(_) => drop(stage),
    }
    committed.map(Some)
}

fn refused(error: io::Error) -> Refusal {
    if is_no_space(&error) { Refusal::NoSpace } else { Refusal::Internal(error) }
}
