//! Why a request gets no result. Every stage says no with one of these; `reply` gives it a status.
//!
//! `Display` is what the caller reads: it names the value and the rule, and nothing of our insides. What the
//! operator needs besides is the source.

use std::time::Duration;

use ploinky_contract::limits::{
    IN_FLIGHT_PER_AGENT, SESSIONS_MAX, STREAMS_AT_ONCE, STREAMS_PER_AGENT, URI_MAX_BYTES,
};
use ploinky_contract::{CommandName, TaskId, TaskState, UserId};
use ploinky_queue::{BadResult, SubmitError};

use crate::guardian::{CallError, CredentialError, HeaderError, HostError, ReadError};
use crate::listener::FramingError;
use crate::login::LoginError;
use crate::management::ManagementError;
use crate::tasks::QueryError;
use crate::uploads::UploadError;

/// What went wrong inside, for the operator only.
pub(crate) type Trouble = Box<dyn std::error::Error + Send + Sync>;

/// Why a request gets no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The head names no domain.
    #[error("{0}")]
    Host(HostError),
    /// A method that only a proxy answers.
    #[error("CONNECT is for proxies")]
    Connect,
    /// Bytes that another server may understand in another way.
    #[error("{0}")]
    Framing(FramingError),
    /// More requests of one client than it may send.
    #[error("more requests come from you than {rate} a second; try again later")]
    TooManyRequests {
        /// Requests a second that would be answered.
        rate: u32,
        /// When the next one is.
        wait: Duration,
    },
    /// A switch to HTTP/2.
    #[error("`Upgrade: h2c` is not supported")]
    Upgrade,
    /// The target is too long.
    #[error("the request target is longer than {URI_MAX_BYTES} bytes")]
    UriTooLong,
    /// The method is not the one of this path.
    #[error("{method} is not answered here; use {allowed}")]
    Method {
        /// What the client used.
        method: http::Method,
        /// What it may use.
        allowed: &'static str,
    },
    /// A page of another site made the request.
    #[error("a page of another site may not call agents")]
    CrossSite,
    /// A form that a page of any site could have sent, with the cookie of somebody.
    #[error(
        "a form with the cookie of a session must say where it comes from, by `Origin` or `Sec-Fetch-Site`; programs send `Authorization: Bearer` or the Content-Type application/json"
    )]
    NoOrigin,
    /// The body is something else than JSON.
    #[error("the body must have the Content-Type application/json")]
    MediaType,
    /// The body could not be read.
    #[error("{0}")]
    Read(ReadError),
    /// The body is no call.
    #[error("{0}")]
    Call(CallError),
    /// A header has a value that is not allowed.
    #[error("{0}")]
    Header(HeaderError),
    /// A parameter of the URL has a value that is not allowed.
    #[error("{0}")]
    Query(QueryError),
    /// The admin does not allow callbacks to there.
    #[error("the header callback-url has the value `{}`: its origin is not in `settings.callbackOrigins`", .0.escape_debug())]
    Callback(String),
    /// The idempotency key stands for another call.
    #[error("the Idempotency-Key was used for another call before; take a new key for a new call")]
    KeyReused(TaskId),
    /// The form is none, or cannot be taken.
    #[error(transparent)]
    Upload(UploadError),
    /// Another upload with the same idempotency key comes, or has just gone.
    #[error("an upload with the same Idempotency-Key is being taken or removed; try again later")]
    SameKeyIsComing,
    /// The result of the task is no file.
    #[error("the result of the task is no file")]
    NoFile,
    /// The agent is run by a program of its own.
    #[error("the agent runs a program of its own, which gives results and no streams; use POST")]
    StreamUnsupported,
    /// As many streams as allowed go on.
    #[error("{STREAMS_AT_ONCE} streams go on already; try again later")]
    Streams,
    /// As many streams of the agent as allowed go on.
    #[error("{STREAMS_PER_AGENT} streams of the agent go on already; try again later")]
    StreamsOfAgent,
    /// A call of the agent at `/auth` is to be kept.
    #[error("calls of /auth are waited for: leave out Prefer: respond-async and Idempotency-Key")]
    MustBeWaitedFor,
    /// The agent knows nobody by what was given.
    #[error("the login is refused")]
    LoginRefused,
    /// What an admin asks for is not given.
    #[error("{0}")]
    Management(ManagementError),
    /// What the agent answered to a login is no session.
    #[error("the agent gave a result that cannot be used")]
    BadLogin(#[source] LoginError),
    /// As many sessions as allowed are there.
    #[error("{SESSIONS_MAX} sessions are there; try again later")]
    SessionsFull,
    /// A session cannot be written, read or removed.
    #[error("sessions cannot be used now")]
    NoSession(#[source] std::io::Error),
    /// There is no such session, or it is somebody else's.
    #[error("there is no such session")]
    SessionNotFound,
    /// Nothing is deployed there.
    #[error("nothing is deployed at this path")]
    NothingThere,
    /// The agent has no such command.
    #[error("the agent has no command `{0}`")]
    UnknownCommand(CommandName),
    /// The admin stopped the agent.
    #[error("the agent is stopped")]
    Stopped,
    /// The deployment is broken: its manifest or its directory. The journal says more.
    #[error("the agent cannot be used now; its deployment is not complete")]
    Broken,
    /// As many calls as allowed are waiting.
    #[error("the agent has {IN_FLIGHT_PER_AGENT} calls waiting; try again later")]
    Busy,
    /// As many accepted tasks as allowed are there.
    #[error("the agent has {limit} accepted tasks; try again later")]
    Backlog {
        /// Tasks allowed.
        limit: usize,
    },
    /// The user has as many accepted tasks as allowed.
    #[error(
        "`{owner}` has {limit} accepted tasks with this agent that wait or run; try again later"
    )]
    BacklogOfUser {
        /// The user.
        owner: UserId,
        /// Tasks allowed.
        limit: usize,
    },
    /// More tasks are to be accepted than the disk takes.
    #[error("more tasks come than can be made durable; try again later")]
    Overrun,
    /// Whether the task was accepted is not known: it runs, but a fall of the host may take it back.
    #[error("whether the task {id} was accepted is not known: it could not be made durable")]
    OutcomeUnknown {
        /// The task.
        id: TaskId,
        /// What the kernel said.
        source: Trouble,
    },
    /// There is no such task, or it is somebody else's.
    #[error("there is no such task")]
    TaskNotFound,
    /// The caller is nobody in particular.
    #[error("only who has a session or a token may do this; log in, or send one")]
    Unauthenticated,
    /// The token is unknown, or its time is over.
    #[error("the token is not known, or has ended")]
    InvalidToken,
    /// The token is one of another domain.
    #[error("the token is not for this domain")]
    OtherDomain,
    /// What was shown cannot be understood.
    #[error("{0}")]
    Credential(CredentialError),
    /// The caller may not call this.
    #[error("`{0}` is not among the commands that you may call here")]
    Forbidden(CommandName),
    /// The caller may call some commands, and which one it is would be known too late.
    #[error(
        "you may not call every command here: name the one of the form in the URL, as in `?command=name`"
    )]
    CommandNeeded,
    /// The task has no result yet.
    #[error("the task is {}; it has no result yet", .0.as_str())]
    TaskNotEnded(TaskState),
    /// What has ended cannot be cancelled.
    #[error("the task has ended: it is {}", .0.as_str())]
    TaskEnded(TaskState),
    /// Only what failed is repeated.
    #[error("the task is {}; only one that failed or was cancelled can be run again", .0.as_str())]
    NotRepeatable(TaskState),
    /// The parameters do not tell which files the task came with.
    #[error("the files of the task cannot be told from its parameters; upload them again")]
    UnknownFiles,
    /// The disk is full, or nearly.
    #[error("there is no space left for tasks")]
    NoSpace,
    /// The task could not be handed over.
    #[error("the task cannot be handed to the agent now")]
    Submit(#[source] SubmitError),
    /// The kernel gave no random number or no space, or our own words are no JSON.
    #[error("the service cannot take the task now")]
    Internal(#[source] std::io::Error),
    /// The queue cannot be read or written.
    #[error("the task queue cannot be used now")]
    Queue(#[source] Trouble),
    /// The agent does not run.
    #[error("the agent is not running")]
    AgentDown,
    /// The agent did not answer in time.
    #[error("the agent did not answer within {} s", .0.as_secs())]
    Deadline(Duration),
    /// What the agent answered is no result.
    #[error("the agent gave a result that cannot be used")]
    BadResult(#[source] BadResult),
    /// The worker ended before the result came.
    #[error("the task {0} was given up")]
    GivenUp(TaskId),
}

impl Refusal {
    /// Whether the request is wrong in itself, so that the operator need not read of it.
    pub(crate) fn is_of_request(&self) -> bool {
        matches!(
            self,
            Self::UnknownCommand(_)
                | Self::LoginRefused
                | Self::Header(_)
                | Self::Callback(_)
                | Self::KeyReused(_)
        )
    }
}

impl From<QueryError> for Refusal {
    fn from(error: QueryError) -> Self {
        Self::Query(error)
    }
}

impl From<HeaderError> for Refusal {
    fn from(error: HeaderError) -> Self {
        Self::Header(error)
    }
}

impl From<SubmitError> for Refusal {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::NoSpace { .. } => Self::NoSpace,
            SubmitError::Unknown { id, source } => {
                Self::OutcomeUnknown { id, source: Box::new(source) }
            }
            SubmitError::Exists { .. }
            | SubmitError::BeingRemoved { .. }
            | SubmitError::TooLong { .. }
            | SubmitError::Publish { .. } => Self::Submit(error),
        }
    }
}
