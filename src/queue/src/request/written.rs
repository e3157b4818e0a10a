//! The fields of a request file.

use std::borrow::Cow;

use ploinky_contract::TaskId;
use ploinky_contract::limits::{RETRY_ATTEMPTS_MAX, URGENCY_DEFAULT, URGENCY_MAX};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Mode, Request, Submitter, TaskHead, Terms};
use crate::parse_boot_id;
use crate::record::{RecordError, VERSION, check_version};

const SYNC: &str = "sync";
const ASYNC: &str = "async";

/// As it is written. The parameters of a task that is kept come last, so that its head is read without them;
/// those of a plain call stand where readers of the first version saw them.
#[derive(Serialize)]
pub(super) struct Written<'a> {
    v: u8,
    id: &'a str,
    command: &'a str,
    #[serde(rename = "params", skip_serializing_if = "Option::is_none")]
    params_first: Option<&'a [Box<RawValue>]>,
    owner: &'a str,
    mode: &'a str,
    seq: u64,
    deadline_boot_ns: u64,
    boot_id: &'a str,
    submitter: WrittenSubmitter<'a>,
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    urgency: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline_in_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempts: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    backoff_max_ns: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    submitted_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    callback: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    files: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_of: Option<&'a str>,
    #[serde(rename = "params", skip_serializing_if = "Option::is_none")]
    params_last: Option<&'a [Box<RawValue>]>,
}

#[derive(Deserialize, Serialize)]
struct WrittenSubmitter<'a> {
    instance: u16,
    invocation: &'a str,
}

/// As it is read, with parameters of any form.
#[derive(Deserialize)]
pub(super) struct Read<'a, P> {
    v: u8,
    id: &'a str,
    command: &'a str,
    params: P,
    owner: &'a str,
    mode: &'a str,
    seq: u64,
    deadline_boot_ns: u64,
    boot_id: &'a str,
    #[serde(borrow)]
    submitter: WrittenSubmitter<'a>,
    attempt: u32,
    urgency: Option<u8>,
    run_ns: Option<u64>,
    deadline_in_ns: Option<u64>,
    attempts: Option<u16>,
    backoff_ns: Option<u64>,
    backoff_max_ns: Option<u64>,
    submitted_ms: Option<u64>,
    #[serde(borrow)]
    callback: Option<Cow<'a, str>>,
    digest: Option<&'a str>,
    files: Option<bool>,
    stream: Option<bool>,
    retry_of: Option<&'a str>,
}

impl<'a> From<&'a Request> for Written<'a> {
    fn from(request: &'a Request) -> Self {
        let Request {
            id,
            command,
            params,
            owner,
            seq,
            deadline_boot_ns,
            boot_id,
            submitter: Submitter { instance, invocation },
            attempt,
            terms,
        } = request;
        let Terms {
            mode,
            urgency,
            run_ns,
            deadline_in_ns,
            attempts,
            backoff_ns,
            backoff_max_ns,
            submitted_ms,
            callback,
            digest,
            files,
            stream,
            retry_of,
        } = terms;
        let is_kept = *mode == Mode::Async;
        let params = Some(params.as_slice());
        let not = |default: u64| move |value: &u64| *value != default;
        Self {
            v: VERSION,
            id: id.as_str(),
            command: command.as_str(),
            params_first: params.filter(|_| !is_kept),
            owner: owner.as_str(),
            mode: if is_kept { ASYNC } else { SYNC },
            seq: *seq,
            deadline_boot_ns: *deadline_boot_ns,
            boot_id,
            submitter: WrittenSubmitter { instance: *instance, invocation },
            attempt: *attempt,
            urgency: Some(*urgency).filter(|urgency| *urgency != URGENCY_DEFAULT),
            run_ns: *run_ns,
            deadline_in_ns: *deadline_in_ns,
            attempts: Some(*attempts).filter(|attempts| 1 < *attempts),
            backoff_ns: Some(*backoff_ns).filter(not(0)),
            backoff_max_ns: Some(*backoff_max_ns).filter(not(0)),
            submitted_ms: Some(*submitted_ms).filter(not(0)),
            callback: callback.as_deref(),
            digest: digest.as_deref(),
            files: Some(*files).filter(|files| *files),
            stream: Some(*stream).filter(|stream| *stream),
            retry_of: retry_of.as_ref().map(TaskId::as_str),
            params_last: params.filter(|_| is_kept),
        }
    }
}

impl<P> Read<'_, P> {
    /// The head and the parameters, if every field keeps to its rule.
    pub(super) fn check(self) -> Result<(TaskHead, P), RecordError> {
        fn refused(field: &'static str) -> RecordError {
            RecordError::Field { field }
        }
        check_version(self.v)?;
        let mode = match self.mode {
            SYNC => Mode::Sync,
            ASYNC => Mode::Async,
            _ => return Err(refused("mode")),
        };
        match parse_boot_id(self.boot_id) {
            Ok(normal) if normal == self.boot_id => {}
            Ok(_) | Err(_) => return Err(refused("boot_id")),
        }
        let urgency = self.urgency.unwrap_or(URGENCY_DEFAULT);
        if URGENCY_MAX < urgency {
            return Err(refused("urgency"));
        }
        let attempts = self.attempts.unwrap_or(1);
        if !(1..=RETRY_ATTEMPTS_MAX).contains(&attempts) {
            return Err(refused("attempts"));
        }
        let WrittenSubmitter { instance, invocation } = self.submitter;
        let head = TaskHead {
            id: self.id.parse().map_err(|_shape| refused("id"))?,
            command: self.command.parse().map_err(|_shape| refused("command"))?,
            owner: self.owner.parse().map_err(|_shape| refused("owner"))?,
            seq: self.seq,
            deadline_boot_ns: self.deadline_boot_ns,
            boot_id: self.boot_id.to_owned(),
            submitter: Submitter { instance, invocation: invocation.to_owned() },
            attempt: self.attempt,
            terms: Terms {
                mode,
                urgency,
                run_ns: self.run_ns,
                deadline_in_ns: self.deadline_in_ns,
                attempts,
                backoff_ns: self.backoff_ns.unwrap_or(0),
                backoff_max_ns: self.backoff_max_ns.unwrap_or(0),
                submitted_ms: self.submitted_ms.unwrap_or(0),
                callback: self.callback.map(Cow::into_owned),
                digest: self.digest.map(str::to_owned),
                files: self.files.unwrap_or(false),
                stream: self.stream.unwrap_or(false),
                retry_of: self
                    .retry_of
                    .map(str::parse)
                    .transpose()
                    .map_err(|_shape| refused("retry_of"))?,
            },
        };
        Ok((head, self.params))
    }
}
