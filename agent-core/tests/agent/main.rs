//! The real executable on a queue in a temporary directory.

mod agent;
mod handlers;
mod lanes;
mod life;
mod workers;
