//! Accounts of admins, their sessions, and tokens of programs.
//!
//! ```text
//!  account_verbs ──► Admins ──► desk      one thread looks at one password after the other
//!                                │ owns
//!                               book      accounts, lock-out, sessions, tokens; blocking
//!                                ├──► store + record        .admin
//!                                ├──► hash                  what is kept of a password
//!                                ├──► lockout               for how long failures close an address
//!                                └──► grants                adminSessions/, tokens/
//! ```
//! The file of accounts is read each time; what is in memory is what was tried, and the one-time token.

mod book;
mod desk;
mod error;
mod grants;
mod hash;
mod lockout;
mod record;
mod store;

pub(crate) use self::book::{Book, Claim, Found, Life, Listed, Now, Order, Session};
pub(crate) use self::desk::{Admins, Cost};
pub(crate) use self::error::AdminError;
