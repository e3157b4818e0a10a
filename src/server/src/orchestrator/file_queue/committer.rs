//! Makes tasks durable, many with one turn of the disk: what comes while a batch is being written is the next.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ploinky_contract::limits::{COMMIT_BATCH, COMMIT_WAITING};
use ploinky_queue::{Accepted, Producer, Request, SubmitError};
use tokio::sync::oneshot;

use crate::refusal::Refusal;

/// Batches of one agent that are written at once: the journal of a file system commits for all threads that
/// wait for it, while one thread that syncs file after file waits for a commit per file.
const BATCHES_AT_ONCE: usize = 8;
/// Requests of one batch, so that all batches together are one group commit.
const BATCH: usize = COMMIT_BATCH / BATCHES_AT_ONCE;

/// What became of one request.
pub(super) type Committed = Result<Accepted, SubmitError>;

/// Requests of one agent on their way to the disk. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Committer {
    producer: Arc<Producer>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<Waiting>,
    /// Threads that write batches; each ends when nothing waits any more.
    running: usize,
}

#[derive(Debug)]
struct Waiting {
    request: Request,
    told: oneshot::Sender<Committed>,
}

impl Committer {
    /// Writes into the queue of `producer`.
    pub(super) fn new(producer: Arc<Producer>) -> Self {
        Self { producer, state: Arc::default() }
    }

    /// Makes a request durable and visible. It may be so even if the future is dropped.
    pub(super) async fn commit(&self, request: Request) -> Result<Committed, Refusal> {
        let (told, hears) = oneshot::channel();
        {
            let mut state = self.lock();
            if COMMIT_WAITING <= state.waiting.len() {
                return Err(Refusal::Overrun);
            }
            state.waiting.push_back(Waiting { request, told });
            if state.running < BATCHES_AT_ONCE {
                state.running += 1;
                let committer = self.clone();
                tokio::task::spawn_blocking(move || committer.write());
            }
        }
        hears.await.map_err(|ended| Refusal::Queue(Box::new(ended)))
    }

    /// Writes batches until nothing waits.
    fn write(&self) {
        loop {
            let (requests, told): (Vec<_>, Vec<_>) = {
                let mut state = self.lock();
                let length = BATCH.min(state.waiting.len());
                if length == 0 {
                    state.running -= 1;
                    return;
                }
                state.waiting.drain(..length).map(|one| (one.request, one.told)).unzip()
            };
            for (told, committed) in told.into_iter().zip(self.write_batch(&requests)) {
                // Who went away finds the task by its key, or never asks.
                drop(told.send(committed));
            }
        }
    }

    fn write_batch(&self, requests: &[Request]) -> Vec<Committed> {
        // What cannot be told, the submission itself will tell.
        if self.producer.has_room().unwrap_or(true) {
            return self.producer.submit_durable(requests);
        }
        self.producer.find_durable(requests)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
