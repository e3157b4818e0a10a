//! For whom a request runs, which is told by the socket that it came by. There are no sessions yet: everybody
//! but root of this host is the internet user.
//!
//! Deliberately looks at nothing that the client sent; a cookie or token means nothing here.

use http::{Extensions, Request};
use ploinky_contract::UserId;

/// The kind of socket by which a request came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Door {
    /// The port that everybody reaches.
    Internet,
    /// The socket that only root of this host can connect to.
    Admin,
}

/// For whom a request runs.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Caller {
    /// The user; for requests from the internet the same one for all.
    pub(crate) user: UserId,
    /// Whether everything of everybody may be seen and ended.
    pub(crate) is_admin: bool,
}

impl Door {
    /// Writes onto the request by which door it came. Nothing else sets this mark; most requests have none.
    pub(crate) fn mark<B>(self, request: &mut Request<B>) {
        if self == Self::Admin {
            request.extensions_mut().insert(self);
        }
    }
}

impl Caller {
    /// Whether somebody in particular is meant, whose tasks are nobody else's.
    pub(crate) fn is_somebody(&self) -> bool {
        self.is_admin || self.user != UserId::internet_user()
    }

    /// Whether a task of `owner` may be seen and ended. Of the internet user it may by who has its id.
    pub(crate) fn may_see(&self, owner: &UserId) -> bool {
        self.is_admin || self.user == *owner
    }
}

/// Who asks.
pub(super) fn caller(extensions: &Extensions) -> Caller {
    match extensions.get::<Door>() {
        Some(Door::Admin) => Caller { user: UserId::admin(), is_admin: true },
        Some(Door::Internet) | None => Caller { user: UserId::internet_user(), is_admin: false },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_door_of_the_admin_makes_an_admin() {
        let mut request = Request::new(());
        Door::Internet.mark(&mut request);
        let stranger = caller(request.extensions());
        assert_eq!(stranger, Caller { user: UserId::internet_user(), is_admin: false });
        assert!(!stranger.is_somebody() && !stranger.may_see(&UserId::admin()));
        Door::Admin.mark(&mut request);
        let admin = caller(request.extensions());
        assert!(admin.is_admin && admin.is_somebody() && admin.may_see(&UserId::internet_user()));
    }
}
