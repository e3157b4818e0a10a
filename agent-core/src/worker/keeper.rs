//! Starts worker processes, reaps them, starts them anew, and forwards what they complain about.

use std::io;
use std::mem;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ChildStderr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ploinky_contract::Worker;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;

use super::connection::Connection;
use super::{Pool, Process};
use crate::boot_time::{BootTime, wait};
use crate::interrupt::Bell;
use ploinky_contract::chain;

use crate::log::{self, Forward};
use crate::program;

/// Wait before a worker that died is started anew; it doubles with each death that comes soon.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);
/// A worker that lived so long did not die at its start.
const LIVED: Duration = Duration::from_secs(10);
/// Early deaths in a row after which tasks fail instead of waiting for the next start.
const EARLY_DEATHS_MAX: u32 = 3;
/// Time between SIGTERM and SIGKILL when the container ends.
const STOP_GRACE: Duration = Duration::from_millis(500);
/// Bytes read at once from a stderr.
const READ_BYTES: usize = 16 * 1024;

pub(super) struct Keeper<'a> {
    pool: &'a Pool,
    worker: &'a Worker,
    places: Vec<Place>,
    said: Vec<u8>,
}

/// One process of the manifest's number, running or about to.
struct Place {
    running: Option<Running>,
    start_at: BootTime,
    early_deaths: u32,
}

struct Running {
    process: Arc<Process>,
    ended: OwnedFd,
    stderr: Option<ChildStderr>,
    forward: Forward,
    since: BootTime,
    pid: u32,
}

impl<'a> Keeper<'a> {
    pub(super) fn new(pool: &'a Pool, worker: &'a Worker) -> Self {
        let place = || Place { running: None, start_at: BootTime::now(), early_deaths: 0 };
        let places = (0..worker.processes).map(|_| place()).collect();
        Self { pool, worker, places, said: Vec::with_capacity(READ_BYTES) }
    }

    pub(super) fn run(&mut self, stop: &Bell) -> io::Result<()> {
        loop {
            for index in 0..self.places.len() {
                self.start(index);
            }
            let next = self.places.iter().filter(|place| place.running.is_none());
            let next = next.map(|place| place.start_at).min();
            let mut about = Vec::new();
            let mut fds = vec![PollFd::new(stop, PollFlags::IN)];
            for (index, place) in self.places.iter().enumerate() {
                if let Some(running) = &place.running {
                    about.push((index, true));
                    fds.push(PollFd::new(&running.ended, PollFlags::IN));
                    if let Some(stderr) = &running.stderr {
                        about.push((index, false));
                        fds.push(PollFd::new(stderr, PollFlags::IN));
                    }
                }
            }
            if let Err(e) = wait(&mut fds, next) {
                drop(fds);
                self.stop();
                return Err(e.into());
            }
            let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
            if ready.next().unwrap_or(true) {
                drop(fds);
                self.stop();
                return Ok(());
            }
            let ready: Vec<bool> = ready.collect();
            drop(fds);
            for ((index, has_ended), is_ready) in about.into_iter().zip(ready) {
                match (is_ready, has_ended) {
                    (false, _) => {}
                    (true, false) => self.forward(index),
                    (true, true) => self.bury(index),
                }
            }
        }
    }

    /// Starts the process of a place, if it has none and it is time.
    fn start(&mut self, index: usize) {
        let Self { pool, worker, places, said: _ } = self;
        let Some(place) = places.get_mut(index) else { return };
        if place.running.is_some() || !place.start_at.is_past() {
            return;
        }
        let started = program::start(&worker.command, &[], &[]).map_err(|e| chain(&e)).and_then(
            |(program, streams)| {
                let ended = program.ended().and_then(|one| Ok((one, program.ended()?)));
                Ok((ended.map_err(|e| e.to_string())?, program, streams))
            },
        );
        match started {
            Ok(((ended, ended_too), program, streams)) => {
                let pid = program.pid();
                let process = Arc::new(Process::new(program));
                place.running = Some(Running {
                    process: Arc::clone(&process),
                    ended,
                    stderr: Some(streams.stderr),
                    forward: Forward::new(format!("[worker {pid}]"), None),
                    since: BootTime::now(),
                    pid,
                });
                let connection = Connection {
                    process,
                    stdin: streams.stdin,
                    stdout: streams.stdout,
                    ended: ended_too,
                    answer: Vec::new(),
                };
                pool.add(connection, 1);
            }
            Err(trouble) => {
                log::event(&format!("no worker: {trouble}"));
                place.delay();
                pool.report(trouble);
            }
        }
    }

    /// Logs what a worker wrote; `false` at the end.
    fn forward(&mut self, index: usize) {
        let Self { places, said, .. } = self;
        let Some(Place { running: Some(running), .. }) = places.get_mut(index) else { return };
        if let Some(stderr) = &running.stderr {
            said.clear();
            said.reserve(READ_BYTES);
            match rustix::io::read(stderr.as_fd(), spare_capacity(said)) {
                Ok(0) | Err(_) => running.stderr = None,
                Ok(_) => running.forward.take(said),
            }
        }
    }

    /// Reaps a worker that ended and plans the next one.
    fn bury(&mut self, index: usize) {
        self.drain(index);
        let Self { pool, places, .. } = self;
        let Some(place) = places.get_mut(index) else { return };
        let Some(Running { process, mut forward, since, pid, .. }) = mem::take(&mut place.running)
        else {
            return;
        };
        let status = {
            let mut program = process.program();
            // Its children go with it; before it is reaped, so that the group's id is still its own.
            if let Some(program) = &*program {
                program.signal(Signal::KILL);
            }
            program.take().and_then(|mut program| program.reap())
        };
        forward.finish();
        let how = status.map_or_else(|| "unknown status".to_owned(), |status| status.to_string());
        let is_ours = process.is_ours.load(Ordering::Acquire);
        let lived_long = since.plus(LIVED).is_past();
        if is_ours || lived_long {
            place.early_deaths = 0;
            place.start_at = BootTime::now();
        } else {
            place.delay();
        }
        let trouble = (EARLY_DEATHS_MAX <= place.early_deaths)
            .then(|| format!("`{}` ended with {how}", self.worker.command.join(" ")));
        pool.forget(&process, trouble);
        log::event(&format!("worker {pid} ended: {how}"));
    }

    /// Takes what a dead worker still had to say.
    fn drain(&mut self, index: usize) {
        // Bounded by what a pipe holds; its children may go on writing.
        for _ in 0..8 {
            let Some(Place { running: Some(running), .. }) = self.places.get(index) else { return };
            let Some(stderr) = &running.stderr else { return };
            let mut fds = [PollFd::new(stderr, PollFlags::IN)];
            let has_more = wait(&mut fds, Some(BootTime::now())).is_ok()
                && fds.iter().any(|fd| !fd.revents().is_empty());
            if !has_more {
                return;
            }
            self.forward(index);
        }
    }

    /// Ends all workers.
    fn stop(&mut self) {
        for place in &self.places {
            if let Some(running) = &place.running {
                running.process.end(Signal::TERM);
            }
        }
        let end = BootTime::after(STOP_GRACE);
        for place in &mut self.places {
            if let Some(running) = mem::take(&mut place.running)
                && let Some(mut program) = running.process.program().take()
                && program.wait(end).is_none()
            {
                program.signal(Signal::KILL);
            }
        }
    }
}

impl Place {
    fn delay(&mut self) {
        let factor = 1_u32.checked_shl(self.early_deaths).unwrap_or(u32::MAX);
        let delay = BACKOFF_FIRST.checked_mul(factor).unwrap_or(BACKOFF_MAX).min(BACKOFF_MAX);
        self.early_deaths = self.early_deaths.saturating_add(1);
        self.start_at = BootTime::after(delay);
    }
}
