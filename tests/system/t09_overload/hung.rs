//! An agent that does not answer.

use std::time::Duration;

use serde_json::json;

use super::{Agent, IN_FLIGHT, INSTANCES, NEIGHBOUR, neighbour, refusals};
use crate::answers::{Answers, End, least_ratio, median, ms, ratio};
use crate::flow::{Flow, Pace};
use crate::host::{sh, start_four, wait_for};
use crate::http::call;
use crate::t02_agents::deploy_echo;

/// The `timeout` of its manifest.
const DEADLINE: Duration = Duration::from_secs(3);
/// All that can be in flight, and some for those that are refused.
const CALLS: Pace = Pace::Rate(200.0, INSTANCES.len() * IN_FLIGHT + 128);
/// Turns of quiet and load.
const TURNS: usize = 4;

/// Each call of the hung agent ends at its deadline or is refused at once, and no more than allowed wait.
fn assert_ends(calls: &Answers, what: &str) -> Answers {
    let late = calls.of(504);
    assert_eq!(refusals(calls).len() + late.len(), calls.len(), "{what}: {}", calls.ends());
    assert!(late.at_once() <= INSTANCES.len() * IN_FLIGHT, "{what}: {} at once", late.at_once());
    let early = late.filter(|answer| answer.took < DEADLINE);
    assert_eq!(early.len(), 0, "{what}: ended before the deadline");
    // Some seconds, as the machine may be busy; who never looks at the time would not end at all.
    let most = late.quantile(1.0);
    assert!(most < DEADLINE * 3, "{what}: one ended {} after it was sent", ms(most));
    late
}

#[test]
fn o2_who_calls_an_agent_that_hangs_is_told_so_and_its_neighbours_do_not_notice() {
    deploy_echo();
    start_four();
    let agent = Agent::deploy_silent("hung");
    let request = agent.request("hung.work", &json!([]));
    wait_for("a route to the agent", || {
        (call("/hung", "hung.work", &json!([])).ok()?.status == 504).then_some(())
    });
    Flow::run(NEIGHBOUR, neighbour(), Duration::from_secs(1)).assert_all_good("warming up");
    let (mut quiet, mut loaded) = (Vec::new(), Vec::new());
    let mut all = Answers(Vec::new());
    for _ in 0..TURNS {
        let answers = Flow::run(NEIGHBOUR, neighbour(), Duration::from_secs(3));
        answers.assert_all_good("quiet");
        quiet.push(answers.quantile(0.99));
        let calls = Flow::start(CALLS, request.clone());
        // Until the first have come to their deadline, and as many wait as may.
        std::thread::park_timeout(DEADLINE + Duration::from_secs(1));
        let answers = Flow::run(NEIGHBOUR, neighbour(), Duration::from_secs(3));
        answers.assert_all_good("beside a hung agent");
        loaded.push(answers.quantile(0.99));
        let calls = calls.finish();
        assert_ends(&calls, "handlers that hang");
        assert!(0 < calls.of(429).len(), "nothing was refused: {}", calls.ends());
        all.0.extend(calls.0);
    }
    let late = all.of(504);
    let ratio = ratio(median(&loaded), median(&quiet));
    println!(
        "O2: p99 of the other agent {} quiet, {} beside the hung one, {ratio:.2} of it (medians of {quiet:.1?} and \
         {loaded:.1?}); the hung one: {}; at most {} of {} in flight; 504 after {} to {}, p50 {}",
        ms(median(&quiet)),
        ms(median(&loaded)),
        all.ends(),
        late.at_once(),
        INSTANCES.len() * IN_FLIGHT,
        ms(late.quantile(0.0)),
        ms(late.quantile(1.0)),
        ms(late.quantile(0.5)),
    );
    // Noise of the machine spoils some turns; who suffers from the hung agent does so in all of them.
    let best = least_ratio(&loaded, &quiet);
    assert!(best <= 1.5, "{best:.2} in the best of {TURNS} turns");

    // The same when not even agent-core moves: its lock says that it lives.
    let pid = sh("podman inspect --format '{{.State.Pid}}' ploinky-localhost-hung");
    sh(&format!("kill -STOP {pid}"));
    let calls = Flow::run(CALLS, request, Duration::from_secs(5));
    sh(&format!("kill -CONT {pid}"));
    let late = assert_ends(&calls, "an agent-core that is stopped");
    println!(
        "O2: agent-core stopped: {}; 504 after {} to {}",
        calls.ends(),
        ms(late.quantile(0.0)),
        ms(late.quantile(1.0))
    );
    assert!(calls.filter(|answer| answer.end == End::Status(429, true)).len() > 0);
}
