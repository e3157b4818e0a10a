//! Exit codes that all processes share; the units name 64 and 78 in `RestartPreventExitStatus=`.

/// The service refused, or the act failed.
pub const REFUSED: u8 = 1;
/// The command line is wrong (`EX_USAGE` of sysexits.h).
pub const USAGE: u8 = 64;
/// The service cannot be reached (`EX_UNAVAILABLE`).
pub const UNAVAILABLE: u8 = 69;
/// The caller may not do this (`EX_NOPERM`).
pub const NOT_ALLOWED: u8 = 77;
/// The configuration is wrong (`EX_CONFIG`).
pub const CONFIG: u8 = 78;

/// The task failed; only where the exit status tells the outcome of a task.
pub const TASK_FAILED: u8 = 10;
/// Somebody cancelled the task.
pub const TASK_CANCELLED: u8 = 11;
/// The task failed in its last retry.
pub const TASK_DEAD: u8 = 12;
/// The task has not ended; ask again (`EX_TEMPFAIL`).
pub const NOT_ENDED: u8 = 75;
