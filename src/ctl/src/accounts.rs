//! What the verbs ask of the supervisor about admins and tokens, and the asking over the system bus.

use ploinky_contract::{Role, UserId};
use ploinky_control::{
    Accounts1Proxy, AdminAccount, ControlError, NewToken, TokenOrder, TokenReport,
};

use crate::supervisor::Bus;

/// `io.ploinky.Accounts1`, call by call, as far as it is for the system bus.
pub(crate) trait Accounts {
    /// Changes an account.
    fn change(&self, change: AccountChange<'_>, username: &UserId) -> Result<(), ControlError>;
    /// All accounts.
    fn list(&self) -> Result<Vec<AdminAccount>, ControlError>;
    /// Makes a token.
    fn create_token(&self, order: &TokenOrder) -> Result<NewToken, ControlError>;
    /// All tokens.
    fn tokens(&self) -> Result<Vec<TokenReport>, ControlError>;
    /// Ends a token; its name.
    fn revoke_token(&self, word: &str) -> Result<String, ControlError>;
}

/// What can be done to an account.
#[derive(Clone, Copy)]
pub(crate) enum AccountChange<'a> {
    /// Made, as the first one.
    Init(&'a str),
    /// Made.
    Add(Role, &'a str),
    /// Given another password.
    Password(&'a str),
    /// Given another role.
    Role(Role),
    /// Nobody logs in by it.
    Disable,
    /// They do again.
    Enable,
    /// Opened after wrong passwords.
    Unlock,
    /// Gone.
    Remove,
}

/// On the system bus no token is shown: polkit knows who asks.
const NO_TOKEN: &str = "";

impl Accounts for Bus {
    fn change(&self, change: AccountChange<'_>, username: &UserId) -> Result<(), ControlError> {
        let name = username.as_str();
        self.ask(async |bus: &zbus::Connection| {
            let proxy = Accounts1Proxy::new(bus).await?;
            match change {
                AccountChange::Init(password) => {
                    proxy.init_admin(NO_TOKEN, name, password.as_bytes()).await
                }
                AccountChange::Add(role, password) => {
                    proxy.add_admin(NO_TOKEN, name, role.as_str(), password.as_bytes()).await
                }
                AccountChange::Password(password) => {
                    proxy.set_password(NO_TOKEN, name, password.as_bytes()).await
                }
                AccountChange::Role(role) => proxy.set_role(NO_TOKEN, name, role.as_str()).await,
                AccountChange::Disable => proxy.set_disabled(NO_TOKEN, name, true).await,
                AccountChange::Enable => proxy.set_disabled(NO_TOKEN, name, false).await,
                AccountChange::Unlock => proxy.unlock_admin(name).await,
                AccountChange::Remove => proxy.remove_admin(NO_TOKEN, name).await,
            }
        })
    }

    fn list(&self) -> Result<Vec<AdminAccount>, ControlError> {
        self.ask(async |bus: &zbus::Connection| {
            Accounts1Proxy::new(bus).await?.list_admins(NO_TOKEN).await
        })
    }

    fn create_token(&self, order: &TokenOrder) -> Result<NewToken, ControlError> {
        self.ask(async |bus: &zbus::Connection| {
            Accounts1Proxy::new(bus).await?.create_token(NO_TOKEN, order).await
        })
    }

    fn tokens(&self) -> Result<Vec<TokenReport>, ControlError> {
        self.ask(async |bus: &zbus::Connection| {
            Accounts1Proxy::new(bus).await?.list_tokens(NO_TOKEN).await
        })
    }

    fn revoke_token(&self, word: &str) -> Result<String, ControlError> {
        self.ask(async |bus: &zbus::Connection| {
            Accounts1Proxy::new(bus).await?.revoke_token(NO_TOKEN, word).await
        })
    }
}
