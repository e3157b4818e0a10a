//! A call that is waited for: its task ends with the connection.

use axum::response::Response;

use super::Line;
use crate::guardian::Admitted;
use crate::task_queue::Ticket as _;
use crate::uploads::Files;

/// The answer to the call.
pub(super) async fn answer(mut line: Line, admitted: Admitted, files: Option<Files>) -> Response {
    let result = match line.agent.call(admitted, files) {
        Ok(ticket) => {
            let id = ticket.id();
            line.id = Some(id);
            ticket.wait().await.map(|held| (id, held))
        }
        Err(refused) => Err(refused),
    };
    match result {
        Ok((id, held)) => line.end(id, held),
        Err(refused) => line.refuse(&refused),
    }
}
