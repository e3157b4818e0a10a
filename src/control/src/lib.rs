//! What may be asked of the supervisor: the interfaces `io.ploinky.Supervisor1` and `io.ploinky.Accounts1`, with their
//! words and their errors.
//!
//! The same types serve the system bus (`ploinkyctl`) and a peer-to-peer socket. This crate decides nothing
//! and performs nothing; `ploinky-supervisor` serves the interfaces, others call them.

mod accounts;
mod accounts_proxy;
mod error;
mod proxy;
mod status;

pub use accounts::{AdminAccount, AdminSession, NewToken, TokenOrder, TokenReport};
pub use accounts_proxy::Accounts1Proxy;
pub use error::ControlError;
pub use proxy::Supervisor1Proxy;
pub use status::{AgentStatus, CommandTerms, HostStatus};

/// The well-known name on the system bus, and the name of the interface.
pub const BUS_NAME: &str = "io.ploinky.Supervisor1";
/// The only object.
pub const OBJECT_PATH: &str = "/io/ploinky/Supervisor1";
/// polkit action for reading state.
pub const ACTION_INSPECT: &str = "io.ploinky.inspect";
/// polkit action for changing state.
pub const ACTION_MANAGE: &str = "io.ploinky.manage";
/// polkit action for accounts of admins and tokens of programs.
pub const ACTION_ACCOUNTS: &str = "io.ploinky.accounts";
