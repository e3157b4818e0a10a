//! Who may have users managed: the admin, and users to whom that was given by name.
//!
//! `*` does not give it, as every user may have that. Nobody gives or touches what is beyond their own.

use ploinky_contract::{AllowedCommands, CommandName, CommandPattern, UserId};

use crate::book::Book;
use crate::refused::Refused;
use crate::user_name::UserName;

/// The commands that manage users.
pub(crate) const NAMESPACE: &str = "user";

/// Somebody who may have users managed.
#[derive(Debug)]
pub(crate) enum Manager {
    /// The admin of the host.
    Admin,
    /// A user with these rights.
    User(AllowedCommands),
}

impl Manager {
    /// Whether `caller` may call `command`, which manages users.
    ///
    /// # Errors
    /// When they may not.
    pub(crate) fn of(caller: &UserId, command: &CommandName, book: &Book) -> Result<Self, Refused> {
        const REFUSED: Refused = Refused::Forbidden(
            "only the admin, and users who were given `user.` commands by name, may manage users",
        );
        if *caller == UserId::admin() {
            return Ok(Self::Admin);
        }
        let name: UserName = caller.as_str().parse().map_err(|_no_user| REFUSED)?;
        let user = book.user(&name)?.filter(|user| !user.disabled).ok_or(REFUSED)?;
        let is_given = user
            .allowed_commands
            .patterns()
            .iter()
            .any(|pattern| *pattern != CommandPattern::All && pattern.allows(command));
        if is_given { Ok(Self::User(user.allowed_commands)) } else { Err(REFUSED) }
    }

    /// Whether they may give `wanted`, or touch somebody who has it.
    ///
    /// # Errors
    /// When it is beyond their own rights.
    pub(crate) fn reaches(&self, wanted: &AllowedCommands) -> Result<(), Refused> {
        let Self::User(own) = self else { return Ok(()) };
        let covers = |pattern: &CommandPattern| {
            own.patterns().iter().any(|own| {
                own.covers(pattern) && (*own != CommandPattern::All || !manages_users(pattern))
            })
        };
        if wanted.patterns().iter().all(covers) {
            Ok(())
        } else {
            Err(Refused::Forbidden("these rights are beyond those of who asks"))
        }
    }
}

/// Whether the pattern gives commands that manage users by name.
fn manages_users(pattern: &CommandPattern) -> bool {
    match pattern {
        CommandPattern::All => false,
        CommandPattern::Below(name) | CommandPattern::Exactly(name) => {
            name.as_str().split('.').next() == Some(NAMESPACE)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(texts: &[&str]) -> AllowedCommands {
        let parsed: Vec<CommandPattern> = texts.iter().map(|text| text.parse().unwrap()).collect();
        parsed.try_into().unwrap()
    }

    #[test]
    fn u1_nobody_gives_what_they_have_not() {
        for (own, wanted) in [
            (&["user.*"][..], &["*"][..]),
            (&["user.add"], &["user.*"]),
            (&["*"], &["user.add"]),
            (&["*", "user.add"], &["user.*"]),
            (&["user.*", "shop.*"], &["shop.*", "blog.*"]),
            (&[], &["a"]),
        ] {
            let manager = Manager::User(patterns(own));
            assert!(manager.reaches(&patterns(wanted)).is_err(), "{own:?} {wanted:?}");
        }
        for (own, wanted) in [
            (&["user.*"][..], &["user.add", "user.*"][..]),
            (&["*", "user.*"], &["*", "user.list", "shop.*"]),
            (&["user.add"], &[]),
        ] {
            assert!(Manager::User(patterns(own)).reaches(&patterns(wanted)).is_ok(), "{own:?}");
        }
        assert!(Manager::Admin.reaches(&patterns(&["*", "user.*"])).is_ok());
    }
}
