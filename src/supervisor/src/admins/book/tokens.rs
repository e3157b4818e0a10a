//! Tokens of programs: made, listed, revoked. The secret itself is told once and kept nowhere.

use ploinky_contract::limits::{TOKEN_NAME_MAX_CHARS, TOKEN_PATHS_MAX, TOKENS_MAX};
use ploinky_contract::{
    AllowedCommands, DeployPath, Domain, Grant, Role, Token, TokenDigest, UserId,
};

use super::{AdminError, Book, Found, Now};
use crate::admins::hash::new_token;

/// Digits of a digest that are enough to revoke a token by.
const PREFIX_MIN_DIGITS: usize = 8;

/// What a token is to be good for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Order {
    pub(crate) name: String,
    pub(crate) user: UserId,
    pub(crate) commands: AllowedCommands,
    pub(crate) domain: Option<Domain>,
    pub(crate) paths: Option<Vec<DeployPath>>,
    pub(crate) role: Option<Role>,
    /// Seconds since 1970.
    pub(crate) expires_at: Option<u64>,
}

/// A token that has just been made.
pub(crate) struct Made {
    pub(crate) token: Token,
    pub(crate) digest: TokenDigest,
}

impl Book {
    /// Makes a token.
    ///
    /// # Errors
    /// When one has the name, or a rule is broken.
    pub(crate) fn create_token(&mut self, order: Order, now: Now) -> Result<Made, AdminError> {
        check(&order, now)?;
        let Order { name, user, commands, domain, paths, role, expires_at } = order;
        let tokens = self.tokens.list()?;
        if tokens.iter().any(|found| found.grant.name.as_ref() == Some(&name)) {
            return Err(AdminError::TokenExists(name));
        }
        if TOKENS_MAX <= tokens.len() {
            return Err(AdminError::TooManyTokens);
        }
        let token = new_token(Token::of_program)?;
        let digest = token.digest();
        let grant = Grant {
            user_id: user,
            domain,
            paths,
            allowed_commands: commands,
            role,
            name: Some(name),
            created_at: now.seconds(),
            expires_at,
            idle_seconds: None,
            authenticated_at: None,
        };
        self.tokens.put(&digest, &grant)?;
        Ok(Made { token, digest })
    }

    /// All tokens, by their names.
    ///
    /// # Errors
    /// When they cannot be listed.
    pub(crate) fn tokens(&self) -> Result<Vec<Found>, AdminError> {
        let mut tokens = self.tokens.list()?;
        tokens.sort_by(|a, b| a.grant.name.cmp(&b.grant.name));
        Ok(tokens)
    }

    /// Ends the token of this name, or whose digest begins so; its name.
    ///
    /// # Errors
    /// When there is none, or several digests begin so.
    pub(crate) fn revoke_token(&mut self, word: &str) -> Result<String, AdminError> {
        let tokens = self.tokens.list()?;
        let named = tokens.iter().find(|found| found.grant.name.as_deref() == Some(word));
        let found = match named {
            Some(found) => found,
            None => by_digest(&tokens, word)?,
        };
        self.tokens.remove(&found.digest)?;
        Ok(found.grant.name.clone().unwrap_or_default())
    }
}

fn by_digest<'a>(tokens: &'a [Found], word: &str) -> Result<&'a Found, AdminError> {
    let shown = || word.chars().take(TOKEN_NAME_MAX_CHARS).collect::<String>();
    let is_prefix = PREFIX_MIN_DIGITS <= word.len();
    let mut fitting =
        tokens.iter().filter(|found| is_prefix && found.digest.as_str().starts_with(word));
    match (fitting.next(), fitting.next()) {
        (Some(found), None) => Ok(found),
        (None, _) => Err(AdminError::NoToken(shown())),
        (Some(_), Some(_)) => Err(AdminError::AmbiguousToken(shown())),
    }
}

fn check(order: &Order, now: Now) -> Result<(), AdminError> {
    let refused = |text: String| Err(AdminError::Refused(text));
    let Order { name, user, paths, expires_at, commands: _, domain: _, role: _ } = order;
    let is_word = name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'));
    if !is_word || !(1..=TOKEN_NAME_MAX_CHARS).contains(&name.len()) {
        let shown: String = name.chars().take(TOKEN_NAME_MAX_CHARS + 1).collect();
        return refused(format!(
            "`{}` is not the name of a token: use 1 to {TOKEN_NAME_MAX_CHARS} letters, digits, `-`, `_` and `.`",
            shown.escape_debug()
        ));
    }
    if user.is_reserved() {
        return refused(format!(
            "a token cannot be `{user}`: that name stands for root, for strangers or for an admin"
        ));
    }
    if let Some(paths) = paths
        && !(1..=TOKEN_PATHS_MAX).contains(&paths.len())
    {
        return refused(format!(
            "{} paths are not possible; 1 to {TOKEN_PATHS_MAX} are, or none given for all",
            paths.len()
        ));
    }
    if expires_at.is_some_and(|end| end <= now.seconds()) {
        return refused("the token would be over before it begins".to_owned());
    }
    Ok(())
}
