//! Carries orders out.

use std::io::{self, Write as _};
use std::path::Path;

use ploinky_contract::{AllowedCommands, CommandName, CommandPattern, UserId};
use ploinky_password::{Password, PasswordHash, SALT_BYTES, Turn, check_new};
use serde_json::{Value, json};

use crate::book::{Book, BookError, USERS_MAX};
use crate::order::{Errand, Order};
use crate::refused::Refused;
use crate::rights::Manager;
use crate::seats::{Seat, Seats};
use crate::user::User;
use crate::user_name::UserName;

/// What every user may call besides.
const OWN_PASSWORD: &str = "password.change";

/// The users, and who may hash.
#[derive(Debug)]
pub(crate) struct Desk {
    book: Book,
    seats: Seats,
    /// Milliseconds since 1970.
    clock: fn() -> u64,
}

impl Desk {
    /// The desk of the users in `root`.
    ///
    /// # Errors
    /// When there is no such directory, or nothing can be made in it.
    pub(crate) fn open(root: &Path) -> Result<Self, BookError> {
        Ok(Self { book: Book::open(root)?, seats: Seats::new(root), clock })
    }

    /// Does what `caller` asks for by `command`.
    ///
    /// # Errors
    /// Says why it is not done; then nothing is changed but the count of wrong passwords.
    pub(crate) fn carry_out(
        &self,
        caller: &UserId,
        command: &CommandName,
        order: Order,
    ) -> Result<Value, Refused> {
        match order {
            Order::Login { name, password } => {
                let user = self.known(name.parse().ok().as_ref(), &password)?;
                Ok(logged_in(&user))
            }
            Order::Logout => Ok(Value::Null),
            Order::ChangePassword { old, new } => self.change_password(caller, &old, &new),
            Order::Manage(errand) => {
                let manager = Manager::of(caller, command, &self.book)?;
                self.manage(&manager, &format!("{command} by {caller}"), errand)
            }
        }
    }

    fn manage(&self, manager: &Manager, what: &str, errand: Errand) -> Result<Value, Refused> {
        let done = |name: &UserName, answer: Value| {
            say(&format!("{what} for {}: done", name.as_str()));
            Ok(answer)
        };
        match errand {
            Errand::Add { name, password, allowed } => {
                let user = self.add(manager, name, &password, allowed)?;
                done(&user.user_id, json!(user.shown(0, true)))
            }
            Errand::List => {
                let users = self.book.users()?;
                let shown: Vec<_> = users
                    .iter()
                    .map(|user| user.shown(self.book.failures(Some(&user.user_id)).count(), false))
                    .collect();
                Ok(json!({ "users": shown }))
            }
            Errand::Show(name) => {
                let user = self.user(&name)?;
                Ok(json!(user.shown(self.book.failures(Some(&name)).count(), true)))
            }
            Errand::SetPassword { name, password } => {
                check_new(&password, name.as_str())?;
                manager.reaches(&self.user(&name)?.allowed_commands)?;
                let hash = hash(&self.seat()?, &password)?;
                let now_s = (self.clock)() / 1000;
                self.change(manager, &name, |user| {
                    (user.password, user.password_set_at) = (hash, now_s);
                })?;
                self.book.forget_failures(&name)?;
                done(&name, json!({ "userId": name, "revokeUser": name }))
            }
            Errand::Disable(name) => {
                self.change(manager, &name, |user| user.disabled = true)?;
                done(&name, json!({ "userId": name, "disabled": true, "revokeUser": name }))
            }
            Errand::Enable(name) => {
                self.change(manager, &name, |user| user.disabled = false)?;
                self.book.forget_failures(&name)?;
                done(&name, json!({ "userId": name, "disabled": false }))
            }
            Errand::Remove(name) => {
                let pen = self.book.pen()?;
                manager.reaches(&self.user(&name)?.allowed_commands)?;
                pen.remove(&name)?;
                done(&name, json!({ "userId": name, "removed": true, "revokeUser": name }))
            }
            Errand::SetPermissions { name, allowed } => {
                manager.reaches(&allowed)?;
                self.change(manager, &name, |user| user.allowed_commands = allowed.clone())?;
                let answer =
                    json!({ "userId": name, "allowedCommands": allowed, "revokeUser": name });
                done(&name, answer)
            }
        }
    }

    fn add(
        &self,
        manager: &Manager,
        name: UserName,
        password: &Password,
        allowed: AllowedCommands,
    ) -> Result<User, Refused> {
        check_new(password, name.as_str())?;
        manager.reaches(&allowed)?;
        let hash = hash(&self.seat()?, password)?;
        let pen = self.book.pen()?;
        if self.book.user(&name)?.is_some() {
            return Err(Refused::Exists(name.as_str().to_owned()));
        }
        let count = pen.count()?;
        if USERS_MAX <= count {
            return Err(Refused::Full(count));
        }
        let now_s = (self.clock)() / 1000;
        // Of somebody who had the name before.
        self.book.forget_failures(&name)?;
        let user = User {
            user_id: name,
            password: hash,
            allowed_commands: allowed,
            disabled: false,
            created_at: now_s,
            password_set_at: now_s,
        };
        pen.put(&user)?;
        Ok(user)
    }

    fn change_password(
        &self,
        caller: &UserId,
        old: &Password,
        new: &Password,
    ) -> Result<Value, Refused> {
        let stranger =
            |_no_user| Refused::Forbidden("only a user of this agent has a password here");
        let name: UserName = caller.as_str().parse().map_err(stranger)?;
        check_new(new, name.as_str())?;
        let known = self.known(Some(&name), old)?;
        let hash = hash(&self.seat()?, new)?;
        let now_s = (self.clock)() / 1000;
        let pen = self.book.pen()?;
        let mut user = self.user(&name)?;
        if user.password != known.password {
            // Somebody else set another one meanwhile.
            return Err(Refused::InvalidCredentials);
        }
        (user.password, user.password_set_at) = (hash, now_s);
        pen.put(&user)?;
        say(&format!("{OWN_PASSWORD} by {caller}: done"));
        Ok(json!({ "userId": name, "revokeUser": name }))
    }

    /// The user who knows `password`. Whatever is wrong, the answer is the same, and costs the same.
    fn known(&self, name: Option<&UserName>, password: &Password) -> Result<User, Refused> {
        let seat = self.seat()?;
        let user = name.map(|name| self.book.user(name)).transpose()?.flatten();
        // Strangers are counted together, and nothing is decided by it.
        let counted = user.as_ref().map(|user| &user.user_id);
        let failures = self.book.failures(counted);
        let now_ms = (self.clock)();
        let turn = failures.turn(now_ms);
        let kept = user.as_ref().map_or_else(PasswordHash::of_nobody, |user| user.password.clone());
        let is_right = kept.matches(password);
        match user {
            Some(user) if is_right && !user.disabled && turn == Turn::Now => {
                if 0 < failures.count() {
                    self.book.forget_failures(&user.user_id)?;
                }
                if kept.is_outdated() {
                    self.renew(&user, hash(&seat, password)?)?;
                }
                Ok(user)
            }
            user => {
                let counted = user.as_ref().map(|user| &user.user_id);
                let failures =
                    if turn == Turn::Now { failures.and_another(now_ms) } else { failures };
                self.book.set_failures(counted, failures)?;
                let whom = counted.map_or("nobody here", UserName::as_str);
                say(&format!(
                    "a login or password of {whom} was refused, {} in a row",
                    failures.count()
                ));
                Err(Refused::InvalidCredentials)
            }
        }
    }

    /// Puts a costlier hash of the same password in the place of the one that `seen` has.
    fn renew(&self, seen: &User, hash: PasswordHash) -> Result<(), Refused> {
        let pen = self.book.pen()?;
        match self.book.user(&seen.user_id)? {
            Some(mut user) if user.password == seen.password => {
                user.password = hash;
                Ok(pen.put(&user)?)
            }
            Some(_) | None => Ok(()),
        }
    }

    fn change(
        &self,
        manager: &Manager,
        name: &UserName,
        change: impl FnOnce(&mut User),
    ) -> Result<(), Refused> {
        let pen = self.book.pen()?;
        let mut user = self.user(name)?;
        manager.reaches(&user.allowed_commands)?;
        change(&mut user);
        Ok(pen.put(&user)?)
    }

    fn user(&self, name: &UserName) -> Result<User, Refused> {
        self.book.user(name)?.ok_or_else(|| Refused::NotFound(name.as_str().to_owned()))
    }

    fn seat(&self) -> Result<Seat, Refused> {
        let seat = self
            .seats
            .take()
            .map_err(|source| Refused::Book(BookError::Io { path: "the seats".into(), source }))?;
        seat.ok_or(Refused::Busy)
    }
}

/// What the server makes a session of.
fn logged_in(user: &User) -> Value {
    let mut allowed: Vec<CommandPattern> = user.allowed_commands.patterns().to_vec();
    if let Ok(own) = OWN_PASSWORD.parse::<CommandPattern>()
        && !allowed.iter().any(|pattern| pattern.covers(&own))
    {
        allowed.push(own);
    }
    json!({ "userId": user.user_id, "allowedCommands": allowed })
}

/// Hashes while nobody else does.
fn hash(_seat: &Seat, password: &Password) -> Result<PasswordHash, Refused> {
    let mut salt = [0; SALT_BYTES];
    getrandom::fill(&mut salt).map_err(|_none| Refused::Random)?;
    PasswordHash::of(password, salt).map_err(|_never| Refused::Random)
}

/// Into the journal of the agent.
fn say(text: &str) {
    // Nobody is left to hear of a stderr that is closed.
    writeln!(io::stderr(), "{text}").ok();
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one clock; what decides by it takes the time as a parameter"
)]
fn clock() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests;
