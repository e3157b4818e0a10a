//! The real executable on a queue in a temporary directory.

mod agent;
mod handlers;
mod host;
mod lanes;
mod life;
mod workers;
