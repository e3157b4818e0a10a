//! The task files of one agent: the only link between the server and the agent's container.
//!
//! ```text
//! .tasks/             server                         agent
//!   requests/<id>     makes and removes              reads
//!   urgent/<id>       makes to ask for an end        reads
//!   responses/<id>    reads as hostile, removes      makes
//!   errors/<id>       makes to end a task; reads     makes
//!   locks/<id>/       makes to cancel, removes       makes to claim, holds flock while it works
//!   locks/.runner/    probes                         holds flock as long as it serves
//! ```
//!
//! A file appears whole or not at all and never replaces another one, so the first record of a task is its
//! outcome. Whether somebody lives is told by `flock`, which the kernel releases with the process. Everything
//! blocks shortly at most; nothing here starts threads, and nothing here knows HTTP or how a task is run.

mod clock;
pub mod code;
mod consumer;
mod directories;
mod janitor;
mod lock;
mod outcome;
mod producer;
mod publish;
mod read_result;
mod record;
mod request;
#[cfg(test)]
mod scratch;
mod sync_lane;
mod watch;

pub use clock::{InvalidBootId, boot_id, boottime_ns, parse_boot_id};
pub use consumer::{Claim, Claimed, Consumer, NotClaimed, Recovered, RunnerLock};
pub use directories::OpenError;
pub use janitor::{Swept, sweep};
pub use lock::{InstanceLock, instance_is_alive, runner_is_alive};
pub use outcome::{Outcome, RecordPlace, TaskError};
pub use producer::{Cancel, Producer, SubmitError};
pub use publish::Recorded;
pub use read_result::BadResult;
pub use record::RecordError;
pub use request::{Request, Submitter};
pub use sync_lane::{SYNC_REQUEST_MAX_BYTES, SyncClaim, SyncConsumer, SyncProducer, sweep_sync};
pub use watch::{Drained, ResultWatch, Watch};
