//! Who dies when.

use std::time::{Duration, Instant};

use crate::host::{Host, Role, WORKERS};
use crate::process::pause;
use crate::random::Random;
use crate::shutdown::Cut;

/// Counts what it does.
#[derive(Debug)]
pub struct Chaos<'a> {
    host: &'a Host,
    random: Random,
    last_cut: Instant,
    /// SIGKILLs of workers.
    pub worker_kills: usize,
    /// SIGKILLs of the runner.
    pub runner_kills: usize,
    /// Power cuts.
    pub cuts: usize,
}

impl<'a> Chaos<'a> {
    /// Nothing has happened yet.
    pub fn new(host: &'a Host) -> Self {
        let (random, last_cut) = (host.random(), Instant::now());
        Self { host, random, last_cut, worker_kills: 0, runner_kills: 0, cuts: 0 }
    }

    /// Waits a moment, then kills a worker, or in one case of five the runner.
    pub fn kill(&mut self) {
        pause(self.random.millis(10, 70));
        if self.random.percent(20) {
            self.runner_kills += 1;
            self.host.kill(Role::Runner);
        } else {
            self.worker_kills += 1;
            self.host.kill(Role::Worker(self.random.below(WORKERS)));
        }
    }

    /// Lets the power fail if the last time is longer ago than `pause`.
    pub fn cut_after(&mut self, pause: Duration) {
        if pause <= self.last_cut.elapsed() {
            self.cut();
        }
    }

    /// Lets the power fail.
    pub fn cut(&mut self) {
        self.cuts += 1;
        self.host.cut(if self.cuts.is_multiple_of(2) { Cut::Journal } else { Cut::Nothing });
        self.last_cut = Instant::now();
    }
}
