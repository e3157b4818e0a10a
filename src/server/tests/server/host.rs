//! A state directory with deployments, and a worker that serves it.

use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Parser as _;
use ploinky_contract::paths::{AgentDir, StateDir};
use ploinky_server::{Arguments, Inherited};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::client::PATIENCE;

const QUEUE: [&str; 7] = ["requests", "urgent", "responses", "errors", "locks", "files", "outputs"];

/// Directories of one host.
pub(crate) struct Host {
    root: TempDir,
    servers: AtomicUsize,
}

/// A worker on a thread.
pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    /// Path of the socket of the admin.
    pub(crate) admin: PathBuf,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// A file system that was mounted for a test, until drop.
pub(crate) struct Mounted(PathBuf);

impl Mounted {
    /// 4 MiB at `path`.
    pub(crate) fn small(path: &Path) -> Self {
        // As root, like all of tests/check: a test that is left out would read as passed.
        mount("tmpfs", path, "tmpfs", MountFlags::empty(), Some(c"size=4m")).unwrap();
        Self(path.to_owned())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        unmount(&self.0, UnmountFlags::DETACH).ok();
    }
}

impl Host {
    /// A host without deployments.
    pub(crate) fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("state/agents")).unwrap();
        std::fs::create_dir_all(root.path().join("run/inst")).unwrap();
        for directory in ["activeUsers/used", "adminSessions", "tokens"] {
            std::fs::create_dir_all(root.path().join("state").join(directory)).unwrap();
        }
        std::fs::write(root.path().join("state/task.key"), "0f".repeat(32)).unwrap();
        Self { root, servers: AtomicUsize::new(0) }
    }

    /// A host with the agent `/a` (see [`crate::agent`]) on localhost, whose tasks may take `timeout_s`.
    pub(crate) fn with_agent(timeout_s: u64) -> (Self, AgentDir) {
        let host = Self::new();
        let directory = host.agent("localhost", "/a", timeout_s);
        host.configure(&config(&["/a"]));
        (host, directory)
    }

    pub(crate) fn state(&self) -> StateDir {
        StateDir::new(self.root.path().join("state"))
    }

    pub(crate) fn runtime(&self) -> PathBuf {
        self.root.path().join("run")
    }

    /// Replaces `config.json` at once.
    pub(crate) fn configure(&self, text: &str) {
        let staged = self.state().root().join(".config");
        std::fs::write(&staged, text).unwrap();
        std::fs::rename(staged, self.state().config()).unwrap();
    }

    pub(crate) fn directory(&self, domain: &str, path: &str) -> AgentDir {
        self.state().agent(&domain.parse().unwrap(), &path.parse().unwrap())
    }

    /// The directory of a container agent with a manifest and an empty queue.
    pub(crate) fn agent(&self, domain: &str, path: &str, timeout_s: u64) -> AgentDir {
        self.agent_with(domain, path, timeout_s, "")
    }

    /// The same with more members in its manifest, each of which begins with a comma.
    pub(crate) fn agent_with(
        &self,
        domain: &str,
        path: &str,
        timeout_s: u64,
        members: &str,
    ) -> AgentDir {
        let directory = self.directory(domain, path);
        for name in QUEUE {
            std::fs::create_dir_all(directory.tasks().join(name)).unwrap();
        }
        let manifest = format!(
            r#"{{"name":"a","container":"localhost/a","timeout":{timeout_s},
                "commands":{{"echo":"x","fail":"x","request":"x","hang":"x","hostile":"x",
                "login":"x","user.change":"x","user.list":"x"}}{members}}}"#
        );
        std::fs::write(directory.manifest(), manifest).unwrap();
        directory
    }

    /// The directory of files that `domain` shows at `/`.
    pub(crate) fn site(&self, domain: &str) -> PathBuf {
        let directory = self.directory(domain, "/");
        let files = directory.code().join("public");
        std::fs::create_dir_all(&files).unwrap();
        std::fs::write(directory.manifest(), r#"{"name":"site","static":"public"}"#).unwrap();
        files
    }

    /// A worker that serves this host.
    pub(crate) fn start(&self) -> Server {
        self.start_on(TcpListener::bind("127.0.0.1:0").unwrap())
    }

    /// A worker that serves this host on a socket that others may hold, too.
    pub(crate) fn start_on(&self, listener: TcpListener) -> Server {
        let address = listener.local_addr().unwrap();
        let root = self.root.path();
        let number = self.servers.fetch_add(1, Ordering::Relaxed);
        let admin = root.join(format!("run/admin-{number}.sock"));
        let sockets = Inherited {
            internet: vec![listener],
            admin: vec![UnixListener::bind(&admin).unwrap()],
        };
        let arguments = Arguments::parse_from([
            "ploinkyd".into(),
            "--instance=7".into(),
            "--state".into(),
            root.join("state").into_os_string(),
            "--runtime".into(),
            root.join("run").into_os_string(),
        ]);
        let (stop, stopped) = oneshot::channel();
        let thread = std::thread::spawn(move || {
            ploinky_server::serve(&arguments, sockets, async {
                stopped.await.ok();
            })
            .unwrap();
        });
        Server { address, admin, stop: Some(stop), thread: Some(thread) }
    }
}

impl Server {
    /// Begins the drain.
    pub(crate) fn stop(&mut self) {
        drop(self.stop.take());
    }

    /// Whether the worker has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
        }
    }
}

/// A configuration with these paths on localhost.
pub(crate) fn config(paths: &[&str]) -> String {
    let deployments: Vec<_> = paths
        .iter()
        .map(|path| format!(r#"{{"domain":"localhost","path":"{path}","agent":"a"}}"#))
        .collect();
    format!(r#"{{"domains":[{{"name":"localhost"}}],"deployments":[{}]}}"#, deployments.join(","))
}

/// Waits until `condition` holds; panics with `what` if it never does.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < PATIENCE, "never came true: {what}");
        std::thread::park_timeout(Duration::from_millis(5));
    }
}

/// Names of all files of a queue, as `directory/name`; the runner's lock is none of them.
pub(crate) fn queue_files(tasks: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for directory in QUEUE {
        for entry in std::fs::read_dir(tasks.join(directory)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name != ".runner" {
                found.push(format!("{directory}/{name}"));
            }
        }
    }
    found
}
