//! The queue of calls that are waited for, in memory: as the durable one, with fewer steps per task.
//!
//! ```text
//! sync/<aid>/             server                         agent
//!   requests/<id>         makes and removes              reads
//!   urgent/<id>           makes to ask for an end        reads
//!   streams/<id>          makes and reads: a pipe        writes
//!   responses/<n>/<id>    reads as hostile, removes      makes: the record of either kind
//!   locks/.runner/        probes                         holds flock as long as it serves
//!   locks/claims          looks into when it cancels     one slot per thread: the task that it took last
//! ```
//!
//! There is one runner, so a task needs no lock of its own: a thread writes the id into its slot *before* it
//! opens the request. The page outlives the process; the next runner ends what stands in the slots and has no
//! record, so that no task runs twice. A task is cancelled by removing its request: who opened it before has
//! its id in a slot by then, who opens it later finds nothing. `responses/<n>` is the directory of one worker,
//! so a record wakes only the worker that waits. Nothing is synced: the lane ends with the boot, and so do
//! those who wait.

mod claim;
mod claims;
mod consumer;
mod directories;
mod janitor;
mod looked;
mod producer;
mod recovery;
#[cfg(test)]
mod scratch;
mod spares;
mod waiting;

pub use self::claim::SyncClaim;
pub use self::consumer::SyncConsumer;
pub use self::janitor::sweep_sync;
pub use self::producer::{SYNC_REQUEST_MAX_BYTES, SyncProducer};
