//! A form with files: admitted by its head, streamed to the disk, then a call like any other.

use axum::body::Body;
use axum::response::Response;
use ploinky_contract::{CommandName, chain};

use super::{Asked, Line, has_large_body};
use crate::guardian::{self, Admitted, AdmittedForm};
use crate::orchestrator::{Agent, random_id};
use crate::refusal::Refusal;
use crate::reply::{self, Reader};
use crate::task_queue::TaskQueue as _;
use crate::uploads::{Announced, Files, Received, UploadError, WriteError};

/// Where an agent takes forms, below its own path.
pub(super) const PATH: &str = "/upload";

/// Answers a form.
pub(super) async fn answer(asked: Asked<'_>, body: Body) -> Response {
    let Asked { edge, agent, parts, started, .. } = asked;
    match receive(&asked, body).await {
        Ok((admitted, files)) => {
            Line::new(edge, agent, &admitted, started).answer(admitted, Some(files)).await
        }
        Err(refused) => {
            if let Some(cause) = std::error::Error::source(&refused)
                && is_trouble(&refused)
            {
                tracing::error!(AGENT = %agent.id(), "{refused}: {}", chain(cause));
            } else {
                tracing::debug!(AGENT = %agent.id(), "refused: {refused}");
            }
            // The rest of the form is not read.
            reply::refusal(&refused, None, Reader::Program, has_large_body(&parts.headers))
        }
    }
}

async fn receive(asked: &Asked<'_>, body: Body) -> Result<(Admitted, Files), Refusal> {
    let Asked { edge, routes: _, agent, head, caller, parts, started: _ } = asked;
    let form = guardian::admit_form(head, parts, caller, agent.gate())?;
    if let Some(command) = form.command()
        && !agent.knows(command)
    {
        return Err(Refusal::UnknownCommand(command.clone()));
    }
    let announced = announced(&form, agent);
    announced.check_length().map_err(Refusal::Upload)?;
    let _permit = edge.uploads.admit().map_err(Refusal::Upload)?;
    let id = agent.name_task(form.user(), form.wishes(), &edge.key)?;
    let upload = random_id().map_err(Refusal::Internal)?;
    let stage =
        agent.queue().stage(upload).map_err(UploadError::not_written).map_err(Refusal::Upload)?;
    let knows = |command: &CommandName| agent.knows(command);
    let received = edge.uploads.receive(announced, body, id, stage, &edge.bodies, &knows).await;
    let Received { command, params, files } = received.map_err(Refusal::Upload)?;
    Ok((form.into_call(command, params), files))
}

fn announced(form: &AdmittedForm, agent: &Agent) -> Announced {
    Announced {
        boundary: form.boundary().to_owned(),
        length: form.length(),
        command: form.command().cloned(),
        limit: agent.upload_max_bytes(),
        is_durable: form.wishes().is_durable(),
        is_digested: form.wishes().key.is_some(),
    }
}

/// Whether the operator has to know.
fn is_trouble(refused: &Refusal) -> bool {
    matches!(
        refused,
        Refusal::Upload(UploadError::Write(WriteError::Disk(_))) | Refusal::Internal(_)
    )
}
