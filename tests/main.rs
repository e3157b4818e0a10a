//! Tests that need nothing but the source tree: one program, one module each.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "test support"
)]

mod architecture;
mod documents;
