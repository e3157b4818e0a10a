//! Sessions of admins: who gets one, what it is good for, and its end.

use ploinky_contract::limits::{FRESH_PASSWORD, SESSIONS_PER_ADMIN};
use ploinky_contract::{AllowedCommands, Grant, Role, Token, UserId};

use ploinky_password::{Password, check_new};

use super::{AdminError, Book, Claim, Found, Now};
use crate::admins::hash::new_token;
use crate::admins::record::Account;

/// How long sessions last, in seconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Life {
    /// Without a request.
    pub(crate) idle: u64,
    /// However they are used.
    pub(crate) max: u64,
}

/// A session that has just begun.
pub(crate) struct Session {
    pub(crate) token: Token,
    pub(crate) grant: Grant,
}

/// The holder of a token that counts.
#[derive(Clone, Debug)]
pub(crate) struct Bearer {
    found: Found,
}

impl Book {
    /// A session for who has the password.
    ///
    /// # Errors
    /// `WrongCredentials`, or when something cannot be read or written.
    pub(crate) fn login(
        &mut self,
        username: &str,
        claim: &Claim,
        life: Life,
        now: Now,
    ) -> Result<Session, AdminError> {
        let account = self.verify(username, claim, now)?;
        self.mint(&account, life, now, None)
    }

    /// A new session in the place of the one of `token`, for who gives the password again. It ends when the old
    /// one would have.
    ///
    /// # Errors
    /// As of [`Book::login`], or when the token counts no more.
    pub(crate) fn authenticate(
        &mut self,
        token: &str,
        claim: &Claim,
        life: Life,
        now: Now,
    ) -> Result<Session, AdminError> {
        let old = self.session(token, now)?;
        let account = self.verify(old.grant.user_id.as_str(), claim, now)?;
        let session = self.mint(&account, life, now, old.grant.expires_at)?;
        self.sessions.remove(&old.digest)?;
        Ok(session)
    }

    /// Gives the account of `token` another password and ends all its sessions; a new one begins.
    ///
    /// # Errors
    /// As of [`Book::authenticate`], or when the new password breaks a rule.
    pub(crate) fn change_password(
        &mut self,
        token: &str,
        claim: &Claim,
        new: &Password,
        life: Life,
        now: Now,
    ) -> Result<Session, AdminError> {
        let old = self.session(token, now)?;
        let name = old.grant.user_id.clone();
        check_new(new, name.as_str())?;
        if claim.password.as_ref().is_some_and(|old| old.reveal() == new.reveal()) {
            let text = "the new password is the old one".to_owned();
            return Err(AdminError::Refused(text));
        }
        self.verify(name.as_str(), claim, now)?;
        self.set_password(&name, new, now)?;
        let (accounts, at) = self.find(&name)?;
        let account = accounts.get(at).ok_or(AdminError::WrongCredentials)?;
        self.mint(account, life, now, None)
    }

    /// Ends the session of `token`; whose it was.
    ///
    /// # Errors
    /// `NoSession`, or when its file cannot be removed.
    pub(crate) fn logout(&mut self, token: &str) -> Result<UserId, AdminError> {
        let token: Token = token.parse().map_err(|_invalid| AdminError::NoSession)?;
        let found = self.sessions.find(&token.digest())?.ok_or(AdminError::NoSession)?;
        self.sessions.remove(&found.digest)?;
        Ok(found.grant.user_id)
    }

    /// Who shows `token`, if they may do what needs `role`; their name in `actor` whether they may or not.
    ///
    /// # Errors
    /// When the token counts no more, or the role is less.
    pub(crate) fn bearer(
        &self,
        token: &str,
        role: Role,
        now: Now,
        actor: &mut String,
    ) -> Result<Bearer, AdminError> {
        let parsed: Token = token.parse().map_err(|_invalid| AdminError::NoSession)?;
        let digest = parsed.digest();
        let found = match self.tokens.find(&digest)? {
            Some(found) if found.counts_at(now.seconds()) => found,
            Some(_) | None => self.session(token, now)?,
        };
        *actor = match &found.grant.name {
            None => found.grant.user_id.to_string(),
            Some(name) => format!("token {name}"),
        };
        match found.grant.role {
            Some(has) if role <= has => Ok(Bearer { found }),
            Some(_) | None => Err(AdminError::Role(role)),
        }
    }

    /// Ends all sessions of an account.
    ///
    /// # Errors
    /// When a file cannot be removed.
    pub(super) fn end_sessions(&self, name: &UserId) -> Result<(), AdminError> {
        for found in self.sessions.list()?.iter().filter(|found| found.grant.user_id == *name) {
            self.sessions.remove(&found.digest)?;
        }
        Ok(())
    }

    /// The session of `token`, whose account can still log in.
    fn session(&self, token: &str, now: Now) -> Result<Found, AdminError> {
        let token: Token = token.parse().map_err(|_invalid| AdminError::NoSession)?;
        let found = self.sessions.find(&token.digest())?;
        let found =
            found.filter(|found| found.counts_at(now.seconds())).ok_or(AdminError::NoSession)?;
        match self.find(&found.grant.user_id) {
            Ok((accounts, at))
                if accounts.get(at).is_some_and(|account| {
                    !account.disabled && Some(account.role) == found.grant.role
                }) =>
            {
                Ok(found)
            }
            Ok(_) | Err(AdminError::NoAccount(_)) => Err(AdminError::NoSession),
            Err(error) => Err(error),
        }
    }

    fn mint(
        &self,
        account: &Account,
        life: Life,
        now: Now,
        ends: Option<u64>,
    ) -> Result<Session, AdminError> {
        let mut mine: Vec<Found> = self.sessions.list()?;
        mine.retain(|found| found.grant.user_id == account.username);
        mine.sort_by_key(|found| found.grant.created_at);
        let surplus = (mine.len() + 1).saturating_sub(SESSIONS_PER_ADMIN);
        for found in mine.iter().take(surplus) {
            self.sessions.remove(&found.digest)?;
        }
        let token = new_token(Token::of_session)?;
        let grant = Grant {
            user_id: account.username.clone(),
            domain: None,
            paths: None,
            // A viewer looks, and calls nothing.
            allowed_commands: match account.role {
                Role::Owner | Role::Deployer => AllowedCommands::all(),
                Role::Viewer => AllowedCommands::none(),
            },
            role: Some(account.role),
            name: None,
            created_at: now.seconds(),
            expires_at: Some(ends.unwrap_or(u64::MAX).min(now.seconds().saturating_add(life.max))),
            idle_seconds: Some(life.idle),
            authenticated_at: Some(now.seconds()),
        };
        self.sessions.put(&token.digest(), &grant)?;
        Ok(Session { token, grant })
    }
}

impl Bearer {
    /// Refuses a dangerous act if the password was not given lately; a token of a program has none.
    ///
    /// # Errors
    /// `Stale`.
    pub(crate) fn is_fresh(&self, now: Now) -> Result<(), AdminError> {
        let given = self.found.grant.authenticated_at.unwrap_or(0);
        if given.saturating_add(FRESH_PASSWORD.as_secs()) <= now.seconds() {
            return Err(AdminError::Stale);
        }
        Ok(())
    }
}
