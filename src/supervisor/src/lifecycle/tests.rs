//! The owner of the desired state over a real directory, with a service manager and a Podman in memory.
//!
//! A crash is a supervisor that is dropped at a point where it would wait; its successor finds the same
//! directories and the same service manager.

mod cut_off;
mod deployed;
mod edited;
mod found;
mod rolled_back;
mod world;
