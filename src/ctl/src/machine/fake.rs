//! A machine in memory, and a supervisor that answers from a list.

mod fake_accounts;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ploinky_contract::{AgentName, Space};
use ploinky_control::{AgentStatus, ControlError, HostStatus};

use super::{Finished, Local, Machine, Paths};
use crate::accounts::Accounts;
use crate::place::Place;
use crate::secret_input::Secret;
use crate::supervisor::{Change, Supervisor};
use fake_accounts::FakeAccounts;

/// How the supervisor of a test answers.
#[derive(Clone, Debug, Default)]
pub(crate) enum Mood {
    /// As asked.
    #[default]
    Well,
    /// There is none.
    Absent,
    /// No, for this reason, to everything but `status` and `config`.
    Refuses(fn(String) -> ControlError, &'static str),
}

/// A machine that holds what a test put there; real files are read where they lie in a temporary directory.
pub(crate) struct Fake {
    pub(crate) local: Local,
    pub(crate) mood: Mood,
    pub(crate) host: HostStatus,
    pub(crate) config: String,
    pub(crate) files: BTreeMap<String, String>,
    pub(crate) directories: BTreeMap<String, Vec<String>>,
    pub(crate) modified: BTreeMap<String, u64>,
    pub(crate) programs: BTreeMap<String, Finished>,
    pub(crate) space: Space,
    pub(crate) now_usec: u64,
    /// What the person at the terminal types, if somebody is there.
    pub(crate) typed: Option<String>,
    /// What standard input has, if nobody is there.
    pub(crate) piped: Option<String>,
    /// What was asked of the supervisor, and which programs took over.
    pub(crate) asked: Rc<RefCell<Vec<String>>>,
}

impl Fake {
    pub(crate) fn new(paths: Paths) -> Self {
        Self {
            local: Local::new(paths),
            mood: Mood::Well,
            host: HostStatus::default(),
            config: String::new(),
            files: BTreeMap::new(),
            directories: BTreeMap::new(),
            modified: BTreeMap::new(),
            programs: BTreeMap::new(),
            space: Space { bytes: (100 << 30, 50 << 30), inodes: (1_000, 500) },
            now_usec: 1_767_330_545_000_000,
            typed: None,
            piped: None,
            asked: Rc::default(),
        }
    }

    /// Lets `words` be a program that ends so.
    pub(crate) fn program(&mut self, words: &str, code: i32, stdout: &str, stderr: &str) {
        let finished = Finished { code: Some(code), stdout: stdout.into(), stderr: stderr.into() };
        self.programs.insert(words.to_owned(), finished);
    }
}

impl Machine for Fake {
    fn paths(&self) -> &Paths {
        self.local.paths()
    }

    fn supervisor(&self) -> Result<Box<dyn Supervisor>, ControlError> {
        if matches!(self.mood, Mood::Absent) {
            let refused = io::Error::from(rustix::io::Errno::CONNREFUSED);
            return Err(ControlError::Bus(refused.into()));
        }
        Ok(Box::new(FakeSupervisor {
            mood: self.mood.clone(),
            host: self.host.clone(),
            config: self.config.clone(),
            asked: Rc::clone(&self.asked),
        }))
    }

    fn accounts(&self) -> Result<Box<dyn Accounts>, ControlError> {
        if matches!(self.mood, Mood::Absent) {
            let refused = io::Error::from(rustix::io::Errno::CONNREFUSED);
            return Err(ControlError::Bus(refused.into()));
        }
        Ok(Box::new(FakeAccounts { mood: self.mood.clone(), asked: Rc::clone(&self.asked) }))
    }

    fn now_usec(&self) -> u64 {
        self.now_usec
    }

    fn pause(&self, _time: Duration) {}

    fn typed(&self) -> io::Result<Option<String>> {
        Ok(self.typed.clone())
    }

    fn secret(&self, prompt: &str) -> io::Result<Secret> {
        self.asked.borrow_mut().push(format!("for `{}`", prompt.trim_end()));
        let secret = |text: &str| text.to_owned().try_into().map_err(io::Error::other);
        match (&self.typed, &self.piped) {
            (Some(text), _) => Ok(Secret::Typed(secret(text)?)),
            (None, Some(text)) => Ok(Secret::Piped(secret(text)?)),
            (None, None) => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn read(&self, path: &Path, limit: usize) -> io::Result<Vec<u8>> {
        match self.files.get(path.to_str().unwrap()) {
            Some(text) => Ok(text.clone().into_bytes()),
            None if path.starts_with(std::env::temp_dir()) => self.local.read(path, limit),
            None => Err(rustix::io::Errno::NOENT.into()),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.files.contains_key(path.to_str().unwrap())
            || (path.starts_with(std::env::temp_dir()) && self.local.exists(path))
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        match self.directories.get(path.to_str().unwrap()) {
            Some(names) => Ok(names.clone()),
            None if path.starts_with(std::env::temp_dir()) => self.local.list(path),
            None => Err(rustix::io::Errno::NOENT.into()),
        }
    }

    fn modified(&self, path: &Path) -> io::Result<u64> {
        let found = self.modified.get(path.to_str().unwrap());
        found.copied().ok_or_else(|| rustix::io::Errno::NOENT.into())
    }

    fn space(&self, _path: &Path) -> io::Result<Space> {
        Ok(self.space)
    }

    fn run(&self, words: &[&str], _environment: &[(&str, &str)]) -> io::Result<Finished> {
        let found = self.programs.get(&words.join(" "));
        found.cloned().ok_or_else(|| rustix::io::Errno::NOENT.into())
    }

    fn lines(
        &self,
        words: &[&str],
        on_line: &mut dyn FnMut(&[u8]) -> bool,
    ) -> io::Result<Finished> {
        self.asked.borrow_mut().push(words.join(" "));
        let finished = self.run(words, &[])?;
        for line in finished.stdout.lines() {
            if !on_line(line.as_bytes()) {
                break;
            }
        }
        Ok(finished)
    }

    fn become_program(&self, words: &[&str]) -> io::Error {
        self.asked.borrow_mut().push(format!("exec {}", words.join(" ")));
        rustix::io::Errno::NOENT.into()
    }
}

struct FakeSupervisor {
    mood: Mood,
    host: HostStatus,
    config: String,
    asked: Rc<RefCell<Vec<String>>>,
}

impl FakeSupervisor {
    fn hear(&self, text: String) -> Result<(), ControlError> {
        self.asked.borrow_mut().push(text);
        match self.mood {
            Mood::Refuses(error, reason) => Err(error(reason.to_owned())),
            Mood::Well | Mood::Absent => Ok(()),
        }
    }

    fn agent(&self, at: &Place) -> Result<AgentStatus, ControlError> {
        let is_there =
            |a: &&AgentStatus| a.domain == at.domain.as_str() && a.path == at.path.as_str();
        let found = self.host.agents.iter().find(is_there).cloned();
        found.ok_or_else(|| ControlError::NotFound(format!("no agent is deployed at {at}")))
    }
}

impl Supervisor for FakeSupervisor {
    fn deploy_installed(&self, at: &Place, agent: &AgentName) -> Result<AgentStatus, ControlError> {
        self.hear(format!("deploy_installed {at} {agent}"))?;
        self.agent(at)
    }

    fn deploy_archive(
        &self,
        at: &Place,
        name: &AgentName,
        archive: &File,
    ) -> Result<AgentStatus, ControlError> {
        let mut packed = tar::Archive::new(archive);
        let names: Vec<String> = packed
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        self.hear(format!("deploy_archive {at} {name}: {}", names.join(" ")))?;
        self.agent(at)
    }

    fn undeploy(&self, at: &Place) -> Result<(), ControlError> {
        self.hear(format!("undeploy {at}"))?;
        self.agent(at).map(drop)
    }

    fn change(&self, change: Change, at: &Place) -> Result<AgentStatus, ControlError> {
        self.hear(format!("{change:?} {at}"))?;
        self.agent(at)
    }

    fn agent_status(&self, at: &Place) -> Result<AgentStatus, ControlError> {
        self.agent(at)
    }

    fn status(&self) -> Result<HostStatus, ControlError> {
        Ok(self.host.clone())
    }

    fn config(&self) -> Result<String, ControlError> {
        Ok(self.config.clone())
    }
}
