//! A call whose task is kept: accepted with 202, or waited for under an idempotency key.

use std::sync::Arc;
use std::time::Duration;

use axum::response::Response;

use super::Line;
use crate::guardian::{Admitted, Wishes};
use crate::refusal::Refusal;
use crate::reply;
use crate::task_queue::{Held, Outcome, TaskQueue as _, TaskStatus};
use crate::uploads::Files;

/// How much longer than the task has time its end is waited for: whoever ends it has to notice and to write.
const NOTICE: Duration = Duration::from_secs(2);

/// What there is to say to the client.
enum Said {
    Accepted(TaskStatus),
    Ended(TaskStatus, Held),
}

/// The answer to the call. A client that goes away changes nothing for a task that was accepted.
pub(super) async fn answer(mut line: Line, admitted: Admitted, files: Option<Files>) -> Response {
    let wishes = admitted.wishes().clone();
    match accept(&mut line, admitted, files, &wishes).await {
        Ok(Said::Accepted(status)) => {
            let response = reply::accepted(line.agent.place(), status, wishes.wait);
            line.write(response.status().as_u16(), "", None);
            response
        }
        Ok(Said::Ended(status, held)) => {
            let mut response = line.end(status.id, held);
            reply::put_wait(&mut response, wishes.wait.filter(|_| wishes.is_async));
            response
        }
        Err(refused) => line.refuse(&refused),
    }
}

async fn accept(
    line: &mut Line,
    admitted: Admitted,
    files: Option<Files>,
    wishes: &Wishes,
) -> Result<Said, Refusal> {
    let agent = Arc::clone(&line.agent);
    if let Some(url) = &wishes.callback
        && !line.edge.routes().allows_callback(url)
    {
        return Err(Refusal::Callback(url.clone()));
    }
    let patience = agent.patience(admitted.command());
    let status = agent.submit(admitted, files, &line.edge.key).await?;
    line.id = Some(status.id);
    let wait = match (wishes.is_async, wishes.wait) {
        (true, wait) => wait.unwrap_or_default(),
        (false, _) => patience + NOTICE,
    };
    let queue = agent.queue();
    let has_ended =
        status.state.is_final() || (!wait.is_zero() && queue.wait(status.id, wait).await);
    if has_ended && (!wait.is_zero() || !wishes.is_async) {
        return match queue.outcome(status.id).await? {
            Some(Held { outcome: Outcome::File(file), share, .. }) => {
                let open = queue.open(status.id, &file).await?;
                let outcome = Outcome::File(file);
                Ok(Said::Ended(status, Held { outcome, share, file: Some(open) }))
            }
            Some(held) => Ok(Said::Ended(status, held)),
            None => Err(Refusal::TaskNotFound),
        };
    }
    if wishes.is_async { Ok(Said::Accepted(status)) } else { Err(Refusal::Deadline(patience)) }
}
