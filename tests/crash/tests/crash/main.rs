//! What no crash may take from a client.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "test support")]

mod after;
mod k1_kills;
mod k3_power;
mod k5_faults;
mod k6_full_disk;
mod k7_stops;
