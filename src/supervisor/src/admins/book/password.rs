//! Whether somebody is who they say: the one place where a password is compared.

use std::net::IpAddr;

use ploinky_contract::UserId;
use ploinky_password::{PASSWORD_MIN_CHARS, Password, PasswordHash, Turn, WeakPassword, check_new};

use super::{AdminError, Book, Now, closed_words};
use crate::admins::hash::Kept;
use crate::admins::record::Account;

/// What somebody shows to be who they say.
pub(crate) struct Claim {
    /// Nothing if it is too long, or no text: it is wrong then, and costs as much.
    pub(crate) password: Option<Password>,
    /// Where it comes from, if that tells people apart.
    pub(crate) from: Option<IpAddr>,
}

impl Book {
    /// The account of this name, if the password is right. Whatever is wrong, the same work is done and the same is said:
    /// no such account, a wrong password, a closed or disabled account, an address with too many failures.
    ///
    /// # Errors
    /// `WrongCredentials`, or when the file cannot be used.
    pub(super) fn verify(
        &mut self,
        username: &str,
        claim: &Claim,
        now: Now,
    ) -> Result<Account, AdminError> {
        let Claim { password, from } = claim;
        let mut accounts = self.read()?;
        let account = accounts.iter_mut().find(|account| account.username.as_str() == username);
        let is_right = match (&account, password) {
            (Some(account), Some(password)) => account.kept.matches(password),
            (_, password) => is_nobodys(password.as_ref()),
        };
        let is_closed_there = self.lockout.is_closed(*from, now.ms);
        let is_open = |account: &&mut Account| {
            let turn = account.failures.turn(now.ms);
            !account.disabled && turn == Turn::Now && !is_closed_there
        };
        let Some(account) = account.filter(is_open) else {
            self.lockout.fail(*from, now.ms);
            return Err(AdminError::WrongCredentials);
        };
        let password =
            password.as_ref().filter(|password| is_right && is_allowed(account, password));
        let Some(password) = password else {
            let failures = account.failures.and_another(now.ms);
            self.failures.insert(account.username.clone(), failures);
            if let Some(words) = closed_words(failures.turn(now.ms)) {
                self.closed.push((account.username.clone(), words));
            }
            self.lockout.fail(*from, now.ms);
            return Err(AdminError::WrongCredentials);
        };
        if account.kept.is_outdated() {
            account.kept = Kept::of(password)?;
            tracing::info!(USER_ID = %account.username, "the password is kept with more rounds now");
        } else if account.failures.count() == 0 {
            return Ok(account.clone());
        }
        account.failures = ploinky_password::Failures::default();
        let verified = account.clone();
        self.write(&accounts)?;
        Ok(verified)
    }
}

/// Does the work of a comparison where there is nothing to compare with.
fn is_nobodys(password: Option<&Password>) -> bool {
    let empty = Password::try_from(String::new()).ok();
    password.or(empty.as_ref()).is_some_and(|password| PasswordHash::of_nobody().matches(password))
}

/// Whether a right password is good for something. The original had no rules and began with `admin` for
/// `admin`; what everybody would try lets nobody in, and the journal says what to do.
fn is_allowed(account: &Account, password: &Password) -> bool {
    let Account { username, kept: Kept::Original(_), .. } = account else { return true };
    match check_original(username, password) {
        Ok(()) => true,
        Err(weak) => {
            tracing::warn!(
                USER_ID = %username,
                "a login is refused although the password is right: {weak}; set another one with `ploinkyctl \
                 admin password {username}`"
            );
            false
        }
    }
}

/// The rules of today, with half of the length.
fn check_original(username: &UserId, password: &Password) -> Result<(), WeakPassword> {
    match check_new(password, username.as_str()) {
        Err(WeakPassword::TooShort { found }) if PASSWORD_MIN_CHARS / 2 < found => {
            // Long enough to be looked at for the rest: without its end it is what it was.
            let padded = format!("{}{}", password.reveal(), " ".repeat(PASSWORD_MIN_CHARS));
            match padded.try_into().map(|padded| check_new(&padded, username.as_str())) {
                Ok(checked) => checked,
                Err(_too_long) => Ok(()),
            }
        }
        checked => checked,
    }
}
