//! What the stages before it know of a queue of tasks: the seam behind which the storage may be another one.
//!
//! One value stands for the queue of one agent. The guardian, the edge and the replies speak to it by
//! [`TaskQueue`] and the values of this file only, which know neither files nor HTTP; the one implementation
//! is `orchestrator::FileQueue`. There is no `dyn` and nothing is boxed: each method gives a future of its own
//! type, and the call that is waited for makes its system calls before it gives the ticket, in line.
//!
//! What an implementation has to keep, whatever it stands on:
//!
//! - [`TaskQueue::submit`] says yes when the task will survive the fall of every process and of the host,
//!   not before. The same id again is the same task if its digest is the same, from whichever process it
//!   comes, and at whatever time.
//! - A task that was submitted gets exactly one outcome, which never changes. Whoever tries to give it a
//!   second one, be it the agent, a deadline or somebody who cancels, has to learn that there is one.
//! - An outcome that was told once is durable: no fall takes it back.
//! - [`TaskQueue::call`] is for what nobody needs when the connection is gone: at most one run, and giving
//!   the ticket up ends the task.
//! - All processes of the host see the same tasks. Nothing a process alone remembers decides anything.
//!
//! On NATS `JetStream`, as an example: per agent a work-queue stream for requests and a key-value bucket for
//! outcomes. `submit` publishes with the id as `Nats-Msg-Id` beside a `create` of the id in a bucket of heads
//! (the window of the deduplication is too short for keys), and waits for the acknowledgement of a server that
//! syncs always. An outcome is a `create` in its bucket, which the first one wins. `wait` watches the key,
//! `status` and `list` read heads and outcomes, `cancel` creates the outcome `CANCELLED` if no run was claimed
//! and otherwise publishes to a subject the runner listens to, `remove` purges both keys, retention is
//! `MaxAge`. `call` is a core request with a reply subject; dropping the ticket publishes the cancellation.

use std::fmt;
use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use ploinky_contract::{CommandName, Retry, TaskId, TaskState, UserId};
use serde_json::value::RawValue;

/// How a task ended: plain data, which the file queue has the words for.
pub(crate) use ploinky_queue::{FileResult, Outcome, OutputFile, TaskError};

use crate::byte_budget::ByteShare;
use crate::refusal::Refusal;
use crate::uploads::Stage;

/// A task to be handed over.
#[derive(Debug)]
pub(crate) struct NewTask {
    /// Names it. Random, or the same for the same idempotency key.
    pub(crate) id: TaskId,
    /// What to do.
    pub(crate) command: CommandName,
    /// With what. The user for whom the task runs is the first one.
    pub(crate) params: Vec<Box<RawValue>>,
    /// For whom, and who may see it.
    pub(crate) owner: UserId,
    /// 0 to 7, 0 first.
    pub(crate) urgency: u8,
    /// Time from now on in which it has to come to its end.
    pub(crate) deadline: Duration,
    /// Files that were uploaded belong to it.
    pub(crate) has_files: bool,
}

/// What is agreed on beyond that for a task that is accepted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Agreement {
    /// Time of one run; without it a run has all the time until the deadline.
    pub(crate) run: Option<Duration>,
    /// How it is run again; without it once at most.
    pub(crate) retry: Option<Retry>,
    /// Where its end is to be told.
    pub(crate) callback: Option<String>,
    /// Tells the same call from another one with the same idempotency key. `None`: the id is nobody else's.
    pub(crate) digest: Option<String>,
}

/// Where a task stands. The times are milliseconds since 1970, for people.
#[derive(Clone, Debug)]
pub(crate) struct TaskStatus {
    /// Its id.
    pub(crate) id: TaskId,
    /// What was called.
    pub(crate) command: CommandName,
    /// For whom.
    pub(crate) owner: UserId,
    /// Where it stands.
    pub(crate) state: TaskState,
    /// When it was accepted.
    pub(crate) submitted_ms: u64,
    /// When the last run began.
    pub(crate) started_ms: Option<u64>,
    /// When it came to its end.
    pub(crate) ended_ms: Option<u64>,
    /// The run that goes on, or the last one; 0 before the first.
    pub(crate) attempt: u16,
    /// Runs at most.
    pub(crate) attempts: u16,
    /// 0 to 7, 0 first.
    pub(crate) urgency: u8,
    /// What the handler said last of its progress.
    pub(crate) progress: Option<Box<RawValue>>,
    /// Why the last run had no result; of an outcome the code and the beginning of the message.
    pub(crate) error: Option<TaskError>,
}

/// An outcome in memory.
#[derive(Debug)]
pub(crate) struct Held {
    /// The outcome.
    pub(crate) outcome: Outcome,
    /// Its part of the memory for results, if it is not small; to be kept as long as a copy of it.
    pub(crate) share: Option<ByteShare>,
    /// The file, if the outcome is one and nobody can ask for it again. That of a task that is kept is read by
    /// [`TaskQueue::open`].
    pub(crate) file: Option<OutputFile>,
}

/// The place of a task in a list, newest first. The same order in all queues of a host.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct Position {
    /// When it was accepted, in nanoseconds since 1970.
    pub(crate) age_ns: u64,
    /// Decides between equals.
    pub(crate) id: TaskId,
}

/// A part of a list.
#[derive(Clone, Debug)]
pub(crate) struct Listing {
    /// Tasks and their places, newest first.
    pub(crate) tasks: Vec<(Position, TaskStatus)>,
    /// Behind this place there may be more; it may be far behind the last task, if few of many are wanted.
    pub(crate) rest: Option<Position>,
}

/// Which tasks a list is to have.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    /// Only in this state.
    pub(crate) state: Option<TaskState>,
    /// Only of this command.
    pub(crate) command: Option<CommandName>,
    /// Only of this user.
    pub(crate) owner: Option<UserId>,
    /// Only those behind this one.
    pub(crate) after: Option<Position>,
    /// So many at most.
    pub(crate) limit: usize,
}

/// The queue of one agent.
pub(crate) trait TaskQueue: fmt::Debug + Send + Sync + 'static {
    /// The right to the outcome of a call.
    type Ticket: Ticket;

    /// Hands over a call that is waited for. Nothing of it stays if it is refused.
    fn call(&self, task: NewTask) -> Result<Self::Ticket, Refusal>;

    /// The same for a call whose handler writes while it works: besides, the end of the pipe that is read.
    /// Closing it tells the handler that nobody reads any more.
    fn stream(&self, task: NewTask) -> Result<(Self::Ticket, OwnedFd), Refusal>;

    /// A place for the files of an upload, which come before their task. `upload` is an id of its own.
    fn stage(&self, upload: TaskId) -> io::Result<Stage>;

    /// Opens the result `file` of a task that is kept.
    fn open(
        &self,
        id: TaskId,
        file: &FileResult,
    ) -> impl Future<Output = Result<OutputFile, Refusal>> + Send;

    /// Accepts a task for good. It stays until [`TaskQueue::remove`] or the end of its retention. If the
    /// future is dropped the task may have been accepted or not. Gives where the task stands, which may be an
    /// older one of the same id and the same digest.
    fn submit(
        &self,
        task: NewTask,
        agreement: Agreement,
    ) -> impl Future<Output = Result<TaskStatus, Refusal>> + Send;

    /// Waits until a task has an outcome, or is gone, at most for `limit`; whether it came to that. Dropping
    /// the future changes nothing.
    fn wait(&self, id: TaskId, limit: Duration) -> impl Future<Output = bool> + Send;

    /// Where a task stands, or `None` if there is none that was accepted.
    fn status(
        &self,
        id: TaskId,
    ) -> impl Future<Output = Result<Option<TaskStatus>, Refusal>> + Send;

    /// The outcome of a task, or `None` if there is none yet.
    fn outcome(&self, id: TaskId) -> impl Future<Output = Result<Option<Held>, Refusal>> + Send;

    /// Tasks that were accepted, newest first.
    fn list(&self, wanted: &Wanted) -> impl Future<Output = Result<Listing, Refusal>> + Send;

    /// Asks for the end of a task, which then has the outcome `why` unless another one comes first. Whether
    /// it takes a moment is the agent's to say.
    fn cancel(
        &self,
        id: TaskId,
        why: TaskError,
    ) -> impl Future<Output = Result<(), Refusal>> + Send;

    /// Removes those of the tasks that have an outcome, and what belongs to them; how many these were.
    fn remove(&self, ids: Vec<TaskId>) -> impl Future<Output = Result<usize, Refusal>> + Send;

    /// Accepts the request of `old`, which has an outcome, once more as `new`, with the files that came with it.
    /// `None`: `old` is gone.
    fn repeat(
        &self,
        old: TaskId,
        new: TaskId,
    ) -> impl Future<Output = Result<Option<TaskStatus>, Refusal>> + Send;
}

/// The right to one outcome. Must be waited for; dropping it (the client went away) ends the task.
pub(crate) trait Ticket: fmt::Debug + Send {
    /// The task.
    fn id(&self) -> TaskId;

    /// Waits for the outcome; the queue bounds the time.
    fn wait(self) -> impl Future<Output = Result<Held, Refusal>> + Send;
}
