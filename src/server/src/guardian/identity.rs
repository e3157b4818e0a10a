//! For whom a request runs: told by the socket that it came by, or by what the client shows.
//!
//! Only the digest of a token is compared and looked up; the text itself goes nowhere from here.

use http::request::Parts;
use http::{Extensions, Request};
use ploinky_contract::{Domain, Role, UserId};

use super::credential::{self, Carrier, Credential};
use super::origin;
use crate::grants::{Grants, Kind, Known};
use crate::refusal::Refusal;

/// The kind of socket by which a request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// The port that everybody reaches.
    Internet,
    /// The socket that only root of this host can connect to.
    Admin,
}

/// For whom a request runs. Only [`identify`] makes one.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    user: UserId,
    by: By,
}

/// What makes them who they are.
#[derive(Clone, Debug)]
enum By {
    /// The socket of root of this host.
    Door,
    /// A token that counts here and now.
    Grant(Known, Carrier),
    /// Nothing.
    Nothing,
}

/// What is asked to tell who a caller is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Identity<'a> {
    /// The grants of the host.
    pub(crate) grants: &'a Grants,
    /// The domain that answers, which may be another one than the request names.
    pub(crate) domain: &'a Domain,
    /// Whether browsers reach this port by TLS, here or at a server in front.
    pub(crate) is_tls: bool,
    /// Seconds since 1970.
    pub(crate) now_s: u64,
}

impl Door {
    /// Writes onto the request by which door it came. Nothing else sets this mark; most requests have none.
    pub(crate) fn mark<B>(self, request: &mut Request<B>) {
        if self == Self::Admin {
            request.extensions_mut().insert(self);
        }
    }

    fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self::Internet)
    }
}

impl Caller {
    /// The user; for callers who show nothing the same one for all.
    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    /// Whether somebody in particular is meant, whose tasks are nobody else's.
    pub(crate) fn is_somebody(&self) -> bool {
        !matches!(self.by, By::Nothing)
    }

    /// Whether this is root of the host, who may all.
    pub(crate) fn is_root(&self) -> bool {
        matches!(self.by, By::Door)
    }

    /// Whether everything of everybody may be seen and ended: root, owners and deployers.
    pub(crate) fn is_admin(&self) -> bool {
        self.is_root() || self.role().is_some_and(|role| Role::Deployer <= role)
    }

    /// Whether the lists of everybody's tasks may be seen, in which there are no results.
    pub(crate) fn lists_all(&self) -> bool {
        self.is_admin() || self.role().is_some()
    }

    /// Whether a task of `owner` may be seen and ended. Of the internet user it may by who has its id.
    pub(crate) fn may_see(&self, owner: &UserId) -> bool {
        self.is_admin() || self.user == *owner
    }

    /// The grant by which they came.
    pub(crate) fn known(&self) -> Option<&Known> {
        match &self.by {
            By::Grant(known, _) => Some(known),
            By::Door | By::Nothing => None,
        }
    }

    /// How their token came; `None`: they have none.
    pub(crate) fn carrier(&self) -> Option<Carrier> {
        match self.by {
            By::Grant(_, carrier) => Some(carrier),
            By::Door | By::Nothing => None,
        }
    }

    fn role(&self) -> Option<Role> {
        self.known().and_then(|known| known.grant().role)
    }

    fn nobody() -> Self {
        Self { user: UserId::internet_user(), by: By::Nothing }
    }

    /// The holder of this grant, or nobody.
    #[cfg(test)]
    pub(in crate::guardian) fn of_test(grant: Option<ploinky_contract::Grant>) -> Self {
        match grant {
            Some(grant) => Self {
                user: grant.user_id.clone(),
                by: By::Grant(Known::of_test(grant), Carrier::Bearer),
            },
            None => Self::nobody(),
        }
    }
}

/// Who asks. A cookie that nobody has any more is none, as browsers keep them; whoever shows another token that
/// nobody has is told so.
pub(super) fn identify(parts: &Parts, identity: Identity<'_>) -> Result<Caller, Refusal> {
    if Door::of(&parts.extensions) == Door::Admin {
        return Ok(Caller { user: UserId::admin(), by: By::Door });
    }
    let Identity { grants, domain, is_tls, now_s } = identity;
    let shown = credential::of(&parts.headers, is_tls).map_err(Refusal::Credential)?;
    let Some(Credential { carrier, token }) = shown else { return Ok(Caller::nobody()) };
    let known = match token {
        Some(token) => grants.find(&token.digest(), now_s).map_err(Refusal::Internal)?,
        None => None,
    };
    match (known, carrier) {
        (Some(known), _) if counts_at(&known, domain) => {
            if carrier == Carrier::Cookie {
                origin::check(parts, is_tls)?;
            }
            Ok(Caller { user: user_of(&known), by: By::Grant(known, carrier) })
        }
        (Some(_) | None, Carrier::Cookie) => Ok(Caller::nobody()),
        (Some(_), Carrier::Bearer) => Err(Refusal::OtherDomain),
        (None, Carrier::Bearer) => Err(Refusal::InvalidToken),
    }
}

/// For whom the calls of the holder run. The accounts of admins are not the users that agents know.
fn user_of(known: &Known) -> UserId {
    let user = &known.grant().user_id;
    match known.kind() {
        Kind::AdminSession => UserId::of_admin(user),
        Kind::Token | Kind::Session => user.clone(),
    }
}

/// On another domain the same name is somebody else.
fn counts_at(known: &Known, domain: &Domain) -> bool {
    known.grant().domain.as_ref().is_none_or(|own| own == domain)
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use ploinky_contract::paths::StateDir;
    use ploinky_contract::{Grant, Token};
    use tempfile::TempDir;

    use super::*;

    const NOW: u64 = 1_000_000;

    /// Grants of a host, and the tokens for them.
    pub(in crate::guardian) struct Host {
        _root: TempDir,
        grants: Grants,
        state: StateDir,
    }

    impl Host {
        pub(in crate::guardian) fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let state = StateDir::new(root.path());
            for path in [state.last_uses(), state.admin_sessions(), state.tokens()] {
                fs::create_dir_all(path).unwrap();
            }
            Self { grants: Grants::new(&state), state, _root: root }
        }

        /// A session of `alice` on the domain `a`, who may call `commands`.
        pub(in crate::guardian) fn session(&self, commands: &str) -> Token {
            let text = format!(
                r#"{{"userId":"alice","domain":"a","allowedCommands":{commands},
                    "createdAt":{NOW},"expiresAt":{},"idleSeconds":1000}}"#,
                NOW + 5000
            );
            let grant = Grant::parse(text.as_bytes()).unwrap();
            self.grants.sessions().mint(&grant).unwrap()
        }

        /// A grant of the supervisor.
        pub(in crate::guardian) fn token(&self, members: &str) -> Token {
            let token = Token::of_program([7; 32]);
            let text = format!(
                r#"{{"userId":"ci","allowedCommands":["*"],"name":"ci","createdAt":1{members}}}"#
            );
            #[expect(clippy::disallowed_methods, reason = "nobody else reads it")]
            fs::write(self.state.tokens().join(token.digest().as_str()), text).unwrap();
            token
        }

        /// The session of the admin `alice`.
        fn admin_session(&self, role: &str) -> Token {
            let token = Token::of_session([9; 32]);
            let text = format!(
                r#"{{"userId":"alice","allowedCommands":["*"],"role":"{role}","createdAt":{NOW},
                    "expiresAt":{},"idleSeconds":1000,"authenticatedAt":{NOW}}}"#,
                NOW + 5000
            );
            #[expect(clippy::disallowed_methods, reason = "nobody else reads it")]
            fs::write(self.state.admin_sessions().join(token.digest().as_str()), text).unwrap();
            token
        }

        pub(in crate::guardian) fn ask(
            &self,
            domain: &str,
            (name, value): (&str, &str),
        ) -> Result<Caller, Refusal> {
            let request = Request::builder().header(name, value).body(()).unwrap();
            let domain = domain.parse().unwrap();
            let identity =
                Identity { grants: &self.grants, domain: &domain, is_tls: false, now_s: NOW };
            identify(&request.into_parts().0, identity)
        }
    }

    fn cookie(token: &Token) -> (&'static str, String) {
        ("cookie", format!("authorizationToken={}", token.reveal()))
    }

    fn bearer(token: &Token) -> (&'static str, String) {
        ("authorization", format!("Bearer {}", token.reveal()))
    }

    #[test]
    fn i4_whoever_shows_what_nobody_has_is_nobody() {
        let host = Host::new();
        let stranger = Token::of_session([1; 32]);
        for value in ["Admin", "InternetUser", "*", "../../x", stranger.reveal()] {
            let line = format!("authorizationToken={value}");
            let caller = host.ask("a", ("cookie", &line)).unwrap();
            assert!(!caller.is_somebody() && !caller.is_admin() && !caller.lists_all(), "{value}");
            assert_eq!(caller.user(), &UserId::internet_user());
            assert!(!caller.may_see(&UserId::admin()));
            let refused = host.ask("a", ("authorization", &format!("Bearer {value}")));
            assert!(
                matches!(refused, Err(Refusal::InvalidToken | Refusal::Credential(_))),
                "{value}: {refused:?}"
            );
        }
        let basic = host.ask("a", ("authorization", "Basic QWRtaW46QWRtaW4="));
        assert!(matches!(basic, Err(Refusal::InvalidToken)));
    }

    #[test]
    fn u4_a_session_of_one_domain_is_nobody_on_another() {
        let host = Host::new();
        let token = host.session(r#"["*"]"#);
        let (name, value) = cookie(&token);
        assert!(!host.ask("b", (name, &value)).unwrap().is_somebody());
        assert_eq!(host.ask("a", (name, &value)).unwrap().carrier(), Some(Carrier::Cookie));
        let (name, value) = bearer(&token);
        assert!(matches!(host.ask("b", (name, &value)), Err(Refusal::OtherDomain)));
        let caller = host.ask("a", (name, &value)).unwrap();
        assert_eq!((caller.user().as_str(), caller.carrier()), ("alice", Some(Carrier::Bearer)));
        assert!(caller.is_somebody() && !caller.lists_all() && !caller.is_root());
        assert!(caller.may_see(caller.user()) && !caller.may_see(&UserId::internet_user()));
    }

    #[test]
    fn u3_an_admin_is_nobody_of_the_users_with_the_same_name() {
        let host = Host::new();
        let ask = |token: &Token| {
            let (name, value) = bearer(token);
            host.ask("a", (name, &value)).unwrap()
        };
        let user = ask(&host.session(r#"["*"]"#));
        let admin = ask(&host.admin_session("viewer"));
        assert_eq!((user.user().as_str(), admin.user().as_str()), ("alice", "admin:alice"));
        assert!(!user.may_see(admin.user()) && !admin.may_see(user.user()));
    }

    #[test]
    fn roles_see_what_is_theirs_to_see() {
        for (members, lists_all, is_admin) in [
            ("", false, false),
            (r#","role":"viewer""#, true, false),
            (r#","role":"deployer""#, true, true),
            (r#","role":"owner""#, true, true),
        ] {
            let host = Host::new();
            let (name, value) = bearer(&host.token(members));
            for domain in ["a", "b"] {
                let caller = host.ask(domain, (name, &value)).unwrap();
                assert_eq!((caller.lists_all(), caller.is_admin()), (lists_all, is_admin));
                assert_eq!(caller.may_see(&UserId::internet_user()), is_admin);
                assert!(!caller.is_root());
            }
        }
    }

    #[test]
    fn only_the_door_of_root_makes_root() {
        let host = Host::new();
        let mut request = Request::new(());
        Door::Internet.mark(&mut request);
        let domain = Domain::localhost();
        let identity =
            Identity { grants: &host.grants, domain: &domain, is_tls: false, now_s: NOW };
        let (mut parts, ()) = request.into_parts();
        assert!(!identify(&parts, identity).unwrap().is_somebody());
        let mut request = Request::new(());
        Door::Admin.mark(&mut request);
        parts.extensions = request.into_parts().0.extensions;
        // What is shown besides does not matter.
        parts.headers.insert("authorization", "Bearer x".parse().unwrap());
        let root = identify(&parts, identity).unwrap();
        assert!(root.is_root() && root.is_admin() && root.is_somebody());
        assert!(root.may_see(&UserId::internet_user()) && root.user() == &UserId::admin());
    }
}
