//! `/tasks`: accepted tasks as resources, on every domain for the agents of that domain.
//!
//! Who may not see a task gets the answer of an id that does not exist.

mod listing;
mod query;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{HeaderMap, Method};
use ploinky_contract::{Domain, TaskId, TaskState};

pub(crate) use self::query::{QueryError, once, pairs, refused};
use crate::edge::{Edge, has_large_body, reader};
use crate::guardian::{self, Caller, Head};
use crate::journal::TaskLine;
use crate::orchestrator::{Agent, random_id};
use crate::refusal::Refusal;
use crate::task_queue::{Held, Outcome, TaskError, TaskQueue as _, TaskStatus};
use crate::{output, reply};

/// Where the resources lie.
pub(crate) const ROOT: &str = "/tasks";

/// Behind [`ROOT`].
const CALLBACK_KEY: &str = "/callback-key";

/// What a path below [`ROOT`] names.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Resource {
    /// All tasks.
    All,
    /// One task.
    One(TaskId),
    /// What the call would have been answered.
    Result(TaskId),
    /// The bytes of a result that is a file.
    File(TaskId),
    /// The place to ask for its end.
    Cancel(TaskId),
    /// The place to ask for one more run.
    Retry(TaskId),
    /// What the callbacks of an agent are signed with.
    CallbackKey,
}

/// Somebody who may ask, and what for.
#[derive(Debug)]
struct Asked<'a> {
    edge: &'a Edge,
    head: &'a Head,
    caller: Caller,
    /// How long the answer may be put off.
    wait: Option<Duration>,
    query: Option<&'a str>,
    started: Instant,
}

/// Answers a request for tasks.
pub(crate) async fn answer(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let started = Instant::now();
    let (parts, _body) = request.into_parts();
    match respond(&edge, &parts, started).await {
        Ok(response) => response,
        Err(refused) => {
            if let Some(cause) = std::error::Error::source(&refused) {
                tracing::error!("{refused}: {}", ploinky_contract::chain(cause));
            } else {
                tracing::debug!(PATH = parts.uri.path(), "refused: {refused}");
            }
            reply::refusal(&refused, None, reader(&parts), has_large_body(&parts.headers))
        }
    }
}

async fn respond(edge: &Edge, parts: &Parts, started: Instant) -> Result<Response, Refusal> {
    let head = guardian::check_head(parts)?;
    let resource = Resource::of(parts.uri.path()).ok_or(Refusal::TaskNotFound)?;
    let allowed = resource.methods();
    guardian::check_method(parts, allowed)?;
    let wait = guardian::admit_to_tasks(&head, parts)?;
    let caller = edge.identify(&edge.routes(), &head, parts)?;
    let query = parts.uri.query();
    let asked = Asked { edge, head: &head, caller, wait, query, started };
    match (resource, &parts.method) {
        (Resource::All, &Method::DELETE) => listing::purge(&asked).await,
        (Resource::All, _) => listing::list(&asked).await,
        (Resource::One(id), &Method::DELETE) => asked.end(id).await,
        (Resource::One(id), _) => asked.show(id).await,
        (Resource::Result(id), _) => asked.result(id).await,
        (Resource::File(id), method) => asked.file(id, &parts.headers, method == Method::GET).await,
        (Resource::Cancel(id), _) => asked.cancel(id).await,
        (Resource::Retry(id), _) => asked.repeat(id).await,
        (Resource::CallbackKey, _) => asked.callback_key(),
    }
}

impl Resource {
    fn of(path: &str) -> Option<Self> {
        let rest = path.strip_prefix(ROOT)?;
        if rest.is_empty() {
            return Some(Self::All);
        }
        let mut segments = rest.strip_prefix('/')?.split('/');
        let first = segments.next()?;
        if rest == CALLBACK_KEY {
            return Some(Self::CallbackKey);
        }
        let id = first.parse().ok()?;
        let last = segments.next();
        if segments.next().is_some() {
            return None;
        }
        match last {
            None => Some(Self::One(id)),
            Some("result") => Some(Self::Result(id)),
            Some("file") => Some(Self::File(id)),
            Some("cancel") => Some(Self::Cancel(id)),
            Some("retry") => Some(Self::Retry(id)),
            Some(_) => None,
        }
    }

    fn methods(self) -> &'static str {
        match self {
            Self::All | Self::One(_) => "GET, HEAD, DELETE",
            Self::Result(_) | Self::File(_) | Self::CallbackKey => "GET, HEAD",
            Self::Cancel(_) | Self::Retry(_) => "POST",
        }
    }
}

impl Asked<'_> {
    /// The domain whose tasks may be seen; `None`: all.
    fn domain(&self) -> Option<&Domain> {
        (!self.caller.is_root()).then(|| self.head.domain())
    }

    /// Agents whose tasks may be seen by way of this domain.
    fn agents(&self) -> Vec<Arc<Agent>> {
        self.edge.routes().agents_of(self.domain()).cloned().collect()
    }

    /// The task, if it is there and the caller may see it.
    async fn find(&self, id: TaskId) -> Result<(Arc<Agent>, TaskStatus), Refusal> {
        // From one table: another one may hide what this one shows.
        let routes = self.edge.routes();
        for agent in routes.agents_of(self.domain()) {
            if let Some(status) = agent.queue().status(id).await?
                && self.caller.may_see(&status.owner)
            {
                return Ok((Arc::clone(agent), status));
            }
        }
        // An accepted task is never denied because its queue cannot be opened.
        let is_hidden = routes.has_hidden(self.domain());
        Err(if is_hidden { Refusal::Broken } else { Refusal::TaskNotFound })
    }

    /// The task, once it has ended or the time to wait is over.
    async fn find_ended(&self, id: TaskId) -> Result<(Arc<Agent>, TaskStatus), Refusal> {
        let (agent, status) = self.find(id).await?;
        let wait = self.wait.filter(|wait| !wait.is_zero() && !status.state.is_final());
        let Some(wait) = wait else { return Ok((agent, status)) };
        agent.queue().wait(id, wait).await;
        let status = agent.queue().status(id).await?.ok_or(Refusal::TaskNotFound)?;
        if status.state.is_final() {
            self.log_end(&agent, &status);
        }
        Ok((agent, status))
    }

    /// The outcome of the task, if it has ended when the time to wait is over.
    async fn find_final(&self, id: TaskId) -> Result<(Arc<Agent>, Held), Refusal> {
        let (agent, status) = self.find_ended(id).await?;
        if !status.state.is_final() {
            return Err(Refusal::TaskNotEnded(status.state));
        }
        let held = agent.queue().outcome(id).await?.ok_or(Refusal::TaskNotFound)?;
        Ok((agent, held))
    }

    async fn show(&self, id: TaskId) -> Result<Response, Refusal> {
        query::nothing(self.query)?;
        let (agent, status) = self.find_ended(id).await?;
        let held = if status.state.is_final() { agent.queue().outcome(id).await? } else { None };
        Ok(reply::task(agent.place(), status, held, self.wait))
    }

    async fn result(&self, id: TaskId) -> Result<Response, Refusal> {
        query::nothing(self.query)?;
        let (agent, Held { outcome, share, file: _ }) = self.find_final(id).await?;
        let mut response = match &outcome {
            Outcome::File(file) => {
                let sent = output::kept(agent.queue(), id, file, HeaderMap::new(), true).await?;
                reply::file_once(id, sent, file.name())
            }
            Outcome::Done(_) | Outcome::Failed(_) => reply::outcome(id, &outcome, share),
        };
        reply::put_wait(&mut response, self.wait);
        Ok(response)
    }

    /// The bytes of a result that is a file, or a part of them.
    async fn file(
        &self,
        id: TaskId,
        headers: &HeaderMap,
        wants_content: bool,
    ) -> Result<Response, Refusal> {
        query::nothing(self.query)?;
        let (agent, held) = self.find_final(id).await?;
        let Outcome::File(file) = held.outcome else { return Err(Refusal::NoFile) };
        let sent = output::kept(agent.queue(), id, &file, headers.clone(), wants_content).await?;
        Ok(reply::file_again(id, sent, file.name(), self.caller.is_somebody()))
    }

    /// Ends a task that goes on; removes one that has ended.
    async fn end(&self, id: TaskId) -> Result<Response, Refusal> {
        query::nothing(self.query)?;
        let (agent, status) = self.find(id).await?;
        if status.state.is_final() {
            agent.queue().remove(vec![id]).await?;
            return Ok(reply::removed(id));
        }
        let status = self.ask_for_end(&agent, id).await?;
        Ok(reply::ending(agent.place(), status))
    }

    /// Ends a task that goes on, and never takes the outcome of one that has ended.
    async fn cancel(&self, id: TaskId) -> Result<Response, Refusal> {
        query::nothing(self.query)?;
        let (agent, mut status) = self.find(id).await?;
        if !status.state.is_final() {
            status = self.ask_for_end(&agent, id).await?;
        }
        match status.state {
            TaskState::Queued | TaskState::Running | TaskState::Retrying => {
                Ok(reply::ending(agent.place(), status))
            }
            // However often it is asked for.
            TaskState::Cancelled => Ok(reply::task(agent.place(), status, None, None)),
            TaskState::Done | TaskState::Failed | TaskState::Dead => {
                Err(Refusal::TaskEnded(status.state))
            }
        }
    }

    /// Asks for the end of a task, and gives where it stands then: it may have come to another end meanwhile.
    async fn ask_for_end(&self, agent: &Agent, id: TaskId) -> Result<TaskStatus, Refusal> {
        let whom = if self.caller.is_admin() { "the admin" } else { "its owner" };
        let why = TaskError::new(ploinky_queue::code::CANCELLED, format!("{whom} ended the task"));
        agent.queue().cancel(id, why).await?;
        agent.queue().status(id).await?.ok_or(Refusal::TaskNotFound)
    }

    /// Accepts a task that ended without a result once more.
    async fn repeat(&self, id: TaskId) -> Result<Response, Refusal> {
        query::nothing(self.query)?;
        let (agent, status) = self.find(id).await?;
        if !matches!(status.state, TaskState::Failed | TaskState::Cancelled | TaskState::Dead) {
            return Err(Refusal::NotRepeatable(status.state));
        }
        guardian::permit_again(&self.caller, agent.gate(), &status.command)?;
        let new = random_id().map_err(Refusal::Internal)?;
        let Some(repeated) = agent.queue().repeat(id, new).await? else {
            return Err(Refusal::TaskNotFound);
        };
        if status.state == TaskState::Dead {
            agent.queue().remove(vec![id]).await?;
        }
        Ok(reply::accepted(agent.place(), repeated, None))
    }

    /// The secret of an agent's callbacks, for root only.
    fn callback_key(&self) -> Result<Response, Refusal> {
        if !self.caller.is_root() {
            return Err(Refusal::TaskNotFound);
        }
        let place = query::agent(self.query)?;
        let agents = self.agents();
        let agent =
            agents.iter().find(|agent| agent.place() == place).ok_or(Refusal::NothingThere)?;
        let key = self.edge.key().callback_key(agent.id()).map_err(Refusal::Internal)?;
        Ok(reply::callback_key(&key))
    }

    fn log_end(&self, agent: &Agent, status: &TaskStatus) {
        let now = Instant::now();
        let (http, code) = reply::status_of_end(status);
        let line = TaskLine {
            agent: agent.id(),
            command: &status.command,
            user: &status.owner,
            id: Some(status.id),
            status: http,
            code,
            duration: now.saturating_duration_since(self.started),
            cause: None,
        };
        self.edge.tasks().write(&line, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_ids_in_their_one_form_name_a_task() {
        let id = "0123456789abcdef0123456789abcdef";
        let path = |rest: &str| Resource::of(&format!("/tasks{rest}"));
        for rest in [
            "/".to_owned(),
            "x".to_owned(),
            "//".to_owned(),
            format!("//{id}"),
            format!("/{}", id.to_uppercase()),
            format!("/{id}0"),
            format!("/{id}%0a"),
            format!("/{id}/"),
            format!("/{id}/results"),
            format!("/{id}/result/"),
            format!("/{id}/retry/x"),
            format!("/{id}/cancel/"),
            "/Admin".to_owned(),
            "/*".to_owned(),
            "/../requests".to_owned(),
            format!("/{}", "a".repeat(10_000)),
        ] {
            assert_eq!(path(&rest), None, "{rest:.80}");
        }
        let id: TaskId = id.parse().unwrap();
        assert_eq!(path(""), Some(Resource::All));
        assert_eq!(path("/callback-key"), Some(Resource::CallbackKey));
        assert_eq!(path("/callback-key/"), None);
        assert_eq!(path(&format!("/{id}")), Some(Resource::One(id)));
        assert_eq!(path(&format!("/{id}/result")), Some(Resource::Result(id)));
        assert_eq!(path(&format!("/{id}/file")), Some(Resource::File(id)));
        assert_eq!(path(&format!("/{id}/cancel")), Some(Resource::Cancel(id)));
        assert_eq!(path(&format!("/{id}/retry")), Some(Resource::Retry(id)));
    }
}
