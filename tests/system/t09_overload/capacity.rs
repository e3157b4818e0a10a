//! Twice the load that an agent can take.

use std::time::{Duration, Instant};

use serde_json::json;

use super::{Agent, IN_FLIGHT, INSTANCES, main_pids, peak_memory, refusals, setting, start_four};
use crate::answers::{Answers, median, ms, ratio};
use crate::flow::{Flow, Pace};
use crate::host::property;

/// Clients that have one call each under way while the capacity is measured: more than there are handlers,
/// fewer than would be refused.
const CLIENTS: usize = 64;
/// Connections of the load: for all that can be in flight, and for those that are being refused.
const CONNECTIONS: usize = INSTANCES.len() * IN_FLIGHT + 256;
/// Calls per second that tell how quick the agent is when it has nothing else to do.
const FEW: Pace = Pace::Rate(100.0, CONNECTIONS);

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
    let seconds = setting("PLOINKY_OVERLOAD_SECONDS", 20);
    let high: u64 = property(INSTANCES[0], "MemoryHigh").parse().unwrap();
    for _ in 0..setting("PLOINKY_OVERLOAD_RUNS", 1) {
        let pids = main_pids();
        // The handlers start with their first call.
        run(Pace::Clients(CLIENTS), 3).assert_all_good("warming up");
        let quiet = run(FEW, 5);
        quiet.assert_all_good("quiet");
        let quiet = quiet.quantile(0.99);
        let peaks: Vec<f64> = (0..3)
            .map(|_| {
                let full = run(Pace::Clients(CLIENTS), 3);
                full.assert_all_good("measuring the capacity");
                per_second(full.len(), 3)
            })
            .collect();
        let peak = median(&peaks);

        let begin = Instant::now();
        let load = run(Pace::Rate(2.0 * peak, CONNECTIONS), seconds);
        let (calm, after) = calm_again(quiet * 3, &|| run(FEW, 1));

        let in_time = Duration::from_secs(seconds);
        let good = load.of(200);
        let goodput = per_second(good.filter(|answer| answer.at - begin <= in_time).len(), seconds);
        let refused = refusals(&load);
        let memory = peak_memory(&pids);
        println!(
            "O1: capacity {peak:.0}/s (of {peaks:.0?}); offered {:.0}/s for {seconds} s: answered {goodput:.0}/s, {:.2} of \
             it, p50 {}; refusals p99 {}; {}; p99 {} before, {} in second {calm} after; peak memory of a worker {} KiB",
            per_second(load.len(), seconds),
            goodput / peak,
            ms(good.quantile(0.5)),
            ms(refused.quantile(0.99)),
            load.ends(),
            ms(quiet),
            ms(after),
            memory.iter().max().unwrap() / 1024,
        );
        assert!(1.8 * peak <= per_second(load.len(), seconds), "this was not twice the capacity");
        assert!(0.9 * peak <= goodput, "{goodput:.0}/s of {peak:.0}/s");
        assert_eq!(good.len() + refused.len(), load.len(), "{}", load.ends());
        // An answer waits for the turn of all that are in flight; a refusal that takes as long waited, too.
        let share = ratio(refused.quantile(0.99), good.quantile(0.5));
        assert!(share < 0.5, "a refusal takes {share:.2} of the time of an answer");
        assert!(calm <= 5, "in second {calm} after the load p99 was {}", ms(after));
        assert!(memory.iter().all(|bytes| *bytes <= high), "{memory:?} with MemoryHigh={high}");
        assert_eq!(main_pids(), pids, "a worker ended");
    }
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
