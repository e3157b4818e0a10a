//! Stands in front of a program of the image that serves the queue itself: holds the sign that the queue is
//! served, ends what the program's life before left, passes signals on, and gives signs of life.

use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::ExitStatus;

use ploinky_queue::{Consumer, RunnerLock, boot_id};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::Mode;
use rustix::process::Signal;
use sd_notify::NotifyState;

use crate::arguments::Arguments;
use crate::boot_time::{BootTime, wait};
use crate::health::wait_until_ready;
use crate::heartbeat::{Heartbeat, attest_locks};
use crate::log;
use crate::manifest_file;
use crate::program::{self, Program};
use crate::serve::{DRAIN, RECOVER, ServeError, leave_last_words, recover};
use crate::stop::Stop;

/// Exit code of a program that was ended by signal 0; the usual way to tell a signal.
const SIGNAL_BASE: i32 = 128;

/// Runs the program until it ends; its exit code.
pub(crate) fn host(arguments: &Arguments) -> Result<u8, ServeError> {
    let Arguments { tasks, manifest, words, .. } = arguments;
    let set_up = |what| move |source| ServeError::SetUp { what, source };
    let term = Stop::listen_to(&[Signal::TERM]).map_err(set_up("signals"))?;
    let int = Stop::listen_to(&[Signal::INT]).map_err(set_up("signals"))?;
    let container = manifest_file::read(manifest).map_err(ServeError::Manifest)?;
    // The server reads results as a stranger; the umask of an image must not hide them.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    let boot_id = boot_id().map_err(ServeError::BootId)?;
    let consumer = Consumer::open(tasks, boot_id).map_err(ServeError::Open)?;
    let lock = consumer.become_runner().map_err(ServeError::Lock)?.ok_or(ServeError::Taken)?;
    if !recover(&|| consumer.recover(), RECOVER, &term)? {
        return Ok(0);
    }
    let mut program = program::start_main(words).map_err(ServeError::Start)?;
    if let Some(words) = &container.health.readiness {
        match wait_until_ready(words, &term) {
            // A signal that came first is passed on below.
            Ok(_) => {}
            Err(e) => {
                program.signal(Signal::KILL);
                return Err(ServeError::NotReady(e));
            }
        }
    }
    log::event(&format!("`{}` serves {}", words.join(" "), tasks.display()));
    let doing = format!("`{}` serves the queue", words.join(" "));
    let liveness = container.health.liveness.as_deref();
    let heartbeat = Heartbeat::begin(&doing, lock.take_left(), liveness);
    let status = match follow(&mut program, &term, &int, heartbeat, &lock, tasks) {
        Ok(status) => status,
        Err(e) => {
            sd_notify::notify(&[NotifyState::Stopping]).ok();
            program.signal(Signal::TERM);
            program.wait(BootTime::after(DRAIN));
            leave_last_words(&lock, &e);
            return Err(e);
        }
    };
    log::event(&format!("`{}` ended: {status}", words.join(" ")));
    Ok(exit_code(status))
}

/// Passes signals on and gives signs of life until the program has ended, or is not well for good.
fn follow(
    program: &mut Program,
    term: &Stop,
    int: &Stop,
    mut heartbeat: Heartbeat<'_>,
    lock: &RunnerLock,
    tasks: &Path,
) -> Result<ExitStatus, ServeError> {
    loop {
        if let Some(status) = program.reap() {
            return Ok(status);
        }
        let mut fds = vec![
            PollFd::new(program, PollFlags::IN),
            PollFd::new(term, PollFlags::IN),
            PollFd::new(int, PollFlags::IN),
        ];
        fds.extend(heartbeat.probe().map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN)));
        wait(&mut fds, Some(heartbeat.due())).map_err(|e| ServeError::SetUp {
            what: "the wait for the program",
            source: e.into(),
        })?;
        let came: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        drop(fds);
        heartbeat.go_on(&mut || attest_locks(&[(lock, tasks)])).map_err(ServeError::Unwell)?;
        for (stop, signal, has_come) in
            [(term, Signal::TERM, came.get(1)), (int, Signal::INT, came.get(2))]
        {
            if has_come == Some(&true) {
                stop.hear();
                sd_notify::notify(&[NotifyState::Stopping]).ok();
                program.signal(signal);
            }
        }
    }
}

/// The code of a program as a shell would tell it.
fn exit_code(status: ExitStatus) -> u8 {
    let code = status.code().or_else(|| status.signal().map(|signal| SIGNAL_BASE + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)
}
