//! A claimed task, of whichever lane.

use std::borrow::Cow;

use ploinky_contract::{CommandName, TaskId};
use ploinky_queue::{Claim, RecordError, Request, SyncClaim, boottime_ns};

use crate::boot_time::BootTime;
use crate::lane::Lane;

/// It belongs to this process until it has an outcome.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "it lives on the stack of its thread")]
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

    /// The task as handlers get it: the request with the number of the run in it.
    pub(crate) fn json(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Durable(claim) if claim.attempt() != claim.head().attempt => {
                // What was claimed has a head that can be read; the rest is checked when it is handed over.
                claim.request().map_or(Cow::Borrowed(claim.bytes()), |mut request| {
                    request.attempt = claim.attempt();
                    Cow::Owned(request.encode())
                })
            }
            Self::Durable(claim) => Cow::Borrowed(claim.bytes()),
            Self::Sync(claim) => Cow::Borrowed(claim.bytes()),
        }
    }

    /// Which run it is; the first one is 1.
    pub(crate) fn attempt(&self) -> u32 {
        match self {
            Self::Sync(_) => 1,
            Self::Durable(claim) => claim.attempt(),
        }
    }

    /// When this run is over at the latest, if it begins now.
    pub(crate) fn run_deadline(&self) -> BootTime {
        match self {
            Self::Sync(_) => self.deadline(),
            Self::Durable(claim) => BootTime::from_ns(claim.run_deadline(boottime_ns())),
        }
    }

    /// The claim, if the task may be run again after a run that failed.
    pub(crate) fn retried(&self) -> Option<&Claim> {
        match self {
            Self::Durable(claim) if claim.head().terms.is_retried() => Some(claim),
            Self::Durable(_) | Self::Sync(_) => None,
        }
    }

    /// Whether people may look at the task while it runs.
    pub(crate) fn is_kept(&self) -> bool {
        match self {
            Self::Sync(_) => false,
            Self::Durable(claim) => claim.head().terms.is_async(),
        }
    }

    /// The whole request.
    pub(crate) fn request(&self) -> Result<Request, RecordError> {
        match self {
            Self::Sync(claim) => claim.request(),
            Self::Durable(claim) => claim.request(),
        }
    }
}
