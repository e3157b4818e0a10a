//! The task files of one agent: the only link between the server and the agent's container.
//!
//! ```text
//! .tasks/               server                         agent
//!   requests/<id>       makes and removes              reads
//!   urgent/<id>         makes to ask for an end        reads
//!   responses/<id>      makes to end a task; reads     makes: the one name that decides how a task ended
//!                       as hostile, removes
//!   errors/<id>         reads as hostile, removes      only programs of the first protocol make it
//!   locks/<id>/         makes to cancel, removes       makes to claim, holds flock while it works
//!   locks/<id>.note     reads as hostile, removes      replaces after a failed run
//!   locks/<id>.progress reads as hostile, removes      replaces while it works
//!   locks/.runner/      probes                         holds flock as long as it serves; leaves there why it
//!                                                      ended
//!   files/<id>/<k>      makes and removes              reads: uploads; a task that is submitted once more has
//!                                                      them by second names
//!   outputs/<id>        reads as hostile, removes      makes: results that are files
//! ```
//!
//! A file appears whole or not at all and, notes aside, never replaces another one, so the first record of a
//! task is its outcome. Whether somebody lives is told by `flock`, which the kernel releases with the process.
//! A task of [`Mode::Async`] survives power cuts: what is said to be so is on the disk before it is said. Nothing
//! here starts threads, and nothing here knows HTTP or how a task is run.

mod callbacks;
mod clock;
pub mod code;
mod consumer;
mod directories;
mod disk;
mod files;
mod gate;
mod group_sync;
mod janitor;
mod lock;
mod note;
mod outcome;
mod outputs;
mod producer;
mod progress;
#[cfg(test)]
mod promises;
mod publish;
mod read_result;
mod record;
mod request;
mod runner_lock;
#[cfg(test)]
mod scratch;
mod strangers;
mod sync_lane;
mod watch;

pub use callbacks::{Callback, CallbackBox, CallbackSecret, InvalidKey};
pub use clock::{InvalidBootId, boot_id, boottime_ns, parse_boot_id};
pub use consumer::{Claim, Claimed, Consumer, NotClaimed, Recovered, Waiting};
pub use directories::OpenError;
pub use files::StagedUpload;
pub use janitor::{Janitor, Rules, Swept};
pub use lock::{InstanceLock, instance_is_alive, runner_is_alive};
pub use note::Note;
pub use outcome::{FileResult, Outcome, TaskError};
pub use outputs::OutputFile;
pub use producer::{
    Accepted, Backlog, Cancel, Cursor, Filter, Inspected, InvalidCursor, Page, Producer,
    SubmitError, is_no_space,
};
pub use publish::Recorded;
pub use read_result::BadResult;
pub use record::RecordError;
pub use request::{Mode, Request, Submitter, TaskHead, Terms};
pub use runner_lock::RunnerLock;
pub use strangers::Strangers;
pub use sync_lane::{SYNC_REQUEST_MAX_BYTES, SyncClaim, SyncConsumer, SyncProducer, sweep_sync};
pub use watch::{Drained, ResultWatch, Watch};
