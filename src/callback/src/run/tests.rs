//! The whole of it on real queues, against a receiver on loopback.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use ploinky_contract::limits::{STRANGERS_AT_ONCE, STRANGERS_REST};
use ploinky_contract::paths::StateDir;
use ploinky_queue::{
    Callback, Claimed, Consumer, Mode, Producer, Request, Submitter, TaskError, Terms, boot_id,
    boottime_ns,
};
use serde_json::Value;
use serde_json::value::RawValue;
use tempfile::TempDir;

use super::*;

const KEY: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

/// What the receiver got: header fields in lower case, and the body.
type Received = (HashMap<String, String>, Vec<u8>);

struct Host {
    directory: TempDir,
    state: StateDir,
    producer: Producer,
    consumer: Consumer,
    there: CallbackBox,
    origin: String,
    received: Receiver<Received>,
}

impl Host {
    /// The receiver answers with `statuses`, one after the other, and with the last one for ever.
    fn new(statuses: &'static [&'static str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDir::new(directory.path());
        let tasks = state.agent(&"localhost".parse().unwrap(), &"/a".parse().unwrap()).tasks();
        for name in ["requests", "urgent", "responses", "errors", "locks", "files", "outputs"] {
            fs::create_dir_all(tasks.join(name)).unwrap();
        }
        fs::create_dir(state.callbacks()).unwrap();
        let write = |path: PathBuf, text: &str| {
            fs::File::create(path).unwrap().write_all(text.as_bytes()).unwrap();
        };
        write(state.task_key(), &format!("{KEY}\n"));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let origin = format!("http://{}", listener.local_addr().unwrap());
        let config = format!(
            r#"{{"domains":[],"deployments":[],"settings":{{"callbackOrigins":["{origin}"]}}}}"#
        );
        write(state.config(), &config);
        let (sender, received) = channel();
        thread::spawn(move || {
            for number in 0.. {
                let Ok((stream, _)) = listener.accept() else { return };
                let status = statuses.get(number).or(statuses.last()).copied().unwrap_or("200 OK");
                if sender.send(answer(stream, status)).is_err() {
                    return;
                }
            }
        });
        let producer = Producer::open(&tasks).unwrap();
        let consumer = Consumer::open(&tasks, boot_id().unwrap()).unwrap();
        let there = CallbackBox::open(&state.callbacks()).unwrap();
        Self { directory, state, producer, consumer, there, origin, received }
    }

    /// A task that was accepted and wants a callback at `url`.
    fn accept(&self, number: u8, url: &str) -> TaskId {
        let id = TaskId::from_random([number; 16]);
        let callback = Callback {
            id,
            domain: "localhost".parse().unwrap(),
            path: "/a".parse().unwrap(),
            url: url.to_owned(),
        };
        self.there.put(&callback).unwrap();
        let request = Request {
            id,
            command: "ns.do".parse().unwrap(),
            params: vec![RawValue::from_string("\"ada\"".to_owned()).unwrap()],
            owner: "ada".parse().unwrap(),
            seq: boottime_ns(),
            deadline_boot_ns: u64::MAX,
            boot_id: boot_id().unwrap(),
            submitter: Submitter { instance: 1, invocation: "0".repeat(32) },
            attempt: 1,
            terms: Terms { mode: Mode::Async, ..Terms::default() },
        };
        for accepted in self.producer.submit_durable(&[request]) {
            accepted.unwrap();
        }
        id
    }

    fn carry_out(&self, id: TaskId, value: Result<&str, &str>) {
        let Claimed::Ours(claim) = self.consumer.claim(id).unwrap() else { panic!("not claimed") };
        match value {
            Ok(json) => {
                let value = RawValue::from_string(json.to_owned()).unwrap();
                self.consumer.complete(&claim, &value).unwrap();
            }
            Err(message) => {
                self.consumer.fail(&claim, &TaskError::new("BAD", message)).unwrap();
            }
        }
    }

    /// Runs until nothing is left to post; what the receiver got meanwhile.
    fn run(&self, meanwhile: impl FnOnce(&Self)) -> Vec<Received> {
        let arguments =
            Arguments { state: self.directory.path().to_owned(), idle: Duration::from_millis(300) };
        thread::scope(|scope| {
            let running = scope.spawn(|| run(&arguments));
            meanwhile(self);
            running.join().unwrap().unwrap();
        });
        assert_eq!(self.there.ids(10).unwrap(), []);
        self.received.try_iter().collect()
    }
}

fn answer(stream: std::net::TcpStream, status: &str) -> Received {
    let mut reader = BufReader::new(stream);
    let mut headers = HashMap::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        match line.trim_end().split_once(": ") {
            Some((name, value)) => {
                headers.insert(name.to_ascii_lowercase(), value.to_owned());
            }
            None if line == "\r\n" => break,
            None => {}
        }
    }
    let mut body = vec![0; headers["content-length"].parse().unwrap()];
    reader.read_exact(&mut body).unwrap();
    let answer = format!("HTTP/1.1 {status}\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n");
    reader.get_mut().write_all(answer.as_bytes()).unwrap();
    (headers, body)
}

#[test]
fn nothing_is_posted_where_the_admin_does_not_allow_it() {
    let host = Host::new(&[]);
    let elsewhere = host.accept(1, &format!("{}@example.org/", host.origin));
    host.carry_out(elsewhere, Ok("1"));
    assert_eq!(host.run(|_| {}), []);
}

#[test]
fn callbacks_of_agents_and_tasks_that_are_gone_are_dropped() {
    let host = Host::new(&[]);
    let id = host.accept(1, &host.origin);
    host.carry_out(id, Ok("1"));
    host.producer.remove(id).unwrap();
    fs::remove_dir_all(host.state.agents().join("localhost")).unwrap();
    assert_eq!(host.run(|_| {}), []);
}

#[test]
fn an_outcome_is_posted_once_it_is_there_and_until_it_is_taken() {
    let host = Host::new(&["503 Busy", "200 OK"]);
    let [early, late] = [1, 2].map(|number| host.accept(number, &format!("{}/hook", host.origin)));
    host.carry_out(early, Err("no \"good\""));
    let received = host.run(|host| {
        // The receiver has answered for the first one twice before the second one ends.
        let first: Vec<Received> = host.received.iter().take(2).collect();
        assert_eq!(first[0].1, first[1].1);
        host.carry_out(late, Ok("{\"a\":[1, 2]}"));
        let (headers, body) = &first[1];
        let document: Value = serde_json::from_slice(body).unwrap();
        assert_eq!(
            (&document["type"], &document["data"]["id"], &document["data"]["error"]["message"]),
            (&"task.failed".into(), &early.as_str().into(), &"no \"good\"".into()),
            "{document}"
        );
        let agent = AgentId::new(&"localhost".parse().unwrap(), &"/a".parse().unwrap()).unwrap();
        let secret = ploinky_queue::CallbackSecret::of(KEY, &agent).unwrap();
        let timestamp = headers["webhook-timestamp"].parse().unwrap();
        assert_eq!(headers["webhook-signature"], secret.sign(early.as_str(), timestamp, body));
    });
    let [(headers, body)] = received.as_slice() else { panic!("{received:?}") };
    assert_eq!(headers["webhook-id"], late.as_str());
    let document: Value = serde_json::from_slice(body).unwrap();
    assert_eq!(document["data"]["data"], serde_json::json!({"a": [1, 2]}), "{document}");
}

/// How often a thread of this process slept.
fn sleeps(thread: &Path) -> u128 {
    let status = fs::read_to_string(Path::new("/proc").join(thread).join("status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("voluntary_ctxt_switches"));
    line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok()).unwrap()
}

#[test]
fn names_that_nobody_waits_for_wake_it_some_times_in_each_rest() {
    let host = Host::new(&[]);
    let open = host.accept(1, &host.origin);
    let tasks = host.state.agent(&"localhost".parse().unwrap(), &"/a".parse().unwrap()).tasks();
    let arguments =
        Arguments { state: host.directory.path().to_owned(), idle: Duration::from_millis(300) };
    let (named, name) = channel();
    thread::scope(|scope| {
        let running = scope.spawn(|| {
            named.send(fs::read_link("/proc/thread-self").unwrap()).unwrap();
            run(&arguments)
        });
        let poster = name.recv().unwrap();
        // A name that is none of a task, and one that is. To make files would take longer.
        let files = ["x".to_owned(), "7".repeat(32)].map(|name| tasks.join("responses").join(name));
        fs::File::create(&files[0]).unwrap();
        let (start, before) = (Instant::now(), sleeps(&poster));
        for made in 0..5_000_usize {
            let (from, to) = if made.is_multiple_of(2) { (0, 1) } else { (1, 0) };
            rustix::fs::rename(&files[from], &files[to]).unwrap();
            // Long enough to read the name and to sleep again.
            thread::park_timeout(Duration::from_micros(50));
        }
        let slept = sleeps(&poster) - before;
        let rests = start.elapsed().as_nanos() / STRANGERS_REST.as_nanos() + 1;
        // Before each reading, and for the rest.
        let most = rests * (u128::from(STRANGERS_AT_ONCE) + 1) + 10;
        host.carry_out(open, Ok("1"));
        running.join().unwrap().unwrap();
        assert!(slept <= most, "slept {slept} times in {rests} rests");
    });
    // Results are posted all the same.
    assert_eq!(host.received.try_iter().count(), 1);
}
