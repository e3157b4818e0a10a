//! `/auth/session` and `/auth/sessions`: who the caller is, and sessions of users as resources.
//!
//! Users see and end their own of this domain, owners, deployers and root of the host those of everybody. Who may
//! not see a session gets the answer of one that does not exist.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::request::Parts;
use http::{Method, StatusCode};
use ploinky_contract::{
    Domain, SESSION_ID_DIGITS, SessionDocument, SessionPage, TaskDocument, UserId, chain,
};
use ploinky_journal::{Deed, audit};

use crate::edge::{Edge, has_large_body, reader};
use crate::grants::Session;
use crate::guardian::{self, Caller};
use crate::refusal::Refusal;
use crate::reply;
use crate::tasks::{once, pairs, refused};

/// Who the caller is.
pub(crate) const SELF: &str = "/auth/session";
/// Where the sessions lie.
pub(crate) const ROOT: &str = "/auth/sessions";

/// Somebody who asks for sessions.
struct Asked<'a> {
    edge: &'a Edge,
    caller: Caller,
    domain: Domain,
}

/// Which sessions are meant.
#[derive(Debug, Default, Eq, PartialEq)]
struct Wanted {
    user: Option<UserId>,
    domain: Option<Domain>,
    /// The beginning of a digest.
    id: Option<String>,
}

/// Answers a request for sessions.
pub(crate) async fn answer(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    match respond(&edge, &parts).await {
        Ok(response) => response,
        Err(refused) => {
            if let Some(cause) = std::error::Error::source(&refused) {
                tracing::error!("{refused}: {}", chain(cause));
            } else {
                tracing::debug!(PATH = parts.uri.path(), "refused: {refused}");
            }
            reply::refusal(&refused, None, reader(&parts), has_large_body(&parts.headers))
        }
    }
}

async fn respond(edge: &Edge, parts: &Parts) -> Result<Response, Refusal> {
    let head = guardian::check_head(parts)?;
    let path = parts.uri.path();
    let allowed = match path.strip_prefix(ROOT) {
        None => "GET, HEAD",
        Some("") => "GET, HEAD, DELETE",
        Some(_) => "DELETE",
    };
    guardian::check_method(parts, allowed)?;
    guardian::admit_to_tasks(&head, parts)?;
    let routes = edge.routes();
    let caller = edge.identify(&routes, &head, parts)?;
    if path == SELF {
        return Ok(reply::caller(&caller));
    }
    if !caller.is_somebody() {
        return Err(Refusal::Unauthenticated);
    }
    let asked = Asked { edge, caller, domain: routes.resolve(head.domain()).clone() };
    let mut wanted = wanted(parts.uri.query())?;
    match path.strip_prefix(ROOT).unwrap_or_default() {
        "" if parts.method == Method::DELETE => {
            if asked.caller.is_admin() && wanted.user.is_none() {
                let rule = "is missing; name the user whose sessions are to end";
                return Err(refused("user", "", rule).into());
            }
            let ended = asked.end(wanted).await?;
            Ok(reply::ended(ended))
        }
        "" => {
            let sessions = asked.list(wanted).await?;
            Ok(reply::sessions(&SessionPage { sessions: sessions.iter().map(document).collect() }))
        }
        rest => {
            let id = rest.strip_prefix('/').filter(|id| is_id(id));
            wanted.id = Some(id.ok_or(Refusal::SessionNotFound)?.to_owned());
            match asked.end(wanted).await? {
                0 => Err(Refusal::SessionNotFound),
                _ => Ok(reply::nothing(StatusCode::NO_CONTENT)),
            }
        }
    }
}

impl Asked<'_> {
    /// The sessions that are meant and may be seen, the one that was used last first.
    async fn list(&self, wanted: Wanted) -> Result<Vec<Session>, Refusal> {
        let listed = self.edge.grants().aside(|sessions| sessions.list()).await;
        let mut all = listed.and_then(|listed| listed).map_err(Refusal::NoSession)?;
        all.retain(|session| self.may_see(session) && wanted.covers(session));
        all.sort_by_key(|session| std::cmp::Reverse(session.used_s));
        Ok(all)
    }

    /// Ends the sessions that are meant and may be seen; how many these were.
    async fn end(&self, wanted: Wanted) -> Result<usize, Refusal> {
        let found = self.list(wanted).await?;
        let digests: Vec<_> = found.iter().map(|session| session.digest.clone()).collect();
        let ended = self.edge.grants().aside(move |sessions| {
            digests.iter().try_fold(0, |count, digest| {
                sessions.end(digest).map(|was_there| count + usize::from(was_there))
            })
        });
        let ended = ended.await.and_then(|ended| ended);
        let reason = ended.as_ref().err().map(|error| chain(error));
        for session in &found {
            audit(&Deed {
                actor: self.caller.user().as_str(),
                action: "session.end",
                object: id_of(session),
                before: session.grant.user_id.as_str(),
                after: "",
                result: reason.as_deref().unwrap_or("done"),
            });
        }
        ended.map_err(Refusal::NoSession)
    }

    fn may_see(&self, session: &Session) -> bool {
        self.caller.is_admin()
            || (session.grant.user_id == *self.caller.user()
                && session.grant.domain.as_ref() == Some(&self.domain))
    }
}

impl Wanted {
    fn covers(&self, session: &Session) -> bool {
        let Self { user, domain, id } = self;
        user.as_ref().is_none_or(|user| *user == session.grant.user_id)
            && domain.as_ref().is_none_or(|domain| session.grant.domain.as_ref() == Some(domain))
            && id.as_ref().is_none_or(|id| session.digest.as_str().starts_with(id))
    }
}

fn wanted(query: Option<&str>) -> Result<Wanted, Refusal> {
    let mut wanted = Wanted::default();
    for (name, value) in pairs(query)? {
        match &*name {
            "user" => {
                let user =
                    value.parse().map_err(|_shape| refused(&name, &value, "is no user id"))?;
                once(&mut wanted.user, user, &name, &value)?;
            }
            "domain" => {
                let domain =
                    value.parse().map_err(|_shape| refused(&name, &value, "is no domain"))?;
                once(&mut wanted.domain, domain, &name, &value)?;
            }
            _ => return Err(refused(&name, &value, "the parameters are user and domain").into()),
        }
    }
    Ok(wanted)
}

fn document(session: &Session) -> SessionDocument {
    let time = |seconds: u64| TaskDocument::time(seconds.saturating_mul(1000));
    let Session { digest: _, grant, used_s } = session;
    SessionDocument {
        id: id_of(session).to_owned(),
        user_id: grant.user_id.clone(),
        domain: grant.domain.clone(),
        allowed_commands: grant.allowed_commands.clone(),
        created_at: time(grant.created_at),
        used_at: time(*used_s),
        expires_at: grant.expires_at.map(time),
    }
}

fn id_of(session: &Session) -> &str {
    session.digest.as_str().get(..SESSION_ID_DIGITS).unwrap_or_default()
}

fn is_id(text: &str) -> bool {
    text.len() == SESSION_ID_DIGITS
        && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}
