//! Many tasks at once: a page of them, or the removal of the dead ones.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;

use super::Asked;
use super::query::{self, Filter};
use crate::orchestrator::Agent;
use crate::refusal::Refusal;
use crate::reply;
use crate::task_queue::{Listing, Position, TaskQueue as _, TaskStatus, Wanted};

/// How long the tasks of one agent are searched before a page without tasks, and a cursor, is the answer.
const LOOKING_MAX: Duration = Duration::from_secs(2);

/// One page, newest first.
pub(super) async fn list(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let sees_all = asked.caller.lists_all();
    let Some((agents, mut filter)) = chosen(asked, sees_all, query::filter(asked.query)?)? else {
        return Ok(reply::task_page(Vec::new(), None));
    };
    let limit = filter.wanted.limit;
    // One more than the page has tells whether there is another page.
    filter.wanted.limit = limit + 1;
    let mut found: Vec<(Position, Arc<Agent>, TaskStatus)> = Vec::new();
    let mut rest: Option<Position> = None;
    for agent in agents {
        let listing = first_found(&agent, filter.wanted.clone()).await?;
        rest = rest.max(listing.rest);
        let tasks = listing.tasks.into_iter();
        found.extend(tasks.map(|(position, status)| (position, Arc::clone(&agent), status)));
        // Not more than a page is kept, however many agents there are.
        found.sort_by_key(|(position, ..)| std::cmp::Reverse(*position));
        found.truncate(limit + 1);
    }
    // Behind the place where one queue stopped looking, those of the others have to wait.
    found.retain(|(position, ..)| rest.is_none_or(|rest| rest <= *position));
    let is_more = limit < found.len();
    found.truncate(limit);
    let next = if is_more { found.last().map(|(position, ..)| *position) } else { rest };
    let tasks = found.iter().map(|(_, agent, status)| (agent.place(), status.clone())).collect();
    Ok(reply::task_page(tasks, next.map(query::cursor_of)))
}

/// A part of the list of one agent that has a task, if one is found in time: few may be wanted of many.
async fn first_found(agent: &Agent, mut wanted: Wanted) -> Result<Listing, Refusal> {
    let end = Instant::now() + LOOKING_MAX;
    loop {
        let listing = agent.queue().list(&wanted).await?;
        match listing.rest {
            Some(rest) if listing.tasks.is_empty() && Instant::now() < end => {
                wanted.after = Some(rest);
            }
            _ => return Ok(listing),
        }
    }
}

/// Removes all tasks that are dead.
pub(super) async fn purge(asked: &Asked<'_>) -> Result<Response, Refusal> {
    let mut removed = 0;
    let sees_all = asked.caller.is_admin();
    if let Some((agents, filter)) = chosen(asked, sees_all, query::purge(asked.query)?)? {
        for agent in agents {
            let mut wanted = filter.wanted.clone();
            loop {
                let listing = agent.queue().list(&wanted).await?;
                let dead: Vec<_> = listing.tasks.iter().map(|(_, status)| status.id).collect();
                if !dead.is_empty() {
                    removed += agent.queue().remove(dead).await?;
                }
                // Only ever towards older ones, so that it ends whatever others add.
                match listing.rest {
                    Some(rest) => wanted.after = Some(rest),
                    None => break,
                }
            }
        }
    }
    Ok(reply::purged(removed))
}

/// Whom to ask for what.
type Chosen = (Vec<Arc<Agent>>, Filter);

/// The agents that are asked, and for what; `None` if there is nothing that the caller could see.
fn chosen(
    asked: &Asked<'_>,
    sees_all: bool,
    mut filter: Filter,
) -> Result<Option<Chosen>, Refusal> {
    if !asked.caller.is_somebody() {
        return Err(Refusal::Unauthenticated);
    }
    let mut agents = asked.agents();
    if let Some(place) = &filter.agent {
        agents.retain(|agent| agent.place() == place);
        if agents.is_empty() {
            return Err(Refusal::NothingThere);
        }
    }
    if !sees_all {
        let own = asked.caller.user().clone();
        if filter.wanted.owner.replace(own.clone()).is_some_and(|owner| owner != own) {
            return Ok(None);
        }
    }
    Ok(Some((agents, filter)))
}
