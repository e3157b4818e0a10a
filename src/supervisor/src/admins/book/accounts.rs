//! Accounts: made, changed, removed. The last owner who can log in stays.

use std::time::Duration;

use ploinky_contract::limits::ADMINS_MAX;
use ploinky_contract::{Role, Token, UserId};

use ploinky_password::{Failures, Password, Turn, check_new};

use super::{AdminError, Book, Now, has_owner};
use crate::admins::hash::Kept;
use crate::admins::record::{Account, check_name};

/// An account as others may see it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Listed {
    pub(crate) username: UserId,
    pub(crate) role: Role,
    pub(crate) created_at: u64,
    pub(crate) changed_at: u64,
    pub(crate) disabled: bool,
    pub(crate) failures: u32,
    /// For how long it is closed; all of time if only root opens it.
    pub(crate) closed_for: Option<Duration>,
    /// The password is kept as the original did, until the next login.
    pub(crate) is_original: bool,
    pub(crate) sessions: usize,
}

impl Book {
    /// Makes the first account, an owner. Who asks is root of the host, or shows the one-time token.
    ///
    /// # Errors
    /// When there are accounts, the token is another one, or a rule is broken.
    pub(crate) fn initialise(
        &mut self,
        setup: Option<&str>,
        name: &UserId,
        password: &Password,
        now: Now,
    ) -> Result<(), AdminError> {
        if let Some(setup) = setup {
            let shown = setup.parse::<Token>().map(|token| token.digest()).ok();
            // By its digest, so that the time tells nothing of the token.
            if shown.is_none() || shown != self.setup {
                return Err(AdminError::WrongSetup);
            }
        }
        if !self.read()?.is_empty() {
            return Err(AdminError::AlreadyInitialised);
        }
        self.add(name, Role::Owner, password, now)?;
        self.setup = None;
        Ok(())
    }

    /// Makes an account.
    ///
    /// # Errors
    /// When there is one of this name, or a rule is broken.
    pub(crate) fn add(
        &mut self,
        name: &UserId,
        role: Role,
        new: &Password,
        now: Now,
    ) -> Result<(), AdminError> {
        check_name(name).map_err(AdminError::Refused)?;
        check_new(new, name.as_str())?;
        let mut accounts = self.read()?;
        if accounts.iter().any(|account| account.username == *name) {
            return Err(AdminError::AccountExists(name.to_string()));
        }
        if ADMINS_MAX <= accounts.len() {
            return Err(AdminError::TooManyAccounts);
        }
        if accounts.is_empty() && role != Role::Owner {
            return Err(AdminError::Refused("the first admin is an owner".to_owned()));
        }
        accounts.push(Account {
            username: name.clone(),
            kept: Kept::of(new)?,
            role,
            created_at: now.seconds(),
            changed_at: now.seconds(),
            disabled: false,
            failures: Failures::default(),
        });
        self.write(&accounts)?;
        // With an account there is nothing left to set up.
        self.setup = None;
        Ok(())
    }

    /// Gives an account a password and ends its sessions. It does not open one that was closed.
    ///
    /// # Errors
    /// When there is none, or the password breaks a rule.
    pub(crate) fn set_password(
        &mut self,
        name: &UserId,
        new: &Password,
        now: Now,
    ) -> Result<(), AdminError> {
        check_new(new, name.as_str())?;
        self.find(name)?;
        let kept = Kept::of(new)?;
        self.change(name, |account| {
            account.kept = kept;
            account.changed_at = now.seconds();
        })?;
        self.end_sessions(name)
    }

    /// Gives an account a role and ends its sessions, unless it has it; the role before.
    ///
    /// # Errors
    /// When there is none, or nobody would be left who may do everything.
    pub(crate) fn set_role(&mut self, name: &UserId, role: Role) -> Result<Role, AdminError> {
        let before = self.change(name, |account| std::mem::replace(&mut account.role, role))?;
        if before != role {
            self.end_sessions(name)?;
        }
        Ok(before)
    }

    /// Says whether an account can log in, and ends its sessions if not; whether it could before.
    ///
    /// # Errors
    /// As of [`Book::set_role`].
    pub(crate) fn set_disabled(
        &mut self,
        name: &UserId,
        disabled: bool,
    ) -> Result<bool, AdminError> {
        let before =
            self.change(name, |account| std::mem::replace(&mut account.disabled, disabled))?;
        if disabled {
            self.end_sessions(name)?;
        }
        Ok(before)
    }

    /// Opens an account that wrong passwords have closed; how many there were.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) fn unlock(&mut self, name: &UserId) -> Result<u32, AdminError> {
        let before = self.change(name, |account| std::mem::take(&mut account.failures))?;
        Ok(before.count())
    }

    /// Removes an account with its sessions; the role that it had.
    ///
    /// # Errors
    /// As of [`Book::set_role`].
    pub(crate) fn remove(&mut self, name: &UserId) -> Result<Role, AdminError> {
        let (mut accounts, at) = self.find(name)?;
        let had_owner = has_owner(&accounts);
        let removed = accounts.remove(at);
        if had_owner && !has_owner(&accounts) {
            return Err(AdminError::LastOwner(name.to_string()));
        }
        self.write(&accounts)?;
        self.end_sessions(name)?;
        Ok(removed.role)
    }

    /// All accounts, by their names.
    ///
    /// # Errors
    /// When they cannot be read.
    pub(crate) fn list(&self, now: Now) -> Result<Vec<Listed>, AdminError> {
        let sessions = self.sessions.list()?;
        let mut listed: Vec<Listed> = self
            .read()?
            .into_iter()
            .map(|Account { username, kept, role, created_at, changed_at, disabled, failures }| {
                let closed_for = match failures.turn(now.ms) {
                    Turn::Now => None,
                    Turn::After(time) => Some(time),
                    Turn::Never => Some(Duration::MAX),
                };
                let sessions = sessions.iter().filter(|found| {
                    found.grant.user_id == username && found.counts_at(now.seconds())
                });
                Listed {
                    role,
                    created_at,
                    changed_at,
                    disabled,
                    failures: failures.count(),
                    closed_for,
                    is_original: matches!(kept, Kept::Original(_)),
                    sessions: sessions.count(),
                    username,
                }
            })
            .collect();
        listed.sort_by(|a, b| a.username.cmp(&b.username));
        Ok(listed)
    }

    /// Changes one account, if an owner is left.
    fn change<T>(
        &mut self,
        name: &UserId,
        change: impl FnOnce(&mut Account) -> T,
    ) -> Result<T, AdminError> {
        let (mut accounts, at) = self.find(name)?;
        let had_owner = has_owner(&accounts);
        let Some(account) = accounts.get_mut(at) else {
            return Err(AdminError::NoAccount(name.to_string()));
        };
        let before = change(account);
        if had_owner && !has_owner(&accounts) {
            return Err(AdminError::LastOwner(name.to_string()));
        }
        self.write(&accounts)?;
        Ok(before)
    }
}
