//! What the protocol demands, and how large a world is checked.

/// How a task is run.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// At most once.
    Strict,
    /// At least once: this many runs.
    Retry(u8),
}

/// The rules of the protocol; [`Rules::ALL`] is the protocol.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one switch per rule, turned off one at a time")]
pub struct Rules {
    /// 202 is answered after fsync(requests).
    pub sync_before_202: bool,
    /// A repeat that finds its request there answers 202 after an fsync(requests) of its own.
    pub repeat_syncs: bool,
    /// When fsync(requests) fails, a request that others may know by its key is not unlinked.
    pub keep_shared_request: bool,
    /// When fsync(requests) fails, the lock is taken before the request is unlinked.
    pub lock_before_take_back: bool,
    /// A strict task whose client may repeat the submit runs after fsync(requests).
    pub sync_request_before_run: bool,
    /// A strict task runs after fsync(locks).
    pub sync_lock_before_run: bool,
    /// A task with a note runs after fsync(locks).
    pub sync_note_before_run: bool,
    /// A record is delivered after fsync(responses).
    pub sync_before_delivery: bool,
    /// A lock is removed after fsync(responses), whoever wrote the record.
    pub sync_before_unlock: bool,
    /// The same for a lock that recovery finds beside a record.
    pub recovery_syncs_before_unlock: bool,
    /// A lock whose `AGENT_CRASHED` cannot be written stays.
    pub keep_lock_without_record: bool,
    /// Every record of a task has the same name.
    pub one_name: bool,
    /// Claim looks for the record first and for the request then.
    pub record_before_request: bool,
    /// Clean removes the request first.
    pub request_removed_first: bool,
    /// Clean syncs the removal of the request before it goes on.
    pub sync_removed_request: bool,
    /// A lock of the server without a record means that the task is cancelled.
    pub server_lock_is_cancel: bool,
    /// A submit of a known id waits until nobody touches the files of that id, and keeps others away.
    pub guard: bool,
    /// Such a submit removes what an earlier task of that id left.
    pub clear_remains: bool,
    /// It syncs that, also if somebody else removed it.
    pub sync_cleared: bool,
    /// The server removes no lock that a living runner holds.
    pub probe_lock: bool,
}

impl Rules {
    /// The protocol.
    pub const ALL: Self = Self {
        sync_before_202: true,
        repeat_syncs: true,
        keep_shared_request: true,
        lock_before_take_back: true,
        sync_request_before_run: true,
        sync_lock_before_run: true,
        sync_note_before_run: true,
        sync_before_delivery: true,
        sync_before_unlock: true,
        recovery_syncs_before_unlock: true,
        keep_lock_without_record: true,
        one_name: true,
        record_before_request: true,
        request_removed_first: true,
        sync_removed_request: true,
        server_lock_is_cancel: true,
        guard: true,
        clear_remains: true,
        sync_cleared: true,
        probe_lock: true,
    };
}

/// How large a world is checked: each number is how often something may happen in one history.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// The first task and, if there is one, the second.
    pub kinds: (Kind, Option<Kind>),
    /// Runner threads of one process, 1 or 2.
    pub threads: usize,
    /// SIGKILL of a worker that does something.
    pub worker_kills: u8,
    /// SIGKILL of the runner.
    pub runner_kills: u8,
    /// Power cuts.
    pub cuts: u8,
    /// System calls that fail with EIO or ENOSPC.
    pub faults: u8,
    /// Submits of the same key per task; 1 means a task without a key.
    pub submits: u8,
    /// Cancels per task.
    pub cancels: u8,
    /// Times that the server gives a task up per task.
    pub give_ups: u8,
    /// Whether outcomes are removed.
    pub removes: bool,
    /// Whether the key is used for another task after the removal.
    pub reuse: bool,
    /// The rules.
    pub rules: Rules,
}

impl Setting {
    /// One task of this kind, and nothing that goes wrong.
    pub const fn of(kind: Kind) -> Self {
        Self {
            kinds: (kind, None),
            threads: 1,
            worker_kills: 0,
            runner_kills: 0,
            cuts: 0,
            faults: 0,
            submits: 1,
            cancels: 0,
            give_ups: 0,
            removes: false,
            reuse: false,
            rules: Rules::ALL,
        }
    }

    /// Kinds of the tasks.
    pub(crate) fn kinds(&self) -> impl Iterator<Item = Kind> {
        std::iter::once(self.kinds.0).chain(self.kinds.1)
    }

    /// Whether clients send a key.
    pub(crate) fn is_keyed(&self) -> bool {
        1 < self.submits || self.reuse
    }
}
