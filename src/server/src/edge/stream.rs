//! A call whose handler writes while it works: answered with events.

use axum::response::Response;

use super::{Asked, Line, reader};
use crate::guardian::{self, Subscription};
use crate::refusal::Refusal;
use crate::reply;
use crate::streams::Outcome;
use crate::task_queue::{Held, Ticket as _};

/// Where an agent gives streams, below its own path.
pub(super) const PATH: &str = "/subscribe";

/// Answers a subscription.
pub(super) fn answer(asked: &Asked<'_>) -> Response {
    let Asked { edge, routes: _, agent, head, caller, parts, started } = asked;
    let refused = match guardian::admit_subscription(head, parts, caller, agent.gate()) {
        Ok(Subscription::Lost) => return reply::lost(),
        Ok(Subscription::New(admitted)) => match edge.streams.admit() {
            Some(permit) => {
                let mut line = Line::new(edge, agent, &admitted, *started);
                let (ticket, pipe) = match agent.stream(admitted) {
                    Ok(going) => going,
                    Err(refused) => return line.refuse(&refused),
                };
                let id = ticket.id();
                line.id = Some(id);
                // Dropped when the client goes away, and with it the ticket, which ends the task.
                let outcome: Outcome = Box::pin(async move {
                    let ended = ticket.wait().await;
                    line.end_stream(&ended);
                    reply::last_event(&ended)
                });
                match edge.streams.body(permit, id, pipe, outcome, reply::early_end) {
                    Ok(body) => return reply::events(id, body),
                    Err(error) => Refusal::Internal(error),
                }
            }
            None => Refusal::Streams,
        },
        Err(refused) => refused,
    };
    tracing::debug!(AGENT = %agent.id(), "refused: {refused}");
    reply::refusal(&refused, None, reader(parts), false)
}

impl Line {
    fn end_stream(&mut self, ended: &Result<Held, Refusal>) {
        match ended {
            Ok(held) => {
                let code = reply::code_of_outcome(&held.outcome);
                self.write(http::StatusCode::OK.as_u16(), code, None);
            }
            Err(refused) => {
                let cause = std::error::Error::source(refused).map(ploinky_contract::chain);
                let code = reply::code_of_refusal(refused);
                self.write(http::StatusCode::OK.as_u16(), code, cause);
            }
        }
    }
}
