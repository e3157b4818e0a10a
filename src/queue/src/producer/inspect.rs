//! Where a task stands, from what lies in the queue.

use std::io;

use ploinky_contract::limits::RESULT_MAX_BYTES;
use ploinky_contract::{TaskId, TaskState};
use rustix::fs::{AtFlags, Stat, statat};
use rustix::io::Errno;
use serde_json::value::RawValue;

use super::Producer;
use crate::directories::{Directories, exists};
use crate::note::read_note;
use crate::progress::read_progress;
use crate::read_result::{BadResult, read, read_prefix};
use crate::request::{TaskHead, read_head};
use crate::{Outcome, Request, TaskError, code};

/// Bytes of a record that tell its kind if it was written by us.
const KIND_BYTES: usize = 80;
/// Characters of the message of an outcome that are told of a task in brief.
const BRIEF_MAX_CHARS: usize = 200;

/// What lies in the queue of a task.
#[derive(Clone, Debug)]
pub struct Inspected {
    /// The request without its parameters.
    pub head: TaskHead,
    /// Where it stands. An end that is told here is durable.
    pub state: TaskState,
    /// The run that goes on, or the last one; 0 before the first.
    pub attempt: u32,
    /// When the request was written, in milliseconds since 1970. This and the other times are to be shown.
    pub submitted_ms: u64,
    /// When the last run began, as far as that is still known.
    pub started_ms: Option<u64>,
    /// When the task ended.
    pub ended_ms: Option<u64>,
    /// What the handler said last of its progress.
    pub progress: Option<Box<RawValue>>,
    /// Why the last run failed. Of an outcome that is its code and the beginning of its message.
    pub last_error: Option<TaskError>,
}

/// What a record says without being read as a whole.
enum Kind {
    Value,
    Error(TaskError),
}

impl Producer {
    /// Whether a request of this id is there, of whatever kind.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn has_request(&self, id: TaskId) -> io::Result<bool> {
        exists(&self.directories.requests, id)
    }

    /// Whether a task has an outcome or is gone: a look at names, good for a hint and not to be told.
    ///
    /// # Errors
    /// When the directories cannot be read.
    pub fn has_ended(&self, id: TaskId) -> io::Result<bool> {
        Ok(self.directories.has_outcome(id)? || !exists(&self.directories.requests, id)?)
    }

    /// The request of a task, or `None` if it is not there.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn request(&self, id: TaskId) -> Result<Option<Request>, BadResult> {
        use crate::request::REQUEST_FILE_MAX_BYTES;
        match read(&self.directories.requests, id, REQUEST_FILE_MAX_BYTES)? {
            Some(bytes) => Request::decode(&bytes).map(Some).map_err(BadResult::Record),
            None => Ok(None),
        }
    }

    /// Where a task stands, or `None` if it is not there. Reads little, whatever the size of the request and of
    /// the result.
    ///
    /// # Errors
    /// When it cannot be read at present, or its end not be made durable.
    pub fn inspect(&self, id: TaskId) -> Result<Option<Inspected>, BadResult> {
        let Some(inspected) = self.inspect_unsynced(id)? else { return Ok(None) };
        if inspected.state.is_final() {
            self.make_durable(&[id]).map_err(|source| BadResult::Trouble { source })?;
        }
        Ok(Some(inspected))
    }

    /// The same; who tells an end to a client has to make it durable before.
    pub(crate) fn inspect_unsynced(&self, id: TaskId) -> Result<Option<Inspected>, BadResult> {
        let Directories { requests, locks, .. } = &self.directories;
        // The request before the outcome: they are removed in this order, so a task that is gone by now is not
        // taken for one that waits.
        let Some((head, submitted)) = read_head(requests, id)? else { return Ok(None) };
        let trouble = |source| BadResult::Trouble { source };
        // The note before the lock, and both before the outcome: that is the way a task goes.
        let note = match read_note(locks, id) {
            Ok(note) => note,
            Err(e) if e.is_fault_of_agent() => None,
            Err(e) => return Err(e),
        };
        let lock = about(locks, id.as_str()).map_err(trouble)?;
        let progress = read_progress(locks, id)?;
        let ended = self.find_record(id)?;
        let failed = note.as_ref().map_or(0, |note| note.attempt);
        let is_running = lock.is_some() && ended.is_none();
        let mut inspected = Inspected {
            state: TaskState::Queued,
            attempt: failed + u32::from(is_running),
            submitted_ms: Some(head.terms.submitted_ms)
                .filter(|ms| 0 < *ms)
                .unwrap_or_else(|| mtime_ms(&submitted)),
            started_ms: lock.filter(|_| is_running).as_ref().map(mtime_ms),
            ended_ms: None,
            progress,
            last_error: None,
            head,
        };
        if let Some((kind, ended)) = ended {
            let is_retried = inspected.head.terms.is_retried();
            (inspected.state, inspected.last_error) = match kind {
                Kind::Value => (TaskState::Done, None),
                Kind::Error(error) if error.code == code::CANCELLED => {
                    (TaskState::Cancelled, Some(error))
                }
                Kind::Error(error) if is_retried => (TaskState::Dead, Some(error)),
                Kind::Error(error) => (TaskState::Failed, Some(error)),
            };
            // The last run leaves no note. Who was cancelled may have been waiting for it.
            if inspected.state != TaskState::Cancelled {
                inspected.attempt = failed + 1;
            }
            inspected.ended_ms = Some(mtime_ms(&ended));
            return Ok(Some(inspected));
        }
        // Its outcome goes after its request: it has none because it is being removed.
        if about(requests, id.as_str()).map_err(trouble)?.is_none() {
            return Ok(None);
        }
        inspected.state = match (&note, is_running) {
            (_, true) => TaskState::Running,
            (Some(_), false) => TaskState::Retrying,
            (None, false) => TaskState::Queued,
        };
        inspected.last_error = note.map(|note| note.error);
        Ok(Some(inspected))
    }

    fn find_record(&self, id: TaskId) -> Result<Option<(Kind, Stat)>, BadResult> {
        let Directories { responses, errors, .. } = &self.directories;
        for directory in [responses, errors] {
            match read_prefix(directory, id.as_str(), KIND_BYTES) {
                Ok(None) => {}
                Ok(Some((beginning, about))) => {
                    let kind = match kind_of(id, &beginning) {
                        Some(kind) => kind,
                        None => match read(directory, id, RESULT_MAX_BYTES) {
                            Ok(Some(bytes)) => kind_of_outcome(id, &bytes),
                            Ok(None) => continue,
                            Err(e) if e.is_fault_of_agent() => Kind::Error(bad(&e)),
                            Err(e) => return Err(e),
                        },
                    };
                    return Ok(Some((kind, about)));
                }
                // What is no result ends the task as an error.
                Err(e) if e.is_fault_of_agent() => {
                    let source = |source| BadResult::Trouble { source };
                    if let Some(about) = about(directory, id.as_str()).map_err(source)? {
                        return Ok(Some((Kind::Error(bad(&e)), about)));
                    }
                }
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }
}

/// The kind of a record that begins as ours do; an error has to be read for its code.
fn kind_of(id: TaskId, beginning: &[u8]) -> Option<Kind> {
    let rest = beginning.strip_prefix(br#"{"v":1,"id":""#)?;
    let rest = rest.strip_prefix(id.as_str().as_bytes())?.strip_prefix(br#"",""#)?;
    (rest.starts_with(br#"response":"#) || rest.starts_with(br#"file":"#)).then_some(Kind::Value)
}

fn kind_of_outcome(id: TaskId, bytes: &[u8]) -> Kind {
    match Outcome::decode(id, bytes) {
        Ok(Outcome::Done(_) | Outcome::File(_)) => Kind::Value,
        Ok(Outcome::Failed(error)) => Kind::Error(brief(error)),
        Err(e) => Kind::Error(bad(&BadResult::Record(e))),
    }
}

/// What an error record says, as far as many are held at once.
fn brief(error: TaskError) -> TaskError {
    let TaskError { mut message, code, details: _ } = error;
    if let Some((end, _)) = message.char_indices().nth(BRIEF_MAX_CHARS) {
        let last = message.get(..end).and_then(|kept| kept.char_indices().next_back());
        message.truncate(last.map_or(0, |(at, _)| at));
        message.push('…');
        message.shrink_to_fit();
    }
    TaskError { message, code, details: None }
}

/// What a record becomes that is none.
fn bad(why: &BadResult) -> TaskError {
    brief(TaskError::new(code::AGENT_BAD_RESULT, ploinky_contract::chain(why)))
}

/// What is known of a name without opening it.
fn about(directory: &std::os::fd::OwnedFd, name: &str) -> io::Result<Option<Stat>> {
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(about) => Ok(Some(about)),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn mtime_ms(about: &Stat) -> u64 {
    let seconds = u64::try_from(about.st_mtime).unwrap_or(0);
    #[expect(clippy::useless_conversion, reason = "its type depends on the architecture")]
    let nanoseconds = u64::try_from(about.st_mtime_nsec).unwrap_or(0);
    seconds.saturating_mul(1000).saturating_add(nanoseconds / 1_000_000)
}
