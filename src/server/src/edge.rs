//! One request, from its head to its answer: the order of the stages, and nothing else.

mod auth;
mod calls;
mod durable;
mod stream;
mod upload;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use http::request::Parts;
use http::{HeaderMap, Method, header};
use ploinky_contract::chain;
use ploinky_contract::limits::BODIES_MAX_BYTES;
use ploinky_contract::{CommandName, TaskId, UserId};
use ploinky_queue::code;

use crate::byte_budget::ByteBudget;
use crate::clients::{Client, Clients};
use crate::grants::{Grants, wall_clock_s};
use crate::guardian::{self, Admitted, Caller, Head, Identity};
use crate::health;
use crate::journal::{TaskLine, TaskLog};
use crate::orchestrator::Agent;
use crate::refusal::Refusal;
use crate::reload::Table;
use crate::reply::{self, Reader};
use crate::routes::{Routes, Target};
use crate::static_files::Site;
use crate::streams::Streams;
use crate::supervisor::Supervisor;
use crate::task_key::TaskKey;
use crate::task_queue::{Held, Outcome};
use crate::uploads::{Files, Uploads};
use crate::{management, output, sessions, tasks};

/// Bytes of a refused body that are not worth a connection: they have arrived with the head.
const SMALL_BODY_BYTES: u64 = 16 * 1024;
/// Stands in the log where there was nobody left to send a status to, as in the logs of nginx.
const CLIENT_GONE: u16 = 499;

/// What all requests share.
#[derive(Debug)]
pub(crate) struct Edge {
    table: Table,
    instance: u16,
    tasks: TaskLog,
    clients: Arc<Clients>,
    /// Who holds which token.
    grants: Grants,
    /// Who keeps the admins.
    supervisor: Supervisor,
    /// Makes ids of repeatable tasks.
    key: TaskKey,
    /// For the bodies of all requests.
    bodies: ByteBudget,
    uploads: Uploads,
    streams: Streams,
}

impl Edge {
    /// Answers with what `table` holds, as instance `instance`.
    pub(crate) fn new(
        table: Table,
        instance: u16,
        clients: Arc<Clients>,
        grants: Grants,
        supervisor: Supervisor,
        key: TaskKey,
        now: Instant,
    ) -> Self {
        let bodies = ByteBudget::new(BODIES_MAX_BYTES);
        let (uploads, streams) = (Uploads::default(), Streams::default());
        Self {
            table,
            instance,
            tasks: TaskLog::new(now),
            clients,
            grants,
            supervisor,
            key,
            bodies,
            uploads,
            streams,
        }
    }

    /// Who holds which token.
    pub(crate) fn grants(&self) -> &Grants {
        &self.grants
    }

    /// Who keeps the admins.
    pub(crate) fn supervisor(&self) -> &Supervisor {
        &self.supervisor
    }

    /// The memory for bodies.
    pub(crate) fn bodies(&self) -> &ByteBudget {
        &self.bodies
    }

    /// Who makes the request.
    pub(crate) fn identify(
        &self,
        routes: &Routes,
        head: &Head,
        parts: &Parts,
    ) -> Result<Caller, Refusal> {
        let identity = Identity {
            grants: &self.grants,
            domain: routes.resolve(head.domain()),
            is_tls: self.is_tls(routes, parts),
            now_s: wall_clock_s(),
        };
        let caller = guardian::identify(head, parts, identity)?;
        if let Some(known) = caller.known() {
            let client = Client::of(&parts.extensions);
            let limits = &routes.settings().limits;
            self.clients.meet_token(client, known.digest(), limits, Instant::now())?;
        }
        Ok(caller)
    }

    /// Whether browsers come by TLS, as the connection tells, a proxy that is trusted, or the admin of one that is not
    /// known: the one place that decides it.
    #[expect(clippy::unused_self, reason = "where TLS ends here this process knows it")]
    pub(crate) fn is_tls(&self, routes: &Routes, parts: &Parts) -> bool {
        routes.has_external_tls() || Client::of(&parts.extensions).is_tls
    }

    /// What answers where at present.
    pub(crate) fn routes(&self) -> Arc<Routes> {
        self.table.routes()
    }

    /// The number of this process.
    pub(crate) fn instance(&self) -> u16 {
        self.instance
    }

    /// The secret of this host.
    pub(crate) fn key(&self) -> &TaskKey {
        &self.key
    }

    /// The lines on tasks.
    pub(crate) fn tasks(&self) -> &TaskLog {
        &self.tasks
    }

    /// Ends what would go on for long: the process is about to end.
    pub(crate) fn end_streams(&self) {
        self.streams.end_all();
    }

    /// The service for every connection.
    pub(crate) fn router(self: &Arc<Self>) -> Router {
        Router::new()
            .route("/healthz", any(health::answer))
            .route(tasks::ROOT, any(tasks::answer))
            .route(&format!("{}/{{*rest}}", tasks::ROOT), any(tasks::answer))
            .route(&format!("{}/{{*rest}}", management::ROOT), any(management::answer))
            .route(sessions::SELF, any(sessions::answer))
            .route(sessions::ROOT, any(sessions::answer))
            .route(&format!("{}/{{*rest}}", sessions::ROOT), any(sessions::answer))
            .fallback(answer)
            .with_state(Arc::clone(self))
    }
}

/// Who will read a refusal of this request.
pub(crate) fn reader(parts: &Parts) -> Reader {
    let wants_html = parts
        .headers
        .get(header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.contains("text/html"));
    if wants_html && is_read(&parts.method) { Reader::Person } else { Reader::Program }
}

async fn answer(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let started = Instant::now();
    let (parts, body) = request.into_parts();
    let refused = match guardian::check_head(&parts) {
        Ok(head) => {
            let routes = edge.table.routes();
            match routes.find(head.domain(), parts.uri.path()) {
                Some(Target::Agent(agent)) => match edge.identify(&routes, &head, &parts) {
                    Ok(caller) => {
                        let (edge, routes, parts) = (&edge, &*routes, &parts);
                        let asked = Asked { edge, routes, agent, head, caller, parts, started };
                        return match agent.below(parts.uri.path()) {
                            below if agent.gate().path.is_auth() => {
                                auth::answer(asked, below, body).await
                            }
                            upload::PATH => upload::answer(asked, body).await,
                            stream::PATH => stream::answer(&asked),
                            _ => call(asked, body).await,
                        };
                    }
                    Err(refused) => refused,
                },
                Some(Target::Files(site)) if is_read(&parts.method) => match file(site, &parts) {
                    Ok(response) => return response,
                    Err(refused) => refused,
                },
                Some(Target::Stopped(_)) => Refusal::Stopped,
                Some(Target::Broken) => Refusal::Broken,
                Some(Target::Files(_)) | None => Refusal::NothingThere,
            }
        }
        Err(refused) => refused,
    };
    tracing::debug!(PATH = parts.uri.path(), "refused: {refused}");
    reply::refusal(&refused, None, reader(&parts), has_large_body(&parts.headers))
}

/// Somebody who asks an agent for something.
struct Asked<'a> {
    edge: &'a Arc<Edge>,
    routes: &'a Routes,
    agent: &'a Arc<Agent>,
    head: Head,
    caller: Caller,
    parts: &'a Parts,
    started: Instant,
}

impl Asked<'_> {
    /// Whether browsers come by TLS.
    fn is_tls(&self) -> bool {
        self.edge.is_tls(self.routes, self.parts)
    }

    /// The response to a call that is not admitted.
    fn refuse(&self, refused: &Refusal) -> Response {
        tracing::debug!(AGENT = %self.agent.id(), "refused: {refused}");
        let headers = &self.parts.headers;
        let is_unread = !matches!(refused, Refusal::Call(_)) && has_large_body(headers);
        reply::refusal(refused, None, reader(self.parts), is_unread)
    }
}

async fn call(asked: Asked<'_>, body: Body) -> Response {
    let Asked { edge, routes: _, agent, head, caller, parts, started } = &asked;
    let who = (caller, agent.gate());
    match guardian::admit(head, parts, body, &edge.bodies, who).await {
        Ok(admitted) => Line::new(edge, agent, &admitted, *started).answer(admitted, None).await,
        Err(refused) => asked.refuse(&refused),
    }
}

/// The line on one call. Dropped without being written, it says that the client went away.
struct Line {
    edge: Arc<Edge>,
    agent: Arc<Agent>,
    user: UserId,
    command: CommandName,
    id: Option<TaskId>,
    started: Instant,
    is_written: bool,
}

impl Line {
    fn new(edge: &Arc<Edge>, agent: &Arc<Agent>, call: &Admitted, started: Instant) -> Self {
        Self {
            edge: Arc::clone(edge),
            agent: Arc::clone(agent),
            user: call.user().clone(),
            command: call.command().clone(),
            id: None,
            started,
            is_written: false,
        }
    }

    /// The response to an admitted call: accepted for good if that is wished, else waited for.
    async fn answer(self, call: Admitted, files: Option<Files>) -> Response {
        if call.wishes().is_durable() {
            durable::answer(self, call, files).await
        } else {
            calls::answer(self, call, files).await
        }
    }

    /// The response to a task that has an outcome.
    fn end(&mut self, id: TaskId, held: Held) -> Response {
        let Held { outcome, share, file } = held;
        let response = match (&outcome, file) {
            (Outcome::File(result), Some(file)) => match output::whole(file, result) {
                Ok(sent) => reply::file_once(id, sent, result.name()),
                Err(refused) => return self.refuse(&refused),
            },
            _ => reply::outcome(id, &outcome, share),
        };
        self.write(response.status().as_u16(), reply::code_of_outcome(&outcome), None);
        response
    }

    /// The response to a call that is refused or has no outcome.
    fn refuse(&mut self, refused: &Refusal) -> Response {
        if matches!(refused, Refusal::Submit(_) | Refusal::Queue(_)) {
            self.edge.table.doubt();
        }
        if refused.is_of_request() {
            // As with every request that is wrong in itself.
            self.is_written = true;
            tracing::debug!(AGENT = %self.agent.id(), "refused: {refused}");
            return reply::refusal(refused, None, Reader::Program, false);
        }
        let response = reply::refusal(refused, self.id, Reader::Program, false);
        let cause = std::error::Error::source(refused).map(chain);
        self.write(response.status().as_u16(), reply::code_of_refusal(refused), cause);
        response
    }

    fn write(&mut self, status: u16, code: &str, cause: Option<String>) {
        let Self { edge, agent, user, command, id, started, is_written } = self;
        *is_written = true;
        let now = Instant::now();
        let duration = now.saturating_duration_since(*started);
        let (agent, id) = (agent.id(), *id);
        edge.tasks
            .write(&TaskLine { agent, command, user, id, status, code, duration, cause }, now);
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        if !self.is_written {
            self.write(CLIENT_GONE, code::CANCELLED, None);
        }
    }
}

fn file(site: &Site, parts: &Parts) -> Result<Response, Refusal> {
    let wants_content = parts.method == Method::GET;
    match site.find(&parts.uri, &parts.headers, wants_content) {
        Ok(Some(found)) => Ok(reply::found(found)),
        Ok(None) => Err(Refusal::NothingThere),
        Err(error) => {
            tracing::error!("cannot read a file of {}: {error}", site.code().display());
            Err(Refusal::Internal(error))
        }
    }
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// Whether a body that is not read is on its way; it would be taken for the next request.
pub(crate) fn has_large_body(headers: &HeaderMap) -> bool {
    guardian::announced_bytes(headers).is_some_and(|length| SMALL_BODY_BYTES < length)
        || headers.contains_key(header::TRANSFER_ENCODING)
}
