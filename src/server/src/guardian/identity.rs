//! For whom a request runs. There are no sessions yet: every caller is the internet user.
//!
//! Deliberately looks at nothing that the client sent; a cookie or token means nothing here.

use ploinky_contract::UserId;

/// The user for whom the request runs.
pub(super) fn user() -> UserId {
    UserId::internet_user()
}
