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
