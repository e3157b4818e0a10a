//! What the agent at `/auth` answered to a login: the word of a stranger, which becomes a session within the bounds
//! that the admin set.

use std::collections::BTreeMap;

use ploinky_contract::{
    AllowedCommands, AuthRules, CommandPattern, Domain, Grant, TaskDocument, Token, UserId,
};
use serde_json::value::{RawValue, to_raw_value};

/// What an agent says in the place of a token to make somebody an owner of this host. From a client it is nothing.
const ADMIN: &str = "Admin";

/// Somebody whom the agent knows. Shows nothing of what the agent said besides.
pub(crate) struct Login {
    user: UserId,
    wanted: AllowedCommands,
    is_admin: bool,
    members: BTreeMap<String, Box<RawValue>>,
}

/// Why the answer makes no session. Says nothing of what was in it: it may be a secret.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum LoginError {
    /// Neither an object nor a refusal.
    #[error("the answer to a login is no object")]
    NotAnObject,
    /// The member is missing, or no user id.
    #[error("`userId` in the answer to a login is no user id")]
    UserId,
    /// The name of somebody who cannot log in.
    #[error("`userId` in the answer to a login is a name that belongs to Ploinky")]
    Reserved,
    /// The member is no list of patterns.
    #[error("`allowedCommands` in the answer to a login is no list of patterns of commands")]
    AllowedCommands,
}

impl Login {
    /// Parses the answer; `None`: it says that nobody is known. A failed task says the same, with its own words.
    ///
    /// # Errors
    /// When it says neither.
    pub(crate) fn parse(value: &RawValue) -> Result<Option<Self>, LoginError> {
        if matches!(value.get(), "null" | "false") {
            return Ok(None);
        }
        let mut members: BTreeMap<String, Box<RawValue>> =
            serde_json::from_str(value.get()).map_err(|_kind| LoginError::NotAnObject)?;
        let user = members.remove("userId").ok_or(LoginError::UserId)?;
        let user: UserId = serde_json::from_str(user.get()).map_err(|_shape| LoginError::UserId)?;
        if user.is_reserved() {
            return Err(LoginError::Reserved);
        }
        let wanted = match members.remove("allowedCommands") {
            None => AllowedCommands::all(),
            Some(list) => {
                serde_json::from_str(list.get()).map_err(|_shape| LoginError::AllowedCommands)?
            }
        };
        let token = members.remove("authorizationToken");
        let is_admin = token.is_some_and(|token| {
            serde_json::from_str::<String>(token.get()).is_ok_and(|token| token == ADMIN)
        });
        Ok(Some(Self { user, wanted, is_admin, members }))
    }

    /// Who it is.
    pub(crate) fn user(&self) -> &UserId {
        &self.user
    }

    /// Whether the agent wants to make them an owner of this host.
    pub(crate) fn is_admin(&self) -> bool {
        self.is_admin
    }

    /// The session that the admin lets the agent give on `domain`, from `now_s` on.
    pub(crate) fn grant(&self, domain: &Domain, rules: &AuthRules, now_s: u64) -> Grant {
        let AuthRules { grants, grants_admin: _, session_idle, session_max } = rules;
        Grant {
            user_id: self.user.clone(),
            domain: Some(domain.clone()),
            paths: None,
            allowed_commands: self.wanted.within(grants),
            role: None,
            name: None,
            created_at: now_s,
            expires_at: Some(now_s.saturating_add(*session_max)),
            idle_seconds: Some(*session_idle),
            authenticated_at: None,
        }
    }

    /// What the client is told: what the agent said, and in the place of its words on token and rights ours.
    pub(crate) fn data(self, grant: &Grant, token: &Token) -> Box<RawValue> {
        let Self { user, wanted: _, is_admin: _, mut members } = self;
        let patterns: Vec<_> =
            grant.allowed_commands.patterns().iter().map(CommandPattern::to_string).collect();
        let expires = grant.expires_at.map(|end| TaskDocument::time(end.saturating_mul(1000)));
        for (name, value) in [
            ("userId", to_raw_value(&user)),
            ("authorizationToken", to_raw_value(token.reveal())),
            ("allowedCommands", to_raw_value(&patterns)),
            ("expiresAt", to_raw_value(&expires)),
        ] {
            // Strings and lists of them cannot fail to serialise.
            if let Ok(value) = value {
                members.insert(name.to_owned(), value);
            }
        }
        to_raw_value(&members).unwrap_or_default()
    }
}

/// Whose sessions are to end, as the answer of any command of the agent at `/auth` may say: `"revokeUser":"alice"`.
pub(crate) fn revoked(value: &RawValue) -> Option<UserId> {
    #[derive(serde::Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        revoke_user: UserId,
    }
    // An array would do for a struct.
    let text = Some(value.get()).filter(|text| text.starts_with('{'))?;
    serde_json::from_str(text).ok().map(|Answer { revoke_user }| revoke_user)
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { user, wanted: _, is_admin, members: _ } = self;
        f.debug_struct("Login")
            .field("user", user)
            .field("is_admin", is_admin)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn parsed(text: &str) -> Result<Option<Login>, LoginError> {
        Login::parse(&raw(text))
    }

    #[test]
    fn what_names_nobody_makes_no_session() {
        for (text, expected) in [
            ("true", LoginError::NotAnObject),
            ("1", LoginError::NotAnObject),
            ("\"alice\"", LoginError::NotAnObject),
            ("[\"alice\"]", LoginError::NotAnObject),
            ("{}", LoginError::UserId),
            (r#"{"userId":null}"#, LoginError::UserId),
            (r#"{"userId":7}"#, LoginError::UserId),
            (r#"{"userId":""}"#, LoginError::UserId),
            (r#"{"userId":"a b"}"#, LoginError::UserId),
            (r#"{"userId":"a\n"}"#, LoginError::UserId),
            (r#"{"user":"alice"}"#, LoginError::UserId),
            (r#"{"userId":"Admin"}"#, LoginError::Reserved),
            (r#"{"userId":"admin"}"#, LoginError::Reserved),
            (r#"{"userId":"InternetUser"}"#, LoginError::Reserved),
            (r#"{"userId":"admin:ada"}"#, LoginError::Reserved),
            (r#"{"userId":"Admin:ada"}"#, LoginError::Reserved),
            (r#"{"userId":"a","allowedCommands":"*"}"#, LoginError::AllowedCommands),
            (r#"{"userId":"a","allowedCommands":null}"#, LoginError::AllowedCommands),
            (r#"{"userId":"a","allowedCommands":["us*"]}"#, LoginError::AllowedCommands),
        ] {
            let refused = parsed(text).unwrap_err();
            assert_eq!(refused, expected, "{text}");
        }
        for text in ["null", "false"] {
            assert!(parsed(text).unwrap().is_none(), "{text}");
        }
    }

    #[test]
    fn only_a_member_of_an_object_names_whose_sessions_end() {
        for text in
            ["null", "[\"alice\"]", "{}", r#"{"revokeUser":null}"#, r#"{"revokeUser":"a b"}"#]
        {
            assert_eq!(revoked(&raw(text)), None, "{text}");
        }
        let alice = revoked(&raw(r#"{"userId":"bob","revokeUser":"alice"}"#));
        assert_eq!(alice, "alice".parse().ok());
    }

    #[test]
    fn c6_an_agent_grants_no_more_than_it_may_and_its_own_token_is_dropped() {
        let rules = AuthRules {
            grants: vec!["user.*".parse().unwrap(), "a".parse().unwrap()].try_into().unwrap(),
            session_idle: 60,
            session_max: 600,
            ..AuthRules::default()
        };
        let text = r#"{"userId":"alice","authorizationToken":"SECRET","displayName":"Alice",
            "role":"owner","expiresAt":"never","allowedCommands":["*","b"]}"#;
        let login = parsed(text).unwrap().unwrap();
        assert!(!login.is_admin() && !format!("{login:?}").contains("SECRET"));
        let grant = login.grant(&Domain::localhost(), &rules, 1000);
        let expected = r#"{"userId":"alice","domain":"localhost","allowedCommands":["user.*","a"],
            "createdAt":1000,"expiresAt":1600,"idleSeconds":60}"#;
        let expected = Grant::parse(expected.as_bytes()).unwrap();
        let sorted = |grant: &Grant| {
            let mut patterns = grant.allowed_commands.patterns().to_vec();
            patterns.sort();
            (patterns, grant.role, grant.expires_at, grant.idle_seconds, grant.user_id.clone())
        };
        assert_eq!(sorted(&grant), sorted(&expected));
        let token = Token::of_session([0xab; 32]);
        let data: serde_json::Value =
            serde_json::from_str(login.data(&grant, &token).get()).unwrap();
        let mut allowed = data["allowedCommands"].as_array().unwrap().clone();
        allowed.sort_by_key(ToString::to_string);
        assert_eq!(allowed, ["a", "user.*"]);
        assert_eq!(data["authorizationToken"], token.reveal());
        assert_eq!(
            (&data["userId"], &data["displayName"], &data["expiresAt"]),
            (&"alice".into(), &"Alice".into(), &"1970-01-01T00:26:40.000Z".into())
        );
        let admin = parsed(r#"{"userId":"a","authorizationToken":"Admin"}"#).unwrap().unwrap();
        assert!(admin.is_admin());
        assert_eq!(admin.grant(&Domain::localhost(), &AuthRules::default(), 0).role, None);
    }
}
