//! The least a persistent worker has to do: answers every task with `null`. Benchmarks measure against it.

use std::io::{self, BufRead, Write};

/// Where the id stands in the line of a task.
const BEFORE_ID: &str = "\"id\":\"";

fn main() -> io::Result<()> {
    let mut tasks = io::stdin().lock();
    let mut answers = io::stdout().lock();
    let (mut task, mut answer) = (String::new(), String::new());
    loop {
        task.clear();
        if tasks.read_line(&mut task)? == 0 {
            return Ok(());
        }
        let id = task.split_once(BEFORE_ID).and_then(|(_, rest)| rest.split('"').next());
        answer.clear();
        answer.push_str("{\"id\":\"");
        answer.push_str(id.unwrap_or_default());
        answer.push_str("\",\"response\":null}\n");
        answers.write_all(answer.as_bytes())?;
        answers.flush()?;
    }
}
