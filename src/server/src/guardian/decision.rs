//! What a decision of Guardian costs, for `examples/decision.rs`: from the head of a request to whether its command
//! may be called.

use std::io;
use std::path::Path;

use http::Request;
use http::request::Parts;
use ploinky_contract::paths::StateDir;
use ploinky_contract::{AllowedCommands, CommandName, CommandPattern, Domain, Grant};

use super::{Gate, Identity};
use crate::grants::{Grants, MintError, wall_clock_s};

/// A host with one session, the gate of an agent, and a request that goes through it.
#[derive(Debug)]
pub struct Decision {
    grants: Grants,
    gate: Gate,
    domain: Domain,
    command: CommandName,
    with_session: Parts,
    without: Parts,
}

impl Decision {
    /// Keeps the session in the empty directory `root`.
    ///
    /// # Errors
    /// When nothing can be written there.
    pub fn new(root: &Path) -> io::Result<Self> {
        let state = StateDir::new(root);
        std::fs::create_dir_all(state.last_uses())?;
        let grants = Grants::new(&state);
        let bad = |text: String| io::Error::other(text);
        // As many patterns as a busy user may have, of which the last one fits.
        let patterns: Result<Vec<CommandPattern>, _> = (0..15)
            .map(|number| format!("ns{number}.*"))
            .chain(["echo.*".to_owned()])
            .map(|text| text.parse())
            .collect();
        let allowed: AllowedCommands = patterns
            .map_err(|e| bad(e.to_string()))?
            .try_into()
            .map_err(|e: ploinky_contract::TooManyPatterns| bad(e.to_string()))?;
        let now = wall_clock_s();
        let grant = Grant {
            user_id: "alice"
                .parse()
                .map_err(|e: ploinky_contract::InvalidUserId| bad(e.to_string()))?,
            domain: Some(Domain::localhost()),
            paths: None,
            allowed_commands: allowed,
            role: None,
            name: None,
            created_at: now,
            expires_at: Some(now + 86_400),
            idle_seconds: Some(3600),
            authenticated_at: None,
        };
        let token = grants.sessions().mint(&grant).map_err(|error| match error {
            MintError::Io(error) => error,
            MintError::Full => bad(error.to_string()),
        })?;
        let head = |cookie: &str| {
            let request = Request::builder()
                .method("POST")
                .uri("/echo")
                .header("host", "localhost")
                .header("user-agent", "Mozilla/5.0 (X11; Linux x86_64)")
                .header("accept", "application/json")
                .header("content-type", "application/json")
                .header("cookie", format!("theme=dark; {cookie}lang=en"))
                .body(());
            request.map(|request| request.into_parts().0).map_err(io::Error::other)
        };
        Ok(Self {
            with_session: head(&format!("authorizationToken={}; ", token.reveal()))?,
            without: head("")?,
            gate: Gate {
                path: "/echo".parse().map_err(io::Error::other)?,
                public: None,
                has_auth: true,
            },
            domain: Domain::localhost(),
            command: "echo.say".parse().map_err(io::Error::other)?,
            grants,
        })
    }

    /// Whether the holder of the session may call the command, which they may.
    pub fn of_session(&self) -> bool {
        self.decide(&self.with_session)
    }

    /// The same of somebody who shows nothing, and may not.
    pub fn of_nobody(&self) -> bool {
        self.decide(&self.without)
    }

    fn decide(&self, parts: &Parts) -> bool {
        let Self { grants, gate, domain, command, with_session: _, without: _ } = self;
        let decided = super::check_head(parts).and_then(|head| {
            let identity = Identity { grants, domain, is_tls: false, now_s: wall_clock_s() };
            let caller = super::identify(&head, parts, identity)?;
            gate.permit(&caller, command)
        });
        decided.is_ok()
    }
}
