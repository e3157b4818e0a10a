//! The real executable on a queue in a temporary directory.

mod agent;
mod handlers;
mod life;
mod workers;
