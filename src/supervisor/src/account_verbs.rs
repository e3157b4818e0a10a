//! The served interface `io.ploinky.Accounts1`: parses, finds out who asks and whether they may, delegates,
//! writes down who did what, names the error. Decides nothing.
//!
//! On the system bus whoever asks is root, or polkit allows it. On the socket of the workers it is an admin,
//! whom a token of theirs proves each time: a worker that somebody took over can do nothing by itself.

mod words;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use ploinky_contract::limits::SUPERVISOR_CALLS_MAX;
use ploinky_contract::{Role, UserId};
use ploinky_control::{
    AdminAccount, AdminSession, ControlError, NewToken, TokenOrder, TokenReport,
};
use ploinky_journal::{Deed, audit};
use ploinky_password::Password;
use tokio::sync::{Semaphore, watch};
use zbus::interface;
use zbus::message::Header;

use self::words::{address, control_error, life, new_password, order, shown};
use crate::admins::{AdminError, Admins, Book, Claim, Cost, Life, Now, Session};
use crate::authorize::{Action, Authority};
use crate::lifecycle::Snapshot;
use crate::verbs::{parse, result_words};

/// Where the object is served.
#[derive(Clone)]
pub(crate) enum Door {
    /// On the system bus.
    Bus(Arc<dyn Authority>),
    /// On a connection of one worker, which has so many calls under way.
    Socket(Arc<Semaphore>),
}

/// The object.
#[derive(Clone)]
pub(crate) struct AccountVerbs {
    door: Door,
    admins: Admins,
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

/// What an act is, and who may.
struct Act {
    action: &'static str,
    object: String,
    needs: Needs,
    cost: Cost,
}

/// Who may.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Needs {
    /// Whoever has the role may look.
    Role(Role),
    /// An owner who gave the password lately.
    FreshOwner,
}

/// What an act has changed, for the journal.
struct Done<T> {
    value: T,
    before: String,
    after: String,
}

impl Door {
    /// A door for one more worker.
    pub(crate) fn socket() -> Self {
        Self::Socket(Arc::new(Semaphore::new(SUPERVISOR_CALLS_MAX)))
    }
}

impl AccountVerbs {
    /// An object that asks `admins` for whoever comes by `door`.
    pub(crate) fn new(
        door: Door,
        admins: Admins,
        snapshots: watch::Receiver<Arc<Snapshot>>,
    ) -> Self {
        Self { door, admins, snapshots }
    }

    /// Does something if whoever asks may; their name with it.
    async fn admitted<T: Send + 'static>(
        &self,
        header: &Header<'_>,
        token: String,
        needs: Needs,
        cost: Cost,
        work: impl FnOnce(&mut Book, Now) -> Result<T, AdminError> + Send + 'static,
    ) -> (String, Result<T, ControlError>) {
        match &self.door {
            Door::Bus(authority) => {
                if !token.is_empty() {
                    let text = "on the system bus the token is empty".to_owned();
                    return (String::new(), Err(ControlError::InvalidArgument(text)));
                }
                match authority.check(header.sender(), Action::Accounts).await {
                    Ok(actor) => (actor, self.admins.ask(cost, work).await.map_err(control_error)),
                    Err(denied) => {
                        let stranger = header.sender().map(ToString::to_string).unwrap_or_default();
                        (stranger, Err(ControlError::NotAuthorized(denied.to_string())))
                    }
                }
            }
            Door::Socket(_) => {
                let asked = self.admins.ask(cost, move |book, now| {
                    let mut actor = "?".to_owned();
                    let outcome = allowed(book, &token, needs, now, &mut actor)
                        .and_then(|()| work(book, now));
                    Ok((actor, outcome))
                });
                match asked.await {
                    Ok((actor, outcome)) => (actor, outcome.map_err(control_error)),
                    Err(error) => ("?".to_owned(), Err(control_error(error))),
                }
            }
        }
    }

    /// Changes something, and writes down who did.
    async fn act<T: Send + 'static>(
        &self,
        header: &Header<'_>,
        token: String,
        act: Act,
        work: impl FnOnce(&mut Book, Now) -> Result<Done<T>, AdminError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let Act { action, object, needs, cost } = act;
        let _place = self.place()?;
        let (actor, outcome) = self.admitted(header, token, needs, cost, work).await;
        let (before, after) = match &outcome {
            Ok(Done { value: _, before, after }) => (before.as_str(), after.as_str()),
            Err(_) => ("", ""),
        };
        let result = result_words(&outcome);
        audit(&Deed { actor: &actor, action, object: &object, before, after, result });
        outcome.map(|done| done.value)
    }

    /// Looks at something.
    async fn look<T: Send + 'static>(
        &self,
        header: &Header<'_>,
        token: String,
        work: impl FnOnce(&mut Book, Now) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let _place = self.place()?;
        self.admitted(header, token, Needs::Role(Role::Viewer), Cost::Files, work).await.1
    }

    /// Begins or ends a session, which only a worker asks for, and writes down whose.
    async fn session<T: Send + 'static>(
        &self,
        action: &'static str,
        from: &str,
        cost: Cost,
        work: impl FnOnce(&mut Book, Now, &mut String) -> Result<T, AdminError> + Send + 'static,
    ) -> Result<T, ControlError> {
        let _place = self.place()?;
        if matches!(self.door, Door::Bus(_)) {
            let text = "sessions begin and end on the socket of the instances".to_owned();
            return Err(ControlError::NotAuthorized(text));
        }
        let asked = self.admins.ask(cost, move |book, now| {
            let mut actor = "?".to_owned();
            let outcome = work(book, now, &mut actor);
            Ok((actor, outcome))
        });
        let (actor, outcome) = match asked.await {
            Ok((actor, outcome)) => (actor, outcome.map_err(control_error)),
            // Strangers must not fill the journal faster than passwords are looked at.
            Err(AdminError::Overloaded) => {
                return Err(control_error(AdminError::Overloaded));
            }
            Err(error) => ("?".to_owned(), Err(control_error(error))),
        };
        let deed = Deed {
            actor: &actor,
            action,
            object: from,
            before: "",
            after: "",
            result: result_words(&outcome),
        };
        audit(&deed);
        outcome
    }

    /// Begins a session for who shows a password.
    async fn begin(
        &self,
        action: &'static str,
        from: &str,
        password: Vec<u8>,
        work: impl FnOnce(&mut Book, &Claim, Life, Now, &mut String) -> Result<Session, AdminError>
        + Send
        + 'static,
    ) -> Result<AdminSession, ControlError> {
        let life = life(&self.snapshots.borrow());
        let claim = Claim { password: claimed(password), from: address(from)? };
        let session = self.session(action, from, Cost::Password, move |book, now, actor| {
            work(book, &claim, life, now, actor)
        });
        session.await.map(|session| words::session(&session))
    }

    /// A place among the calls of this worker.
    fn place(&self) -> Result<Option<tokio::sync::OwnedSemaphorePermit>, ControlError> {
        match &self.door {
            Door::Bus(_) => Ok(None),
            Door::Socket(places) => match Arc::clone(places).try_acquire_owned() {
                Ok(place) => Ok(Some(place)),
                Err(_none) => Err(control_error(AdminError::Overloaded)),
            },
        }
    }
}

/// Whether the holder of `token` may; their name in `actor`.
fn allowed(
    book: &Book,
    token: &str,
    needs: Needs,
    now: Now,
    actor: &mut String,
) -> Result<(), AdminError> {
    let role = match needs {
        Needs::Role(role) => role,
        Needs::FreshOwner => Role::Owner,
    };
    let bearer = book.bearer(token, role, now, actor)?;
    if needs == Needs::FreshOwner { bearer.is_fresh(now) } else { Ok(()) }
}

impl Act {
    /// An act on an account, for owners.
    fn on(action: &'static str, object: &impl ToString, cost: Cost) -> Self {
        Self { action, object: object.to_string(), needs: Needs::FreshOwner, cost }
    }
}

impl<T> Done<T> {
    fn new(value: T, before: &impl ToString, after: &impl ToString) -> Self {
        Self { value, before: before.to_string(), after: after.to_string() }
    }
}

#[interface(name = "io.ploinky.Accounts1", introspection_docs = false)]
impl AccountVerbs {
    async fn init_admin(
        &self,
        token: String,
        username: String,
        password: Vec<u8>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ControlError> {
        let (name, password) = (parse::<UserId>(&username)?, new_password(password)?);
        let object = name.to_string();
        match &self.door {
            Door::Bus(_) => {
                let act = Act::on("admin.init", &object, Cost::Password);
                self.act(&header, token, act, move |book, now| {
                    book.initialise(None, &name, &password, now)?;
                    Ok(Done::new((), &"", &Role::Owner))
                })
                .await
            }
            Door::Socket(_) => {
                self.session("admin.init", &object, Cost::Password, move |book, now, actor| {
                    "one-time token".clone_into(actor);
                    book.initialise(Some(&token), &name, &password, now)
                })
                .await
            }
        }
    }

    async fn add_admin(
        &self,
        token: String,
        username: String,
        role: String,
        password: Vec<u8>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ControlError> {
        let (name, role) = (parse::<UserId>(&username)?, parse::<Role>(&role)?);
        let password = new_password(password)?;
        let act = Act::on("admin.add", &name, Cost::Password);
        self.act(&header, token, act, move |book, now| {
            book.add(&name, role, &password, now)?;
            Ok(Done::new((), &"", &role))
        })
        .await
    }

    async fn list_admins(
        &self,
        token: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<AdminAccount>, ControlError> {
        let listed = self.look(&header, token, |book, now| book.list(now)).await?;
        Ok(listed.into_iter().map(words::account).collect())
    }

    async fn set_password(
        &self,
        token: String,
        username: String,
        password: Vec<u8>,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ControlError> {
        let (name, password) = (parse::<UserId>(&username)?, new_password(password)?);
        let act = Act::on("admin.set-password", &name, Cost::Password);
        self.act(&header, token, act, move |book, now| {
            book.set_password(&name, &password, now)?;
            Ok(Done::new((), &"", &"another password"))
        })
        .await
    }

    async fn set_role(
        &self,
        token: String,
        username: String,
        role: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ControlError> {
        let (name, role) = (parse::<UserId>(&username)?, parse::<Role>(&role)?);
        let act = Act::on("admin.set-role", &name, Cost::Files);
        self.act(&header, token, act, move |book, _now| {
            let before = book.set_role(&name, role)?;
            Ok(Done::new((), &before, &role))
        })
        .await
    }

    async fn set_disabled(
        &self,
        token: String,
        username: String,
        disabled: bool,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ControlError> {
        let name = parse::<UserId>(&username)?;
        let action = if disabled { "admin.disable" } else { "admin.enable" };
        let act = Act::on(action, &name, Cost::Files);
        let words = |disabled| if disabled { "disabled" } else { "enabled" };
        self.act(&header, token, act, move |book, _now| {
            let before = book.set_disabled(&name, disabled)?;
            Ok(Done::new((), &words(before), &words(disabled)))
        })
        .await
    }

    async fn unlock_admin(
        &self,
        username: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ControlError> {
        let name = parse::<UserId>(&username)?;
        if matches!(self.door, Door::Socket(_)) {
            let text = "only root of the host opens an account".to_owned();
            return Err(ControlError::NotAuthorized(text));
        }
        let act = Act::on("admin.unlock", &name, Cost::Files);
        self.act(&header, String::new(), act, move |book, _now| {
            let failures = book.unlock(&name)?;
            Ok(Done::new((), &format!("{failures} failures"), &"open"))
        })
        .await
    }

    async fn remove_admin(
        &self,
        token: String,
        username: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<(), ControlError> {
        let name = parse::<UserId>(&username)?;
        let act = Act::on("admin.remove", &name, Cost::Files);
        self.act(&header, token, act, move |book, _now| {
            let before = book.remove(&name)?;
            Ok(Done::new((), &before, &""))
        })
        .await
    }

    async fn create_token(
        &self,
        token: String,
        order: TokenOrder,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<NewToken, ControlError> {
        let order = self::order(order)?;
        let act = Act::on("token.create", &shown(&order.name), Cost::Files);
        self.act(&header, token, act, move |book, now| {
            let after = words::of_order(&order);
            let made = book.create_token(order, now)?;
            let (token, digest) = (made.token.reveal().to_owned(), made.digest.to_string());
            Ok(Done::new(NewToken { token, digest }, &"", &after))
        })
        .await
    }

    async fn list_tokens(
        &self,
        token: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<Vec<TokenReport>, ControlError> {
        let tokens = self.look(&header, token, |book, _now| book.tokens()).await?;
        Ok(tokens.into_iter().map(words::token).collect())
    }

    async fn revoke_token(
        &self,
        token: String,
        word: String,
        #[zbus(header)] header: Header<'_>,
    ) -> Result<String, ControlError> {
        let act = Act::on("token.revoke", &shown(&word), Cost::Files);
        self.act(&header, token, act, move |book, _now| {
            let name = book.revoke_token(&word)?;
            Ok(Done::new(name.clone(), &name, &""))
        })
        .await
    }

    async fn login(
        &self,
        username: String,
        password: Vec<u8>,
        from: String,
    ) -> Result<AdminSession, ControlError> {
        self.begin("admin.login", &from, password, move |book, claim, life, now, actor| {
            // Of a name that is none, nothing: people type passwords there.
            *actor = username.parse::<UserId>().map_or("?".to_owned(), String::from);
            actor.truncate(ploinky_contract::limits::ADMIN_NAME_MAX_CHARS);
            book.login(&username, claim, life, now)
        })
        .await
    }

    async fn logout(&self, token: String) -> Result<(), ControlError> {
        self.session("admin.logout", "", Cost::Files, move |book, _now, actor| {
            *actor = book.logout(&token)?.into();
            Ok(())
        })
        .await
    }

    async fn authenticate(
        &self,
        token: String,
        password: Vec<u8>,
        from: String,
    ) -> Result<AdminSession, ControlError> {
        self.begin("admin.authenticate", &from, password, move |book, claim, life, now, actor| {
            book.bearer(&token, Role::Viewer, now, actor)?;
            book.authenticate(&token, claim, life, now)
        })
        .await
    }

    async fn change_password(
        &self,
        token: String,
        old: Vec<u8>,
        new: Vec<u8>,
        from: String,
    ) -> Result<AdminSession, ControlError> {
        let new = new_password(new)?;
        self.begin("admin.change-password", &from, old, move |book, claim, life, now, actor| {
            book.bearer(&token, Role::Viewer, now, actor)?;
            book.change_password(&token, claim, &new, life, now)
        })
        .await
    }
}

/// A password that somebody says to be theirs; nothing if it cannot be.
fn claimed(password: Vec<u8>) -> Option<Password> {
    String::from_utf8(password).ok().and_then(|text| text.try_into().ok())
}
