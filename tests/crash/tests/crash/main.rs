//! What no crash may take from a client.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test support")]

mod after;
mod k1_kills;
