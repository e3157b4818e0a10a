//! Calls of the agent at `/auth`: a login that it knows becomes a session, and a logout ends one.
//!
//! The parameters of these calls are secrets, so they are waited for: the request is in memory, where the host has
//! memory for calls, and is gone with the answer.

use axum::body::Body;
use axum::response::Response;
use ploinky_contract::{TaskId, Token, UserId, chain};
use ploinky_journal::{Deed, audit};
use serde_json::value::RawValue;

use super::{Asked, Line, has_large_body, reader};
use crate::grants::{Kind, Known, MintError, is_of, wall_clock_s};
use crate::guardian::{self, Admitted, Caller};
use crate::login::{Login, revoked};
use crate::refusal::Refusal;
use crate::reply;
use crate::task_queue::{Held, Outcome, Ticket as _};

/// Answers a call of the agent at `/auth`. What is `below` it belongs to Ploinky.
pub(super) async fn answer(asked: Asked<'_>, below: &str, body: Body) -> Response {
    let (edge, agent, parts) = (asked.edge, asked.agent, asked.parts);
    if !below.is_empty() {
        let is_unread = has_large_body(&parts.headers);
        return reply::refusal(&Refusal::NothingThere, None, reader(parts), is_unread);
    }
    let who = (&asked.caller, agent.gate());
    let admitted = match guardian::admit(&asked.head, parts, body, &edge.bodies, who).await {
        Ok(admitted) if admitted.wishes().is_durable() => Err(Refusal::MustBeWaitedFor),
        admitted => admitted,
    };
    match admitted {
        Ok(admitted) => match admitted.command().as_str() {
            "login" => login(asked, admitted).await,
            "logout" => logout(asked, admitted).await,
            _ => other(asked, admitted).await,
        },
        Err(refused) => asked.refuse(&refused),
    }
}

/// The outcome of the call.
async fn outcome(
    asked: &Asked<'_>,
    line: &mut Line,
    admitted: Admitted,
) -> Result<(TaskId, Held), Refusal> {
    let ticket = asked.agent.call(admitted, None)?;
    let id = ticket.id();
    line.id = Some(id);
    Ok((id, ticket.wait().await?))
}

/// A call that may change users: the sessions of whom it names end before it is answered.
async fn other(asked: Asked<'_>, admitted: Admitted) -> Response {
    let mut line = Line::new(asked.edge, asked.agent, &admitted, asked.started);
    let (id, held) = match outcome(&asked, &mut line, admitted).await {
        Ok(ended) => ended,
        Err(refused) => return line.refuse(&refused),
    };
    if let Outcome::Done(value) = &held.outcome
        && let Some(user) = revoked(value)
        && let Err(error) = end_all(&asked, user).await
    {
        return line.refuse(&Refusal::NoSession(error));
    }
    line.end(id, held)
}

async fn login(asked: Asked<'_>, admitted: Admitted) -> Response {
    let mut line = Line::new(asked.edge, asked.agent, &admitted, asked.started);
    let (id, held) = match outcome(&asked, &mut line, admitted).await {
        Ok(ended) => ended,
        Err(refused) => return line.refuse(&refused),
    };
    let Outcome::Done(value) = &held.outcome else { return line.end(id, held) };
    match begin(&asked, value).await {
        Ok((token, data, seconds)) => {
            let outcome = Outcome::Done(data);
            let mut response = line.end(id, Held { outcome, share: None, file: None });
            reply::put_session(&mut response, &token, seconds, asked.is_tls());
            response
        }
        Err(refused) => line.refuse(&refused),
    }
}

/// The session for whom the agent knows: its token, what the client is told, and the seconds of its life.
async fn begin(
    asked: &Asked<'_>,
    value: &RawValue,
) -> Result<(Token, Box<RawValue>, u64), Refusal> {
    let login = Login::parse(value).map_err(Refusal::BadLogin)?.ok_or(Refusal::LoginRefused)?;
    let domain = asked.routes.resolve(asked.head.domain()).clone();
    let rules = asked.routes.auth_rules(&domain);
    let grant = login.grant(&domain, &rules, wall_clock_s());
    if login.is_admin() {
        tracing::warn!(
            USER_ID = %login.user(),
            "the agent at {domain}/auth wanted to make {} an owner; the session is an ordinary one",
            login.user()
        );
    }
    let written = grant.clone();
    let minted = asked.edge.grants.aside(move |sessions| sessions.mint(&written)).await;
    let token = match minted {
        Ok(Ok(token)) => token,
        Ok(Err(MintError::Full)) => return Err(Refusal::SessionsFull),
        Ok(Err(MintError::Io(error))) => return Err(Refusal::NoSession(error)),
        Err(cut_off) => return Err(Refusal::NoSession(cut_off)),
    };
    let seconds = rules.session_max;
    let patterns: Vec<_> =
        grant.allowed_commands.patterns().iter().map(ToString::to_string).collect();
    audit(&Deed {
        actor: grant.user_id.as_str(),
        action: "session.begin",
        object: &format!("{domain} {}", brief(token.digest().as_str())),
        before: "",
        after: &patterns.join(" "),
        result: "done",
    });
    // Who logs in again has one session and not two, and never one that somebody else may know.
    if let Some(known) = session_of(&asked.caller) {
        end(asked, known).await.unwrap_or_else(|error| {
            tracing::error!("cannot end the session before this one: {error}");
        });
    }
    let data = login.data(&grant, &token);
    Ok((token, data, seconds))
}

/// Ends the session of the caller, whatever the agent says of it.
async fn logout(asked: Asked<'_>, admitted: Admitted) -> Response {
    let mut line = Line::new(asked.edge, asked.agent, &admitted, asked.started);
    let Some(known) = session_of(&asked.caller) else {
        let mut response = reply::done(None);
        line.write(response.status().as_u16(), "", None);
        reply::put_no_session(&mut response, asked.is_tls());
        return response;
    };
    if let Err(error) = end(&asked, known).await {
        return line.refuse(&Refusal::NoSession(error));
    }
    let mut told = None;
    if asked.agent.knows(admitted.command()) {
        told = match outcome(&asked, &mut line, admitted).await {
            Ok((_, Held { outcome: Outcome::Done(value), .. })) => Some(value),
            Ok(_) | Err(_) => None,
        };
    }
    let mut response = reply::done(told.as_deref());
    line.write(response.status().as_u16(), "", None);
    reply::put_no_session(&mut response, asked.is_tls());
    response
}

/// The session of a user; what the supervisor made is not ended here.
fn session_of(caller: &Caller) -> Option<&Known> {
    caller.known().filter(|known| known.kind() == Kind::Session)
}

async fn end(asked: &Asked<'_>, known: &Known) -> std::io::Result<()> {
    let digest = known.digest().clone();
    let result = asked.edge.grants.aside(move |sessions| sessions.end(&digest)).await?;
    let reason = result.as_ref().err().map(|error| chain(error));
    audit(&Deed {
        actor: known.grant().user_id.as_str(),
        action: "session.end",
        object: brief(known.digest().as_str()),
        before: known.grant().user_id.as_str(),
        after: "",
        result: reason.as_deref().unwrap_or("done"),
    });
    result.map(|_was_there| ())
}

/// Ends all sessions of a user of this domain.
async fn end_all(asked: &Asked<'_>, user: UserId) -> std::io::Result<()> {
    let domain = asked.routes.resolve(asked.head.domain()).clone();
    let (whose, place) = (user.clone(), domain.clone());
    let ended = asked.edge.grants.aside(move |sessions| {
        for session in sessions.list()? {
            if is_of(&session, &whose, Some(&place)) {
                sessions.end(&session.digest)?;
            }
        }
        Ok(())
    });
    let result = ended.await.and_then(|ended| ended);
    let reason = result.as_ref().err().map(|error| chain(error));
    audit(&Deed {
        actor: asked.caller.user().as_str(),
        action: "session.end",
        object: &format!("{domain} {user}"),
        before: "all",
        after: "",
        result: reason.as_deref().unwrap_or("done"),
    });
    result
}

/// As much of a digest as tells sessions apart.
fn brief(digest: &str) -> &str {
    digest.get(..12).unwrap_or(digest)
}
