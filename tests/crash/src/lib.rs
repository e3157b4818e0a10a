//! Four workers and a runner as real processes, on a file system of their own whose power can be cut.
//!
//! ```text
//!  disk     a file system in a file: made, cut, mounted again
//!  boot     the boot id that all processes see; another one after each cut
//!  host     the directories, four ploinkyd with inherited sockets, one agent-core; kill, stop, start
//!  http     a client that knows four workers and tells a broken connection from an answer
//!  ledger   what clients were told and what handlers did; whether that fits together
//!  load     clients: submit, look, look again elsewhere, cancel, remove
//!  chaos    who dies when
//! ```
//!
//! What clients and handlers saw lies outside of that file system, so it survives what the tasks have to.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "support for tests: what cannot be done ends the test"
)]

mod boot;
mod chaos;
mod disk;
mod host;
mod http;
mod ledger;
mod load;
mod process;
mod random;
mod shutdown;

pub use chaos::Chaos;
pub use disk::{Disk, FileSystem};
pub use host::{Host, Role, WORKERS, end_trace};
pub use http::{Client, Reply};
pub use ledger::{Figures, Ledger, call};
pub use load::{Load, Plan};
pub use process::{pause, within};
pub use random::{Random, times};
pub use shutdown::Cut;
