//! The wish that the process shall end: SIGTERM, SIGINT, or a thread that cannot go on.

use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

use rustix::event::{PollFd, PollFlags};
use signal_hook::consts::{SIGINT, SIGTERM};
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
        let (heard, said) = UnixStream::pair()?;
        pipe::register(SIGTERM, said.try_clone()?)?;
        pipe::register(SIGINT, said.try_clone()?)?;
        Ok(Self { heard, said })
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
