//! What the operator reads of tasks: one line each, as long as they are few.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ploinky_contract::limits::{TASK_LINES_BURST, TASK_LINES_PER_SECOND};
use ploinky_contract::{AgentId, CommandName, TaskId, UserId};

/// How a call to an agent ended.
#[derive(Debug)]
pub(crate) struct TaskLine<'a> {
    /// The agent.
    pub(crate) agent: &'a AgentId,
    /// What was called.
    pub(crate) command: &'a CommandName,
    /// For whom.
    pub(crate) user: &'a UserId,
    /// The task, if one was made.
    pub(crate) id: Option<TaskId>,
    /// Status of the response.
    pub(crate) status: u16,
    /// Stable code of a failure; empty if there is none.
    pub(crate) code: &'a str,
    /// From the whole request to the outcome.
    pub(crate) duration: Duration,
    /// What only the operator may know.
    pub(crate) cause: Option<String>,
}

/// Writes one line per task, within a budget: each costs a message to the journal.
#[derive(Debug)]
pub(crate) struct TaskLog {
    done: Mutex<Budget>,
    failed: Mutex<Budget>,
}

/// A bucket that fills with time and loses one token per line.
#[derive(Debug)]
struct Budget {
    tokens: f64,
    filled: Instant,
    left_out: u64,
}

impl TaskLog {
    /// Full budgets.
    pub(crate) fn new(now: Instant) -> Self {
        Self { done: Mutex::new(Budget::new(now)), failed: Mutex::new(Budget::new(now)) }
    }

    /// Writes the line, or counts it.
    pub(crate) fn write(&self, line: &TaskLine<'_>, now: Instant) {
        let TaskLine { agent, command, user, id, status, code, duration, cause } = line;
        let budget = if *status < 400 { &self.done } else { &self.failed };
        if !lock(budget).take(now) {
            return;
        }
        let id = id.as_ref().map(TaskId::as_str).unwrap_or_default();
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        macro_rules! line {
            ($level:ident, $($text:tt)+) => {
                tracing::$level!(
                    AGENT = %agent, TASK_ID = id, COMMAND = %command, USER_ID = %user,
                    STATUS = status, CODE = code, DURATION_US = us, $($text)+
                )
            };
        }
        match cause {
            Some(cause) => line!(error, "{command} of {agent}: {status} {code}: {cause}"),
            None if 500 <= *status => {
                line!(warn, "{command} of {agent}: {status} {code} in {us} µs");
            }
            None if 400 <= *status => {
                line!(info, "{command} of {agent}: {status} {code} in {us} µs");
            }
            None => line!(info, "{command} of {agent}: {status} in {us} µs"),
        }
    }

    /// Says how many lines were left out since the last summary, if any were.
    pub(crate) fn summarise(&self) {
        let done = std::mem::take(&mut lock(&self.done).left_out);
        let failed = std::mem::take(&mut lock(&self.failed).left_out);
        if 0 < done + failed {
            tracing::info!(
                DONE = done,
                FAILED = failed,
                "no lines for {done} more tasks that succeeded and {failed} that failed"
            );
        }
    }
}

impl Budget {
    fn new(now: Instant) -> Self {
        Self { tokens: f64::from(TASK_LINES_BURST), filled: now, left_out: 0 }
    }

    fn take(&mut self, now: Instant) -> bool {
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = passed
            .mul_add(f64::from(TASK_LINES_PER_SECOND), self.tokens)
            .min(f64::from(TASK_LINES_BURST));
        self.filled = now;
        if 1.0 <= self.tokens {
            self.tokens -= 1.0;
            true
        } else {
            self.left_out += 1;
            false
        }
    }
}

fn lock(budget: &Mutex<Budget>) -> std::sync::MutexGuard<'_, Budget> {
    budget.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_beyond_the_budget_are_counted() {
        let start = Instant::now();
        let mut budget = Budget::new(start);
        let taken = (0..TASK_LINES_BURST + 10).filter(|_| budget.take(start)).count();
        assert_eq!(taken, TASK_LINES_BURST as usize);
        assert_eq!(budget.left_out, 10);
        let later = start + Duration::from_secs(1);
        let taken = (0..1000).filter(|_| budget.take(later)).count();
        assert_eq!(taken, TASK_LINES_PER_SECOND as usize);
        let much_later = start + Duration::from_secs(3600);
        let taken = (0..1000).filter(|_| budget.take(much_later)).count();
        assert_eq!(taken, TASK_LINES_BURST as usize);
    }
}
