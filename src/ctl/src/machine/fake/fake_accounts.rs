//! Accounts that answer from a list.

use std::cell::RefCell;
use std::rc::Rc;

use ploinky_contract::UserId;
use ploinky_control::{AdminAccount, ControlError, NewToken, TokenOrder, TokenReport};

use super::Mood;
use crate::accounts::{AccountChange, Accounts};

pub(super) struct FakeAccounts {
    pub(super) mood: Mood,
    pub(super) asked: Rc<RefCell<Vec<String>>>,
}

impl FakeAccounts {
    fn hear(&self, text: String) -> Result<(), ControlError> {
        self.asked.borrow_mut().push(text);
        match self.mood {
            Mood::Refuses(error, reason) => Err(error(reason.to_owned())),
            Mood::Well | Mood::Absent => Ok(()),
        }
    }
}

impl Accounts for FakeAccounts {
    fn change(&self, change: AccountChange<'_>, username: &UserId) -> Result<(), ControlError> {
        self.hear(match change {
            AccountChange::Init(password) => format!("init {username} {password:?}"),
            AccountChange::Add(role, password) => format!("add {username} {role} {password:?}"),
            AccountChange::Password(password) => format!("password {username} {password:?}"),
            AccountChange::Role(role) => format!("role {username} {role}"),
            AccountChange::Disable => format!("disable {username}"),
            AccountChange::Enable => format!("enable {username}"),
            AccountChange::Unlock => format!("unlock {username}"),
            AccountChange::Remove => format!("remove {username}"),
        })
    }

    fn list(&self) -> Result<Vec<AdminAccount>, ControlError> {
        self.hear("list admins".to_owned())?;
        let ada = AdminAccount {
            username: "ada".to_owned(),
            role: "owner".to_owned(),
            created_at: Some(1_767_323_045),
            changed_at: Some(1_767_323_045),
            sessions: 2,
            ..AdminAccount::default()
        };
        let closed = AdminAccount {
            username: "bob".to_owned(),
            role: "viewer".to_owned(),
            failures: 100,
            closed_seconds: Some(u64::MAX),
            ..AdminAccount::default()
        };
        Ok(vec![ada, closed])
    }

    fn create_token(&self, order: &TokenOrder) -> Result<NewToken, ControlError> {
        self.hear(format!("{order:?}"))?;
        Ok(NewToken { token: "ploinky_5ec2e7".to_owned(), digest: "0123456789abcdef".to_owned() })
    }

    fn tokens(&self) -> Result<Vec<TokenReport>, ControlError> {
        self.hear("list tokens".to_owned())?;
        Ok(vec![TokenReport {
            name: "ci".to_owned(),
            digest: "0123456789abcdef".to_owned(),
            user: "ci".to_owned(),
            commands: vec!["build.*".to_owned()],
            domain: Some("localhost".to_owned()),
            created_at: 1_767_323_045,
            used_at: Some(1_767_330_545),
            ..TokenReport::default()
        }])
    }

    fn revoke_token(&self, word: &str) -> Result<String, ControlError> {
        self.hear(format!("revoke {word}"))?;
        Ok("ci".to_owned())
    }
}
