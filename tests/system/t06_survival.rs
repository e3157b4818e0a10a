//! What dies comes back, and nobody notices what can be kept from them.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::host::{ok, power_cycle, property, sh, start_four, wait_for};
use crate::http::{Connection, call, call_bytes};
use crate::load::{Failure, Load, describe, failures};
use crate::t02_agents::deploy_echo;

fn main_pid(unit: &str) -> String {
    property(unit, "MainPID")
}

/// How long after `from` the last failure came, if there was one.
fn last_failure_after(samples: &[crate::load::Sample], from: Instant) -> Duration {
    failures(samples)
        .last()
        .map_or(Duration::ZERO, |sample| sample.at.saturating_duration_since(from))
}

fn no_refused(samples: &[crate::load::Sample]) {
    let refused = samples.iter().any(|sample| matches!(sample.failure, Some(Failure::Refused(_))));
    assert!(!refused, "{}", describe(samples));
}

#[test]
fn a_thousand_calls_spread_over_four_instances() {
    deploy_echo();
    start_four();
    let mut counts = [0_u32; 4];
    for _ in 0..1000 {
        assert_eq!(call("/echo", "echo.ping", &json!([])).unwrap().status, 200);
        let reply = Connection::open(8000)
            .unwrap()
            .exchange(&crate::http::get_bytes("/healthz", "Connection: close\r\n"));
        let instance = reply.unwrap().json()["instance"].as_u64().unwrap();
        counts[usize::try_from(instance).unwrap() - 1] += 1;
    }
    println!("1,000 connections over four instances: {counts:?}");
    assert!(counts.iter().all(|count| 100 < *count), "{counts:?}");
}

#[test]
fn a_killed_worker_and_a_killed_agent_come_back_within_three_seconds() {
    deploy_echo();
    start_four();
    let load = Load::start(8, false, "/echo", "echo.ping");
    std::thread::park_timeout(Duration::from_millis(500));
    let worker = main_pid("ploinky@3.service");
    sh(&format!("kill -9 {worker}"));
    let worker_killed = Instant::now();
    let ((), back) = wait_for("a new worker", || {
        let pid = main_pid("ploinky@3.service");
        (pid != worker && pid != "0" && property("ploinky@3.service", "ActiveState") == "active")
            .then_some(())
    });
    std::thread::park_timeout(Duration::from_secs(1));
    let samples = load.finish();
    no_refused(&samples);
    println!(
        "worker killed: back after {back:?}, {} of {} calls broken, the last after {:?}",
        failures(&samples).len(),
        samples.len(),
        last_failure_after(&samples, worker_killed)
    );
    assert!(last_failure_after(&samples, worker_killed) < Duration::from_secs(3));
    assert!(failures(&samples).len() <= 8, "more than was in flight: {}", describe(&samples));

    let load = Load::start(8, false, "/echo", "echo.ping");
    std::thread::park_timeout(Duration::from_millis(500));
    let container = sh("podman inspect --format '{{.State.Pid}}' ploinky-localhost-echo");
    sh(&format!("kill -9 {}", container.trim()));
    let agent_killed = Instant::now();
    wait_for("an answer of the new container", || {
        (call("/echo", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });
    let back = agent_killed.elapsed();
    std::thread::park_timeout(Duration::from_secs(1));
    let samples = load.finish();
    no_refused(&samples);
    println!(
        "agent killed: answers again after {back:?}, {} of {} calls failed, the last after {:?}",
        failures(&samples).len(),
        samples.len(),
        last_failure_after(&samples, agent_killed)
    );
    assert!(back < Duration::from_secs(3), "{back:?}");
    assert!(last_failure_after(&samples, agent_killed) < Duration::from_secs(3));
    let other = failures(&samples)
        .into_iter()
        .any(|sample| !matches!(sample.failure, Some(Failure::Status(502 | 503, _))));
    assert!(!other, "{}", describe(&samples));
    let restarts: u32 =
        property("ploinky-agent-localhost-echo.service", "NRestarts").parse().unwrap();
    assert!(1 <= restarts);
    let status = ok(&["ploinkyctl", "agent", "list"]);
    assert!(status.lines().any(|row| row.contains("/echo") && row.contains("running")), "{status}");
}

#[test]
fn restarting_an_instance_under_load_fails_no_request() {
    deploy_echo();
    start_four();
    for keep_alive in [true, false] {
        let load = Load::start(16, keep_alive, "/echo", "echo.ping");
        for _ in 0..3 {
            std::thread::park_timeout(Duration::from_millis(500));
            let before = main_pid("ploinky@2.service");
            sh("systemctl restart ploinky@2");
            assert_ne!(main_pid("ploinky@2.service"), before);
        }
        std::thread::park_timeout(Duration::from_millis(500));
        let samples = load.finish();
        let slowest = samples.iter().map(|sample| sample.took).max().unwrap();
        println!(
            "keep-alive {keep_alive}: {} calls over 3 restarts, slowest {slowest:?}",
            samples.len()
        );
        assert!(failures(&samples).is_empty(), "{}", describe(&samples));
        assert!(1000 < samples.len(), "{} calls are no load", samples.len());
    }
}

#[test]
fn a_slow_request_survives_the_restart_of_its_instance() {
    deploy_echo();
    start_four();
    let mut connections: Vec<_> = (0..16).map(|_| Connection::open(8000).unwrap()).collect();
    let bytes = call_bytes("/echo", "echo.sleep", &json!(["1"]));
    let threads: Vec<_> = connections
        .drain(..)
        .map(|mut connection| {
            let bytes = bytes.clone();
            std::thread::spawn(move || connection.exchange(&bytes).map(|reply| reply.status))
        })
        .collect();
    sh("systemctl restart ploinky@1 ploinky@2 ploinky@3 ploinky@4");
    for thread in threads {
        assert_eq!(thread.join().unwrap().unwrap(), 200);
    }
}

#[test]
fn a_client_that_goes_away_cancels_its_task() {
    deploy_echo();
    let mut stream = std::net::TcpStream::connect("127.0.0.1:8000").unwrap();
    std::io::Write::write_all(&mut stream, &call_bytes("/echo", "echo.sleep", &json!(["31"])))
        .unwrap();
    let running = || {
        sh("podman exec ploinky-localhost-echo ps -o args | grep -c '[s]leep 31' || true").trim()
            != "0"
    };
    wait_for("the handler", || running().then_some(()));
    drop(stream);
    let ((), took) = wait_for("the end of the handler", || (!running()).then_some(()));
    println!("a cancelled handler was gone after {took:?}");
    wait_for("an empty queue", || {
        let queues =
            "/var/lib/ploinky/agents/localhost/echo/.tasks /run/ploinky/sync/localhost-echo";
        let kept = "-not -name .runner -not -name claims -not -path '*/sync/*/responses/*'";
        sh(&format!("find {queues} -mindepth 2 {kept}")).is_empty().then_some(())
    });
}

#[test]
fn the_supervisor_may_die_while_agents_go_on() {
    deploy_echo();
    let pid = main_pid("ploinky-supervisor.service");
    sh(&format!("kill -9 {pid}"));
    assert_eq!(call("/echo", "echo.ping", &json!([])).unwrap().status, 200);
    wait_for("the new supervisor", || {
        let new = main_pid("ploinky-supervisor.service");
        (new != pid
            && new != "0"
            && property("ploinky-supervisor.service", "ActiveState") == "active")
            .then_some(())
    });
    assert!(ok(&["ploinkyctl", "agent", "list"]).contains("/echo"));
}

#[test]
fn four_workers_and_the_supervisor_fit_into_35_mb() {
    deploy_echo();
    start_four();
    let load = Load::start(16, true, "/echo", "echo.ping");
    std::thread::park_timeout(Duration::from_secs(2));
    assert!(failures(&load.finish()).is_empty());
    let units = ["ploinky@1", "ploinky@2", "ploinky@3", "ploinky@4", "ploinky-supervisor"];
    let kib = units.map(|unit| {
        let rollup =
            sh(&format!("cat /proc/{}/smaps_rollup", main_pid(&format!("{unit}.service"))));
        let line = rollup.lines().find(|line| line.starts_with("Pss:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap()
    });
    println!("PSS after load, KiB: {units:?} {kib:?}, {} in all", kib.iter().sum::<u64>());
    assert!(kib.iter().sum::<u64>() * 1024 <= 35_000_000, "{kib:?}");
}

#[test]
fn z_after_a_power_cut_agents_and_routes_are_back_without_a_hand() {
    deploy_echo();
    power_cycle();
    let ((), took) = wait_for("an answer", || {
        (call("/echo", "echo.ping", &json!([])).ok()?.status == 200).then_some(())
    });
    println!(
        "after the power cut the first answer came {took:?} after systemd had finished its start"
    );
    assert_eq!(property("ploinky-agent-localhost-echo.service", "ActiveState"), "active");
    start_four();
    assert_eq!(call("/echo", "echo.whoami", &json!([])).unwrap().json()["data"], "InternetUser");
}
