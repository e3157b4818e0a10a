//! `/management/api`: admins log in and out, change their password, and make the first account.
//!
//! Decides nothing: the supervisor knows the passwords, says who gets a session, and checks the token of an admin
//! with each act. What this process adds is the cookie.

mod document;

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use http::Method;
use http::request::Parts;
use ploinky_contract::{Token, chain};
use ploinky_control::{Accounts1Proxy, AdminSession, ControlError};

pub(crate) use self::document::DocumentError;
use self::document::{Credentials, FirstAccount, NewPassword, Password, parse};
use crate::clients::Client;
use crate::edge::{Edge, has_large_body, reader};
use crate::grants::wall_clock_s;
use crate::guardian::{self, Caller, Head};
use crate::refusal::Refusal;
use crate::reply;
use crate::routes::Routes;

/// Where it lies.
pub(crate) const ROOT: &str = "/management/api";

/// Why an admin does not get what they ask for.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManagementError {
    /// The body is not what it should be.
    #[error(transparent)]
    Document(DocumentError),
    /// Whatever is wrong with a login.
    #[error("the name or the password is wrong, or nobody can log in by it at present")]
    WrongCredentials,
    /// There is nothing to log out of or to change a password of.
    #[error("log in first")]
    NoSession,
    /// The supervisor names the value and the rule.
    #[error("{0}")]
    Invalid(String),
    /// The role is less.
    #[error("{0}")]
    Forbidden(String),
    /// The password has to be given again.
    #[error("{0}")]
    PasswordNeeded(String),
    /// There is no such account or token.
    #[error("{0}")]
    NotFound(String),
    /// What is there already is in the way.
    #[error("{0}")]
    Conflict(String),
    /// Too many log in at this moment.
    #[error("too many log in at this moment; try again in a few seconds")]
    Overloaded,
    /// The supervisor is away, or could not do it; the journal says why.
    #[error("the service cannot look after admins now")]
    Away,
}

/// A request that was looked at.
struct Asked<'a> {
    edge: &'a Edge,
    routes: &'a Routes,
    head: Head,
    parts: &'a Parts,
}

/// Answers a request of an admin, or of somebody who wants to be known as one.
pub(crate) async fn answer(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    match respond(&edge, &parts, body).await {
        Ok(response) => response,
        Err(refused) => {
            tracing::debug!(PATH = parts.uri.path(), "refused: {refused}");
            reply::refusal(&refused, None, reader(&parts), has_large_body(&parts.headers))
        }
    }
}

async fn respond(edge: &Edge, parts: &Parts, body: Body) -> Result<Response, Refusal> {
    let head = guardian::check_head(parts)?;
    let routes = edge.routes();
    let asked = Asked { edge, routes: &routes, head, parts };
    let action = parts.uri.path().strip_prefix(ROOT).unwrap_or_default();
    let allowed = match action {
        "/check-auth" => "GET, HEAD",
        "/login" | "/logout" | "/authenticate" | "/password" | "/init" => "POST",
        _ => return Err(Refusal::NothingThere),
    };
    guardian::check_method(parts, allowed)?;
    if parts.method != Method::POST {
        return Ok(reply::admin(&asked.caller()?));
    }
    let is_tls = edge.is_tls(&routes, parts);
    let bytes = guardian::admit_document(&asked.head, parts, body, edge.bodies(), is_tls).await?;
    let headers = &parts.headers;
    match action {
        "/login" => asked.login(&parse(headers, &bytes)?).await,
        "/authenticate" => asked.authenticate(&parse(headers, &bytes)?).await,
        "/password" => asked.change_password(&parse(headers, &bytes)?).await,
        "/init" => asked.initialise(&parse(headers, &bytes)?).await,
        _logout => asked.logout().await,
    }
}

impl Asked<'_> {
    fn caller(&self) -> Result<Caller, Refusal> {
        self.edge.identify(self.routes, &self.head, self.parts)
    }

    async fn login(&self, credentials: &Credentials) -> Result<Response, Refusal> {
        let Credentials { username, password } = credentials;
        let accounts = self.accounts().await?;
        let begun = accounts.login(username, password.as_bytes(), &self.from()).await;
        let session = begun.map_err(|error| refused(error, ManagementError::WrongCredentials))?;
        // Who logs in again has one session and not two, and never one that somebody else may know.
        if let Ok(token) = self.token() {
            drop(accounts.logout(token.reveal()).await);
        }
        self.begun(&session)
    }

    async fn authenticate(&self, Password { password }: &Password) -> Result<Response, Refusal> {
        let token = self.token()?;
        let accounts = self.accounts().await?;
        let begun = accounts.authenticate(token.reveal(), password.as_bytes(), &self.from()).await;
        self.begun(&begun.map_err(|error| refused(error, ManagementError::WrongCredentials))?)
    }

    async fn change_password(&self, wanted: &NewPassword) -> Result<Response, Refusal> {
        let NewPassword { old_password, new_password } = wanted;
        let token = self.token()?;
        let (old, new) = (old_password.as_bytes(), new_password.as_bytes());
        let accounts = self.accounts().await?;
        let begun = accounts.change_password(token.reveal(), old, new, &self.from()).await;
        self.begun(&begun.map_err(|error| refused(error, ManagementError::WrongCredentials))?)
    }

    async fn initialise(&self, wanted: &FirstAccount) -> Result<Response, Refusal> {
        let FirstAccount { token, username, password } = wanted;
        let accounts = self.accounts().await?;
        let made = accounts.init_admin(token, username, password.as_bytes()).await;
        made.map_err(|error| refused(error, ManagementError::WrongCredentials))?;
        Ok(reply::done(None))
    }

    async fn logout(&self) -> Result<Response, Refusal> {
        if let Ok(token) = self.token() {
            let ended = self.accounts().await?.logout(token.reveal()).await;
            match ended {
                // Of a session that has ended already, nothing is left.
                Ok(()) | Err(ControlError::Unauthenticated(_)) => {}
                Err(error) => return Err(refused(error, ManagementError::NoSession)),
            }
        }
        let mut response = reply::done(None);
        reply::put_no_session(&mut response, self.edge.is_tls(self.routes, self.parts));
        Ok(response)
    }

    /// The answer to somebody who has a new session.
    fn begun(&self, session: &AdminSession) -> Result<Response, Refusal> {
        let token: Token = session.token.parse().map_err(|_invalid| {
            tracing::error!("the supervisor gave a token that is none");
            Refusal::Management(ManagementError::Away)
        })?;
        let mut response = reply::admin_session(session);
        let seconds = session.expires_at.saturating_sub(wall_clock_s());
        reply::put_session(
            &mut response,
            &token,
            seconds,
            self.edge.is_tls(self.routes, self.parts),
        );
        Ok(response)
    }

    /// The token of an admin, as the client shows it; whether it counts is said by the supervisor.
    fn token(&self) -> Result<Token, Refusal> {
        let is_tls = self.edge.is_tls(self.routes, self.parts);
        let shown = guardian::shown_token(&self.head, self.parts, is_tls)?;
        shown.ok_or(Refusal::Management(ManagementError::NoSession))
    }

    /// Where the client is, for the supervisor to tell clients apart; empty over a socket of this host.
    fn from(&self) -> String {
        let client = Client::of(&self.parts.extensions);
        client.address.map(|address| address.to_canonical().to_string()).unwrap_or_default()
    }

    async fn accounts(&self) -> Result<Accounts1Proxy<'static>, Refusal> {
        self.edge.supervisor().accounts().await.map_err(|error| {
            tracing::error!("{}", chain(&error));
            Refusal::Management(ManagementError::Away)
        })
    }
}

/// What the supervisor's no is for the client. `unknown` is what is said to who is not known.
fn refused(error: ControlError, unknown: ManagementError) -> Refusal {
    use ManagementError as E;
    Refusal::Management(match error {
        ControlError::Unauthenticated(_) => unknown,
        ControlError::InvalidArgument(text) => E::Invalid(text),
        ControlError::NotAuthorized(text) => E::Forbidden(text),
        ControlError::PasswordNeeded(text) => E::PasswordNeeded(text),
        ControlError::NotFound(text) => E::NotFound(text),
        ControlError::Conflict(text) => E::Conflict(text),
        ControlError::Overloaded(_) | ControlError::Busy(_) => E::Overloaded,
        error @ (ControlError::Bus(_)
        | ControlError::ImageMissing(_)
        | ControlError::StartFailed(_)
        | ControlError::ConfigInvalid(_)
        | ControlError::Failed(_)) => {
            tracing::error!("the supervisor did not do it: {}", chain(&error));
            E::Away
        }
    })
}
