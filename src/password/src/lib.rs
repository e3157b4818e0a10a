//! Passwords: how they are kept, which are taken, and what wrong ones cost. No I/O, no clock, no randomness.
//!
//! Whoever asks for a password of somebody who is not there checks it against [`PasswordHash::of_nobody`], so
//! that the answer takes as long as for others.

mod failures;
mod hash;
mod original;
mod password;
mod rules;

pub use failures::{Failures, LOCKED_AT, Turn};
pub use hash::{InvalidHash, PasswordHash, ROUNDS, SALT_BYTES};
pub use original::OriginalHash;
pub use password::{PASSWORD_MAX_BYTES, Password, PasswordTooLong};
pub use rules::{PASSWORD_MIN_CHARS, WeakPassword, check_new};
