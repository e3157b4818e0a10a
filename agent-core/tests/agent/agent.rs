//! An agent whose container is a temporary directory.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "test support"
)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ploinky_contract::TaskId;
use ploinky_queue::{
    Cancel, Mode, Outcome, Producer, Request, Submitter, SyncProducer, TaskError, Terms, boot_id,
    boottime_ns,
};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{
    Pid, Resource, Rlimit, Signal, getrlimit, kill_process, prlimit, test_kill_process,
};
use serde_json::value::RawValue;
use tempfile::TempDir;

/// Nothing in these tests takes so long unless it is broken.
pub(crate) const LIMIT: Duration = Duration::from_secs(40);

pub(crate) struct Agent {
    directory: TempDir,
    pub(crate) producer: Producer,
    running: Option<Child>,
    notify: Option<PathBuf>,
    watchdog: Option<Duration>,
}

impl Agent {
    /// A queue and a manifest with these members besides the required ones; nothing runs yet.
    pub(crate) fn prepare(members: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["requests", "urgent", "responses", "errors", "locks", "outputs", "files"] {
            fs::create_dir_all(directory.path().join("tasks").join(name)).unwrap();
        }
        fs::create_dir(directory.path().join("code")).unwrap();
        let producer = Producer::open(&directory.path().join("tasks")).unwrap();
        let agent = Self { directory, producer, running: None, notify: None, watchdog: None };
        let manifest = format!(r#"{{"name":"test","container":"localhost/test",{members}}}"#);
        agent.put("../manifest.json", &manifest);
        agent
    }

    /// A running agent with one command `run`, which is a shell script.
    pub(crate) fn with_script(script: &str) -> Self {
        let mut agent = Self::prepare(r#""commands":{"run":"run.sh"}"#);
        agent.put("run.sh", script);
        agent.start();
        agent
    }

    /// A running agent with one command `run`, which a worker in shell serves: `script` sees the line of the
    /// task as `$line` and the id as `$id`.
    pub(crate) fn with_worker(script: &str) -> Self {
        let mut agent = Self::prepare(
            r#""commands":{"run":"worker"},"worker":{"command":"worker.sh","processes":1}"#,
        );
        agent.put_worker(script);
        agent.start();
        agent
    }

    pub(crate) fn put_worker(&self, script: &str) {
        let head = "while IFS= read -r line; do id=${line#*'\"id\":\"'}; id=${id%%'\"'*}";
        self.put("worker.sh", &format!("{head}\n{script}\ndone\n"));
    }

    /// Opens the queue anew, after something was mounted there.
    pub(crate) fn reopen(&mut self) {
        self.producer = Producer::open(&self.path("tasks")).unwrap();
    }

    /// Makes the lane of calls that are waited for; the worker of its requests is number 1.
    pub(crate) fn sync_lane(&self) -> SyncProducer {
        for name in ["requests", "urgent", "streams", "responses", "locks"] {
            fs::create_dir_all(self.path("sync").join(name)).unwrap();
        }
        SyncProducer::open(&self.path("sync"), 1).unwrap()
    }

    /// A call over the lane; it is waited for by [`Agent::outcome_of_call`].
    pub(crate) fn call_over(&self, lane: &SyncProducer, params: &[&str]) -> TaskId {
        let request = self.request("run", params, Duration::from_secs(30));
        lane.submit(&request).unwrap();
        request.id
    }

    /// The outcome of a call over the lane, of which nothing may stay.
    pub(crate) fn outcome_of_call(&self, lane: &SyncProducer, id: TaskId) -> String {
        let mut outcome = None;
        self.wait_for("the call has an outcome", || {
            outcome = lane.collect(id).unwrap();
            outcome.is_some()
        });
        lane.clean(id).unwrap();
        text(outcome.unwrap())
    }

    /// Writes a file of the code directory.
    pub(crate) fn put(&self, name: &str, text: &str) {
        File::create(self.code(name)).unwrap().write_all(text.as_bytes()).unwrap();
    }

    pub(crate) fn code(&self, name: &str) -> PathBuf {
        self.directory.path().join("code").join(name)
    }

    pub(crate) fn tasks(&self, name: &str) -> PathBuf {
        self.directory.path().join("tasks").join(name)
    }

    pub(crate) fn notify_at(&mut self, socket: PathBuf) {
        self.notify = Some(socket);
    }

    /// Tells agent-core after which time without a sign of life it is ended.
    pub(crate) fn watch_after(&mut self, time: Duration) {
        self.watchdog = Some(time);
    }

    /// Starts agent-core and waits until it serves.
    pub(crate) fn start(&mut self) {
        self.start_only();
        self.wait_for("the agent serves", || self.log().contains("agent-core: serving "));
    }

    pub(crate) fn start_only(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).unwrap();
        let mut command = self.command(&[]);
        command.stderr(log).process_group(0);
        self.running = Some(command.spawn().unwrap());
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        #[expect(clippy::disallowed_methods, reason = "the program under test")]
        let mut command = Command::new(env!("CARGO_BIN_EXE_agent-core"));
        command.args(words);
        command.arg("--tasks").arg(self.path("tasks"));
        command.arg("--sync").arg(self.path("sync"));
        command.arg("--manifest").arg(self.path("manifest.json"));
        command.arg("--code").arg(self.path("code"));
        command.stdin(Stdio::null());
        command.env_remove("NOTIFY_SOCKET").env_remove("WATCHDOG_USEC");
        if let Some(socket) = &self.notify {
            command.env("NOTIFY_SOCKET", socket);
        }
        if let Some(time) = &self.watchdog {
            command.env("WATCHDOG_USEC", time.as_micros().to_string());
        }
        command
    }

    /// agent-core in front of a program of its own.
    pub(crate) fn host(&self, words: &[&str]) -> Command {
        let mut command = self.command(&["host"]);
        command.arg("--").args(words).current_dir(self.path("code"));
        // Nobody waits for what an orphan holds.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let running = self.running.as_ref().expect("it runs");
        kill_process(Pid::from_child(running), signal).unwrap();
    }

    pub(crate) fn limit_descriptors(&self, limit: u64) {
        let pid = Pid::from_child(self.running.as_ref().expect("it runs"));
        let maximum = getrlimit(Resource::Nofile).maximum;
        prlimit(Some(pid), Resource::Nofile, Rlimit { current: Some(limit), maximum }).unwrap();
    }

    /// How agent-core ended, which it has to do by itself.
    pub(crate) fn ended(&mut self) -> ExitStatus {
        let mut running = self.running.take().expect("it runs");
        let start = Instant::now();
        loop {
            if let Some(status) = running.try_wait().unwrap() {
                return status;
            }
            if LIMIT < start.elapsed() {
                running.kill().unwrap();
                panic!("agent-core did not end:\n{}", self.log());
            }
            pause();
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// A task with further parameters as JSON and half a minute of time.
    pub(crate) fn submit(&self, params: &[&str]) -> TaskId {
        self.submit_to("run", params, Duration::from_secs(30))
    }

    pub(crate) fn submit_to(&self, command: &str, params: &[&str], time: Duration) -> TaskId {
        let request = self.request(command, params, time);
        self.producer.submit(&request).unwrap();
        request.id
    }

    /// A request that is accepted for good, with these terms.
    pub(crate) fn keep(&self, params: &[&str], terms: Terms) -> TaskId {
        let mut request = self.request("run", params, Duration::from_secs(60));
        request.terms = Terms { mode: Mode::Async, ..terms };
        self.accept(&request)
    }

    pub(crate) fn accept(&self, request: &Request) -> TaskId {
        let accepted = self.producer.submit_durable(std::slice::from_ref(request));
        for one in accepted {
            one.unwrap();
        }
        request.id
    }

    /// Makes a request of any text visible.
    #[expect(clippy::disallowed_methods, reason = "in the place of a server")]
    pub(crate) fn publish(&self, id: TaskId, text: &str) {
        self.put("staged", text);
        fs::rename(self.code("staged"), self.tasks("requests").join(id.as_str())).unwrap();
    }

    /// The outcome of a kept task, which stays.
    pub(crate) fn kept_outcome(&self, id: TaskId) -> String {
        let mut outcome = None;
        self.wait_for("the task has an outcome", || {
            outcome = self.producer.collect_durable(id).unwrap();
            outcome.is_some()
        });
        self.wait_for("the lock is released", || !self.tasks("locks").join(id.as_str()).exists());
        text(outcome.unwrap())
    }

    /// How often the script has written a line to a file.
    pub(crate) fn lines_of(&self, name: &str) -> usize {
        fs::read_to_string(self.code(name)).unwrap_or_default().lines().count()
    }

    /// A request of a plain call by `alice`.
    #[expect(clippy::unused_self, reason = "it reads better")]
    pub(crate) fn request(&self, command: &str, params: &[&str], time: Duration) -> Request {
        static NUMBER: AtomicU64 = AtomicU64::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let seq = boottime_ns();
        let raw = |json: &str| RawValue::from_string(json.to_owned()).unwrap();
        let mut all = vec![raw("\"alice\"")];
        all.extend(params.iter().map(|param| raw(param)));
        Request {
            id: TaskId::from_random((u128::from(seq) << 64 | u128::from(number)).to_be_bytes()),
            command: command.parse().unwrap(),
            params: all,
            owner: "alice".parse().unwrap(),
            seq,
            deadline_boot_ns: seq + u64::try_from(time.as_nanos()).unwrap(),
            boot_id: boot_id().unwrap(),
            submitter: Submitter { instance: 1, invocation: "0".repeat(32) },
            attempt: 1,
            terms: Terms::default(),
        }
    }

    pub(crate) fn cancel(&self, id: TaskId) -> Cancel {
        self.producer.cancel(id, &TaskError::new("CANCELLED", "never started")).unwrap()
    }

    /// The outcome, as the value or `CODE: message`; details follow on a line of their own. Nothing may stay
    /// of the task.
    pub(crate) fn outcome(&self, id: TaskId) -> String {
        let mut outcome = None;
        self.wait_for("the task has an outcome", || {
            outcome = self.producer.collect(id).unwrap();
            outcome.is_some()
        });
        self.wait_for("the lock is released", || !self.tasks("locks").join(id.as_str()).exists());
        self.producer.clean(id).unwrap();
        for directory in ["requests", "urgent", "responses", "errors", "locks"] {
            assert!(!self.tasks(directory).join(id.as_str()).exists(), "{directory} is not clean");
        }
        text(outcome.unwrap())
    }

    pub(crate) fn call(&self, params: &[&str]) -> String {
        self.outcome(self.submit(params))
    }

    /// Waits until the script has written a file with a whole line, and gives the line.
    pub(crate) fn line_of(&self, name: &str) -> String {
        let read = || fs::read_to_string(self.code(name)).unwrap_or_default();
        self.wait_for(name, || read().ends_with('\n'));
        read().trim_end().to_owned()
    }

    /// Waits until the process whose id the script has written to a file is gone.
    pub(crate) fn wait_until_gone(&self, name: &str) {
        let pid = Pid::from_raw(self.line_of(name).parse().unwrap()).unwrap();
        self.wait_for("the process is gone", || is_gone(pid));
    }

    /// Ends what a killed agent-core left: handlers and workers, which stand in the code directory and have
    /// process groups of their own.
    fn end_orphans(&self) {
        // One that was found may have made another one meanwhile.
        for _ in 0..10 {
            let orphans = processes_in(&self.path("code"));
            if orphans.is_empty() {
                return;
            }
            for orphan in orphans {
                kill_process(orphan, Signal::KILL).ok();
            }
            pause();
        }
    }

    pub(crate) fn wait_for(&self, what: &str, mut is_so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !is_so() {
            assert!(start.elapsed() < LIMIT, "not in time: {what}; the log:\n{}", self.log());
            pause();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some(mut running) = self.running.take() {
            running.kill().ok();
            running.wait().ok();
        }
        self.end_orphans();
        if std::thread::panicking() {
            eprintln!("the log of agent-core:\n{}", self.log());
        }
    }
}

/// The value, or `CODE: message` and details on a line of their own.
fn text(outcome: Outcome) -> String {
    match outcome {
        Outcome::Done(value) => value.get().to_owned(),
        Outcome::File(file) => format!("{file:?}"),
        Outcome::Failed(TaskError { message, code, details: None }) => {
            format!("{code}: {message}")
        }
        Outcome::Failed(TaskError { message, code, details: Some(details) }) => {
            format!("{code}: {message}\n{details}")
        }
    }
}

/// Between two looks at a condition.
pub(crate) fn pause() {
    let moment = rustix::time::Timespec { tv_sec: 0, tv_nsec: 2_000_000 };
    poll(&mut [] as &mut [PollFd<'_>], Some(&moment)).ok();
}

/// Whether something arrives at a descriptor in time.
pub(crate) fn arrives(fd: &impl std::os::fd::AsFd, limit: Duration) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let limit = rustix::time::Timespec {
        tv_sec: i64::try_from(limit.as_secs()).unwrap(),
        tv_nsec: limit.subsec_nanos().into(),
    };
    poll(&mut fds, Some(&limit)).unwrap() != 0
}

/// Processes with this working directory.
fn processes_in(directory: &Path) -> Vec<Pid> {
    let stands_there = |entry: &fs::DirEntry| {
        fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd == *directory)
    };
    let all = fs::read_dir("/proc").into_iter().flatten().flatten().filter(stands_there);
    all.filter_map(|entry| Pid::from_raw(entry.file_name().to_str()?.parse().ok()?)).collect()
}

/// Whether a process has ended.
pub(crate) fn is_gone(pid: Pid) -> bool {
    test_kill_process(pid).is_err() || is_zombie(pid)
}

/// Orphans of a test are reaped by whoever adopts them, sooner or later.
fn is_zombie(pid: Pid) -> bool {
    let about = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_pid())).unwrap_or_default();
    about.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
}
