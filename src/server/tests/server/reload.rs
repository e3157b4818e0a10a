//! Changes of the configuration while requests come.

use std::time::Instant;

use ploinky_contract::limits::CONFIG_CHECK;

use crate::agent::Agent;
use crate::client::{Client, call, call_text};
use crate::host::{Host, config, eventually, queue_files};

const ECHO: &str = r#"{"command":"echo"}"#;

#[test]
fn a_refused_configuration_changes_nothing() {
    let (host, directory) = Host::with_agent(30);
    let other = host.agent("localhost", "/b", 30);
    let server = host.start();
    let _agents = [Agent::start(&directory.tasks()), Agent::start(&other.tasks())];
    assert_eq!(call(server.address, "/a", ECHO).status, 200);
    for refused in ["{", "", r#"{"domains":[],"deployments":[],"unknown":1}"#] {
        host.configure(refused);
        // The worker looks at the file each second at least.
        let seen = Instant::now();
        eventually("the worker has seen it", || CONFIG_CHECK * 2 < seen.elapsed());
        assert_eq!(call(server.address, "/a", ECHO).status, 200, "{refused}");
    }
    host.configure(&config(&["/a", "/b"]));
    eventually("the new agent answers", || call(server.address, "/b", ECHO).status == 200);
    assert_eq!(call(server.address, "/a", ECHO).status, 200);
}

#[test]
fn a_worker_that_starts_with_a_refused_configuration_waits_for_a_better_one() {
    let (host, directory) = Host::with_agent(30);
    host.configure("{");
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let reply = call(server.address, "/a", ECHO);
    assert_eq!(reply.failure(), (503, "UNAVAILABLE".to_owned()));
    host.configure(&config(&["/a"]));
    eventually("the agent answers", || call(server.address, "/a", ECHO).status == 200);
}

#[test]
fn an_agent_that_is_taken_away_does_not_answer() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    assert_eq!(call(server.address, "/a", ECHO).status, 200);
    host.configure(&config(&[]));
    eventually("the agent is gone", || call(server.address, "/a", ECHO).status == 404);
}

#[test]
fn a_host_without_configuration_serves_one_that_comes() {
    let host = Host::new();
    let server = host.start();
    assert_eq!(call(server.address, "/a", ECHO).status, 404);
    let directory = host.agent("localhost", "/a", 30);
    let _agent = Agent::start(&directory.tasks());
    host.configure(&config(&["/a"]));
    eventually("the agent answers", || call(server.address, "/a", ECHO).status == 200);
}

#[test]
fn a_waiting_task_survives_a_change() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::asleep(&directory.tasks());
    let mut client = Client::connect(server.address);
    client.send(call_text("/a", ECHO));
    eventually("the task is written", || !queue_files(&directory.tasks()).is_empty());
    host.agent("localhost", "/b", 30);
    host.configure(&config(&["/a", "/b"]));
    let is_there = || call(server.address, "/b", r#"{"command":"unknown"}"#).json();
    eventually("the new agent is there", || is_there()["code"] == "UNKNOWN_COMMAND");
    agent.wake();
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_waiting_task_survives_the_end_of_its_deployment() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::asleep(&directory.tasks());
    let mut client = Client::connect(server.address);
    client.send(call_text("/a", ECHO));
    eventually("the task is written", || !queue_files(&directory.tasks()).is_empty());
    host.configure(&config(&[]));
    let is_there = || call(server.address, "/a", r#"{"command":"unknown"}"#).json();
    eventually("the agent is gone", || is_there()["code"] == "NOT_FOUND");
    agent.wake();
    assert_eq!(client.reply().status, 200);
}

#[test]
fn a_deployment_heals_without_a_change_of_the_configuration() {
    let (host, directory) = Host::with_agent(30);
    let manifest = std::fs::read(directory.manifest()).unwrap();
    std::fs::write(directory.manifest(), "{").unwrap();
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    assert_eq!(call(server.address, "/a", ECHO).status, 503);
    std::fs::write(directory.manifest(), manifest).unwrap();
    eventually("the agent answers", || call(server.address, "/a", ECHO).status == 200);
}

#[test]
fn a_directory_that_was_replaced_is_found_again() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::start(&directory.tasks());
    assert_eq!(call(server.address, "/a", ECHO).status, 200);
    drop(agent);
    std::fs::remove_dir_all(directory.root()).unwrap();
    host.agent("localhost", "/a", 30);
    let _agent = Agent::start(&directory.tasks());
    eventually("the agent answers", || call(server.address, "/a", ECHO).status == 200);
}
