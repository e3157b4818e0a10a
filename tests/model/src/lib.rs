//! The protocol of the task queue as a state machine, for an exhaustive check.
//!
//! ```text
//!  rules      what the protocol demands, one switch each; a test turns one off and wants a counterexample
//!  entry      one name in one directory: what is there, and what a power cut may leave there
//!  state      two tasks, their files, what their clients saw; the processes and where each of them is
//!  begin      what a worker may begin
//!  server     the steps of a worker: submit, cancel, give up, look, remove
//!  runner     the steps of agent-core: claim, run, complete, fail, retry, recover
//!  durable    all of it as one model: whose step comes next, who dies, when the power fails
//!  sync_lane  the lane in memory, a smaller model: claim slots in place of locks
//! ```
//!
//! One step is one system call that others can see. A directory entry that was not synced is, after a power
//! cut, any of the values it had since the last fsync of its directory, each entry for itself: that is less
//! order than the journals of ext4 and XFS give. Time is left out: a deadline may pass at any moment, a retry
//! may come at once, and a runner may claim a task that it listed long ago.
//!
//! What makes the number of states finite, and small enough:
//! - two workers without identity; one runner after the other, with one thread per task; kills, power cuts,
//!   faults, submits, cancels and deadlines are counted in [`Setting`];
//! - one task in a large world, two in a smaller one: tasks share nothing but the fsync of a directory;
//! - the bytes of a file are there when its name is: they are synced before the name is made;
//! - a read that tells the client what it knows is no step, and an answer is one step with the fsync before it;
//! - a system call that fails and is repeated until it succeeds is no step either.

mod begin;
mod durable;
mod entry;
mod rules;
mod runner;
mod server;
mod state;
mod sync_lane;

pub use durable::{Durable, Who};
pub use rules::{Kind, Rules, Setting};
pub use state::State;
pub use sync_lane::{SyncLane, SyncRules, SyncState, SyncStep};
