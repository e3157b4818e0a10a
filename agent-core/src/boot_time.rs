//! Points in time on the clock of deadlines, and how long it is until then.

use std::time::Duration;

use ploinky_queue::boottime_ns;
use rustix::event::{PollFd, poll};
use rustix::io::Errno;
use rustix::time::Timespec;

/// A point in time.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) struct BootTime(u64);

impl BootTime {
    pub(crate) fn now() -> Self {
        Self(boottime_ns())
    }

    pub(crate) fn from_ns(ns: u64) -> Self {
        Self(ns)
    }

    pub(crate) fn after(span: Duration) -> Self {
        Self::now().plus(span)
    }

    pub(crate) fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)))
    }

    pub(crate) fn is_past(self) -> bool {
        self <= Self::now()
    }

    /// Time since then; nothing if it is to come.
    pub(crate) fn since(self) -> Duration {
        Duration::from_nanos(Self::now().0.saturating_sub(self.0))
    }

    pub(crate) fn as_ns(self) -> u64 {
        self.0
    }

    /// Time until then; nothing if it is past.
    pub(crate) fn left(self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(Self::now().0))
    }
}

/// Waits until one of the descriptors is ready or the time has come; it may return early.
pub(crate) fn wait(fds: &mut [PollFd<'_>], until: Option<BootTime>) -> rustix::io::Result<()> {
    // A second longer than a year would not fit everywhere, and nothing waits that long.
    let timeout = until.map(|until| {
        let left = until.left().min(Duration::from_secs(86_400));
        Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(86_400),
            tv_nsec: left.subsec_nanos().into(),
        }
    });
    match poll(fds, timeout.as_ref()) {
        Ok(_) | Err(Errno::INTR) => Ok(()),
        Err(e) => Err(e),
    }
}
