//! Wishes of the server that tasks shall end early, brought to where the tasks are.

#[cfg(test)]
mod tests;

use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

use ploinky_contract::limits::INBOX_SWEEP;
use ploinky_queue::Watch;
use rustix::event::{PollFd, PollFlags};

use crate::boot_time::{BootTime, wait};
use crate::inbox::Inbox;
use crate::interrupt::{Bell, Interrupts};
use crate::lane::Lane;
use crate::lanes::Lanes;
use crate::log;

/// What is listened to.
#[derive(Debug)]
pub(crate) struct Wishes {
    sync: Option<Watch>,
    durable: Watch,
    /// Time between two looks for wishes whose hints were lost.
    every: Duration,
}

impl Wishes {
    /// From now on no wish is missed.
    pub(crate) fn open(lanes: &Lanes) -> io::Result<Self> {
        let sync = lanes.watch_urgent(Lane::Sync)?;
        let durable = lanes.watch_urgent(Lane::Durable)?.ok_or(io::ErrorKind::NotFound)?;
        Ok(Self { sync, durable, every: INBOX_SWEEP })
    }

    /// Brings wishes until `stop` rings; on a thread of its own, because the others may all be busy. While no
    /// task waits or runs nothing is looked for without a hint.
    ///
    /// # Errors
    /// The kernel does not let us wait.
    pub(crate) fn bring(
        &mut self,
        lanes: &Lanes,
        inbox: &Inbox,
        interrupts: &Interrupts,
        stop: &Bell,
    ) -> io::Result<()> {
        // Not put off by hints: one that was lost is found however many others come.
        let mut sweep = Some(BootTime::after(self.every));
        loop {
            let sync = self.sync.as_ref().map_or(stop.as_fd(), AsFd::as_fd);
            let mut fds = [
                PollFd::new(stop, PollFlags::IN),
                PollFd::new(inbox.work(), PollFlags::IN),
                PollFd::new(&self.durable, PollFlags::IN),
                PollFd::from_borrowed_fd(sync, PollFlags::IN),
            ];
            wait(&mut fds, sweep)?;
            let [stopped, roused, durable, sync] = fds.map(|fd| !fd.revents().is_empty());
            if stopped {
                return Ok(());
            }
            if roused {
                inbox.work().silence();
                sweep.get_or_insert_with(|| BootTime::after(self.every));
            }
            let watches = [
                (Lane::Durable, durable.then_some(&mut self.durable)),
                (Lane::Sync, self.sync.as_mut().filter(|_| sync)),
            ];
            for (lane, watch) in watches {
                let Some(watch) = watch else { continue };
                match watch.drain(&mut |id| inbox.ask(lane, id, interrupts)) {
                    Ok(drained) if drained.overflowed => sweep = Some(BootTime::now()),
                    Ok(_) => {}
                    Err(e) => log::event(&format!("cannot read wishes to end tasks: {e}")),
                }
            }
            if sweep.is_some_and(BootTime::is_past) {
                sweep = (!inbox.rest()).then(|| BootTime::after(self.every));
                if sweep.is_some() {
                    look_for_all(lanes, inbox, interrupts);
                }
            }
        }
    }
}

/// Brings all wishes that are there.
fn look_for_all(lanes: &Lanes, inbox: &Inbox, interrupts: &Interrupts) {
    for lane in [Lane::Sync, Lane::Durable] {
        match lanes.urgent(lane) {
            Ok(ids) => ids.into_iter().for_each(|id| inbox.ask(lane, id, interrupts)),
            Err(e) => log::event(&format!("cannot list wishes to end tasks: {e}")),
        }
    }
}
