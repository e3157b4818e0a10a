//! An agent that serves its queue from a thread, well or badly.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use ploinky_contract::TaskId;
use ploinky_queue::{Claim, Claimed, Consumer, TaskError, boot_id};
use serde_json::value::RawValue;

/// What `hostile` does instead of an answer; gets the `.tasks` directory and the id.
pub(crate) type Trick = fn(&Path, TaskId);

/// A running agent. `echo` gives its parameters back, `fail` fails, `request` gives the whole request file,
/// `login` and `user.change` answer with the first of them, unless it
/// is `"wrong"`, `hang` waits until it is asked to end, `hostile` does the trick and never ends by itself.
pub(crate) struct Agent {
    stop: Arc<AtomicBool>,
    awake: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Agent {
    pub(crate) fn start(tasks: &Path) -> Self {
        Self::with_trick(tasks, |_, _| ())
    }

    /// An agent that runs, but takes no task before it is woken.
    pub(crate) fn asleep(tasks: &Path) -> Self {
        Self::new(tasks, |_, _| (), false)
    }

    pub(crate) fn with_trick(tasks: &Path, trick: Trick) -> Self {
        Self::new(tasks, trick, true)
    }

    pub(crate) fn wake(&self) {
        self.awake.store(true, Ordering::Relaxed);
    }

    fn new(tasks: &Path, trick: Trick, is_awake: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let awake = Arc::new(AtomicBool::new(is_awake));
        let (stopped, woken, tasks) = (Arc::clone(&stop), Arc::clone(&awake), tasks.to_owned());
        let thread = std::thread::spawn(move || run(&tasks, &stopped, &woken, trick));
        Self { stop, awake, thread: Some(thread) }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().ok();
    }
}

fn run(tasks: &Path, stopped: &AtomicBool, woken: &AtomicBool, trick: Trick) {
    let consumer = Consumer::open(tasks, boot_id().unwrap()).unwrap();
    let _runner = consumer.become_runner().unwrap().unwrap();
    let (mut hanging, mut hostile) = (Vec::new(), Vec::new());
    while !stopped.load(Ordering::Relaxed) {
        if !woken.load(Ordering::Relaxed) {
            std::thread::park_timeout(Duration::from_millis(2));
            continue;
        }
        for id in consumer.waiting(&|_| false).unwrap() {
            if let Claimed::Ours(claim) = consumer.claim(id).unwrap() {
                match claim.command().as_str() {
                    "hang" => hanging.push(claim),
                    "hostile" => {
                        trick(tasks, id);
                        hostile.push(claim);
                    }
                    _ => answer(&consumer, &claim),
                }
            }
        }
        let asked = consumer.urgent().unwrap();
        hanging.retain(|claim: &Claim| {
            let is_asked = asked.contains(&claim.id());
            if is_asked {
                consumer.fail(claim, &TaskError::new("CANCELLED", "was asked to end")).unwrap();
            }
            !is_asked
        });
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn answer(consumer: &Consumer, claim: &Claim) {
    let raw = |text: String| RawValue::from_string(text).unwrap();
    match claim.command().as_str() {
        "echo" => {
            let params = claim.request().unwrap().params;
            let params: Vec<_> = params.iter().map(|param| param.get()).collect();
            consumer.complete(claim, &raw(format!("[{}]", params.join(",")))).unwrap();
        }
        "login" | "user.change" => {
            let params = claim.request().unwrap().params;
            match params.get(1).map(|param| param.get()) {
                Some("\"wrong\"") | None => {
                    let error = TaskError::new("UNAUTHENTICATED", "name or password is wrong");
                    consumer.fail(claim, &error).unwrap();
                }
                Some(said) => {
                    consumer.complete(claim, &raw(said.to_owned())).unwrap();
                }
            }
        }
        "request" => {
            let text = String::from_utf8(claim.bytes().to_vec()).unwrap();
            consumer.complete(claim, &raw(text)).unwrap();
        }
        _ => {
            let details = Some(raw(r#"{"exitCode":3,"stderr":"oh"}"#.to_owned()));
            let error = TaskError {
                message: "the handler failed".to_owned(),
                code: "HANDLER_FAILED".to_owned(),
                details,
            };
            consumer.fail(claim, &error).unwrap();
        }
    }
}
