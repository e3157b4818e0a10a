//! The real executable on a queue in a temporary directory.

mod agent;
mod full_disk;
mod handlers;
mod heartbeat;
mod host;
mod kept;
mod lanes;
mod life;
mod streams;
mod workers;
