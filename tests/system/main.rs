//! The tier that proves the promise: the package on real systemd and real Podman.
//!
//! `tests/check` boots a testbed, installs the package and runs this program in the testbed's network
//! namespace, one test after the other, in the order of their names. A test leaves the host as it found it.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::disallowed_methods,
    reason = "test support: a failure must end the test and say where"
)]

mod answers;
mod flow;
mod host;
mod http;
mod load;
mod t01_package;
mod t02_agents;
mod t03_bad_input;
mod t04_static_files;
mod t05_isolation;
mod t05_lane;
mod t06_survival;
mod t06_watchdog;
mod t07_libraries;
mod t08_tasks;
mod t09_overload;
mod t10_scale;
mod t12_sessions;
mod t13_admins;
mod t14_security_agent;
mod t99_removal;
