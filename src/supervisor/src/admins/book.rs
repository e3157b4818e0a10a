//! All that is known of admins, and what may be done with it. Blocking; one owner at a time.

mod accounts;
mod password;
mod session;
mod tokens;

#[cfg(test)]
mod tests;

use std::collections::HashMap;

use ploinky_contract::paths::StateDir;
use ploinky_contract::{Role, Token, TokenDigest, UserId};
use ploinky_journal::{Deed, audit};
use ploinky_password::{Failures, LOCKED_AT, Turn};

pub(crate) use self::accounts::Listed;
pub(crate) use self::password::Claim;
pub(crate) use self::session::{Life, Session};
pub(crate) use self::tokens::Order;
use super::AdminError;
use super::grants::Grants;
use super::hash::new_token;
use super::lockout::Lockout;
use super::record::Account;
use super::store::AccountStore;
use crate::accounts::Accounts;

pub(crate) use super::grants::Found;

/// A moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Now {
    /// Milliseconds since 1970.
    pub(crate) ms: u64,
}

/// The accounts, what was tried with them, their sessions, and the tokens of programs.
pub(crate) struct Book {
    store: AccountStore,
    lockout: Lockout,
    /// Failures that the file does not have yet.
    failures: HashMap<UserId, Failures>,
    /// Accounts that got closed, and for how long; the journal is told when whoever asked has the answer.
    closed: Vec<(UserId, String)>,
    sessions: Grants,
    tokens: Grants,
    /// Whoever shows this one makes the first account.
    setup: Option<TokenDigest>,
}

impl Book {
    /// The admins of `state`.
    ///
    /// # Errors
    /// When a directory cannot be made. What the file has is looked at later.
    pub(crate) fn open(state: &StateDir, accounts: Accounts) -> Result<Self, AdminError> {
        Ok(Self {
            store: AccountStore::open(state.admins())?,
            lockout: Lockout::default(),
            failures: HashMap::new(),
            closed: Vec::new(),
            sessions: Grants::open(state, state.admin_sessions(), accounts)?,
            tokens: Grants::open(state, state.tokens(), accounts)?,
            setup: None,
        })
    }

    /// The one-time token for the first account, if there is none; the one from before counts no more.
    ///
    /// # Errors
    /// When the accounts cannot be read, or there are no random bytes.
    pub(crate) fn begin(&mut self) -> Result<Option<Token>, AdminError> {
        self.setup = None;
        if !self.read()?.is_empty() {
            return Ok(None);
        }
        let token = new_token(Token::of_session)?;
        self.setup = Some(token.digest());
        Ok(Some(token))
    }

    /// Does what need not be done before whoever asked has the answer. So an answer comes as late for an
    /// account that is there as for one that is not.
    pub(crate) fn settle(&mut self) {
        for (name, words) in self.closed.drain(..) {
            let deed = Deed {
                actor: "ploinky-supervisor",
                action: "admin.lock",
                object: name.as_str(),
                before: "open",
                after: &words,
                result: "done",
            };
            audit(&deed);
        }
        if self.failures.is_empty() {
            return;
        }
        if let Err(error) = self.read().and_then(|accounts| self.write(&accounts)) {
            tracing::error!(
                "failed logins are not written down: {}",
                ploinky_contract::chain(&error)
            );
        }
    }

    /// Ends what has ended, and sessions of those who may not have one any more.
    ///
    /// # Errors
    /// When a directory cannot be listed or a file cannot be removed; the rest is done.
    pub(crate) fn sweep(&mut self, now: Now) -> Result<(), AdminError> {
        let accounts = self.read()?;
        let is_theirs = |found: &Found| {
            accounts.iter().any(|account| {
                account.username == found.grant.user_id
                    && Some(account.role) == found.grant.role
                    && !account.disabled
            })
        };
        let sessions = self.sessions.list()?;
        let ended =
            sessions.iter().filter(|found| !found.counts_at(now.seconds()) || !is_theirs(found));
        let mut done = Ok(());
        for found in ended {
            done = self.sessions.remove(&found.digest).and(done);
        }
        for found in self.tokens.list()?.iter().filter(|found| !found.counts_at(now.seconds())) {
            done = self.tokens.remove(&found.digest).and(done);
        }
        Ok(done?)
    }

    /// The accounts, with all failures that are known.
    fn read(&self) -> Result<Vec<Account>, AdminError> {
        let mut accounts = self.store.read()?;
        for account in &mut accounts {
            if let Some(failures) = self.failures.get(&account.username) {
                account.failures = *failures;
            }
        }
        Ok(accounts)
    }

    fn write(&mut self, accounts: &[Account]) -> Result<(), AdminError> {
        self.store.write(accounts)?;
        self.failures.clear();
        Ok(())
    }

    /// The accounts, and where in them `name` is.
    fn find(&self, name: &UserId) -> Result<(Vec<Account>, usize), AdminError> {
        let accounts = self.read()?;
        match accounts.iter().position(|account| account.username == *name) {
            Some(at) => Ok((accounts, at)),
            None => Err(AdminError::NoAccount(name.to_string())),
        }
    }
}

impl Now {
    /// Seconds since 1970.
    pub(crate) fn seconds(self) -> u64 {
        self.ms / 1000
    }
}

/// Whether somebody could log in who may do everything.
fn has_owner(accounts: &[Account]) -> bool {
    accounts.iter().any(|account| {
        let is_locked = LOCKED_AT <= account.failures.count();
        account.role == Role::Owner && !account.disabled && !is_locked
    })
}

/// For how long an account is closed, in words; nothing if it is open.
fn closed_words(turn: Turn) -> Option<String> {
    match turn {
        Turn::Now => None,
        Turn::After(time) => Some(format!("closed for {} s", time.as_secs_f64().ceil())),
        Turn::Never => Some("closed until root unlocks it".to_owned()),
    }
}
