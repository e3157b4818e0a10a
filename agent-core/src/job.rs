//! A claimed task, of whichever lane.

use std::borrow::Cow;

use ploinky_contract::{CommandName, TaskId};
use ploinky_queue::{Claim, RecordError, Request, SyncClaim};

use crate::boot_time::BootTime;
use crate::lane::Lane;

/// It belongs to this process until it has an outcome.
#[derive(Debug)]
pub(crate) enum Job {
    Sync(SyncClaim),
    Durable(Claim),
}

impl Job {
    pub(crate) fn lane(&self) -> Lane {
        match self {
            Self::Sync(_) => Lane::Sync,
            Self::Durable(_) => Lane::Durable,
        }
    }

    pub(crate) fn id(&self) -> TaskId {
        match self {
            Self::Sync(claim) => claim.id(),
            Self::Durable(claim) => claim.id(),
        }
    }

    pub(crate) fn command(&self) -> &CommandName {
        match self {
            Self::Sync(claim) => claim.command(),
            Self::Durable(claim) => claim.command(),
        }
    }

    /// When the task is over at the latest, all runs together.
    pub(crate) fn deadline(&self) -> BootTime {
        BootTime::from_ns(match self {
            Self::Sync(claim) => claim.deadline_boot_ns(),
            Self::Durable(claim) => claim.deadline_boot_ns(),
        })
    }

    /// The request: one JSON object.
    pub(crate) fn bytes(&self) -> &[u8] {
        match self {
            Self::Sync(claim) => claim.bytes(),
            Self::Durable(claim) => claim.bytes(),
        }
    }

    /// The task as handlers get it: the request with the number of the run in it.
    pub(crate) fn json(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(self.bytes())
    }

    /// Which run it is; the first one is 1.
    pub(crate) fn attempt(&self) -> u32 {
        1
    }

    /// When this run is over at the latest.
    pub(crate) fn run_deadline(&self) -> BootTime {
        self.deadline()
    }

    /// Whether people may look at the task while it runs.
    pub(crate) fn is_kept(&self) -> bool {
        false
    }

    /// The whole request.
    pub(crate) fn request(&self) -> Result<Request, RecordError> {
        match self {
            Self::Sync(claim) => claim.request(),
            Self::Durable(claim) => claim.request(),
        }
    }
}
