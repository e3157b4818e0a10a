//! Not written yet.

/// The process.
pub fn main() -> std::process::ExitCode {
    std::process::ExitCode::SUCCESS
}
