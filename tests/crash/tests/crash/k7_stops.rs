//! SIGSTOP of a worker or of the runner: whoever waits is answered in time, and nothing runs again when it
//! goes on.

use std::time::{Duration, Instant};

use ploinky_crash::{
    Chaos, Client, FileSystem, Host, Ledger, Load, Plan, Role, WORKERS, pause, times,
};

use crate::after;

#[test]
fn k7_processes_that_stand_still_run_nothing_twice() {
    let host = Host::start(FileSystem::Ext4, 256);
    let (ledger, chaos) = (Ledger::default(), Chaos::new(&host));
    let mut random = host.random();
    let mut stops = 0;
    Load::new(&host, Plan::of(4_000 * times()), &ledger).run(|load| {
        while load.goes_on() {
            let role = match random.below(2 * WORKERS) {
                number if number < WORKERS => Role::Worker(number),
                _ => Role::Runner,
            };
            host.hold(role);
            pause(random.millis(200, 2_500));
            host.go_on(role);
            stops += 1;
            pause(random.millis(50, 500));
        }
    });
    println!("crash: K7: SIGSTOP {stops} times");
    after::holds("K7", &host, &ledger, &chaos);
}

#[test]
fn k7_who_waits_for_a_runner_that_stands_still_is_answered_at_the_deadline() {
    let host = Host::start(FileSystem::Ext4, 64);
    let mut client = Client::new(host.ports(), Duration::from_secs(30));
    let call = r#"{"command":"once","params":[]}"#;
    let first = client.ask(0, "POST", "/a", "", call).unwrap();
    assert_eq!(first.status, 200, "{first:?}");
    host.hold(Role::Runner);
    let start = Instant::now();
    let late = client.ask(0, "POST", "/a", "Task-Deadline: 2\r\n", call).unwrap();
    let waited = start.elapsed();
    let headers = "Task-Deadline: 2\r\nPrefer: respond-async\r\n";
    let accepted = client.ask(1, "POST", "/a", headers, call).unwrap();
    println!("crash: K7: answered with {} after {} ms", late.status, waited.as_millis());
    assert_eq!((late.status, late.code().as_str()), (504, "DEADLINE"), "{late:?}");
    assert_eq!(accepted.status, 202, "{accepted:?}");
    pause(Duration::from_secs(5));
    host.go_on(Role::Runner);
    pause(Duration::from_secs(2));
    let path = format!("/tasks/{}/result", accepted.task);
    let ended = client.ask(2, "GET", &path, "Prefer: wait=20\r\n", "").unwrap();
    assert_eq!((ended.status, ended.code().as_str()), (504, "DEADLINE"), "{ended:?}");
    let ran: Vec<String> = host.effects().lines().map(str::to_owned).collect();
    assert_eq!(ran.len(), 1, "what was late has run: {ran:?}");
}
