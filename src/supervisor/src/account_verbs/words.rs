//! Between the words of the interface and our own: parses the ones, shows the others, names errors.

use std::net::IpAddr;
use std::time::Duration;

use ploinky_contract::limits::TOKEN_NAME_MAX_CHARS;
use ploinky_contract::{CommandPattern, Grant, chain};
use ploinky_control::{AdminAccount, AdminSession, ControlError, TokenOrder, TokenReport};
use ploinky_password::Password;

use crate::admins::{AdminError, Found, Life, Listed, Order, Session};
use crate::lifecycle::Snapshot;
use crate::verbs::parse;

/// A password that an account is to have.
pub(super) fn new_password(bytes: Vec<u8>) -> Result<Password, ControlError> {
    let refused = |text: String| ControlError::InvalidArgument(text);
    let text = String::from_utf8(bytes)
        .map_err(|_invalid| refused("the password is not UTF-8".to_owned()))?;
    Password::try_from(text).map_err(|too_long| refused(too_long.to_string()))
}

/// The address of a client; none if it does not tell people apart.
pub(super) fn address(text: &str) -> Result<Option<IpAddr>, ControlError> {
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_invalid| {
        ControlError::InvalidArgument(format!("`{}` is not an IP address", shown(text)))
    })
}

/// The wish for a token.
pub(super) fn order(order: TokenOrder) -> Result<Order, ControlError> {
    let TokenOrder { name, user, commands, domain, paths, role, expires_at } = order;
    let patterns: Vec<CommandPattern> =
        commands.iter().map(|text| parse(text)).collect::<Result<_, _>>()?;
    let commands = patterns.try_into().map_err(|many: ploinky_contract::TooManyPatterns| {
        ControlError::InvalidArgument(many.to_string())
    })?;
    let paths = paths.map(|paths| paths.iter().map(|text| parse(text)).collect()).transpose()?;
    Ok(Order {
        name,
        user: parse(&user)?,
        commands,
        domain: domain.map(|text| parse(&text)).transpose()?,
        paths,
        role: role.map(|text| parse(&text)).transpose()?,
        expires_at,
    })
}

/// What a token may, for the journal.
pub(super) fn of_order(order: &Order) -> String {
    let Order { name: _, user, commands, domain, paths, role, expires_at } = order;
    let mut words = vec![format!("{user}:")];
    words.extend(commands.patterns().iter().map(ToString::to_string));
    words.extend(domain.iter().map(|domain| format!("on {domain}")));
    words.extend(paths.iter().flatten().map(|path| format!("at {path}")));
    words.extend(role.iter().map(|role| format!("as {role}")));
    words.extend(expires_at.iter().map(|end| format!("until {end}")));
    words.join(" ")
}

/// As much of a text as is shown.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(TOKEN_NAME_MAX_CHARS).collect::<String>().escape_debug().to_string()
}

/// How long sessions last by the configuration in force.
pub(super) fn life(snapshot: &Snapshot) -> Life {
    let settings = snapshot.config.as_ref().map(|config| config.settings.clone());
    let settings = settings.unwrap_or_default();
    Life { idle: settings.admin_session_idle, max: settings.admin_session_max }
}

/// An account as it is told.
pub(super) fn account(listed: Listed) -> AdminAccount {
    let Listed {
        username,
        role,
        created_at,
        changed_at,
        disabled,
        failures,
        closed_for,
        is_original,
        sessions,
    } = listed;
    let known = |seconds: u64| Some(seconds).filter(|seconds| *seconds != 0);
    AdminAccount {
        username: username.into(),
        role: role.to_string(),
        created_at: known(created_at),
        changed_at: known(changed_at),
        disabled,
        failures,
        closed_seconds: closed_for.map(|time: Duration| time.as_secs().max(1)),
        original: is_original,
        sessions: u32::try_from(sessions).unwrap_or(u32::MAX),
    }
}

/// A session as it is told, once.
pub(super) fn session(session: &Session) -> AdminSession {
    let Session { token, grant } = session;
    AdminSession {
        token: token.reveal().to_owned(),
        username: grant.user_id.to_string(),
        role: grant.role.map(|role| role.to_string()).unwrap_or_default(),
        expires_at: grant.expires_at.unwrap_or_default(),
        idle_seconds: grant.idle_seconds.unwrap_or_default(),
    }
}

/// A token as it is told.
pub(super) fn token(found: Found) -> TokenReport {
    let Found { digest, grant, used_at } = found;
    let Grant {
        user_id, domain, paths, allowed_commands, role, name, created_at, expires_at, ..
    } = grant;
    TokenReport {
        name: name.unwrap_or_default(),
        digest: digest.into(),
        user: user_id.into(),
        commands: allowed_commands.patterns().iter().map(ToString::to_string).collect(),
        domain: domain.map(String::from),
        paths: paths.map(|paths| paths.into_iter().map(String::from).collect()),
        role: role.map(|role| role.to_string()),
        created_at,
        expires_at,
        used_at: Some(used_at).filter(|used| *used != 0),
    }
}

/// The one table from errors about admins to the names on the bus.
#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err takes")]
pub(super) fn control_error(error: AdminError) -> ControlError {
    use AdminError as E;
    let name = match &error {
        E::Refused(_) | E::Password(_) => ControlError::InvalidArgument,
        E::AccountExists(_)
        | E::TokenExists(_)
        | E::TooManyAccounts
        | E::TooManyTokens
        | E::AlreadyInitialised
        | E::LastOwner(_)
        | E::AmbiguousToken(_) => ControlError::Conflict,
        E::NoAccount(_) | E::NoToken(_) => ControlError::NotFound,
        E::WrongCredentials | E::NoSession | E::WrongSetup => ControlError::Unauthenticated,
        E::Role(_) => ControlError::NotAuthorized,
        E::Stale => ControlError::PasswordNeeded,
        E::Overloaded => ControlError::Overloaded,
        E::Store(_) | E::Grants(_) | E::Random(_) | E::Stopping => ControlError::Failed,
    };
    name(chain(&error))
}
