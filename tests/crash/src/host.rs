//! The processes of a host.

mod directories;

use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tempfile::TempDir;

use self::directories::allow;
use crate::boot::Boot;
use crate::disk::{Disk, FileSystem};
use crate::process::{command, descendants, signal, stands_still, within};
use crate::random::Random;
use crate::shutdown::{Cut, own_mounts};

/// Time that anything has to happen.
const PATIENCE: Duration = Duration::from_secs(20);
/// Processes `ploinkyd`.
pub const WORKERS: usize = 4;
/// The user of the workers.
const SERVER: u32 = 971;
/// The first user of the agent's range.
const AGENT: u32 = 1 << 30;
/// Where the executables are; tests/check sets it.
const PROGRAMS: &str = "PLOINKY_CRASH_PROGRAMS";
/// Starts a process as systemd does: with the socket as descriptor 3 and a user without privileges.
const START: &str = r#"
exec 3<&0 </dev/null; umask "$1"; user=$2; trace=$3; shift 3
[ "$user" = 971 ] && export LISTEN_FDS=1 LISTEN_PID=$$ || exec 3<&-
exec $trace setpriv --reuid "$user" --regid "$user" --clear-groups --no-new-privs --pdeathsig KILL "$@"
"#;
/// One of the processes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// `ploinkyd`, from 0.
    Worker(usize),
    /// `agent-core`.
    Runner,
}

impl Role {
    /// All of them.
    pub fn each() -> impl Iterator<Item = Self> {
        (0..WORKERS).map(Self::Worker).chain([Self::Runner])
    }

    fn index(self) -> usize {
        match self {
            Self::Worker(number) => number,
            Self::Runner => WORKERS,
        }
    }
}

/// A host with one agent.
#[derive(Debug)]
pub struct Host {
    /// Before the rest, so that it is unmounted when nothing runs and before its image is removed.
    processes: [Mutex<Option<Child>>; WORKERS + 1],
    disk: Disk,
    root: TempDir,
    boot: Mutex<Boot>,
    listeners: Vec<TcpListener>,
    /// Words before a process, such as `strace …`, for workers and for the runner.
    trace: Mutex<[String; 2]>,
    random: Mutex<Random>,
    /// Panics in the logs so far.
    panics: Mutex<[usize; WORKERS + 1]>,
}

impl Host {
    /// A host on a new disk; everything runs. The calling thread gets mounts of its own, and so does
    /// everything that it starts.
    pub fn start(kind: FileSystem, megabytes: u64) -> Self {
        own_mounts();
        let mut random = Random::new();
        println!("crash: seed {}", random.seed());
        let memory = Path::new("/dev/shm");
        let root = TempDir::new_in(memory).unwrap();
        allow(root.path(), 0, 0, 0o755);
        let boot = Boot::first(root.path(), random.fork());
        let disk = Disk::make(kind, megabytes, root.path());
        let listen = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        let host = Self {
            processes: std::array::from_fn(|_| Mutex::new(None)),
            disk,
            boot: Mutex::new(boot),
            listeners: (0..WORKERS).map(listen).collect(),
            trace: Mutex::default(),
            random: Mutex::new(random),
            panics: Mutex::default(),
            root,
        };
        host.furnish();
        host.start_all();
        host
    }

    /// A source of chances that the printed seed repeats.
    pub fn random(&self) -> Random {
        self.random.lock().unwrap().fork()
    }

    /// Where workers listen.
    pub fn ports(&self) -> [u16; WORKERS] {
        std::array::from_fn(|index| self.listeners[index].local_addr().unwrap().port())
    }

    /// Where root asks a worker.
    pub fn admin_socket(&self, worker: usize) -> PathBuf {
        self.root.path().join(format!("run/admin-{worker}.sock"))
    }

    /// The disk.
    pub fn disk(&self) -> &Disk {
        &self.disk
    }

    /// The queue on the disk.
    pub fn tasks(&self) -> PathBuf {
        self.agent().tasks()
    }

    /// What handlers did: a line with id, command and attempt each.
    pub fn effects(&self) -> String {
        std::fs::read_to_string(self.root.path().join("effects")).unwrap()
    }

    /// What the processes wrote to their logs.
    pub fn logs(&self) -> String {
        let log = |role| std::fs::read(self.log(role)).unwrap_or_default();
        let all: Vec<u8> = Role::each().flat_map(log).collect();
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Words that start a process from now on: `strace …`, or nothing.
    pub fn trace(&self, workers: &str, runner: &str) {
        *self.trace.lock().unwrap() = [workers.to_owned(), runner.to_owned()];
    }

    /// Kills a process and starts it anew.
    pub fn kill(&self, role: Role) {
        let mut process = self.process(role);
        end(&mut process);
        *process = Some(self.spawn(role));
    }

    /// Kills everything and starts it anew.
    pub fn kill_all(&self) {
        let mut all: Vec<_> = Role::each().map(|role| self.process(role)).collect();
        for process in &mut all {
            end(process);
        }
        drop(all);
        self.start_all();
    }

    /// Stops a process until [`Host::go_on`], and returns when none of its threads goes on.
    pub fn hold(&self, role: Role) {
        if let Some(child) = self.process(role).as_ref() {
            let pid = Pid::from_child(child);
            signal(pid, Signal::STOP);
            within(PATIENCE, "it stands still", || stands_still(pid));
        }
    }

    /// Lets it go on.
    pub fn go_on(&self, role: Role) {
        if let Some(child) = self.process(role).as_ref() {
            signal(Pid::from_child(child), Signal::CONT);
        }
    }

    /// The power fails and comes back: everything stands still, what was not written is gone, everything is
    /// started anew, in another boot.
    pub fn cut(&self, cut: Cut) {
        let mut all: Vec<_> = Role::each().map(|role| self.process(role)).collect();
        for child in all.iter().filter_map(|process| process.as_ref()) {
            let pid = Pid::from_child(child);
            signal(pid, Signal::STOP);
            for below in descendants(pid) {
                signal(below, Signal::STOP);
            }
        }
        self.disk.cut(cut);
        for process in &mut all {
            end(process);
        }
        drop(all);
        self.boot.lock().unwrap().next();
        self.disk.replay();
        // What is in memory is gone, too.
        std::fs::remove_dir_all(self.root.path().join("run")).unwrap();
        self.furnish_runtime();
        self.start_all();
    }

    /// Descriptors that a process holds.
    pub fn descriptors(&self, role: Role) -> usize {
        let process = self.process(role);
        let pid = process.as_ref().map_or(0, Child::id);
        std::fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
    }

    /// KiB of memory that a process has.
    pub fn memory(&self, role: Role) -> usize {
        let pid = self.process(role).as_ref().map_or(0, Child::id);
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0)
    }

    /// How a process ended by itself, if it did.
    pub fn ended(&self, role: Role) -> Option<String> {
        let mut process = self.process(role);
        let status = process.as_mut()?.try_wait().unwrap()?;
        Some(status.to_string())
    }

    /// Lets `strace` do something to a process that runs; it ends with the process, or by [`end_trace`].
    pub fn attach(&self, role: Role, words: &str) -> Option<Child> {
        let pid = self.process(role).as_ref()?.id();
        let mut tracer = command("strace");
        tracer.args(["-f", "-q", "-o", "/dev/null"]).args(words.split(' '));
        let mut tracer =
            tracer.arg("-p").arg(pid.to_string()).stdin(Stdio::null()).spawn().unwrap();
        within(PATIENCE, "strace is attached", || {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            !status.contains("TracerPid:\t0\n") || tracer.try_wait().unwrap().is_some()
        });
        Some(tracer)
    }

    /// Starts a process anew that ended by itself, or that panicked: as installed it would have ended.
    pub fn revive(&self, role: Role) -> Option<String> {
        let log = std::fs::read(self.log(role)).unwrap_or_default();
        let panics = String::from_utf8_lossy(&log).matches("panicked at").count();
        let known = &mut self.panics.lock().unwrap()[role.index()];
        let has_panicked = std::mem::replace(known, panics) < panics;
        if has_panicked {
            end(&mut self.process(role));
            *self.process(role) = Some(self.spawn(role));
            return Some("a panic".to_owned());
        }
        let ended = self.ended(role)?;
        *self.process(role) = Some(self.spawn(role));
        Some(ended)
    }

    fn start_all(&self) {
        for role in Role::each() {
            *self.process(role) = Some(self.spawn(role));
        }
    }

    fn process(&self, role: Role) -> MutexGuard<'_, Option<Child>> {
        self.processes[role.index()].lock().unwrap()
    }

    fn log(&self, role: Role) -> PathBuf {
        self.root.path().join(match role {
            Role::Worker(number) => format!("log-{number}"),
            Role::Runner => "log-runner".to_owned(),
        })
    }

    fn spawn(&self, role: Role) -> Child {
        let programs = std::env::var_os(PROGRAMS)
            .unwrap_or_else(|| panic!("{PROGRAMS} has to name the directory of the executables"));
        let programs = PathBuf::from(programs);
        let root = self.root.path();
        let option = |name: &str, value: PathBuf| [OsString::from(name), value.into_os_string()];
        let [of_workers, of_runner] = self.trace.lock().unwrap().clone();
        let log = File::options().create(true).append(true).open(self.log(role)).unwrap();
        let mut command = command("sh");
        command.args(["-c", START, "sh"]).process_group(0);
        match role {
            Role::Worker(number) => {
                let socket = OwnedFd::from(self.listeners[number].try_clone().unwrap());
                command.stdin(Stdio::from(socket));
                command.args(["0007", &SERVER.to_string(), &of_workers]);
                command.arg(programs.join("ploinkyd")).arg(format!("--instance={}", number + 1));
                command.args(option("--state", self.state().root().to_owned()));
                command.args(option("--runtime", root.join("run")));
                command.args(option("--admin-socket", self.admin_socket(number)));
            }
            Role::Runner => {
                command.stdin(Stdio::null());
                command.args(["0022", &AGENT.to_string(), &of_runner]);
                command.arg(programs.join("agent-core"));
                command.args(option("--tasks", self.tasks()));
                command.args(option("--sync", self.lane()));
                command.args(option("--manifest", self.agent().manifest()));
                command.args(option("--code", root.join("code")));
                command.env("PLOINKY_CRASH_EFFECTS", root.join("effects"));
            }
        }
        command.env("RUST_BACKTRACE", "0").env_remove("NOTIFY_SOCKET");
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        for process in &mut self.processes {
            if let Ok(process) = process.get_mut() {
                end(process);
            }
        }
        // So that the disk lets go before it is taken apart.
        if std::thread::panicking() {
            let kept = std::env::temp_dir().join("ploinky-crash");
            std::fs::create_dir_all(&kept).ok();
            for name in ["log-0", "log-1", "log-2", "log-3", "log-runner", "effects"] {
                std::fs::copy(self.root.path().join(name), kept.join(name)).ok();
            }
            eprintln!("crash: logs are in {}", kept.display());
        }
    }
}

/// Lets a process alone that [`Host::attach`] had; where the tracer is gone it is so already.
pub fn end_trace(mut tracer: Child) {
    signal(Pid::from_child(&tracer), Signal::TERM);
    tracer.wait().unwrap();
}

/// SIGKILL for a process and, as at the end of a container, for what it started.
fn end(process: &mut Option<Child>) {
    if let Some(mut child) = process.take() {
        let below = descendants(Pid::from_child(&child));
        child.kill().unwrap();
        for pid in below {
            signal(pid, Signal::KILL);
        }
        child.wait().unwrap();
    }
}
