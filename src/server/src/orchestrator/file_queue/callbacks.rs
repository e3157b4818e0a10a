//! Notes where the outcome of a task is to be posted, before the task is accepted.

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use ploinky_contract::paths::StateDir;
use ploinky_contract::{DeployPath, Domain, TaskId};
use ploinky_queue::{Callback, CallbackBox};

/// The notes of the host. Opened when they are needed first: the supervisor may make the directory later than
/// the first instance starts. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Callbacks {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    path: PathBuf,
    open: OnceLock<CallbackBox>,
}

/// Where an agent is deployed.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    /// Its host.
    pub(crate) domain: Domain,
    /// Its path.
    pub(crate) path: DeployPath,
}

impl Callbacks {
    /// The notes of the host with this state.
    pub(crate) fn new(state: &StateDir) -> Self {
        Self { shared: Arc::new(Shared { path: state.callbacks(), open: OnceLock::new() }) }
    }

    /// Notes durably that the outcome of the task of the agent at `place` goes to `url`.
    pub(super) fn put(&self, id: TaskId, place: &Place, url: &str) -> io::Result<()> {
        let Place { domain, path } = place.clone();
        self.open()?.put(&Callback { id, domain, path, url: url.to_owned() })
    }

    /// Forgets a task that was not accepted.
    pub(super) fn take_back(&self, id: TaskId) {
        // One that stays is removed when it is found that there is no such task.
        self.open().and_then(|open| open.remove(id)).ok();
    }

    fn open(&self) -> io::Result<&CallbackBox> {
        let Shared { path, open } = &*self.shared;
        if let Some(known) = open.get() {
            return Ok(known);
        }
        let opened = CallbackBox::open(path)?;
        Ok(open.get_or_init(|| opened))
    }
}
