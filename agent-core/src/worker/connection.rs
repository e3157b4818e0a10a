//! One exchange with a worker: a line out, a line in.

use std::io::{self, IoSlice};
use std::os::fd::OwnedFd;
use std::process::{ChildStdin, ChildStdout};
use std::sync::Arc;

use ploinky_contract::limits::RESULT_MAX_BYTES;
use ploinky_queue::Claim;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::Process;
use super::line::{Said, say};
use crate::boot_time::{BootTime, wait};
use crate::interrupt::{Interrupt, Why};

/// Bytes read at once at first, and after an answer that was longer.
const READ_BYTES: usize = 8 * 1024;
const LONG_READ_BYTES: usize = 256 * 1024;
/// Bytes of the buffer that a worker keeps between two tasks.
const KEPT_BYTES: usize = 64 * 1024;

/// Our ends of a worker's pipes.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) process: Arc<Process>,
    pub(super) stdin: ChildStdin,
    pub(super) stdout: ChildStdout,
    pub(super) ended: OwnedFd,
    pub(super) answer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer<'a> {
    /// An answer to the task.
    Said {
        /// What it says.
        said: Said<'a>,
        /// More bytes followed, or a part of the task is unread: the worker does not keep the protocol and may
        /// take no other task.
        is_followed: bool,
    },
    /// The worker ended before any byte of the task went to it.
    NotAsked,
    /// The worker ended after it could see the task, or a part of it.
    Ended,
    /// The time of the task was over.
    Late,
    /// Somebody asked to end the task.
    Asked(Why),
    /// The line is too long or no answer to the task.
    Bad(String),
}

enum Step {
    Sent,
    Read,
    Stopped(Answer<'static>),
}

impl Connection {
    /// Sends a task and waits for its answer.
    pub(crate) fn ask(
        &mut self,
        claim: &Claim,
        deadline: BootTime,
        interrupt: &Interrupt,
    ) -> io::Result<Answer<'_>> {
        self.answer.clear();
        self.answer.shrink_to(KEPT_BYTES);
        let request = claim.bytes();
        let one_line: Vec<u8>;
        let mut unsent = if request.contains(&b'\n') {
            // White space between values: a string holds no bare line feed.
            one_line = request.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect();
            one_line.as_slice()
        } else {
            request
        };
        let mut end: &[u8] = b"\n";
        let all = unsent.len();
        loop {
            match self.step(&mut unsent, &mut end, deadline, interrupt)? {
                Step::Stopped(Answer::Ended) if unsent.len() == all && !end.is_empty() => {
                    return Ok(Answer::NotAsked);
                }
                Step::Stopped(answer) => return Ok(answer),
                Step::Sent => {}
                Step::Read => {
                    let seen = self.answer.len();
                    if let Some(length) = self.answer.iter().position(|b| *b == b'\n') {
                        let line = self.answer.get(..length).unwrap_or_default();
                        return Ok(match say(line, claim.id()) {
                            // Half a request in the pipe would be the start of the next one.
                            Ok(said) => Answer::Said {
                                said,
                                is_followed: length + 1 != seen || !end.is_empty(),
                            },
                            Err(why) => Answer::Bad(why),
                        });
                    }
                    if RESULT_MAX_BYTES < seen {
                        let why = format!(
                            "the answer of the worker has more than {RESULT_MAX_BYTES} bytes"
                        );
                        return Ok(Answer::Bad(why));
                    }
                }
            }
        }
    }

    /// Writes or reads once.
    fn step(
        &mut self,
        unsent: &mut &[u8],
        end: &mut &[u8],
        deadline: BootTime,
        interrupt: &Interrupt,
    ) -> io::Result<Step> {
        if !end.is_empty() {
            match rustix::io::writev(&self.stdin, &[IoSlice::new(unsent), IoSlice::new(end)]) {
                Ok(written) => {
                    let of_end = written.saturating_sub(unsent.len());
                    *unsent = unsent.get(written..).unwrap_or_default();
                    *end = end.get(of_end..).unwrap_or_default();
                    if end.is_empty() {
                        return Ok(Step::Sent);
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::PIPE) => return Ok(Step::Stopped(Answer::Ended)),
                Err(e) => return Err(e.into()),
            }
        }
        let mut fds = [
            PollFd::new(&self.stdout, PollFlags::IN),
            PollFd::new(interrupt, PollFlags::IN),
            PollFd::new(&self.ended, PollFlags::IN),
            PollFd::new(&self.stdin, PollFlags::OUT),
        ];
        // What is all sent need not be waited for.
        let wanted = if end.is_empty() { 3 } else { 4 };
        wait(fds.get_mut(..wanted).unwrap_or_default(), Some(deadline))?;
        let [readable, bell, ended, _] = fds.map(|fd| !fd.revents().is_empty());
        if readable {
            let room = if self.answer.is_empty() { READ_BYTES } else { LONG_READ_BYTES };
            self.answer.reserve(room);
            return match rustix::io::read(&self.stdout, spare_capacity(&mut self.answer)) {
                Ok(0) => Ok(Step::Stopped(Answer::Ended)),
                Ok(_) => Ok(Step::Read),
                Err(Errno::AGAIN | Errno::INTR) => Ok(Step::Sent),
                Err(e) => Err(e.into()),
            };
        }
        if ended {
            return Ok(Step::Stopped(Answer::Ended));
        }
        if bell && let Some(why) = interrupt.asked() {
            return Ok(Step::Stopped(Answer::Asked(why)));
        }
        if deadline.is_past() {
            return Ok(Step::Stopped(Answer::Late));
        }
        Ok(Step::Sent)
    }

    /// Whether the process ended before `until`.
    pub(super) fn wait_for_end(&self, until: BootTime) -> bool {
        loop {
            let mut fds = [PollFd::new(&self.ended, PollFlags::IN)];
            if wait(&mut fds, Some(until)).is_err() {
                return false;
            }
            let [ended] = fds;
            if !ended.revents().is_empty() {
                return true;
            }
            if until.is_past() {
                return false;
            }
        }
    }
}
