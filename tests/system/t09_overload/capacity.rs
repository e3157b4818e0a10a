//! Twice the load that an agent can take.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Agent, IN_FLIGHT, INSTANCES, main_pids, peak_memory, refusals};
use crate::answers::{Answer, Answers, End, median, ms, ratio};
use crate::flow::{Flow, Pace};
use crate::host::{property, setting, start_four};

/// Clients that have one call each under way while the capacity is measured: more than there are handlers,
/// fewer than would be refused.
const CLIENTS: usize = 64;
/// Connections of the load: for all that can be in flight, and for those that are being refused.
const CONNECTIONS: usize = INSTANCES.len() * IN_FLIGHT + 1024;
/// Calls per second that tell how quick the agent is when it has nothing else to do.
const FEW: Pace = Pace::Rate(100.0, CONNECTIONS);
/// Turns of capacity and load: the machine is not the same all the time.
const TURNS: u64 = 5;

/// One turn.
struct Turn {
    /// Calls per second that the agent answers when nobody is refused.
    capacity: f64,
    /// Those that were sent in the load, and those that were answered with 200 while it went on.
    offered: f64,
    goodput: f64,
    load: Answers,
}

/// The agent's four handlers wait for 4 ms each, so the agent is what is too slow, and neither this program nor
/// the host; «twice» is calls per second, sent whatever comes back.
#[test]
fn o1_twice_the_capacity_is_served_to_the_full_and_the_rest_refused_at_once() {
    start_four();
    let agent = Agent::deploy("paced", "paced.work");
    let run = |pace, seconds| {
        let request = agent.request("paced.work", &json!([]));
        Flow::run(pace, request, Duration::from_secs(seconds))
    };
    let seconds = setting("PLOINKY_OVERLOAD_SECONDS", 20) / TURNS;
    let high: u64 = property(INSTANCES[0], "MemoryHigh").parse().unwrap();
    // The handlers start with their first call.
    run(Pace::Clients(CLIENTS), 3).assert_all_good("warming up");
    for _ in 0..setting("PLOINKY_OVERLOAD_RUNS", 1) {
        let pids = main_pids();
        let quiet = run(FEW, 5);
        quiet.assert_all_good("quiet");
        let quiet = quiet.quantile(0.99);
        let turns: Vec<Turn> = (0..TURNS).map(|_| turn(seconds, &run)).collect();
        let (calm, after) = calm_again(quiet * 3, &|| run(FEW, 1));

        let of_capacity: Vec<f64> = turns.iter().map(|turn| turn.goodput / turn.capacity).collect();
        let load = Answers(turns.iter().flat_map(|turn| turn.load.0.clone()).collect());
        let (good, refused) = (load.of(200), refusals(&load));
        let memory = peak_memory(&pids);
        let figures = |of: &dyn Fn(&Turn) -> f64| turns.iter().map(of).collect::<Vec<_>>();
        println!(
            "O1: capacity {:.0?}/s, offered {:.0?}/s, answered {:.0?}/s, {:.2} of it ({of_capacity:.2?}), p50 {}; refusals \
             p99 {}; {}; p99 {} before, {} in second {calm} after; peak memory of a worker {} KiB",
            figures(&|turn| turn.capacity),
            figures(&|turn| turn.offered),
            figures(&|turn| turn.goodput),
            median(&of_capacity),
            ms(good.quantile(0.5)),
            ms(refused.quantile(0.99)),
            load.ends(),
            ms(quiet),
            ms(after),
            memory.iter().max().unwrap() / 1024,
        );
        assert!(0.9 <= median(&of_capacity), "{of_capacity:.2?}");
        assert_eq!(good.len() + refused.len(), load.len(), "{}", load.ends());
        // An answer waits for the turn of all that are in flight; a refusal that takes as long waited, too.
        let share = ratio(refused.quantile(0.99), good.quantile(0.5));
        assert!(share < 0.5, "a refusal takes {share:.2} of the time of an answer");
        assert!(calm <= 5, "in second {calm} after the load p99 was {}", ms(after));
        assert!(memory.iter().all(|bytes| *bytes <= high), "{memory:?} with MemoryHigh={high}");
        assert_eq!(main_pids(), pids, "a worker ended");
    }
}

/// The capacity, and twice that much.
fn turn(seconds: u64, run: &dyn Fn(Pace, u64) -> Answers) -> Turn {
    let full = run(Pace::Clients(CLIENTS), 3);
    full.assert_all_good("measuring the capacity");
    let capacity = per_second(full.len(), 3);
    let begin = Instant::now();
    // What this program could not send is no load.
    let load = run(Pace::Rate(2.0 * capacity, CONNECTIONS), seconds)
        .filter(|answer| answer.end != End::Unsent);
    let in_time = |answer: &Answer| answer.at - begin <= Duration::from_secs(seconds);
    let offered = per_second(load.len(), seconds);
    assert!(1.8 * capacity <= offered, "{offered:.0}/s is not twice {capacity:.0}/s");
    let goodput = per_second(load.of(200).filter(in_time).len(), seconds);
    Turn { capacity, offered, goodput, load }
}

fn per_second(count: usize, seconds: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap()) / f64::from(u32::try_from(seconds).unwrap())
}

/// The first second of ten whose p99 is below `limit`, else the last one; and that p99.
fn calm_again(limit: Duration, second: &dyn Fn() -> Answers) -> (u32, Duration) {
    let mut last = (0, Duration::ZERO);
    for number in 1..=10 {
        let answers = second();
        answers.assert_all_good("after the load");
        last = (number, answers.quantile(0.99));
        if last.1 <= limit {
            break;
        }
    }
    last
}
