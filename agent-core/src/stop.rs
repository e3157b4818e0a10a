//! The wish that the process shall end: SIGTERM, SIGINT, or a thread that cannot go on.

use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use rustix::process::Signal;
use signal_hook::low_level::pipe;

use crate::boot_time::{BootTime, wait};

/// Becomes readable with the first wish and stays so.
#[derive(Debug)]
pub(crate) struct Stop {
    heard: UnixStream,
    said: UnixStream,
}

impl Stop {
    /// From now on the signals do not end the process by themselves.
    pub(crate) fn listen() -> io::Result<Self> {
        Self::listen_to(&[Signal::TERM, Signal::INT])
    }

    /// The same for these signals.
    pub(crate) fn listen_to(signals: &[Signal]) -> io::Result<Self> {
        let (heard, said) = UnixStream::pair()?;
        heard.set_nonblocking(true)?;
        for signal in signals {
            pipe::register(signal.as_raw(), said.try_clone()?)?;
        }
        Ok(Self { heard, said })
    }

    /// Forgets the wishes that came so far.
    pub(crate) fn hear(&self) {
        let mut wishes = [0; 64];
        while matches!((&self.heard).read(&mut wishes), Ok(count) if 0 < count) {}
    }

    /// Wishes so from within; once per thread, which never fills what holds the wishes.
    pub(crate) fn ask(&self) {
        (&self.said).write_all(b"!").ok();
    }

    /// Waits for a wish; `false` if the time came first.
    pub(crate) fn wait(&self, until: Option<BootTime>) -> io::Result<bool> {
        loop {
            let mut fds = [PollFd::new(&self.heard, PollFlags::IN)];
            wait(&mut fds, until)?;
            let [fd] = fds;
            if fd.revents().contains(PollFlags::IN) {
                return Ok(true);
            }
            if until.is_some_and(BootTime::is_past) {
                return Ok(false);
            }
        }
    }
}

impl AsFd for Stop {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.heard.as_fd()
    }
}
