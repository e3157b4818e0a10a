//! An agent that does to its queues whatever it can.

use std::thread;
use std::time::{Duration, Instant};

use serde_json::json;

use super::{Agent, NEIGHBOUR, main_pids, neighbour, peak_memory, processor_time};
use crate::answers::{Answers, End, least_ratio, median, ms, ratio};
use crate::flow::{Flow, Pace};
use crate::host::{ok, run, setting, start_four};
use crate::http::get_bytes;
use crate::t02_agents::deploy_echo;

/// Turns of the three phases.
const TURNS: usize = 3;
/// Seconds of one phase.
const SECONDS: u64 = 3;

/// Its program in the container.
fn program<'a>(verb: &'a str, number: &'a str) -> [&'a str; 7] {
    ["podman", "exec", "ploinky-localhost-hostile", "python3", "/agent/hostile.py", verb, number]
}

/// Runs its program; what it printed.
fn inside(verb: &str, number: u64) -> String {
    ok(&program(verb, &number.to_string()))
}

/// What was seen in some seconds.
struct Phase {
    p99: Duration,
    slowest: Duration,
    /// Processor time of the workers, as a share of one processor.
    processor: f64,
}

/// Measures the neighbour while the agent does `verb`, if it does anything.
fn phase(verb: Option<&'static str>) -> Phase {
    let begin = Instant::now();
    let before = processor_time();
    // It begins before the measurement does, and goes on until that has ended.
    let deed = verb.map(|verb| thread::spawn(move || inside(verb, SECONDS + 2)));
    thread::park_timeout(Duration::from_secs(1));
    let health = Flow::start(Pace::Rate(20.0, 64), get_bytes("/healthz", ""));
    let answers = Flow::run(NEIGHBOUR, neighbour(), Duration::from_secs(SECONDS));
    let health = health.finish();
    for (what, answers) in [("the neighbour", &answers), ("/healthz", &health)] {
        answers.assert_all_good(&format!("{what} beside {verb:?}"));
    }
    if let Some(deed) = deed {
        deed.join().unwrap();
    }
    let processor = ratio(processor_time().saturating_sub(before), begin.elapsed());
    let slowest = answers.quantile(1.0).max(health.quantile(1.0));
    Phase { p99: answers.quantile(0.99), slowest, processor }
}

fn p99s(phases: &[Phase]) -> Vec<Duration> {
    phases.iter().map(|phase| phase.p99).collect()
}

fn p99_of(phases: &[Phase]) -> Duration {
    median(&p99s(phases))
}

fn processor_of(phases: &[Phase]) -> f64 {
    median(&phases.iter().map(|phase| phase.processor).collect::<Vec<_>>())
}

fn describe(phases: &[Phase]) -> String {
    let slowest = phases.iter().map(|phase| phase.slowest).max().unwrap();
    let share = processor_of(phases) * 100.0;
    format!("p99 {} slowest {} workers {share:.0} %", ms(p99_of(phases)), ms(slowest))
}

#[test]
fn o3_an_agent_that_fills_and_floods_its_queues_and_lies_leaves_its_neighbours_served() {
    deploy_echo();
    start_four();
    let agent = Agent::deploy("hostile", "hostile.tell");
    let pids = main_pids();
    phase(None);
    let before: Vec<Phase> = (0..TURNS).map(|_| phase(None)).collect();

    let begin = Instant::now();
    let made = inside("fill", setting("PLOINKY_OVERLOAD_FILES", 200_000));
    let filled = begin.elapsed();
    let (mut quiet, mut spin, mut storm) = (Vec::new(), Vec::new(), Vec::new());
    let mut lies = Answers(Vec::new());
    for _ in 0..TURNS {
        quiet.push(phase(None));
        spin.push(phase(Some("spin")));
        let flow = Flow::start(Pace::Rate(50.0, 600), agent.request("hostile.lie", &json!([])));
        storm.push(phase(Some("storm")));
        lies.0.extend(flow.finish().0);
    }
    let memory = peak_memory(&pids);
    println!(
        "O3: {} files in {:.0} s; before: {}; beside the files: {}; beside as much use of the processors: {}; beside the \
         storm: {}; lies: {}, p99 {}; peak memory of a worker {} KiB",
        made.trim(),
        filled.as_secs_f64(),
        describe(&before),
        describe(&quiet),
        describe(&spin),
        describe(&storm),
        lies.ends(),
        ms(lies.quantile(0.99)),
        memory.iter().max().unwrap() / 1024,
    );
    let told = lies.filter(|answer| matches!(answer.end, End::Status(..)));
    assert_eq!(told.len(), lies.len(), "{}", lies.ends());
    // Noise of the machine spoils some turns; who suffers from the agent does so in all of them.
    let files = least_ratio(&p99s(&quiet), &p99s(&before));
    assert!(files <= 1.5, "beside the files p99 is {files:.2} of what it was, at best");
    let noise = least_ratio(&p99s(&storm), &p99s(&spin));
    assert!(
        noise <= 1.5,
        "beside the storm p99 is {noise:.2} of that beside a busy agent, at best"
    );

    // The four workers answer 50 lies a second more, and may read hints 500 times a second each. Each name
    // that they read alone would cost them as much as it costs the agent.
    let storm_share = processor_of(&storm) - processor_of(&spin);
    assert!(storm_share < 0.25, "the storm took {storm_share:.2} of a processor from the workers");

    // At last it takes the place of what agent-core keeps. What becomes of its own calls is its own affair, as
    // long as each of them ends.
    // agent-core ends when it sees that, and the container with it.
    let deed = thread::spawn(|| run(&program("usurp", "0")));
    let calls = Flow::start(Pace::Rate(50.0, 600), agent.request("hostile.tell", &json!([])));
    phase(None);
    let calls = calls.finish();
    let told = calls.filter(|answer| matches!(answer.end, End::Status(..)));
    assert_eq!(told.len(), calls.len(), "{}", calls.ends());
    println!(
        "O3: agent-core's own files taken: {}, slowest {}",
        calls.ends(),
        ms(calls.quantile(1.0))
    );
    deed.join().unwrap();
    assert_eq!(main_pids(), pids, "a worker ended");
}
