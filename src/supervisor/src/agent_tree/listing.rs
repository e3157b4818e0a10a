//! What lies where the directories of agents are: those of agents, and what somebody else put there.

use std::io;
use std::path::{Path, PathBuf};

use ploinky_contract::AgentId;
use ploinky_contract::paths::{AgentDir, StateDir};

use super::{AgentTree, OURS};
use crate::accounts::Accounts;

/// What there is among the directories of agents.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    /// All agents with a directory, whether the configuration knows them or not, with the directory.
    pub(crate) agents: Vec<(AgentId, AgentTree)>,
    /// What somebody else put there.
    pub(crate) strangers: Vec<PathBuf>,
}

/// Lists the directories of agents.
///
/// # Errors
/// When a directory cannot be listed.
pub(crate) fn list(state: &StateDir, accounts: Accounts) -> io::Result<Listing> {
    let Listing { mut agents, mut strangers } = Listing::default();
    for domain in directories(&state.agents(), &mut strangers)? {
        for agent in directories(&domain, &mut strangers)? {
            let names = [domain.file_name(), agent.file_name()];
            let names = names.map(|name| name.unwrap_or_default().to_string_lossy().into_owned());
            match names.join("-").parse() {
                Ok(id) if is_ours(&agent)? => {
                    agents.push((id, AgentTree { dir: AgentDir::new(agent), accounts }));
                }
                Ok(_) | Err(_) => strangers.push(agent),
            }
        }
    }
    Ok(Listing { agents, strangers })
}

/// Whether the directory holds something of an agent, or nothing yet.
fn is_ours(directory: &Path) -> io::Result<bool> {
    let mut is_empty = true;
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name();
        if OURS.iter().any(|ours| name == *ours) {
            return Ok(true);
        }
        is_empty = false;
    }
    Ok(is_empty)
}

/// The directories in `path`; everything else in it is added to `strangers`.
fn directories(path: &Path, strangers: &mut Vec<PathBuf>) -> io::Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() { &mut found } else { &mut *strangers }.push(entry.path());
    }
    Ok(found)
}
