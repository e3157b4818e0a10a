//! What clients were told and what handlers did, and whether it fits together.

use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;

/// The books.
#[derive(Debug, Default)]
pub struct Ledger {
    tasks: Mutex<HashMap<String, Task>>,
    violations: Mutex<Vec<String>>,
    refused: Mutex<HashMap<u16, usize>>,
}

/// The name of a call: the id of the task, which a key may give to several one after the other, and the number
/// that is its parameter.
pub fn call(id: &str, number: usize) -> String {
    format!("{id}#{number}")
}

/// What is known of one task.
#[derive(Clone, Debug, Default)]
pub(crate) struct Task {
    /// Which command.
    pub command: String,
    /// A client read its 202.
    pub accepted: bool,
    /// What the first client that saw the end was told.
    pub outcome: Option<String>,
    /// A client asked for its removal.
    pub removed: bool,
}

/// The sum of a test.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Figures {
    /// 202 that clients read.
    pub accepted: usize,
    /// Accepted tasks that nobody knows any more.
    pub lost: usize,
    /// Tasks that ran more often than they may.
    pub twice: usize,
    /// Tasks that clients were told different things of.
    pub contradictory: usize,
    /// Runs.
    pub runs: usize,
    /// Tasks that ended as crashed.
    pub crashed: usize,
    /// Tasks that ended as cancelled.
    pub cancelled: usize,
    /// Tasks that failed in their last run.
    pub dead: usize,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { accepted, lost, twice, contradictory, runs, crashed, cancelled, dead } = self;
        write!(
            f,
            "accepted {accepted}, lost {lost}, run too often {twice}, contradictory {contradictory}; \
             runs {runs}, outcomes: crashed {crashed}, cancelled {cancelled}, dead {dead}"
        )
    }
}

impl Ledger {
    /// A client read the 202 of a task.
    pub fn accepted(&self, id: &str, command: &str) {
        let mut tasks = self.tasks.lock().unwrap();
        let task = tasks.entry(id.to_owned()).or_default();
        task.accepted = true;
        command.clone_into(&mut task.command);
    }

    /// Tasks that were accepted so far.
    pub fn count(&self) -> usize {
        self.tasks.lock().unwrap().values().filter(|task| task.accepted).count()
    }

    /// A client was told how a task ended.
    pub fn told(&self, id: &str, outcome: &str) {
        let mut tasks = self.tasks.lock().unwrap();
        let task = tasks.entry(id.to_owned()).or_default();
        if outcome.starts_with("200 ") && !outcome.contains(&format!("\"{id}\"")) {
            self.violated(format!("{id} has the outcome of another call: {outcome}"));
        }
        match &task.outcome {
            None => task.outcome = Some(outcome.to_owned()),
            Some(known) if known == outcome => {}
            Some(known) => {
                let what = format!("contradictory: {id} was `{known}`, is `{outcome}`");
                self.violations.lock().unwrap().push(what);
            }
        }
    }

    /// A client was told that a task has not ended; that contradicts an outcome.
    pub fn told_that_it_goes_on(&self, id: &str) {
        if let Some(Task { outcome: Some(known), .. }) = self.tasks.lock().unwrap().get(id) {
            let what = format!("contradictory: {id} was `{known}` and goes on");
            self.violations.lock().unwrap().push(what);
        }
    }

    /// A client was told that there is no such task; only its removal makes that true.
    pub fn told_that_it_is_unknown(&self, id: &str) {
        if let Some(Task { removed: false, .. }) = self.tasks.lock().unwrap().get(id) {
            self.violations.lock().unwrap().push(format!("lost: {id} is unknown"));
        }
    }

    /// A client asks for the removal of a task.
    pub fn removes(&self, id: &str) {
        self.tasks.lock().unwrap().entry(id.to_owned()).or_default().removed = true;
    }

    /// It was not removed after all: it had not ended.
    pub fn keeps(&self, id: &str) {
        self.tasks.lock().unwrap().entry(id.to_owned()).or_default().removed = false;
    }

    /// A submit was refused.
    pub fn refused(&self, status: u16) {
        *self.refused.lock().unwrap().entry(status).or_default() += 1;
    }

    /// How many submits were refused, by status.
    pub fn refusals(&self) -> Vec<(u16, usize)> {
        let mut all: Vec<_> = self.refused.lock().unwrap().iter().map(|(s, n)| (*s, *n)).collect();
        all.sort_unstable();
        all
    }

    /// Something else that must not be.
    pub fn violated(&self, what: String) {
        self.violations.lock().unwrap().push(what);
    }

    /// What clients saw that must not be.
    pub fn violations(&self) -> Vec<String> {
        self.violations.lock().unwrap().clone()
    }

    /// The sum, with what handlers did; a task with attempts may run `spare` times more often than its three.
    pub fn figures(&self, effects: &str, spare: usize) -> Figures {
        let mut runs = HashMap::<&str, (usize, &str)>::new();
        for line in effects.lines() {
            let mut words = line.split(' ');
            let (Some(id), Some(command)) = (words.next(), words.next()) else { continue };
            let (count, of) = runs.entry(id).or_default();
            *count += 1;
            *of = command;
        }
        let tasks = self.tasks.lock().unwrap();
        let mut figures = Figures { runs: effects.lines().count(), ..Figures::default() };
        for (id, (count, command)) in &runs {
            if if *command == "again" { 3 + spare } else { 1 } < *count {
                figures.twice += 1;
                println!("crash: {id} ({command}) ran {count} times");
            }
        }
        for (id, task) in tasks.iter().filter(|(_, task)| task.accepted) {
            figures.accepted += 1;
            let outcome = task.outcome.as_deref().unwrap_or_default();
            let ended = |code: &str| usize::from(outcome.contains(code));
            figures.crashed += ended("AGENT_CRASHED");
            figures.cancelled += ended("CANCELLED");
            figures.dead += ended("NOT_YET");
            figures.lost += usize::from(task.outcome.is_none() && !task.removed);
            if outcome.starts_with("200 ") && !runs.contains_key(id.as_str()) {
                self.violated(format!("{id} has a value and never ran: {outcome}"));
            }
        }
        let violations = self.violations();
        let lost = violations.iter().filter(|what| what.starts_with("lost")).count();
        figures.lost = figures.lost.max(lost);
        figures.contradictory = violations.len() - lost;
        figures
    }

    /// Accepted tasks that were not removed, and whether somebody saw their end.
    pub fn kept(&self) -> Vec<String> {
        let tasks = self.tasks.lock().unwrap();
        let mut kept: Vec<String> = tasks
            .iter()
            .filter(|(_, task)| task.accepted && !task.removed)
            .map(|(id, _)| id.clone())
            .collect();
        kept.sort_unstable();
        kept
    }
}
