//! The directory of one deployed agent: made, replaced in one step, rolled back, removed.
//!
//! The queue and `data`, which the agent may ask for, stay as they are until the agent is removed.
//!
//! A redeployment exchanges `code` with `code.new` and keeps a record of it in `redeploy.json` until the
//! configuration names the new release. That write is the one that decides: whoever finds the record later, at
//! the end of the deployment or after a crash, asks [`AgentTree::settle`], which finishes or undoes it.

mod listing;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use ploinky_contract::limits::MANIFEST_MAX_BYTES;
use ploinky_contract::paths::{AgentDir, StateDir};
use ploinky_contract::{AgentName, DeployPath, Domain, Manifest, ManifestError, Service};
use rustix::fs::{Mode, RenameFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

pub(crate) use self::listing::{Listing, list};
use crate::accounts::{Accounts, Owner};
use crate::tree::{self, TreeError, TreeWriter};
use crate::{directory, state_file};

const CODE: &str = "code";
const STAGING: &str = "code.new";
const TASKS: &str = ".tasks";
const DATA: &str = "data";
const RECORD: &str = "redeploy.json";
/// Names by which the directory of an agent is known.
const OURS: [&str; 6] = ["manifest.json", CODE, STAGING, TASKS, DATA, RECORD];
/// Bytes of the record: a manifest as a JSON string, where a character may need six.
const RECORD_MAX_BYTES: usize = 6 * MANIFEST_MAX_BYTES + 4096;
/// Directories of the queue and their modes (sticky where the agent may write).
const QUEUE: [(&str, u32); 7] = [
    ("requests", 0o2750),
    ("urgent", 0o2750),
    // What clients uploaded.
    ("files", 0o2750),
    ("responses", 0o3770),
    ("errors", 0o3770),
    ("locks", 0o3770),
    // Results that are files.
    ("outputs", 0o3770),
];

/// Where the code of an agent comes from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A directory that a package installed.
    Installed(PathBuf),
    /// A tar archive in a file that the caller has open.
    Archive(File),
}

/// One agent's directory.
#[derive(Clone, Debug)]
pub(crate) struct AgentTree {
    dir: AgentDir,
    accounts: Accounts,
}

/// Why the directory is not what was asked for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AgentTreeError {
    /// The code was not taken.
    #[error("the code was refused")]
    Tree(#[source] TreeError),
    /// The manifest was not taken.
    #[error("manifest.json was refused")]
    Manifest(#[source] ManifestError),
    /// The manifest is no file that can be read.
    #[error("cannot read the agent's manifest.json")]
    ReadManifest(#[source] io::Error),
    /// A directory without manifest needs a name.
    #[error("there is no manifest.json, and no name was given")]
    Nameless,
    /// The directory of files to serve is not there.
    #[error("manifest.json: `static`: there is no directory `{directory}`")]
    NoStaticDirectory { directory: String },
    /// The code has something where the data is mounted.
    #[error(
        "manifest.json: `data`: the code has a `{DATA}` of its own, which would be hidden; rename it"
    )]
    DataInCode,
    /// The host did not let it be made.
    #[error("cannot make {}", .path.display())]
    Make { path: PathBuf, source: io::Error },
    /// The host did not let it be replaced.
    #[error("cannot replace the code in {}", .path.display())]
    Replace { path: PathBuf, source: io::Error },
    /// The host did not let it be removed.
    #[error("cannot remove {}", .path.display())]
    Remove { path: PathBuf, source: io::Error },
}

/// How to undo a replacement: written before it, removed after the decision.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Record {
    /// The release that is replaced.
    from: Option<String>,
    /// The release that replaces it.
    to: String,
    /// Inode of the `code` that is replaced: tells whether the exchange took place.
    code_inode: u64,
    /// Text of the manifest that is replaced.
    manifest: String,
}

impl AgentTree {
    /// The directory of the agent at `path` of `domain`, whether it exists or not.
    pub(crate) fn new(
        state: &StateDir,
        domain: &Domain,
        path: &DeployPath,
        accounts: Accounts,
    ) -> Self {
        Self { dir: state.agent(domain, path), accounts }
    }

    /// Its paths.
    pub(crate) fn dir(&self) -> &AgentDir {
        &self.dir
    }

    /// The manifest of the code in force; `None` if there is no code.
    ///
    /// # Errors
    /// When the directory is there but damaged.
    pub(crate) fn manifest(&self) -> Result<Option<Manifest>, AgentTreeError> {
        if !self.dir.code().is_dir() {
            return Ok(None);
        }
        // The supervisor wrote it, with defaults spelt out: it may be longer than what was accepted.
        let text = state_file::read(&self.dir.manifest(), 2 * MANIFEST_MAX_BYTES)
            .map_err(AgentTreeError::ReadManifest)?;
        text.map(|text| Manifest::parse(&text).map_err(AgentTreeError::Manifest)).transpose()
    }

    /// Fills the staging directory from `source`. Blocks for as long as that takes.
    ///
    /// # Errors
    /// When an entry is refused; [`AgentTree::settle`] or [`AgentTree::remove`] takes away what was made.
    pub(crate) fn stage(&self, source: Source) -> Result<(), AgentTreeError> {
        let agent = self.make_agent_directory()?;
        tree::remove(&agent, STAGING).map_err(|e| self.remove_error(STAGING, e))?;
        let staging = self.make_directory(&agent, STAGING, 0o755, Owner::myself())?;
        let mut writer = TreeWriter::new(staging);
        match source {
            Source::Installed(path) => tree::copy(&path, &mut writer),
            Source::Archive(file) => tree::unpack(file, &mut writer),
        }
        .map_err(AgentTreeError::Tree)
    }

    /// The manifest of the staged code; that of plain files called `name` if it has none.
    ///
    /// # Errors
    /// When the manifest is refused, or missing without a name, or its `static` is not there, or something is
    /// where its data would be.
    pub(crate) fn staged_manifest(
        &self,
        name: Option<&AgentName>,
    ) -> Result<Manifest, AgentTreeError> {
        let staging = self.dir.root().join(STAGING);
        let text = state_file::read(&staging.join("manifest.json"), MANIFEST_MAX_BYTES)
            .map_err(AgentTreeError::ReadManifest)?;
        let manifest = match (text, name) {
            (Some(text), _) => Manifest::parse(&text).map_err(AgentTreeError::Manifest)?,
            (None, Some(name)) => Manifest::of_plain_files(name.clone()),
            (None, None) => return Err(AgentTreeError::Nameless),
        };
        if let Service::Static { directory } = &manifest.service
            && !is_inner_directory(&staging, directory)
        {
            return Err(AgentTreeError::NoStaticDirectory { directory: directory.clone() });
        }
        if has_data(&manifest) && staging.join(DATA).symlink_metadata().is_ok() {
            return Err(AgentTreeError::DataInCode);
        }
        Ok(manifest)
    }

    /// Gives the staged code to its owner, makes it durable, and tells its fingerprint. Blocks.
    ///
    /// # Errors
    /// When the host does not let it.
    pub(crate) fn seal(&self, uid_first: Option<u32>) -> Result<String, AgentTreeError> {
        let staging = directory::open(&self.dir.root().join(STAGING))
            .map_err(|source| self.make_error(STAGING, source))?;
        let owner = uid_first.map_or(Owner::myself(), |uid| Owner { uid, gid: uid });
        tree::seal(staging.as_fd(), self.accounts, owner).map_err(AgentTreeError::Tree)
    }

    /// Makes what `manifest` needs beside the code and is missing, and gives what is there its owners and
    /// modes: a deployment of an earlier version has fewer directories.
    ///
    /// # Errors
    /// When the host does not let it.
    pub(crate) fn repair(&self, manifest: &Manifest, uid_first: u32) -> Result<(), AgentTreeError> {
        let agent =
            directory::open(self.dir.root()).map_err(|source| self.make_error("", source))?;
        self.make_beside_code(&agent, manifest, uid_first)
    }

    /// Puts the staged code and `manifest` in place of what is there. `from` is the release in force.
    ///
    /// # Errors
    /// When a step fails; [`AgentTree::settle`] undoes those before it.
    pub(crate) fn place(
        &self,
        manifest: &Manifest,
        uid_first: Option<u32>,
        from: Option<&str>,
        to: &str,
    ) -> Result<(), AgentTreeError> {
        let agent = self.make_agent_directory()?;
        if let Some(uid_first) = uid_first {
            self.make_beside_code(&agent, manifest, uid_first)?;
        }
        let replace = |source: io::Error| AgentTreeError::Replace {
            path: self.dir.root().to_owned(),
            source,
        };
        match self.dir.code().symlink_metadata() {
            Ok(code) => {
                let old = state_file::read(&self.dir.manifest(), 2 * MANIFEST_MAX_BYTES)
                    .map_err(replace)?
                    .unwrap_or_default();
                let record = Record {
                    from: from.map(str::to_owned),
                    to: to.to_owned(),
                    code_inode: code.ino(),
                    manifest: String::from_utf8_lossy(&old).into_owned(),
                };
                // Strings and numbers cannot fail to serialise.
                let text = serde_json::to_string(&record).unwrap_or_default();
                state_file::write(&self.record(), text.as_bytes(), 0o600).map_err(replace)?;
                Self::exchange(&agent).map_err(replace)?;
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let flags = RenameFlags::NOREPLACE;
                rustix::fs::renameat_with(&agent, STAGING, &agent, CODE, flags)
                    .map_err(|error| replace(error.into()))?;
            }
            Err(error) => return Err(replace(error)),
        }
        state_file::write(&self.dir.manifest(), manifest.to_json().as_bytes(), 0o644)
            .map_err(replace)?;
        // Only now may the workers and the container enter.
        self.adjust(&agent, 0o2711, self.accounts.root_and_workers()).map_err(replace)?;
        rustix::fs::fsync(&agent).map_err(|error| replace(error.into()))
    }

    /// Finishes a replacement if `release`, which the configuration names, is its result; undoes it otherwise.
    /// Removes what was staged. Tells whether there was a replacement: what runs may then have mounted a
    /// directory that is gone.
    ///
    /// # Errors
    /// When the host does not let it; it can be tried again.
    pub(crate) fn settle(&self, release: Option<&str>) -> Result<bool, AgentTreeError> {
        let replace = |source: io::Error| AgentTreeError::Replace {
            path: self.dir.root().to_owned(),
            source,
        };
        let agent = match directory::open(self.dir.root()) {
            Ok(agent) => agent,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(replace(error)),
        };
        let found = state_file::read(&self.record(), RECORD_MAX_BYTES).map_err(replace)?;
        let replaced = found.is_some();
        let mut undone = None;
        if let Some(bytes) = found {
            let record: Record =
                serde_json::from_slice(&bytes).map_err(|e| replace(io::Error::other(e)))?;
            let Record { from: _, to, code_inode, manifest } = record;
            if release != Some(to.as_str()) {
                let code = self.dir.code().symlink_metadata().map_err(replace)?;
                if code.ino() != code_inode {
                    Self::exchange(&agent).map_err(replace)?;
                }
                undone = Some(manifest);
            }
        }
        // First of all: a disk that is full has no room for a manifest.
        tree::remove(&agent, STAGING).map_err(|e| self.remove_error(STAGING, e))?;
        if let Some(manifest) = undone {
            state_file::write(&self.dir.manifest(), manifest.as_bytes(), 0o644).map_err(replace)?;
        }
        let swept = state_file::delete(&self.record())
            .and_then(|()| state_file::sweep(&self.record()))
            .and_then(|()| state_file::sweep(&self.dir.manifest()));
        swept.map_err(|e| self.remove_error(RECORD, e))?;
        Ok(replaced)
    }

    /// Removes everything. The container must be gone. Blocks for as long as that takes.
    ///
    /// # Errors
    /// When something cannot be removed; it can be tried again.
    pub(crate) fn remove(&self) -> Result<(), AgentTreeError> {
        let root = self.dir.root();
        let error = |source: io::Error| AgentTreeError::Remove { path: root.to_owned(), source };
        let (Some(parent), Some(name)) = (root.parent(), root.file_name()) else { return Ok(()) };
        let domain = match directory::open(parent) {
            Ok(domain) => domain,
            Err(found) if found.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(found) => return Err(error(found)),
        };
        tree::remove(&domain, &name.to_string_lossy()).map_err(error)?;
        rustix::fs::fsync(&domain).map_err(|found| error(found.into()))?;
        match rustix::fs::rmdir(parent) {
            Ok(()) | Err(Errno::NOTEMPTY | Errno::EXIST | Errno::NOENT) => Ok(()),
            Err(found) => Err(error(found.into())),
        }
    }

    fn record(&self) -> PathBuf {
        self.dir.root().join(RECORD)
    }

    fn exchange(agent: &OwnedFd) -> io::Result<()> {
        rustix::fs::renameat_with(agent, STAGING, agent, CODE, RenameFlags::EXCHANGE)?;
        rustix::fs::fsync(agent)?;
        Ok(())
    }

    /// The agent's directory and those above it. A new one is closed to everybody but root.
    fn make_agent_directory(&self) -> Result<OwnedFd, AgentTreeError> {
        let root = self.dir.root();
        let missing = || self.make_error("", io::ErrorKind::InvalidInput.into());
        let domain = root.parent().ok_or_else(missing)?;
        let agents = domain.parent().ok_or_else(missing)?;
        let mut at = directory::open(agents.parent().ok_or_else(missing)?)
            .map_err(|source| self.make_error("", source))?;
        for part in [agents, domain] {
            let name = part.file_name().ok_or_else(missing)?.to_string_lossy().into_owned();
            at = self.make_directory(&at, &name, 0o711, Owner::myself())?;
        }
        let name = root.file_name().ok_or_else(missing)?.to_string_lossy().into_owned();
        match rustix::fs::mkdirat(&at, name.as_str(), Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(error) => return Err(self.make_error("", error.into())),
        }
        directory::open(root).map_err(|source| self.make_error("", source))
    }

    fn make_beside_code(
        &self,
        agent: &OwnedFd,
        manifest: &Manifest,
        uid_first: u32,
    ) -> Result<(), AgentTreeError> {
        self.make_queue(agent, uid_first)?;
        if has_data(manifest) {
            // Whoever does not ask for it any more may ask again: only removal of the agent takes it away.
            let owner = Owner { uid: uid_first, gid: uid_first };
            self.make_directory(agent, DATA, 0o700, owner)?;
        }
        Ok(())
    }

    fn make_queue(&self, agent: &OwnedFd, uid_first: u32) -> Result<(), AgentTreeError> {
        let owner = self.accounts.workers_and_agent(uid_first);
        let tasks = self.make_directory(agent, TASKS, 0o2750, owner)?;
        for (name, mode) in QUEUE {
            self.make_directory(&tasks, name, mode, owner)?;
        }
        Ok(())
    }

    fn make_directory(
        &self,
        parent: &OwnedFd,
        name: &str,
        mode: u32,
        owner: Owner,
    ) -> Result<OwnedFd, AgentTreeError> {
        directory::make(parent, name, mode, owner, self.accounts)
            .map_err(|source| self.make_error(name, source))
    }

    fn adjust(&self, directory: &OwnedFd, mode: u32, owner: Owner) -> io::Result<()> {
        directory::adjust(directory, mode, owner, self.accounts)
    }

    fn make_error(&self, name: &str, source: io::Error) -> AgentTreeError {
        AgentTreeError::Make { path: self.dir.root().join(name), source }
    }

    fn remove_error(&self, name: &str, source: io::Error) -> AgentTreeError {
        AgentTreeError::Remove { path: self.dir.root().join(name), source }
    }
}

/// Whether the agent has a directory that redeployments leave as it is.
fn has_data(manifest: &Manifest) -> bool {
    matches!(&manifest.service, Service::Container(container) if container.data)
}

/// Whether `inner` is a directory below `top` that is reached without links.
fn is_inner_directory(top: &Path, inner: &str) -> bool {
    let mut at = directory::open(top);
    for part in inner.split('/').filter(|part| !matches!(*part, "" | ".")) {
        at = at.and_then(|at| directory::open_in(at, part));
    }
    at.is_ok()
}
