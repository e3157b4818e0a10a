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

use super::notes::Notes;
use super::output::{Output, Trouble};
use crate::boot_time::{BootTime, wait};
use crate::interrupt::{Interrupt, Why};
use crate::log::Forward;
use crate::program::{Program, Streams};

/// Time that pipes may stay open after the program has ended: its children hold them.
const PIPES_CLOSE: Duration = Duration::from_secs(1);
/// Bytes read at once.
const READ_BYTES: usize = 64 * 1024;

/// A program, what it gets, and what is known of it.
pub(super) struct Exchange<'a, 'n> {
    program: Program,
    interrupt: &'a Interrupt,
    /// What it still gets on stdin.
    input: &'a [u8],
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    output: Output,
    notes: Notes<'a, 'n>,
    complaint: Vec<u8>,
    complaints: Forward,
    deadline: BootTime,
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
    /// By us, because of what it wrote, or because nobody reads it.
    Refused(Trouble),
    /// Not even SIGKILL ended it; the kernel holds it.
    Stuck,
}

/// Which descriptors have something to say.
#[expect(clippy::struct_excessive_bools, reason = "one per descriptor")]
struct Ready {
    stdout: bool,
    stderr: bool,
    end: bool,
    bell: bool,
    notes: bool,
    reader: PollFlags,
}

impl<'a, 'n> Exchange<'a, 'n> {
    /// `input` goes to stdin; `output` takes stdout, `complaints` stderr, and `notes` the progress.
    pub(super) fn new(
        (program, streams): (Program, Streams),
        input: &'a [u8],
        deadline: BootTime,
        interrupt: &'a Interrupt,
        output: Output,
        notes: Notes<'a, 'n>,
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
            output,
            notes,
            complaint: Vec::new(),
            complaints,
            deadline,
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
            if self.has_ended && (self.ending.is_some() || is_silent && self.output.is_sent()) {
                break;
            }
            let Ready { stdout, stderr, end, bell, notes, reader } = self.wait()?;
            let heard = self.output.hear_reader(reader).and_then(|()| self.hear_stdout(stdout));
            self.hear_stderr(stderr);
            if notes {
                self.notes.hear();
            }
            self.notes.write_due();
            if let (Err(trouble), None) = (heard, self.ending) {
                self.refuse(trouble);
            }
            if end {
                self.has_ended = true;
                self.stdin = None;
                if self.ending.is_none() {
                    self.patience = self.deadline.min(BootTime::after(PIPES_CLOSE));
                }
            }
            if bell && let Some(why) = self.interrupt.asked() {
                self.begin_to_end(How::Asked(why), why.grace());
            } else if self.patience.is_past() && !self.lose_patience() {
                break;
            }
        }
        self.notes.finish();
        Ok(self.finish())
    }

    fn wait(&self) -> io::Result<Ready> {
        let quiet = PollFlags::empty();
        // What is closed or of no interest is replaced by what says nothing when asked for nothing.
        let nothing = self.interrupt.as_fd();
        let watch = |fd: Option<_>, flags| {
            let (fd, flags) = fd.map_or((nothing, quiet), |fd| (fd, flags));
            PollFd::from_borrowed_fd(fd, flags)
        };
        let wants_end = (!self.has_ended).then_some(self.program.as_fd());
        let may_be_asked = self.ending.is_none() && (!self.has_ended || !self.output.is_sent());
        let stdout = self.stdout.as_ref().filter(|_| self.output.has_room());
        let mut fds = [
            watch(stdout.map(AsFd::as_fd), PollFlags::IN),
            watch(self.stderr.as_ref().map(AsFd::as_fd), PollFlags::IN),
            watch(wants_end, PollFlags::IN),
            watch(may_be_asked.then_some(nothing), PollFlags::IN),
            watch(self.stdin.as_ref().map(AsFd::as_fd), PollFlags::OUT),
            watch(self.notes.pipe(), PollFlags::IN),
            match self.output.reader().filter(|_| self.ending.is_none()) {
                Some((fd, flags)) => PollFd::from_borrowed_fd(fd, flags),
                None => PollFd::from_borrowed_fd(nothing, quiet),
            },
        ];
        let until = self.notes.due().map_or(self.patience, |due| due.min(self.patience));
        wait(&mut fds, Some(until))?;
        let [stdout, stderr, end, bell, _, notes, reader] = fds.map(|fd| fd.revents());
        let [stdout, stderr, end, bell, notes] =
            [stdout, stderr, end, bell, notes].map(|flags| !flags.is_empty());
        Ok(Ready { stdout, stderr, end, bell, notes, reader })
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

    fn hear_stdout(&mut self, is_ready: bool) -> Result<(), Trouble> {
        if !is_ready {
            return Ok(());
        }
        let is_open = self.output.read(self.stdout.as_ref());
        // What a program writes while it is ended is read so that it can end, and not kept: nobody bounds
        // what it writes until then.
        let heard =
            if self.ending.is_some() { self.output.discard() } else { self.output.take(!is_open) };
        if !is_open {
            self.stdout = None;
        }
        heard
    }

    fn hear_stderr(&mut self, is_ready: bool) {
        if is_ready {
            self.complaint.clear();
            if !read_once(self.stderr.as_ref(), &mut self.complaint) {
                self.stderr = None;
            }
            self.complaints.take(&self.complaint);
        }
    }

    /// It may not go on like that.
    fn refuse(&mut self, trouble: Trouble) {
        match trouble {
            Trouble::ReaderGone => self.begin_to_end(How::Refused(trouble), HANDLER_GRACE),
            Trouble::TooLong | Trouble::LineTooLong => {
                // Closing our end stops a writer even where signals do not reach it.
                self.stdout = None;
                self.ending = Some(How::Refused(trouble));
                self.patience = BootTime::now();
            }
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
            None if self.has_ended && !self.deadline.is_past() && !self.output.is_sent() => {
                // The reader is slow. Who holds the pipes has had its time only when there was room.
                if self.output.has_room() {
                    (self.stdout, self.stderr) = (None, None);
                }
                self.patience = self.deadline.min(BootTime::after(PIPES_CLOSE));
            }
            // The program is over; somebody of its group holds the pipes, or the reader takes too long.
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
        let is_cut = self.ending.is_none() && !self.output.is_sent();
        let how = match (self.ending, self.program.reap()) {
            (Some(ending), _) => ending,
            (None, Some(_)) if is_cut => How::Late,
            (None, Some(status)) => How::Exited(status),
            (None, None) => How::Stuck,
        };
        Ended { how, stdout: self.output.into_value(), stderr: self.complaints }
    }
}

/// Reads once; `false` at the end.
pub(super) fn read_once(pipe: Option<&impl AsFd>, into: &mut Vec<u8>) -> bool {
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
    use ploinky_contract::TaskId;

    use super::*;
    use crate::interrupt::Interrupts;
    use crate::program;
    use crate::progress::Progress;

    #[test]
    fn what_a_program_writes_while_it_is_ended_is_read_and_not_kept() {
        let script = "trap 'head -c 30000000 /dev/zero; echo all >&2; exit' TERM; \
                      echo before; sleep 60 & wait";
        let words = ["sh", "-c", script].map(str::to_owned);
        let interrupts = Interrupts::new(1).unwrap();
        let mut progress = Progress::new(TaskId::from_random([1; 16]), None);
        let exchange = Exchange::new(
            program::start(&words, &[], &[]).unwrap(),
            b"",
            BootTime::after(Duration::from_secs(1)),
            &interrupts.all()[0],
            Output::value(1000),
            Notes::none(&mut progress),
            Forward::new("[x]".to_owned(), None),
        );
        let mut ended = exchange.run().unwrap();
        let complaint = String::from_utf8(ended.stderr.finish().to_vec()).unwrap();
        assert_eq!((ended.how, ended.stdout.len(), complaint.as_str()), (How::Late, 0, "all\n"));
    }
}
