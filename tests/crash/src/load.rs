//! Clients: each submits tasks, looks how they end, looks again elsewhere, and removes most of them.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use crate::host::{Host, WORKERS};
use crate::http::{Client, Reply};
use crate::ledger::Ledger;
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
static KEYS: AtomicUsize = AtomicUsize::new(0);

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
}

impl Plan {
    /// A bit of everything.
    pub const fn of(tasks: usize) -> Self {
        Self { tasks, clients: 8, keyed: 50, retried: 30, cancelled: 3, kept: 10 }
    }
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
        let ids: Vec<String> = (0..WAVE).filter_map(|_| self.submit(client, random)).collect();
        for id in ids {
            if random.percent(self.plan.cancelled) && !self.cancel(client, random, &id) {
                continue;
            }
            if !self.see_end(client, random, &id) {
                continue;
            }
            for _ in 0..2 {
                self.look(client, random, &id);
            }
            if !random.percent(self.plan.kept) {
                self.remove(client, random, &id);
            }
        }
    }

    /// The id of a task that was accepted.
    fn submit(&self, client: &mut Client, random: &mut Random) -> Option<String> {
        let command = if random.percent(self.plan.retried) { "again" } else { "once" };
        let number = KEYS.fetch_add(1, Ordering::Relaxed);
        let is_keyed = random.percent(self.plan.keyed);
        let key = if is_keyed { format!("Idempotency-Key: k{number}\r\n") } else { String::new() };
        let headers = format!("Prefer: respond-async\r\nTask-Deadline: 604800\r\n{key}");
        let body = format!(r#"{{"command":"{command}","params":[{number}]}}"#);
        loop {
            match client.ask(random.below(WORKERS), "POST", "/a", &headers, &body) {
                Ok(reply) if reply.status == 202 => {
                    self.ledger.accepted(&reply.task, command);
                    return Some(reply.task);
                }
                Ok(reply) => {
                    self.ledger.refused(reply.status);
                    if !matches!(reply.status, 404 | 429 | 500 | 503 | 507) {
                        self.ledger.violated(format!("a submit was answered with {reply:?}"));
                        return None;
                    }
                    pause(random.millis(5, 50));
                }
                Err(_) => {}
            }
            if !is_keyed || self.gives_up() {
                return None;
            }
        }
    }

    /// Asks again and again until a task has ended; `false` if it never does.
    pub fn see_end(&self, client: &mut Client, random: &mut Random, id: &str) -> bool {
        let start = Instant::now();
        while !self.look(client, random, id) {
            let limit = if self.gives_up() { SOON } else { END };
            if limit < start.elapsed() {
                return false;
            }
            // Not everybody waits for the end with a request.
            if random.percent(50) {
                let (path, wait) = (format!("/tasks/{id}"), "Prefer: wait=2\r\n");
                client.ask(random.below(WORKERS), "GET", &path, wait, "").ok();
            } else {
                pause(random.millis(1, 30));
            }
        }
        true
    }

    /// Looks once at a task, at some worker; whether it has ended, or is known no more.
    pub fn look(&self, client: &mut Client, random: &mut Random, id: &str) -> bool {
        let path = format!("/tasks/{id}/result");
        let Ok(reply) = client.ask(random.below(WORKERS), "GET", &path, "", "") else {
            return false;
        };
        match (reply.status, reply.code().as_str()) {
            (409, "TASK_NOT_ENDED") => self.ledger.told_that_it_goes_on(id),
            (404, "TASK_NOT_FOUND") => {
                self.ledger.told_that_it_is_unknown(id);
                return true;
            }
            _ if is_outcome(&reply, id) => {
                self.ledger.told(id, &format!("{} {}", reply.status, reply.body));
                return true;
            }
            _ => {}
        }
        false
    }

    /// Cancels a task; `false` if it is gone with that, or may be.
    fn cancel(&self, client: &mut Client, random: &mut Random, id: &str) -> bool {
        self.ledger.removes(id);
        let path = format!("/tasks/{id}");
        let asked = client.ask(random.below(WORKERS), "DELETE", &path, "", "");
        let is_asked = asked.is_ok_and(|reply| reply.status == 202);
        if is_asked {
            self.ledger.keeps(id);
        }
        is_asked
    }

    /// Removes a task, or cancels it if it has not ended.
    pub fn remove(&self, client: &mut Client, random: &mut Random, id: &str) {
        let start = Instant::now();
        while start.elapsed() < END {
            self.ledger.removes(id);
            match client.ask(random.below(WORKERS), "DELETE", &format!("/tasks/{id}"), "", "") {
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
        self.ledger.violated(format!("{id} cannot be removed"));
    }
}

/// Counts a client out, however it ends.
struct Done<'a>(&'a AtomicUsize);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Whether an answer tells the end of a task, and not that the worker cannot tell it now.
fn is_outcome(reply: &Reply, id: &str) -> bool {
    let codes = ["AGENT_CRASHED", "CANCELLED", "DEADLINE", "NOT_YET", "AGENT_STOPPED"];
    reply.task == id && (reply.status == 200 || codes.contains(&reply.code().as_str()))
}
