//! The task queue of one agent in files: calls that are waited for by [`AgentQueue`], tasks that are kept here.
//!
//! Calls make their few system calls in line on the event loop. What may wait for the disk runs on threads for
//! that: a client that is told of a task is told of something that is on the disk.

mod backlog;
mod callbacks;
mod committer;
mod hints;
mod repeat;
mod words;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ploinky_contract::TaskId;
use ploinky_contract::limits::FREE_BYTES;
use ploinky_queue::{
    Accepted, BadResult, FileResult, OutputFile, Producer, SubmitError, is_no_space,
};

use self::backlog::BacklogGuard;
pub(crate) use self::callbacks::{Callbacks, Place};
use self::committer::Committer;
pub(super) use self::hints::Hints;
use super::ticket::Ticket;
use super::{AgentQueue, Origin};
use crate::byte_budget::ByteBudget;
use crate::refusal::Refusal;
use crate::routes::Making;
use crate::task_queue::{
    Agreement, Held, Listing, NewTask, TaskError, TaskQueue, TaskStatus, Wanted,
};
use crate::uploads::Stage;

/// How long a task that is waited for goes without a hint from the kernel before it is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How often an id is tried again whose earlier task is being removed.
const VACANCY_TRIES: usize = 10;
/// Time between two tries.
const VACANCY_PAUSE: Duration = Duration::from_millis(20);

/// The queue of one agent in files. Clones are the same queue.
#[derive(Clone, Debug)]
pub(crate) struct FileQueue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    calls: Arc<AgentQueue>,
    producer: Arc<Producer>,
    origin: Origin,
    place: Place,
    callbacks: Callbacks,
    committer: Committer,
    backlog: BacklogGuard,
    /// For results that are not small.
    results: ByteBudget,
}

/// The right to the outcome of a call.
#[derive(Debug)]
pub(crate) struct Call(Ticket);

impl FileQueue {
    /// The queue of the agent at `place`, whose calls are waited for by `calls`.
    pub(crate) fn new(
        calls: Arc<AgentQueue>,
        place: Place,
        Making { origin, runtime: _, results, callbacks }: Making,
    ) -> Self {
        let producer = Arc::clone(calls.lanes().disk());
        let committer = Committer::new(Arc::clone(&producer));
        let backlog = BacklogGuard::new(Arc::clone(&producer));
        let shared =
            Shared { calls, producer, origin, place, callbacks, committer, backlog, results };
        Self { shared: Arc::new(shared) }
    }

    /// Who waits for calls.
    pub(crate) fn calls(&self) -> &Arc<AgentQueue> {
        &self.shared.calls
    }

    /// Does `work` where waiting for the disk hurts nobody.
    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> Result<T, Refusal> + Send + 'static,
    ) -> Result<T, Refusal> {
        let shared = Arc::clone(&self.shared);
        match tokio::task::spawn_blocking(move || work(&shared)).await {
            Ok(done) => done,
            Err(ended) => Err(Refusal::Queue(Box::new(ended))),
        }
    }

    /// Accepts `request`, or finds the one of the same id and digest.
    async fn commit(&self, request: ploinky_queue::Request) -> Result<TaskStatus, Refusal> {
        let shared = &self.shared;
        let id = request.id;
        shared.backlog.check(&request.owner)?;
        let status = words::status_of_new(&request);
        let owner = request.owner.clone();
        // A note on a task with a key may be that of an earlier call. Who posts outcomes removes it if there is no
        // such task.
        let is_own_note = request.terms.callback.is_some() && request.terms.digest.is_none();
        if let Some(url) = request.terms.callback.clone() {
            // First, so that no task is accepted whose outcome nobody would post.
            self.on_disk(move |shared| {
                let noted = shared.callbacks.put(id, &shared.place, &url);
                noted.map_err(|e| if is_no_space(&e) { Refusal::NoSpace } else { trouble(e) })
            })
            .await?;
        }
        let repeatable = request.terms.digest.is_some().then(|| request.clone());
        let mut submitted = shared.committer.commit(request).await?;
        if let Some(request) = repeatable {
            for _ in 0..VACANCY_TRIES {
                match submitted {
                    Err(SubmitError::BeingRemoved { .. }) => {
                        tokio::time::sleep(VACANCY_PAUSE).await;
                        submitted = shared.committer.commit(request.clone()).await?;
                    }
                    Ok(Accepted::Exists) => {
                        match self.known(id, request.terms.digest.clone()).await? {
                            Some(known) => return Ok(known),
                            // Removed just now.
                            None => submitted = shared.committer.commit(request.clone()).await?,
                        }
                    }
                    Ok(Accepted::New) | Err(_) => break,
                }
            }
        }
        match submitted {
            Ok(Accepted::New) => {
                shared.backlog.add(owner);
                Ok(status)
            }
            Ok(Accepted::Exists) => Err(Refusal::Submit(SubmitError::Exists { id })),
            Err(error @ (SubmitError::NoSpace { .. } | SubmitError::Publish { .. }))
                if is_own_note =>
            {
                self.shared.callbacks.take_back(id);
                Err(error.into())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Where the task stands that was asked for with the same key.
    async fn known(
        &self,
        id: TaskId,
        digest: Option<String>,
    ) -> Result<Option<TaskStatus>, Refusal> {
        self.on_disk(move |shared| match shared.producer.inspect(id).map_err(trouble)? {
            Some(inspected) if inspected.head.terms.digest != digest => Err(Refusal::KeyReused(id)),
            inspected => Ok(inspected.map(words::status)),
        })
        .await
    }
}

impl TaskQueue for FileQueue {
    type Ticket = Call;

    fn call(&self, task: NewTask) -> Result<Call, Refusal> {
        let timeout = task.deadline;
        let request = words::call(task, &self.shared.origin);
        self.shared.calls.submit(&request, timeout).map(Call)
    }

    fn stream(&self, task: NewTask) -> Result<(Call, OwnedFd), Refusal> {
        let timeout = task.deadline;
        let mut request = words::call(task, &self.shared.origin);
        request.terms.stream = true;
        let (ticket, pipe) = self.shared.calls.submit_stream(&request, timeout)?;
        Ok((Call(ticket), pipe))
    }

    fn stage(&self, upload: TaskId) -> io::Result<Stage> {
        Stage::make(Arc::clone(&self.shared.producer), upload)
    }

    async fn open(&self, id: TaskId, file: &FileResult) -> Result<OutputFile, Refusal> {
        let file = file.clone();
        self.on_disk(move |shared| {
            let absent = || BadResult::Open { source: io::ErrorKind::NotFound.into() };
            let opened = shared.producer.open_output(id, &file);
            opened.and_then(|file| file.ok_or_else(absent)).map_err(Refusal::BadResult)
        })
        .await
    }

    async fn submit(&self, task: NewTask, agreement: Agreement) -> Result<TaskStatus, Refusal> {
        self.commit(words::task(task, agreement, &self.shared.origin)).await
    }

    async fn wait(&self, id: TaskId, limit: Duration) -> bool {
        let has_ended = || self.shared.producer.has_ended(id).unwrap_or(false);
        let hint = self.shared.calls.hints().of(id);
        let end = Instant::now() + limit;
        loop {
            // Listens before it looks, so that nothing falls between.
            let told = hint.told();
            if has_ended() {
                return true;
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            tokio::time::timeout(left.min(LOOK), told).await.ok();
        }
    }

    async fn status(&self, id: TaskId) -> Result<Option<TaskStatus>, Refusal> {
        // One look at a name tells most queues of a host that they are not asked.
        if let Ok(false) = self.shared.producer.has_request(id) {
            return Ok(None);
        }
        self.on_disk(move |shared| match shared.producer.inspect(id) {
            Ok(inspected) => {
                Ok(inspected.filter(|inspected| inspected.head.terms.is_async()).map(words::status))
            }
            // A file that is no request is no task.
            Err(bad) if bad.is_fault_of_agent() => Ok(None),
            Err(error) => Err(trouble(error)),
        })
        .await
    }

    async fn outcome(&self, id: TaskId) -> Result<Option<Held>, Refusal> {
        self.on_disk(move |shared| {
            let mut share = None;
            let collected = shared.producer.collect_durable_if(id, &mut |bytes| {
                if FREE_BYTES < bytes {
                    share = shared.results.take(bytes);
                    return share.is_some();
                }
                true
            });
            let outcome = collected.map_err(trouble)?;
            Ok(outcome.map(|outcome| Held { outcome, share, file: None }))
        })
        .await
    }

    async fn list(&self, wanted: &Wanted) -> Result<Listing, Refusal> {
        let wanted = wanted.clone();
        self.on_disk(move |shared| words::list(&shared.producer, &wanted)).await
    }

    async fn cancel(&self, id: TaskId, why: TaskError) -> Result<(), Refusal> {
        self.on_disk(move |shared| {
            shared.producer.cancel_durable(id, &why).map_err(trouble)?;
            Ok(())
        })
        .await
    }

    async fn remove(&self, ids: Vec<TaskId>) -> Result<usize, Refusal> {
        self.on_disk(move |shared| shared.producer.remove_all(&ids).map_err(trouble)).await
    }

    async fn repeat(&self, old: TaskId, new: TaskId) -> Result<Option<TaskStatus>, Refusal> {
        repeat::repeat(self, old, new).await
    }
}

impl crate::task_queue::Ticket for Call {
    fn id(&self) -> TaskId {
        let Self(ticket) = self;
        ticket.id()
    }

    async fn wait(self) -> Result<Held, Refusal> {
        let Self(ticket) = self;
        ticket.wait().await
    }
}

fn trouble(error: impl std::error::Error + Send + Sync + 'static) -> Refusal {
    Refusal::Queue(Box::new(error))
}
