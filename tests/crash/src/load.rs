//! Clients: each submits tasks, looks how they end, looks again elsewhere, and removes most of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::host::{Host, WORKERS};
use crate::http::{Client, Reply};
use crate::ledger::{Ledger, call};
use crate::process::pause;
use crate::random::Random;

/// Tasks that a client submits before it looks after them.
const WAVE: usize = 16;
/// Time that a client gives an answer; longer than anything is stopped.
const PATIENCE: Duration = Duration::from_secs(10);
/// Time in which a task has to end when nothing dies any more.
const END: Duration = Duration::from_secs(120);

/// The same for who shall come to an end.
const SOON: Duration = Duration::from_secs(15);

/// Numbers that no two submits of this program have in common.
static NUMBERS: AtomicUsize = AtomicUsize::new(0);

/// What clients do.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// Tasks to be accepted.
    pub tasks: usize,
    /// Clients.
    pub clients: usize,
    /// In percent: tasks with a key, whose submit is repeated until it is accepted.
    pub keyed: usize,
    /// In percent: tasks that may run three times.
    pub retried: usize,
    /// In percent: tasks that are cancelled at once.
    pub cancelled: usize,
    /// In percent: tasks that are kept until the end.
    pub kept: usize,
    /// In percent: tasks with a key whose key is used for another one after the removal.
    pub reused: usize,
}

impl Plan {
    /// A bit of everything.
    pub const fn of(tasks: usize) -> Self {
        Self { tasks, clients: 8, keyed: 50, retried: 30, cancelled: 3, kept: 10, reused: 30 }
    }
}

/// A task that was accepted.
#[derive(Debug)]
struct Submitted {
    call: String,
    key: Option<usize>,
}

/// A plan that is carried out.
#[derive(Debug)]
pub struct Load<'a> {
    host: &'a Host,
    plan: Plan,
    ledger: &'a Ledger,
    working: AtomicUsize,
    gives_up: AtomicBool,
}

impl<'a> Load<'a> {
    /// Nothing happens yet.
    pub fn new(host: &'a Host, plan: Plan, ledger: &'a Ledger) -> Self {
        let working = AtomicUsize::new(plan.clients);
        Self { host, plan, ledger, working, gives_up: AtomicBool::new(false) }
    }

    /// Carries the plan out while `meanwhile` goes on; that has to look at [`Load::goes_on`].
    pub fn run(&self, meanwhile: impl FnOnce(&Self)) {
        std::thread::scope(|scope| {
            for _ in 0..self.plan.clients {
                let mut random = self.host.random();
                scope.spawn(move || {
                    let _done = Done(&self.working);
                    let mut client = Client::new(self.host.ports(), PATIENCE);
                    while self.ledger.count() < self.plan.tasks && !self.gives_up() {
                        self.wave(&mut client, &mut random);
                    }
                });
            }
            meanwhile(self);
        });
    }

    /// Whether a client still works.
    pub fn goes_on(&self) -> bool {
        0 < self.working.load(Ordering::Relaxed)
    }

    /// Lets the clients submit nothing more.
    pub fn stop(&self) {
        self.gives_up.store(true, Ordering::Relaxed);
    }

    fn gives_up(&self) -> bool {
        self.gives_up.load(Ordering::Relaxed)
    }

    fn wave(&self, client: &mut Client, random: &mut Random) {
        let submitted: Vec<Submitted> =
            (0..WAVE).filter_map(|_| self.submit(client, random, None)).collect();
        for mut task in submitted {
            while self.look_after(client, random, &task)
                && let Some(key) = task.key.filter(|_| random.percent(self.plan.reused))
                && let Some(next) = self.submit(client, random, Some(key))
            {
                task = next;
            }
        }
    }

    /// Sees a task to its end; whether it was removed then.
    fn look_after(&self, client: &mut Client, random: &mut Random, task: &Submitted) -> bool {
        let Submitted { call, .. } = task;
        if random.percent(self.plan.cancelled) && !self.cancel(client, random, call) {
            return false;
        }
        if !self.see_end(client, random, call) {
            return false;
        }
        for _ in 0..2 {
            self.look(client, random, call);
        }
        let removes = !random.percent(self.plan.kept);
        if removes {
            self.remove(client, random, call);
        }
        removes
    }

    /// A task that was accepted, under a key that was used before if there is one.
    fn submit(
        &self,
        client: &mut Client,
        random: &mut Random,
        used: Option<usize>,
    ) -> Option<Submitted> {
        let command = if random.percent(self.plan.retried) { "again" } else { "once" };
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        let key = used.or_else(|| random.percent(self.plan.keyed).then_some(number));
        let header = key.map(|key| format!("Idempotency-Key: k{key}\r\n")).unwrap_or_default();
        let headers = format!("Prefer: respond-async\r\nTask-Deadline: 604800\r\n{header}");
        let body = format!(r#"{{"command":"{command}","params":[{number}]}}"#);
        loop {
            match client.ask(random.below(WORKERS), "POST", "/a", &headers, &body) {
                Ok(reply) if reply.status == 202 => {
                    let call = call(&reply.task, number);
                    self.ledger.accepted(&call, command);
                    return Some(Submitted { call, key });
                }
                Ok(reply) => {
                    self.ledger.refused(reply.status);
                    if reply.status == 422 && used.is_some() {
                        // A removal that was interrupted is undone by a power cut.
                        let path = format!("/tasks/{}", reply.task);
                        client.ask(random.below(WORKERS), "DELETE", &path, "", "").ok();
                    } else if !matches!(reply.status, 404 | 429 | 500 | 503 | 507) {
                        self.ledger.violated(format!("a submit was answered with {reply:?}"));
                        return None;
                    }
                    pause(random.millis(5, 50));
                }
                Err(_) => {}
            }
            if key.is_none() || self.gives_up() {
                return None;
            }
        }
    }

    /// Asks again and again until a task has ended; `false` if it never does.
    pub fn see_end(&self, client: &mut Client, random: &mut Random, call: &str) -> bool {
        let start = Instant::now();
        while !self.look(client, random, call) {
            let limit = if self.gives_up() { SOON } else { END };
            if limit < start.elapsed() {
                return false;
            }
            // Not everybody waits for the end with a request.
            if random.percent(50) {
                let (path, wait) = (path_of(call), "Prefer: wait=2\r\n");
                client.ask(random.below(WORKERS), "GET", &path, wait, "").ok();
            } else {
                pause(random.millis(1, 30));
            }
        }
        true
    }

    /// Looks once at a task, at some worker; whether it has ended, or is known no more.
    pub fn look(&self, client: &mut Client, random: &mut Random, call: &str) -> bool {
        let path = format!("{}/result", path_of(call));
        let Ok(reply) = client.ask(random.below(WORKERS), "GET", &path, "", "") else {
            return false;
        };
        match (reply.status, reply.code().as_str()) {
            (409, "TASK_NOT_ENDED") => self.ledger.told_that_it_goes_on(call),
            (404, "TASK_NOT_FOUND") => {
                self.ledger.told_that_it_is_unknown(call);
                return true;
            }
            _ if is_outcome(&reply, call) => {
                self.ledger.told(call, &format!("{} {}", reply.status, reply.body));
                return true;
            }
            _ => {}
        }
        false
    }

    /// Cancels a task; `false` if it is gone with that, or may be.
    fn cancel(&self, client: &mut Client, random: &mut Random, call: &str) -> bool {
        self.ledger.removes(call);
        let path = path_of(call);
        let asked = client.ask(random.below(WORKERS), "DELETE", &path, "", "");
        let is_asked = asked.is_ok_and(|reply| reply.status == 202);
        if is_asked {
            self.ledger.keeps(call);
        }
        is_asked
    }

    /// Removes a task, or cancels it if it has not ended.
    pub fn remove(&self, client: &mut Client, random: &mut Random, call: &str) {
        let start = Instant::now();
        while start.elapsed() < END {
            self.ledger.removes(call);
            match client.ask(random.below(WORKERS), "DELETE", &path_of(call), "", "") {
                Ok(Reply { status: 204 | 404, .. }) => return,
                Ok(Reply { status: 202, .. }) | Err(_) => {}
                Ok(reply) if 500 <= reply.status || reply.status == 429 => {}
                Ok(reply) => {
                    self.ledger.violated(format!("a removal was answered with {reply:?}"));
                    return;
                }
            }
            pause(random.millis(5, 50));
        }
        self.ledger.violated(format!("{call} cannot be removed"));
    }
}

/// Counts a client out, however it ends.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Where the task of a call is.
fn path_of(call: &str) -> String {
    format!("/tasks/{}", call.split('#').next().unwrap())
}

/// Whether an answer tells the end of a task, and not that the worker cannot tell it now.
fn is_outcome(reply: &Reply, call: &str) -> bool {
    let codes =
        ["AGENT_CRASHED", "AGENT_BAD_RESULT", "AGENT_STOPPED", "CANCELLED", "DEADLINE", "NOT_YET"];
    call.starts_with(&reply.task)
        && !reply.task.is_empty()
        && (reply.status == 200 || codes.contains(&reply.code().as_str()))
}
