//! Prints what a decision of Guardian costs: `cargo run --release -p ploinky-server --features bench --example decision`.
//!
//! From the parsed head of a request to whether its command may be called; once of the holder of a session with
//! sixteen patterns, once of nobody. An empty decision is what the clock costs.
#![expect(clippy::print_stdout, reason = "it prints")]

use std::hint::black_box;
use std::io;
use std::time::{Duration, Instant};

use ploinky_server::Decision;

const ROUNDS: usize = 1_000_000;

fn main() -> io::Result<()> {
    let root = tempfile::tempdir()?;
    let decision = Decision::new(root.path())?;
    if !decision.of_session() || decision.of_nobody() {
        return Err(io::Error::other("the wrong decision"));
    }
    let empty = measure("empty", None, &|| true);
    measure("nobody", Some(empty), &|| decision.of_nobody());
    measure("session", Some(empty), &|| decision.of_session());
    Ok(())
}

/// Half of the decisions and 99 % of them took at most so long.
fn measure(name: &str, empty: Option<[Duration; 2]>, decide: &dyn Fn() -> bool) -> [Duration; 2] {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            black_box(decide());
            start.elapsed()
        })
        .collect();
    times.sort_unstable();
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    let found = [at(50), at(99)];
    let [half, most] = found.map(|time| time.as_secs_f64() * 1e6);
    print!("{name:8} p50 {half:7.3} µs  p99 {most:7.3} µs");
    if let Some(empty) = empty {
        let [a, b] = empty.map(|time| time.as_secs_f64() * 1e6);
        print!("  {:5.1} and {:5.1} times an empty one", half / a, most / b);
    }
    println!();
    found
}
