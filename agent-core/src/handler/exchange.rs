//! Feeds a program, listens to it, and ends it when it has to end. One thread, nothing unbounded.

use std::io;
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout, ExitStatus};
use std::time::Duration;

use ploinky_contract::limits::HANDLER_GRACE;
use rustix::buffer::spare_capacity;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::boot_time::{BootTime, wait};
use crate::interrupt::{Interrupt, Why};
use crate::log::Forward;
use crate::program::{Program, Streams};

/// Time that pipes may stay open after the program has ended: its children hold them.
const PIPES_CLOSE: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// A program, what it gets, and what is known of it.
pub(super) struct Exchange<'a> {
    program: Program,
    interrupt: &'a Interrupt,
    /// What it still gets on stdin.
    input: &'a [u8],
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    heard: Vec<u8>,
    heard_max_bytes: usize,
    complaint: Vec<u8>,
    complaints: Forward,
    has_ended: bool,
    /// Why we end it, if we do.
    ending: Option<How>,
    /// When the next step of ending it is due.
    patience: BootTime,
    is_killed: bool,
}

/// How it ended.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) how: How,
    pub(super) stdout: Vec<u8>,
    pub(super) stderr: Forward,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum How {
    /// By itself.
    Exited(ExitStatus),
    /// By us, at its deadline.
    Late,
    /// By us, because somebody asked.
    Asked(Why),
    /// By us, because it wrote too much.
    TooLarge,
    /// Not even SIGKILL ended it; the kernel holds it.
    Stuck,
}

impl<'a> Exchange<'a> {
    /// `input` goes to stdin; `complaints` takes what comes from stderr; of stdout `heard_max_bytes` are taken.
    pub(super) fn new(
        (program, streams): (Program, Streams),
        input: &'a [u8],
        deadline: BootTime,
        interrupt: &'a Interrupt,
        heard_max_bytes: usize,
        complaints: Forward,
    ) -> Self {
        let Streams { stdin, stdout, stderr } = streams;
        Self {
            program,
            interrupt,
            input,
            stdin: Some(stdin),
            stdout: Some(stdout),
            stderr: Some(stderr),
            heard: Vec::new(),
            heard_max_bytes,
            complaint: Vec::new(),
            complaints,
            has_ended: false,
            ending: None,
            patience: deadline,
            is_killed: false,
        }
    }

    /// Until the program has ended and its pipes are closed, or patience is over.
    pub(super) fn run(mut self) -> io::Result<Ended> {
        loop {
            self.feed();
            let is_silent = self.stdout.is_none() && self.stderr.is_none();
            if self.has_ended && (is_silent || self.ending.is_some()) {
                break;
            }
            let [stdout, stderr, end, bell] = self.wait()?;
            self.hear(stdout, stderr);
            if self.ending.is_none() && self.heard_max_bytes < self.heard.len() {
                // Closing our end stops a writer even where signals do not reach it.
                self.stdout = None;
                self.ending = Some(How::TooLarge);
                self.patience = BootTime::now();
            }
            if end {
                self.has_ended = true;
                self.stdin = None;
                if self.ending.is_none() {
                    self.patience = self.patience.min(BootTime::after(PIPES_CLOSE));
                }
            }
            if bell && let Some(why) = self.interrupt.asked() {
                self.begin_to_end(How::Asked(why), why.grace());
            } else if self.patience.is_past() && !self.lose_patience() {
                break;
            }
        }
        Ok(self.finish())
    }

    /// Which of stdout, stderr, the end and the bell have something to say.
    fn wait(&self) -> io::Result<[bool; 4]> {
        let quiet = PollFlags::empty();
        // What is closed or of no interest is replaced by what says nothing when asked for nothing.
        let nothing = self.interrupt.as_fd();
        let watch = |fd: Option<_>, flags| {
            let (fd, flags) = fd.map_or((nothing, quiet), |fd| (fd, flags));
            PollFd::from_borrowed_fd(fd, flags)
        };
        let wants_end = (!self.has_ended).then_some(self.program.as_fd());
        let wants_bell = (!self.has_ended && self.ending.is_none()).then_some(nothing);
        let mut fds = [
            watch(self.stdout.as_ref().map(AsFd::as_fd), PollFlags::IN),
            watch(self.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
            watch(wants_end, PollFlags::IN),
            watch(wants_bell, PollFlags::IN),
            watch(self.stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT),
        ];
        wait(&mut fds, Some(self.patience))?;
        let [stdout, stderr, end, bell, _] = fds.map(|fd| !fd.revents().is_empty());
        Ok([stdout, stderr, end, bell])
    }

    /// Writes what stdin takes, and closes it after the last byte or when nobody reads it.
    fn feed(&mut self) {
        let Some(pipe) = &self.stdin else { return };
        let is_wanted = match rustix::io::write(pipe, self.input) {
            Ok(written) => {
                self.input = self.input.get(written..).unwrap_or_default();
                !self.input.is_empty()
            }
            Err(Errno::AGAIN | Errno::INTR) => true,
            Err(_) => false,
        };
        if !is_wanted {
            self.stdin = None;
        }
    }

    fn hear(&mut self, stdout: bool, stderr: bool) {
        if stdout && !read_once(self.stdout.as_ref(), &mut self.heard) {
            self.stdout = None;
        }
        if self.ending.is_some() {
            // Read so that it can end, and not kept: nobody bounds what it writes until then.
            self.heard.clear();
        }
        if stderr {
            self.complaint.clear();
            if !read_once(self.stderr.as_ref(), &mut self.complaint) {
                self.stderr = None;
            }
            self.complaints.take(&self.complaint);
        }
    }

    fn begin_to_end(&mut self, how: How, grace: Duration) {
        self.ending = Some(how);
        self.program.signal(Signal::TERM);
        self.patience = BootTime::after(grace);
    }

    /// The next step towards the end; `false` if there is none.
    fn lose_patience(&mut self) -> bool {
        match self.ending {
            // The program is over; somebody of its group holds the pipes.
            None if self.has_ended => return false,
            None => self.begin_to_end(How::Late, HANDLER_GRACE),
            Some(_) if self.is_killed => return false,
            Some(_) => {
                self.is_killed = true;
                self.program.signal(Signal::KILL);
                self.patience = BootTime::after(HANDLER_GRACE);
            }
        }
        true
    }

    fn finish(mut self) -> Ended {
        if self.stdout.is_some() || self.stderr.is_some() || self.ending.is_some() {
            // Before the leader is reaped, so that the group's id is still its own.
            self.program.signal(Signal::KILL);
        }
        let how = match (self.ending, self.program.reap()) {
            (Some(ending), _) => ending,
            (None, Some(status)) => How::Exited(status),
            (None, None) => How::Stuck,
        };
        Ended { how, stdout: self.heard, stderr: self.complaints }
    }
}

/// Reads once; `false` at the end.
fn read_once(pipe: Option<&impl AsFd>, into: &mut Vec<u8>) -> bool {
    let Some(pipe) = pipe else { return false };
    into.reserve(READ_BYTES);
    match rustix::io::read(pipe, spare_capacity(into)) {
        Ok(0) => false,
        Ok(_) | Err(Errno::INTR | Errno::AGAIN) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interrupt::Interrupts;
    use crate::program;

    #[test]
    fn what_a_program_writes_while_it_is_ended_is_read_and_not_kept() {
        let script = "trap 'head -c 30000000 /dev/zero; echo all >&2; exit' TERM; \
                      echo before; sleep 60 & wait";
        let words = ["sh", "-c", script].map(str::to_owned);
        let interrupts = Interrupts::new(1).unwrap();
        let exchange = Exchange::new(
            program::start(&words, &[], &[]).unwrap(),
            b"",
            BootTime::after(Duration::from_secs(1)),
            &interrupts.all()[0],
            1000,
            Forward::new("[x]".to_owned(), None),
        );
        let mut ended = exchange.run().unwrap();
        let complaint = String::from_utf8(ended.stderr.finish().to_vec()).unwrap();
        assert_eq!((ended.how, ended.stdout.len(), complaint.as_str()), (How::Late, 0, "all\n"));
    }
}
