//! Looks after the tasks that nobody gives a hint of: those that were there before the start, those whose
//! hints were lost, and those whose time has come.

use std::io;
use std::time::Duration;

use ploinky_contract::limits::INBOX_SWEEP;
use rustix::event::{PollFd, PollFlags};

use crate::boot_time::{BootTime, wait};
use crate::inbox::Inbox;
use crate::interrupt::Bell;
use crate::lane::Lane;
use crate::lanes::Lanes;
use crate::log;

/// Longest time between two sweeps of an agent in which nothing happens.
const QUIET_MAX: Duration = Duration::from_secs(60);
/// A sweep takes at most one part in so many of the time.
const SHARE: u32 = 50;

/// Until `stop` rings.
///
/// # Errors
/// The kernel does not let us wait.
pub(crate) fn run(inbox: &Inbox, lanes: &Lanes, stop: &Bell) -> io::Result<()> {
    let mut every = INBOX_SWEEP;
    let mut next = BootTime::after(every);
    loop {
        let due = inbox.advance().map(BootTime::from_ns);
        if next.is_past() || inbox.wants_sweep() {
            let start = BootTime::now();
            let found = sweep(inbox, lanes);
            // Hints that are lost are told; this is for what nobody thought of.
            every = if found == 0 { (every * 2).min(QUIET_MAX) } else { INBOX_SWEEP };
            next = BootTime::after(every.max(start.since() * SHARE));
            continue;
        }
        let until = due.map_or(next, |due| due.min(next));
        let mut fds =
            [PollFd::new(stop, PollFlags::IN), PollFd::new(inbox.sweeps(), PollFlags::IN)];
        wait(&mut fds, Some(until))?;
        let [stopped, rang] = fds.map(|fd| !fd.revents().is_empty());
        if stopped {
            return Ok(());
        }
        if rang {
            inbox.sweeps().silence();
        }
    }
}

/// Looks at both lanes; tells how many tasks were found.
pub(crate) fn sweep(inbox: &Inbox, lanes: &Lanes) -> usize {
    let mut found = 0;
    for lane in [Lane::Sync, Lane::Durable] {
        match inbox.sweep(lane, lanes) {
            Ok(more) => found += more,
            Err(e) => log::event(&format!("cannot list the tasks that wait: {e}")),
        }
    }
    found
}
