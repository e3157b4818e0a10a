//! One run of a task: what a handler gets, under which rules it runs, and how it ended.

use std::borrow::Cow;

use ploinky_contract::TaskId;
use ploinky_queue::TaskError;
use serde_json::value::RawValue;

use crate::boot_time::BootTime;
use crate::file_result::FileName;
use crate::interrupt::{Interrupt, Why};
use crate::progress::Progress;
use crate::stream::Stream;

/// One run.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    pub(crate) id: TaskId,
    /// The task as one JSON object.
    pub(crate) json: Cow<'a, [u8]>,
    /// Which run it is; the first one is 1.
    pub(crate) attempt: u32,
    /// When this run is over at the latest.
    pub(crate) deadline: BootTime,
    /// Where wishes for its end are heard.
    pub(crate) interrupt: &'a Interrupt,
    pub(crate) progress: Progress<'a>,
    /// Where its events go, if it streams.
    pub(crate) stream: Option<Stream>,
    /// Where the agent's code is.
    pub(crate) code_path: &'a str,
    /// Where the handler may leave a result that is a file.
    pub(crate) output: String,
}

/// How a run ended.
#[derive(Debug)]
pub(crate) enum Ending {
    /// With a value.
    Value(Box<RawValue>),
    /// With a file at [`Run::output`].
    File(FileName),
    /// With an error.
    Failed(TaskError),
    /// Somebody asked for the end.
    Asked(Why),
}

impl Ending {
    /// An error without details.
    pub(crate) fn failed(code: &str, message: impl Into<String>) -> Self {
        Self::Failed(TaskError::new(code, message))
    }
}
