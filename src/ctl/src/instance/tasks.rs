//! What an instance is asked about tasks, and what it answers.

use std::io::Read;
use std::time::Duration;

use ploinky_contract::limits::TASKS_PAGE_MAX;
use ploinky_contract::{CommandName, TaskDocument, TaskId, TaskPage, TaskState, UserId};
use serde::Deserialize;
use serde_json::Value;

use super::upload::Upload;
use super::{Answer, AskError, Instances, parsed};
use crate::place::Place;

/// Bytes of one page: each task with its progress and the end of what a handler complained of.
const PAGE_MAX_BYTES: u64 = 64 << 20;
/// Tasks that are asked for at once.
const PAGE_TASKS: usize = 500;
const _: () = assert!(PAGE_TASKS <= TASKS_PAGE_MAX);
/// Pages without tasks that are passed over in a row: an instance that searches long for few tasks among many
/// says after 2 s per agent how far it came.
const EMPTY_PAGES_MAX: usize = 1000;

/// A task that is to be accepted.
pub(crate) struct Submission<'a> {
    pub(crate) place: &'a Place,
    pub(crate) command: &'a CommandName,
    pub(crate) key: Option<&'a str>,
    pub(crate) urgency: Option<u8>,
    /// Seconds from now.
    pub(crate) deadline: Option<u64>,
    pub(crate) callback: Option<&'a str>,
}

/// Which tasks are meant.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter<'a> {
    pub(crate) agent: Option<&'a Place>,
    pub(crate) state: Option<TaskState>,
    pub(crate) command: Option<&'a CommandName>,
    pub(crate) owner: Option<&'a UserId>,
}

/// What `DELETE` did.
#[derive(Debug)]
pub(crate) enum Deleted {
    /// It has not ended; it was asked to.
    Cancelled(Box<TaskDocument>),
    /// It had ended; nothing of it is left.
    Removed,
}

#[derive(Deserialize)]
struct Wrapped {
    task: Option<TaskDocument>,
}

#[derive(Deserialize)]
struct Purged {
    removed: u64,
}

#[derive(Deserialize)]
struct Key {
    #[serde(alias = "secret")]
    key: String,
}

impl Filter<'_> {
    fn pairs(&self) -> Vec<(&'static str, String)> {
        let Self { agent, state, command, owner } = self;
        let mut pairs = Vec::new();
        pairs.extend(agent.map(|place| ("agent", place.to_string())));
        pairs.extend(state.map(|state| ("state", state.as_str().to_owned())));
        pairs.extend(command.map(|command| ("command", command.to_string())));
        pairs.extend(owner.map(|owner| ("owner", owner.to_string())));
        pairs
    }
}

impl Submission<'_> {
    /// The headers, `Host` first.
    fn headers(&self) -> Vec<(&'static str, String)> {
        let Self { place, command: _, key, urgency, deadline, callback } = self;
        let mut headers =
            vec![("Host", place.domain.to_string()), ("Prefer", "respond-async".to_owned())];
        headers.extend(key.map(|key| ("Idempotency-Key", key.to_owned())));
        headers.extend(urgency.map(|urgency| ("Priority", format!("u={urgency}"))));
        headers.extend(deadline.map(|seconds| ("Task-Deadline", seconds.to_string())));
        headers.extend(callback.map(|url| ("Callback-Url", url.to_owned())));
        headers
    }
}

impl Instances {
    /// Has a task accepted.
    pub(crate) fn submit(
        &self,
        submission: &Submission<'_>,
        parameters: &[Value],
    ) -> Result<TaskDocument, AskError> {
        let Submission { place, command, .. } = submission;
        let body = serde_json::json!({ "command": command, "params": parameters }).to_string();
        let answer = self.send(body, |agent| {
            let post = agent.post(format!("http://localhost{}", place.path));
            let post = post.header("Content-Type", "application/json");
            submission
                .headers()
                .into_iter()
                .fold(post, |post, (name, value)| post.header(name, value))
        })?;
        self.accepted(answer)
    }

    /// Has a task with files accepted.
    pub(crate) fn upload(
        &self,
        submission: &Submission<'_>,
        mut upload: Upload,
    ) -> Result<TaskDocument, AskError> {
        let Submission { place, command, .. } = submission;
        let below = place.path.as_str().trim_end_matches('/');
        let (kind, length) = (upload.media_type(), upload.length());
        let sent = self.send(ureq::SendBody::from_reader(&mut upload), |agent| {
            let post = agent
                .post(format!("http://localhost{below}/upload"))
                .query("command", command.as_str())
                .header("Content-Type", kind)
                .header("Content-Length", length)
                // A refusal comes before the files are sent.
                .header("Expect", "100-continue");
            submission
                .headers()
                .into_iter()
                .fold(post, |post, (name, value)| post.header(name, value))
        });
        match (upload.failed(), sent) {
            (Some(failed), Err(AskError::Lost { .. })) => Err(failed),
            (_, sent) => self.accepted(sent?),
        }
    }

    /// A task with its result; with `wait`, when it has ended or that time is over.
    pub(crate) fn task(
        &self,
        id: TaskId,
        wait: Option<Duration>,
    ) -> Result<TaskDocument, AskError> {
        let answer = self.ask(|agent| {
            let get = agent.get(format!("http://localhost/tasks/{id}"));
            match wait {
                Some(wait) => get.header("Prefer", format!("wait={}", wait.as_secs())),
                None => get,
            }
        })?;
        document(&answer.document()?)
    }

    /// What a call that waited would have been answered.
    pub(crate) fn result(&self, id: TaskId) -> Result<Vec<u8>, AskError> {
        self.ask(|agent| agent.get(format!("http://localhost/tasks/{id}/result")))?.document()
    }

    /// The bytes of a result that is a file.
    pub(crate) fn file(&self, id: TaskId) -> Result<impl Read + use<>, AskError> {
        let answer = self.ask(|agent| agent.get(format!("http://localhost/tasks/{id}/file")))?;
        Ok(answer.reader())
    }

    /// Cancels a task that has not ended; refused if it has.
    pub(crate) fn cancel(&self, id: TaskId) -> Result<TaskDocument, AskError> {
        let answer =
            self.send("", |agent| agent.post(format!("http://localhost/tasks/{id}/cancel")))?;
        document(&answer.document()?)
    }

    /// Cancels a task that has not ended, removes one that has.
    pub(crate) fn delete(&self, id: TaskId) -> Result<Deleted, AskError> {
        let answer = self.ask(|agent| agent.delete(format!("http://localhost/tasks/{id}")))?;
        if answer.status == 204 {
            return Ok(Deleted::Removed);
        }
        Ok(Deleted::Cancelled(Box::new(document(&answer.document()?)?)))
    }

    /// A new task with the same request as one that failed.
    pub(crate) fn retry(&self, id: TaskId) -> Result<TaskDocument, AskError> {
        let answer =
            self.send("", |agent| agent.post(format!("http://localhost/tasks/{id}/retry")))?;
        self.accepted(answer)
    }

    /// Removes all dead tasks, or those of one agent; how many they were.
    pub(crate) fn purge(&self, agent: Option<&Place>) -> Result<u64, AskError> {
        let filter = Filter { agent, state: Some(TaskState::Dead), ..Filter::default() };
        let answer =
            self.ask(|agent| agent.delete("http://localhost/tasks").query_pairs(filter.pairs()))?;
        let Purged { removed } = parsed(&answer.document()?)?;
        Ok(removed)
    }

    /// The key with which the callbacks of an agent are signed.
    pub(crate) fn callback_key(&self, place: &Place) -> Result<String, AskError> {
        let place = place.to_string();
        let answer = self
            .ask(|agent| agent.get("http://localhost/tasks/callback-key").query("agent", &place))?;
        let Key { key } = parsed(&answer.document()?)?;
        Ok(key)
    }

    /// The newest tasks, at most `most`, and whether there are more.
    pub(crate) fn list(
        &self,
        filter: &Filter<'_>,
        most: usize,
    ) -> Result<(Vec<TaskDocument>, bool), AskError> {
        let mut tasks: Vec<TaskDocument> = Vec::new();
        let mut cursor: Option<String> = None;
        let mut empty_pages = 0;
        loop {
            let limit = (most - tasks.len()).min(PAGE_TASKS);
            let mut pairs = filter.pairs();
            pairs.push(("limit", limit.to_string()));
            pairs.extend(cursor.clone().map(|cursor| ("cursor", cursor)));
            let answer =
                self.ask(|agent| agent.get("http://localhost/tasks").query_pairs(pairs))?;
            let body = answer.bytes(PAGE_MAX_BYTES)?;
            let TaskPage { tasks: page, next } = parsed(&body)?;
            empty_pages = if page.is_empty() { empty_pages + 1 } else { 0 };
            tasks.extend(page);
            tasks.truncate(most);
            match next {
                Some(_) if tasks.len() == most => return Ok((tasks, true)),
                Some(next) if cursor.as_ref() == Some(&next) => {
                    let reason = "a page says that the next one is itself".to_owned();
                    return Err(AskError::Unreadable { reason });
                }
                Some(_) if EMPTY_PAGES_MAX <= empty_pages => {
                    let reason = format!("{empty_pages} pages in a row were without tasks");
                    return Err(AskError::Unreadable { reason });
                }
                Some(next) => cursor = Some(next),
                None => return Ok((tasks, false)),
            }
        }
    }

    /// The lines of a command that goes on, as they come.
    pub(crate) fn subscribe(
        &self,
        place: &Place,
        command: &CommandName,
        parameters: &[Value],
    ) -> Result<impl Read + use<>, AskError> {
        let below = place.path.as_str().trim_end_matches('/');
        let parameters = Value::from(parameters).to_string();
        let answer = self.ask(|agent| {
            agent
                .get(format!("http://localhost{below}/subscribe"))
                .query("command", command.as_str())
                .query("params", &parameters)
                .header("Host", place.domain.as_str())
                .header("Accept", "text/event-stream")
        })?;
        Ok(answer.reader())
    }

    /// The task of an answer; asked for if the answer has only its id.
    fn accepted(&self, answer: Answer) -> Result<TaskDocument, AskError> {
        let task = answer.task();
        match (document(&answer.document()?), task) {
            (Err(_no_document), Some(id)) => self.task(id, None),
            (found, _) => found,
        }
    }
}

/// A task alone, or within an answer.
fn document(body: &[u8]) -> Result<TaskDocument, AskError> {
    match serde_json::from_slice(body) {
        Ok(Wrapped { task: Some(task) }) => Ok(task),
        Ok(Wrapped { task: None }) | Err(_) => parsed(body),
    }
}
