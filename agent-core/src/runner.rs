//! One thread's life: take a task, claim it, carry it out, record how it ended.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ploinky_contract::limits::INBOX_SWEEP;
use ploinky_contract::{Container, Handler, TaskId, chain};
use ploinky_queue::{Claim, Claimed, NotClaimed, Recorded, TaskError, code};

use crate::boot_time::{BootTime, wait};
use crate::file_result::FileName;
use crate::handler;
use crate::inbox::Inbox;
use crate::interrupt::{Interrupt, Why};
use crate::job::Job;
use crate::lane::Lane;
use crate::lanes::{Lanes, Look};
use crate::log;
use crate::progress::Progress;
use crate::retry::{self, Then};
use crate::run::{Ending, Run};
use crate::schedule::Next;
use crate::worker::{Answer, Pool};

/// Waits between tries to record an outcome; each is twice the one before.
const RECORD_RETRY_FIRST: Duration = Duration::from_millis(20);
const RECORD_RETRY_MAX: Duration = Duration::from_secs(1);
/// How long after its deadline an outcome is still worth recording; then the server has written one.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Runner {
    lanes: Arc<Lanes>,
    inbox: Arc<Inbox>,
    handlers: HashMap<String, Handler>,
    pool: Option<Arc<Pool>>,
    code_path: String,
}

impl Runner {
    pub(crate) fn new(
        lanes: Arc<Lanes>,
        inbox: Arc<Inbox>,
        container: &Container,
        pool: Option<Arc<Pool>>,
        code_path: String,
    ) -> Self {
        let handlers = container
            .commands
            .iter()
            .map(|(name, command)| (name.as_str().to_owned(), command.handler.clone()))
            .collect();
        Self { lanes, inbox, handlers, pool, code_path }
    }

    /// Until the inbox is closed; the error of the inbox.
    pub(crate) fn run(&self, slot: usize, interrupt: &Interrupt) -> io::Result<()> {
        while let Some(Next { lane, id, class: _ }) =
            self.inbox.next(slot, interrupt, &self.lanes)?
        {
            match self.lanes.claim(slot, lane, id) {
                Ok(Claimed::Ours(job)) => self.carry_out(&job, interrupt),
                Ok(Claimed::Not(NotClaimed::Taken)) => {}
                Ok(Claimed::Not(NotClaimed::NotYet { not_before_boot_ns })) => {
                    self.put_off(lane, id, BootTime::from_ns(not_before_boot_ns));
                }
                Ok(Claimed::Not(NotClaimed::Stale)) => {
                    log::event(&format!("task {id} came too late to be run"));
                }
                Ok(Claimed::Not(NotClaimed::Unreadable(e))) => {
                    log::event(&format!("cannot read the request of task {id}: {}", chain(&e)));
                }
                Err(e) => {
                    log::event(&format!("cannot claim task {id}: {}", chain(&e)));
                    self.put_off(lane, id, BootTime::after(INBOX_SWEEP));
                }
            }
            interrupt.end();
        }
        Ok(())
    }

    /// Lets a task wait that was not claimed. One of the sync lane is found by the next sweep.
    fn put_off(&self, lane: Lane, id: TaskId, not_before: BootTime) {
        if lane == Lane::Durable
            && let Look::Waits(entry, _) = self.lanes.look(lane, id)
        {
            self.inbox.put_off(entry, not_before);
        }
    }

    fn carry_out(&self, job: &Job, interrupt: &Interrupt) {
        let write = |note: &serde_json::value::RawValue| self.lanes.note_progress(job, note);
        let mut run = Run {
            id: job.id(),
            json: job.json(),
            attempt: job.attempt(),
            deadline: job.run_deadline(),
            interrupt,
            progress: Progress::new(job.id(), job.is_kept().then_some(&write)),
            stream: None,
            code_path: &self.code_path,
            output: self.lanes.output(job.id()),
        };
        interrupt.stage.until(run.deadline);
        let ending = match self.lanes.open_stream(job) {
            Ok(stream) => {
                run.stream = stream;
                self.call(job, &mut run)
            }
            Err(ending) => ending,
        };
        run.progress.finish();
        drop(run);
        interrupt.stage.until(job.deadline().plus(LAST_WORD));
        self.settle(job, ending);
        interrupt.stage.moment();
    }

    fn call(&self, job: &Job, run: &mut Run<'_>) -> Ending {
        match (self.handlers.get(job.command().as_str()), &self.pool) {
            (Some(Handler::Spawn(words)), _) => match job.request() {
                Ok(request) => handler::run(words, &request, run),
                Err(e) => Ending::failed(code::INVALID_PARAMS, chain(&e)),
            },
            (Some(Handler::Worker), Some(pool)) => ask_worker(pool, run),
            // The manifest was checked to have workers if a command names them.
            (Some(Handler::Worker), None) | (None, _) => Ending::failed(
                code::UNKNOWN_COMMAND,
                format!("the agent has no command `{}`", job.command()),
            ),
        }
    }

    /// Records how a run ended, and lets the task wait for its next one if there is to be one.
    fn settle(&self, job: &Job, ending: Ending) {
        let (error, has_file) = match ending {
            Ending::Value(value) => return self.record(job, || self.lanes.complete(job, &value)),
            Ending::File(name) => match self.settle_file(job, &name) {
                Ok(()) => return,
                Err(error) => (error, true),
            },
            Ending::Asked(Why::Stopping) if let Some(claim) = job.retried() => {
                // The next runner takes it again; the run did not fail by itself and does not count.
                Self::try_on(job, || self.lanes.give_back(claim));
                return;
            }
            Ending::Asked(why) => (why.error(), false),
            Ending::Failed(error) => (error, false),
        };
        let TaskError { message, code, details: _ } = &error;
        let (id, command, attempt) = (job.id(), job.command(), job.attempt());
        if has_file && let Err(e) = self.lanes.remove_output(id) {
            log::event(&format!("cannot remove the file that task {id} left: {e}"));
        }
        if let Some((claim, wait)) = again(job, &error) {
            log::event(&format!(
                "run {attempt} of task {id} ({command}) failed: {code}: {message:?}; the next one \
                 comes in {wait:.1?}"
            ));
            let not_before = BootTime::after(wait);
            if Self::try_on(job, || self.lanes.put_off(claim, &error, wait)) {
                self.inbox.put_off(self.lanes.entry(claim.head()), not_before);
            }
            return;
        }
        log::event(&format!("task {id} ({command}) failed: {code}: {message:?}"));
        self.record(job, || self.lanes.fail(job, &error));
    }

    /// Records that the result is the file which the handler left.
    fn settle_file(&self, job: &Job, name: &FileName) -> Result<(), TaskError> {
        let bad = |why: String| TaskError::new(code::AGENT_BAD_RESULT, why);
        let mut sealed = Err(bad("the file of the handler could not be kept".to_owned()));
        Self::try_on(job, || {
            sealed = match self.lanes.seal(job, name) {
                Ok(Some(file)) => Ok(file),
                Ok(None) => Err(bad(format!(
                    "the handler left no file, or called it what no file is called: {name:?}"
                ))),
                Err(e) if e.is_fault_of_agent() => {
                    Err(bad(format!("what the handler left is no file: {}", chain(&e))))
                }
                Err(e) => return Err(io::Error::other(e)),
            };
            Ok(())
        });
        let file = sealed?;
        self.record(job, || self.lanes.complete_file(job, &file));
        Ok(())
    }

    fn record(&self, job: &Job, record: impl Fn() -> io::Result<Recorded>) {
        Self::try_on(job, || {
            if record()? == Recorded::AlreadySo {
                log::event(&format!("task {} had an outcome before its end", job.id()));
            }
            Ok(())
        });
        if job.lane() == Lane::Durable {
            self.inbox.is_over(job.id());
        }
    }

    /// Tries until it is written down or the server has given up; `false` then. A lock is never released
    /// without a record.
    fn try_on(job: &Job, mut write: impl FnMut() -> io::Result<()>) -> bool {
        let end = job.deadline().plus(LAST_WORD);
        let mut retry = RECORD_RETRY_FIRST;
        let mut is_told = false;
        loop {
            let Err(error) = write() else { return true };
            if !is_told {
                log::event(&format!(
                    "cannot record the outcome of task {}: {}",
                    job.id(),
                    chain(&error)
                ));
                is_told = true;
            }
            if end.is_past() {
                return false;
            }
            wait(&mut [], Some(BootTime::after(retry))).ok();
            retry = (retry * 2).min(RECORD_RETRY_MAX);
        }
    }
}

/// The claim and the wait before the next run, if one is to follow the run that failed.
fn again<'a>(job: &'a Job, error: &TaskError) -> Option<(&'a Claim, Duration)> {
    let claim = job.retried()?;
    let terms = &claim.head().terms;
    let random = RandomState::new().hash_one(claim.attempt());
    let now = BootTime::now();
    match retry::after(terms, claim.attempt(), job.deadline(), error, now, random) {
        Then::Again(wait) => Some((claim, wait)),
        Then::End => None,
    }
}

fn ask_worker(pool: &Pool, run: &mut Run<'_>) -> Ending {
    loop {
        // Each worker may have died while it was free, and so may the next one.
        if let Some(why) = run.interrupt.asked() {
            return Ending::Asked(why);
        }
        if run.deadline.is_past() {
            return Ending::failed(code::DEADLINE, "no worker process took the task in time");
        }
        let mut worker = match pool.take(run.deadline, run.interrupt) {
            Ok(worker) => worker,
            Err(ending) => return ending,
        };
        let (ending, patience) = match worker.ask(run) {
            Ok(Answer::Said { ending, is_followed }) => {
                if is_followed {
                    log::event(
                        "a worker wrote more than one line for one task, or did not read it to its end",
                    );
                    worker.retire(None);
                } else {
                    pool.give_back(worker);
                }
                return ending;
            }
            // It died while it was free; another one can have the task.
            Ok(Answer::NotAsked) => {
                worker.bury();
                continue;
            }
            Ok(Answer::Ended) => {
                worker.bury();
                let message = "the worker process ended during the task";
                return Ending::failed(code::AGENT_CRASHED, message);
            }
            Ok(Answer::Late) => (
                Ending::failed(code::DEADLINE, "the worker did not answer in time"),
                Some(Why::Cancelled),
            ),
            Ok(Answer::Asked(why)) => (Ending::Asked(why), Some(why)),
            Ok(Answer::Bad(why)) => (Ending::failed(code::AGENT_BAD_RESULT, why), None),
            Err(e) => {
                let message = format!("cannot talk to the worker: {e}");
                (Ending::failed(code::AGENT_CRASHED, message), None)
            }
        };
        // Recorded after it is over: as long as the task is locked, something may still work on it.
        worker.retire(patience);
        return ending;
    }
}
