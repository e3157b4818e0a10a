//! The worker as clients and agents meet it: raw HTTP on one side, task files on the other.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "test support")]
#![expect(clippy::panic, reason = "test support")]
#![expect(clippy::disallowed_methods, reason = "tests make files and directories of all kinds")]

mod accepted;
mod agent;
mod bad_input;
mod cancelled;
mod client;
mod clients;
mod cross_origin;
mod drain;
mod files;
mod framing;
mod host;
mod keys;
mod lane;
mod listing;
mod management;
mod outputs;
mod protection;
mod refusals;
mod reload;
mod resources;
mod routing;
mod sessions;
mod smuggling;
mod streams;
mod tasks;
mod uploads;
