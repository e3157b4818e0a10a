//! Why a request gets no result. Every stage says no with one of these; `reply` gives it a status.
//!
//! `Display` is what the caller reads: it names the value and the rule, and nothing of our insides. What the
//! operator needs besides is the source.

use std::time::Duration;

use ploinky_contract::limits::{IN_FLIGHT_PER_AGENT, URI_MAX_BYTES};
use ploinky_contract::{CommandName, TaskId};
use ploinky_queue::{BadResult, SubmitError};

use crate::guardian::{CallError, HostError, ReadError};

/// Why a request gets no result.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    /// The head names no domain.
    #[error("{0}")]
    Host(HostError),
    /// A method that only a proxy answers.
    #[error("CONNECT is for proxies")]
    Connect,
    /// Framing that another server may understand in another way.
    #[error(
        "the request must have one Content-Length, or Transfer-Encoding: chunked and nothing else"
    )]
    Framing,
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
    /// The body is something else than JSON.
    #[error("the body must have the Content-Type application/json")]
    MediaType,
    /// The body could not be read.
    #[error("{0}")]
    Read(ReadError),
    /// The body is no call.
    #[error("{0}")]
    Call(CallError),
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
    /// As many tasks as allowed are waiting.
    #[error("the agent has {IN_FLIGHT_PER_AGENT} tasks waiting; try again later")]
    Busy,
    /// The disk is full, or nearly.
    #[error("there is no space left for tasks")]
    NoSpace,
    /// The task could not be handed over.
    #[error("the task cannot be handed to the agent now")]
    Submit(#[source] SubmitError),
    /// The kernel gave no random number or no space, or our own words are no JSON.
    #[error("the service cannot take the task now")]
    Internal(#[source] std::io::Error),
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
