//! The pipe through which a program tells its progress.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use ploinky_contract::limits::PROGRESS_MAX_BYTES;
use rustix::pipe::{PipeFlags, pipe_with};

use super::exchange::read_once;
use crate::boot_time::BootTime;
use crate::lines::{Cut, Lines};
use crate::progress::Progress;

/// Where a program writes its progress if nobody can look at it.
const NOWHERE: &str = "/dev/null";

/// A pipe of one run. The program opens it by a path, as often as it likes: nothing has to be inherited.
pub(super) struct Notes<'a, 'n> {
    pipe: Option<Pipe>,
    progress: &'a mut Progress<'n>,
}

struct Pipe {
    ours: OwnedFd,
    /// Held open, so that the path leads somewhere and the pipe has no end before the run has.
    theirs: OwnedFd,
    lines: Lines,
    read: Vec<u8>,
}

impl<'a, 'n> Notes<'a, 'n> {
    /// A new pipe, if anybody can look at the notes.
    pub(super) fn open(progress: &'a mut Progress<'n>) -> io::Result<Self> {
        if !progress.is_kept() {
            return Ok(Self { pipe: None, progress });
        }
        let (ours, theirs) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        let lines = Lines::new(PROGRESS_MAX_BYTES);
        Ok(Self { pipe: Some(Pipe { ours, theirs, lines, read: Vec::new() }), progress })
    }

    /// No pipe.
    #[cfg(test)]
    pub(super) fn none(progress: &'a mut Progress<'n>) -> Self {
        Self { pipe: None, progress }
    }

    /// The path for the program. Who opens it gets a description of its own, which waits.
    pub(super) fn path(&self) -> String {
        match &self.pipe {
            Some(pipe) => format!("/proc/{}/fd/{}", std::process::id(), pipe.theirs.as_raw_fd()),
            None => NOWHERE.to_owned(),
        }
    }

    pub(super) fn pipe(&self) -> Option<BorrowedFd<'_>> {
        self.pipe.as_ref().map(|pipe| pipe.ours.as_fd())
    }

    /// Reads once.
    pub(super) fn hear(&mut self) {
        let Self { pipe: Some(Pipe { ours, lines, read, .. }), progress } = self else { return };
        read.clear();
        read_once(Some(ours), read);
        lines.take(read, &mut |cut| note(progress, &cut));
    }

    /// When a note has to be written.
    pub(super) fn due(&self) -> Option<BootTime> {
        self.progress.due()
    }

    pub(super) fn write_due(&mut self) {
        self.progress.write_due();
    }

    /// Takes what the program still had to say, and writes the last note.
    pub(super) fn finish(&mut self) {
        // A pipe holds as much as one reading takes.
        self.hear();
        if let Self { pipe: Some(Pipe { lines, .. }), progress } = self {
            lines.finish(&mut |cut| note(progress, &cut));
        }
        self.progress.finish();
    }
}

fn note(progress: &mut Progress<'_>, cut: &Cut<'_>) {
    match cut {
        Cut::Line(line) => progress.say(line),
        Cut::TooLong => progress.say_too_long(),
    }
}
