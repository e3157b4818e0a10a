//! Workers that die all the time.

use std::time::{Duration, Instant};

use super::{INSTANCES, NEIGHBOUR, neighbour};
use crate::answers::{End, ms};
use crate::flow::{Flow, Pace};
use crate::host::{ok, property, setting, start_four, wait_for};
use crate::t02_agents::deploy_echo;

/// Each has one call under way.
const CLIENTS: usize = 32;

/// Kills one instance after the other; `systemctl` takes the rest of 200 ms.
const KILL: &str = "n=0; end=$(($(date +%s) + $1))
while [ $(date +%s) -lt $end ]; do
  systemctl kill --signal=KILL --kill-whom=main ploinky@$((n % 4 + 1)).service && n=$((n + 1))
  sleep 0.15
done
echo $n";

#[test]
fn o8_workers_that_are_killed_all_the_time_refuse_nobody() {
    deploy_echo();
    start_four();
    let restarts = || -> u32 {
        INSTANCES.iter().map(|unit| property(unit, "NRestarts").parse::<u32>().unwrap()).sum()
    };
    let before = restarts();
    let seconds = setting("PLOINKY_OVERLOAD_SECONDS", 10).to_string();
    let flow = Flow::start(Pace::Clients(CLIENTS), neighbour());
    let begin = Instant::now();
    let kills: usize = ok(&["/bin/sh", "-euc", KILL, "kill", &seconds]).trim().parse().unwrap();
    let every = begin.elapsed() / u32::try_from(kills).unwrap();
    wait_for("the last one to be back", || {
        INSTANCES.iter().all(|unit| property(unit, "ActiveState") == "active").then_some(())
    });
    let calls = flow.finish();
    let (good, broken) = (calls.of(200), calls.filter(|answer| answer.end == End::Broken));
    println!(
        "O8: {kills} kills, one in {}, {} restarts: {}, {:.1} broken per kill with {CLIENTS} clients; p50 {}, slowest {}",
        ms(every),
        restarts() - before,
        calls.ends(),
        f64::from(u32::try_from(broken.len()).unwrap()) / f64::from(u32::try_from(kills).unwrap()),
        ms(good.quantile(0.5)),
        ms(good.quantile(1.0)),
    );
    // Neither a refused connection nor an answer that somebody else's death made wrong.
    assert_eq!(good.len() + broken.len(), calls.len(), "{}", calls.ends());
    // What breaks is what the killed one had: as it lived longest, two fifths of the connections. Half of them
    // is out of reach by chance.
    assert!(broken.len() <= kills * CLIENTS / 2, "{} broken by {kills} kills", broken.len());
    assert!(kills < good.len(), "{} calls are no load", good.len());
    for unit in INSTANCES {
        assert_eq!(property(unit, "Result"), "success", "{unit}");
        let socket = unit.replace(".service", ".socket");
        assert_eq!(
            (property(&socket, "ActiveState"), property(&socket, "Result")),
            ("active".to_owned(), "success".to_owned()),
            "{socket}"
        );
    }
    Flow::run(NEIGHBOUR, neighbour(), Duration::from_secs(1)).assert_all_good("after the kills");
}
