//! Thousands of tasks that are accepted for one agent while another one is called.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Agent, NEIGHBOUR, neighbour};
use crate::answers::{ms, ratio};
use crate::flow::Flow;
use crate::host::{setting, sh, start_four, wait_for};
use crate::http::{Connection, get_bytes, request_bytes};
use crate::t02_agents::deploy_echo;
use crate::t08_tasks::id_of;

/// Clients that hand tasks over, and look at them.
const CLIENTS: usize = 16;

/// Does `each` with all of `items` over a few connections that are kept.
fn over_connections<I: Sync, T: Send>(
    items: &[I],
    each: impl Fn(&mut Connection, &I) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let threads: Vec<_> = items
            .chunks(items.len().div_ceil(CLIENTS))
            .map(|items| {
                let each = &each;
                scope.spawn(move || {
                    let mut connection = Connection::open(8000).unwrap();
                    let mut done = Vec::new();
                    for item in items {
                        if !connection.is_open() {
                            connection = Connection::open(8000).unwrap();
                        }
                        done.push(each(&mut connection, item));
                    }
                    done
                })
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    })
}

fn document(connection: &mut Connection, id: &str) -> Value {
    let reply = connection.exchange(&get_bytes(&format!("/tasks/{id}"), "")).unwrap();
    assert_eq!(reply.status, 200, "{id}: {}", reply.text());
    reply.json()
}

/// What the processors did since the start of the host: all ticks, and idle ones.
fn processors() -> [f64; 2] {
    let text = sh("head -n 1 /proc/stat");
    let ticks: Vec<f64> =
        text.split_whitespace().skip(1).take(8).map(|ticks| ticks.parse().unwrap()).collect();
    [ticks.iter().sum(), ticks[3] + ticks[4]]
}

/// How much of the time since then they had something to do, in percent.
fn busy_since([all, idle]: &[f64; 2]) -> f64 {
    let [now_all, now_idle] = processors();
    100.0 * (1.0 - (now_idle - idle) / (now_all - all))
}

#[test]
fn a_flood_of_accepted_tasks_ends_each_once_and_the_neighbour_gets_its_share() {
    deploy_echo();
    start_four();
    let agent = Agent::deploy("counting", "counting.work");
    sh("truncate -s 0 /var/lib/ploinky/agents/localhost/counting/code/runs");
    let quiet = || {
        let answers = Flow::run(NEIGHBOUR, neighbour(), Duration::from_secs(3));
        answers.assert_all_good("quiet");
        answers.quantile(0.95)
    };
    let body = json!({"command": "counting.work", "params": ["x"]}).to_string();
    let headers = "Content-Type: application/json\r\nPrefer: respond-async\r\n";
    let bytes = request_bytes("POST", &agent.path, headers, body.as_bytes());
    let tasks = usize::try_from(setting("PLOINKY_OVERLOAD_TASKS", 10_000)).unwrap();

    quiet();
    let before = quiet();
    let flow = Flow::start(NEIGHBOUR, neighbour());
    let idle = processors();
    let begin = Instant::now();
    let ids = over_connections(&vec![(); tasks], |connection, ()| {
        id_of(&connection.exchange(&bytes).unwrap())
    });
    let accepted = begin.elapsed();
    wait_for("as many runs as tasks", || {
        let runs = sh("wc -l </var/lib/ploinky/agents/localhost/counting/code/runs");
        (tasks <= runs.trim().parse().unwrap()).then_some(())
    });
    let ended = begin.elapsed();
    let busy = busy_since(&idle);
    let beside = flow.finish();
    beside.assert_all_good("beside the flood");
    let after = quiet();

    let documents = over_connections(&ids, |connection, id| {
        let is_done = |document: &Value| document["state"] == "done";
        wait_for(id, || Some(document(connection, id)).filter(is_done)).0
    });
    for (id, document) in ids.iter().zip(&documents) {
        assert_eq!(document["data"], json!(id));
    }
    let again = over_connections(&ids, |connection, id| document(connection, id));
    assert!(again == documents, "an outcome changed");
    let mut runs = BTreeMap::new();
    for id in sh("cat /var/lib/ploinky/agents/localhost/counting/code/runs").lines() {
        *runs.entry(id.to_owned()).or_insert(0) += 1;
    }
    let expected: BTreeMap<String, i32> = ids.iter().map(|id| (id.clone(), 1)).collect();
    assert_eq!(expected.len(), tasks, "an id was given twice");
    assert!(runs == expected, "not every task ran once: {} ids, {} tasks", runs.len(), tasks);
    let times = ratio(beside.quantile(0.95), before.min(after));
    let [coming, running] = [true, false].map(|early| {
        beside.filter(|answer| (answer.at - begin <= accepted) == early).quantile(0.95)
    });
    println!(
        "flood: {tasks} tasks accepted in {:.1} s, done after {:.1} s, each once; p95 of the other agent {} before, {} \
         after, {} beside, {times:.2} of it ({} while they came, {} while they ran, processors {busy:.0} % busy)",
        accepted.as_secs_f64(),
        ended.as_secs_f64(),
        ms(before),
        ms(after),
        ms(beside.quantile(0.95)),
        ms(coming),
        ms(running),
    );
    // All of them use the same processors, which have no time left, so the neighbour gets slower; how much
    // depends on the machine. Who stood behind the flood would wait for a good part of it.
    let share = ratio(beside.quantile(0.95), ended);
    assert!(share < 0.05, "p95 of the other agent was {share:.2} of the whole flood");
}
