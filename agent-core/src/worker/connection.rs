//! One exchange with a worker: a line out, lines in until the answer.

use std::io::{self, IoSlice};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{ChildStdin, ChildStdout};
use std::sync::Arc;

use ploinky_contract::limits::{RESULT_MAX_BYTES, STREAM_LINE_MAX_BYTES};
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use super::Process;
use super::line::{Said, say};
use crate::boot_time::{BootTime, wait};
use crate::interrupt::{Interrupt, Why};
use crate::progress::Progress;
use crate::run::{Ending, Run};
use crate::stream::Stream;

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
    /// What was read and not used yet.
    pub(super) answer: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) enum Answer {
    /// An answer to the task.
    Said {
        /// What it says.
        ending: Ending,
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
    Stopped(Answer),
}

/// What still has to go to the worker: the task and a line feed.
struct Unsent<'a> {
    task: &'a [u8],
    end: &'a [u8],
}

impl Connection {
    /// Sends a task and waits for its answer.
    pub(crate) fn ask(&mut self, run: &mut Run<'_>) -> io::Result<Answer> {
        self.answer.clear();
        self.answer.shrink_to(KEPT_BYTES);
        let Run { id, json, deadline, interrupt, progress, stream, .. } = run;
        let one_line: Vec<u8>;
        let task = if json.contains(&b'\n') {
            // White space between values: a string holds no bare line feed.
            one_line = json.iter().map(|b| if *b == b'\n' { b' ' } else { *b }).collect();
            one_line.as_slice()
        } else {
            json
        };
        let mut unsent = Unsent { task, end: b"\n" };
        let mut searched = 0;
        loop {
            let step = self.step(&mut unsent, *deadline, interrupt, progress, stream.as_mut())?;
            match step {
                Step::Stopped(Answer::Ended)
                    if unsent.task.len() == task.len() && !unsent.end.is_empty() =>
                {
                    return Ok(Answer::NotAsked);
                }
                Step::Stopped(answer) => return Ok(answer),
                Step::Sent => {}
                Step::Read => {
                    while let Some(length) = self.line_end(searched) {
                        let line = self.answer.get(..length).unwrap_or_default();
                        let told = match say(line, *id) {
                            Ok(Said::Answer(ending)) => {
                                // Half a request in the pipe would be the start of the next one.
                                let is_followed =
                                    length + 1 != self.answer.len() || !unsent.end.is_empty();
                                if let Some(stream) = stream {
                                    // Who is gone needs no events, and the answer counts in any case.
                                    stream.drain(*deadline, interrupt).ok();
                                }
                                return Ok(Answer::Said { ending, is_followed });
                            }
                            Ok(Said::Progress(note)) => {
                                progress.say(note.get().as_bytes());
                                None
                            }
                            Ok(Said::Event(event)) => send(stream.as_mut(), event.get().as_bytes()),
                            Err(why) => Some(Answer::Bad(why)),
                        };
                        if let Some(told) = told {
                            return Ok(told);
                        }
                        self.answer.drain(..=length);
                        searched = 0;
                    }
                    searched = self.answer.len();
                    if RESULT_MAX_BYTES < searched {
                        let why = format!(
                            "the answer of the worker has more than {RESULT_MAX_BYTES} bytes"
                        );
                        return Ok(Answer::Bad(why));
                    }
                }
            }
        }
    }

    /// Where the first line ends; there is no end before `searched`.
    fn line_end(&self, searched: usize) -> Option<usize> {
        let rest = self.answer.get(searched..)?;
        rest.iter().position(|byte| *byte == b'\n').map(|at| searched + at)
    }

    /// Writes or reads once.
    fn step(
        &mut self,
        unsent: &mut Unsent<'_>,
        deadline: BootTime,
        interrupt: &Interrupt,
        progress: &mut Progress<'_>,
        stream: Option<&mut Stream>,
    ) -> io::Result<Step> {
        let Unsent { task, end } = unsent;
        if !end.is_empty() {
            match rustix::io::writev(&self.stdin, &[IoSlice::new(task), IoSlice::new(end)]) {
                Ok(written) => {
                    let of_end = written.saturating_sub(task.len());
                    *task = task.get(written..).unwrap_or_default();
                    *end = end.get(of_end..).unwrap_or_default();
                    if end.is_empty() {
                        // A quick worker answers in the meantime, and nobody has to sleep.
                        std::thread::yield_now();
                        return self.read();
                    }
                }
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::PIPE) => return Ok(Step::Stopped(Answer::Ended)),
                Err(e) => return Err(e.into()),
            }
        }
        let quiet = PollFlags::empty();
        // A reader that is slow holds the worker back: its pipe fills up.
        let is_wanted = stream.as_ref().is_none_or(|stream| stream.has_room());
        let mut fds = [
            PollFd::new(&self.stdout, if is_wanted { PollFlags::IN } else { quiet }),
            PollFd::new(interrupt, PollFlags::IN),
            PollFd::new(&self.ended, PollFlags::IN),
            PollFd::new(&self.stdin, if end.is_empty() { quiet } else { PollFlags::OUT }),
            match &stream {
                Some(stream) => PollFd::from_borrowed_fd(stream.as_fd(), stream.interest()),
                None => PollFd::new(interrupt, quiet),
            },
        ];
        // What is all sent need not be waited for, and most tasks do not stream.
        let wanted = match (end.is_empty(), &stream) {
            (_, Some(_)) => 5,
            (false, None) => 4,
            (true, None) => 3,
        };
        let until = progress.due().map_or(deadline, |due| due.min(deadline));
        wait(fds.get_mut(..wanted).unwrap_or_default(), Some(until))?;
        let [readable, bell, ended, _, reader] = fds.map(|fd| fd.revents());
        progress.write_due();
        if let Some(stream) = stream
            && stream.heard(reader).is_err()
        {
            return Ok(Step::Stopped(Answer::Asked(Why::ReaderGone)));
        }
        if is_wanted && !readable.is_empty() {
            return self.read();
        }
        if !ended.is_empty() {
            return Ok(Step::Stopped(Answer::Ended));
        }
        if !bell.is_empty()
            && let Some(why) = interrupt.asked()
        {
            return Ok(Step::Stopped(Answer::Asked(why)));
        }
        if deadline.is_past() {
            return Ok(Step::Stopped(Answer::Late));
        }
        Ok(Step::Sent)
    }

    fn read(&mut self) -> io::Result<Step> {
        let room = if self.answer.is_empty() { READ_BYTES } else { LONG_READ_BYTES };
        self.answer.reserve(room);
        match rustix::io::read(&self.stdout, spare_capacity(&mut self.answer)) {
            Ok(0) => Ok(Step::Stopped(Answer::Ended)),
            Ok(_) => Ok(Step::Read),
            Err(Errno::AGAIN | Errno::INTR) => Ok(Step::Sent),
            Err(e) => Err(e.into()),
        }
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

/// Sends an event; why the task has to end, if it has to.
fn send(stream: Option<&mut Stream>, event: &[u8]) -> Option<Answer> {
    let Some(stream) = stream else {
        return Some(Answer::Bad(
            "the worker sent an event for a task that does not stream".into(),
        ));
    };
    if STREAM_LINE_MAX_BYTES < event.len() {
        let why = format!("an event of the worker has more than {STREAM_LINE_MAX_BYTES} bytes");
        return Some(Answer::Bad(why));
    }
    stream.send(event).err().map(|_gone| Answer::Asked(Why::ReaderGone))
}
