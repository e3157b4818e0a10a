//! What an instance is asked about sessions, and what it answers.

use ploinky_contract::{Domain, SessionDocument, SessionPage, UserId};
use serde::Deserialize;

use super::{AskError, Instances, parsed};

/// Bytes of all sessions of a host: each with the patterns of what it may call.
const PAGE_MAX_BYTES: u64 = 64 << 20;
const ROOT: &str = "http://localhost/auth/sessions";

#[derive(Deserialize)]
struct Ended {
    ended: u64,
}

impl Instances {
    /// Sessions of users, the one that was used last first.
    pub(crate) fn sessions(
        &self,
        user: Option<&UserId>,
        domain: Option<&Domain>,
    ) -> Result<Vec<SessionDocument>, AskError> {
        let answer = self.ask(|agent| agent.get(ROOT).query_pairs(pairs(user, domain)))?;
        let SessionPage { sessions } = parsed(&answer.bytes(PAGE_MAX_BYTES)?)?;
        Ok(sessions)
    }

    /// Ends the session with this id.
    pub(crate) fn end_session(&self, id: &str) -> Result<(), AskError> {
        self.ask(|agent| agent.delete(format!("{ROOT}/{id}"))).map(drop)
    }

    /// Ends all sessions of a user; how many these were.
    pub(crate) fn end_sessions(
        &self,
        user: &UserId,
        domain: Option<&Domain>,
    ) -> Result<u64, AskError> {
        let answer = self.ask(|agent| agent.delete(ROOT).query_pairs(pairs(Some(user), domain)))?;
        let Ended { ended } = parsed(&answer.document()?)?;
        Ok(ended)
    }
}

fn pairs(user: Option<&UserId>, domain: Option<&Domain>) -> Vec<(&'static str, String)> {
    let user = user.map(|user| ("user", user.to_string()));
    user.into_iter().chain(domain.map(|domain| ("domain", domain.to_string()))).collect()
}
