//! Admission of a form with files, by its head.

use http::request::Parts;
use ploinky_contract::{CommandName, UserId};
use serde_json::value::RawValue;

use super::{Admitted, Caller, Gate, Head, Wishes, announced_bytes, check_method, is_cross_site};
use crate::refusal::Refusal;
use crate::tasks::{once, pairs, refused};
use crate::uploads::{UploadError, boundary};

/// The head of a form that passed every check. Its fields are private: holding one is the proof.
#[derive(Debug)]
pub(crate) struct AdmittedForm {
    user: UserId,
    wishes: Wishes,
    boundary: String,
    command: Option<CommandName>,
    length: Option<u64>,
}

/// Admits a form with files: method, media type, wishes, and the command if the query names it. If it does not,
/// only who may call every command is let in: files are written before another part of the form names it.
pub(crate) fn admit_form(
    _proof: &Head,
    parts: &Parts,
    caller: &Caller,
    gate: &Gate,
) -> Result<AdmittedForm, Refusal> {
    check_method(parts, "POST")?;
    if is_cross_site(&parts.headers) {
        return Err(Refusal::CrossSite);
    }
    let boundary = boundary(&parts.headers).map_err(|e| Refusal::Upload(UploadError::Form(e)))?;
    let wishes = Wishes::of(&parts.headers)?;
    let mut command = None;
    for (name, value) in pairs(parts.uri.query())? {
        if name != "command" {
            return Err(refused(&name, &value, "the parameter is command").into());
        }
        let named: CommandName =
            value.parse().map_err(|_shape| refused(&name, &value, "is no command name"))?;
        once(&mut command, named, &name, &value)?;
    }
    match &command {
        Some(command) => gate.permit(caller, command)?,
        None => gate.permit_any(caller)?,
    }
    let user = caller.user().clone();
    let length = announced_bytes(&parts.headers);
    Ok(AdmittedForm { user, wishes, boundary, command, length })
}

impl AdmittedForm {
    /// For whom the form is taken.
    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    /// How its task is to be carried out.
    pub(crate) fn wishes(&self) -> &Wishes {
        &self.wishes
    }

    /// What separates the parts.
    pub(crate) fn boundary(&self) -> &str {
        &self.boundary
    }

    /// What is called, if the query says so; else a field of the form does.
    pub(crate) fn command(&self) -> Option<&CommandName> {
        self.command.as_ref()
    }

    /// Bytes of the body, if the head says so.
    pub(crate) fn length(&self) -> Option<u64> {
        self.length
    }

    /// The call that became of the form.
    pub(crate) fn into_call(self, command: CommandName, params: Vec<Box<RawValue>>) -> Admitted {
        let Self { user, wishes, boundary: _, command: _, length: _ } = self;
        Admitted { user, command, params, wishes }
    }
}
