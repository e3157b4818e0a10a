//! One thread's life: take a task, claim it, carry it out, record how it ended.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use ploinky_contract::{Container, Handler};
use ploinky_queue::{Claim, Claimed, Consumer, NotClaimed, Outcome, Recorded, TaskError, code};
use serde_json::value::RawValue;

use crate::boot_time::{BootTime, wait};
use crate::handler;
use crate::inbox::Inbox;
use crate::interrupt::{Interrupt, Why};
use crate::log;
use crate::worker::{Answer, Pool, Said};
use ploinky_contract::chain;

/// Waits between tries to record an outcome; each is twice the one before.
const RECORD_RETRY_FIRST: Duration = Duration::from_millis(20);
const RECORD_RETRY_MAX: Duration = Duration::from_secs(1);
/// How long after its deadline an outcome is still worth recording; then the server has written one.
const LAST_WORD: Duration = Duration::from_secs(5);

/// What all threads share.
#[derive(Debug)]
pub(crate) struct Runner {
    consumer: Arc<Consumer>,
    inbox: Arc<Inbox>,
    handlers: HashMap<String, Handler>,
    pool: Option<Arc<Pool>>,
    code_path: String,
}

impl Runner {
    pub(crate) fn new(
        consumer: Arc<Consumer>,
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
        Self { consumer, inbox, handlers, pool, code_path }
    }

    /// Until the inbox is closed; the error of the inbox.
    pub(crate) fn run(&self, interrupt: &Interrupt) -> io::Result<()> {
        while let Some(id) = self.inbox.next(&self.consumer)? {
            interrupt.begin(id);
            match self.consumer.claim(id) {
                Ok(Claimed::Ours(claim)) => self.carry_out(&claim, interrupt),
                Ok(Claimed::Not(NotClaimed::Taken)) => {}
                Ok(Claimed::Not(NotClaimed::Stale)) => {
                    log::event(&format!("task {id} came too late to be run"));
                }
                Ok(Claimed::Not(NotClaimed::Unreadable(e))) => {
                    log::event(&format!("cannot read the request of task {id}: {}", chain(&e)));
                }
                // The next sweep finds it again.
                Err(e) => log::event(&format!("cannot claim task {id}: {}", chain(&e))),
            }
            interrupt.end();
        }
        Ok(())
    }

    fn carry_out(&self, claim: &Claim, interrupt: &Interrupt) {
        match self.handlers.get(claim.command().as_str()) {
            Some(Handler::Spawn(words)) => {
                match handler::run(words, claim, &self.code_path, interrupt) {
                    Outcome::Done(value) => self.complete(claim, &value),
                    Outcome::Failed(error) => self.fail(claim, &error),
                }
            }
            Some(Handler::Worker) => match &self.pool {
                Some(pool) => self.ask_worker(pool, claim, interrupt),
                // The manifest was checked to have workers if a command names them.
                None => self.fail(claim, &unknown(claim)),
            },
            None => self.fail(claim, &unknown(claim)),
        }
    }

    fn ask_worker(&self, pool: &Pool, claim: &Claim, interrupt: &Interrupt) {
        let deadline = BootTime::from_ns(claim.deadline_boot_ns());
        loop {
            // Each worker may have died while it was free, and so may the next one.
            if let Some(why) = interrupt.asked() {
                return self.fail(claim, &why.error());
            }
            if deadline.is_past() {
                let message = "no worker process took the task in time";
                return self.fail(claim, &TaskError::new(code::DEADLINE, message));
            }
            let mut worker = match pool.take(deadline, interrupt) {
                Ok(worker) => worker,
                Err(error) => return self.fail(claim, &error),
            };
            let (error, patience) = match worker.ask(claim, deadline, interrupt) {
                Ok(Answer::Said { said, is_followed }) => {
                    match said {
                        Said::Value(value) => self.complete(claim, value),
                        Said::Error(error) => self.fail(claim, &error),
                    }
                    if is_followed {
                        log::event(
                            "a worker wrote more than one line for one task, or did not read it to its end",
                        );
                        worker.retire(None);
                    } else {
                        pool.give_back(worker);
                    }
                    return;
                }
                // It died while it was free; another one can have the task.
                Ok(Answer::NotAsked) => {
                    worker.bury();
                    continue;
                }
                Ok(Answer::Ended) => {
                    worker.bury();
                    let message = "the worker process ended during the task";
                    return self.fail(claim, &TaskError::new(code::AGENT_CRASHED, message));
                }
                Ok(Answer::Late) => (
                    TaskError::new(code::DEADLINE, "the worker did not answer in time"),
                    Some(Why::Cancelled),
                ),
                Ok(Answer::Asked(why)) => (why.error(), Some(why)),
                Ok(Answer::Bad(why)) => (TaskError::new(code::AGENT_BAD_RESULT, why), None),
                Err(e) => (
                    TaskError::new(code::AGENT_CRASHED, format!("cannot talk to the worker: {e}")),
                    None,
                ),
            };
            // Recorded after it is over: as long as the task is locked, something may still work on it.
            worker.retire(patience);
            return self.fail(claim, &error);
        }
    }

    fn complete(&self, claim: &Claim, value: &RawValue) {
        Self::record(claim, || self.consumer.complete(claim, value));
    }

    fn fail(&self, claim: &Claim, error: &TaskError) {
        let TaskError { message, code, details: _ } = error;
        let command = claim.command();
        log::event(&format!("task {} ({command}) failed: {code}: {message:?}", claim.id()));
        Self::record(claim, || self.consumer.fail(claim, error));
    }

    /// Tries until it is recorded or the server has given up. A lock is never released without a record.
    fn record(claim: &Claim, record: impl Fn() -> io::Result<Recorded>) {
        let end = BootTime::from_ns(claim.deadline_boot_ns()).plus(LAST_WORD);
        let mut retry = RECORD_RETRY_FIRST;
        let mut is_told = false;
        loop {
            let error = match record() {
                Ok(Recorded::Made) => return,
                Ok(Recorded::AlreadySo) => {
                    let id = claim.id();
                    return log::event(&format!("task {id} had an outcome before its end"));
                }
                Err(e) => e,
            };
            if !is_told {
                log::event(&format!("cannot record the outcome of task {}: {error}", claim.id()));
                is_told = true;
            }
            if end.is_past() {
                return;
            }
            wait(&mut [], Some(BootTime::after(retry))).ok();
            retry = (retry * 2).min(RECORD_RETRY_MAX);
        }
    }
}

fn unknown(claim: &Claim) -> TaskError {
    TaskError::new(code::UNKNOWN_COMMAND, format!("the agent has no command `{}`", claim.command()))
}
