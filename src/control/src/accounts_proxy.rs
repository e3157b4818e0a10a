//! The interface of accounts as a caller sees it.

use crate::{AdminAccount, AdminSession, ControlError, NewToken, TokenOrder, TokenReport};

/// `io.ploinky.Accounts1`: admins, their sessions, tokens of programs. On the system bus root or polkit decides,
/// and `token` is empty; on the socket of the instances `token` is that of the admin who asks. A password is its
/// bytes in UTF-8. `from` is the address of a client, or empty.
#[zbus::proxy(
    interface = "io.ploinky.Accounts1",
    default_service = "io.ploinky.Supervisor1",
    default_path = "/io/ploinky/Supervisor1"
)]
pub trait Accounts1 {
    /// Makes the first account, an owner; `token` is the one-time token of the journal.
    async fn init_admin(
        &self,
        token: &str,
        username: &str,
        password: &[u8],
    ) -> Result<(), ControlError>;

    /// Makes an account.
    async fn add_admin(
        &self,
        token: &str,
        username: &str,
        role: &str,
        password: &[u8],
    ) -> Result<(), ControlError>;

    /// All accounts.
    async fn list_admins(&self, token: &str) -> Result<Vec<AdminAccount>, ControlError>;

    /// Gives an account another password and ends its sessions.
    async fn set_password(
        &self,
        token: &str,
        username: &str,
        password: &[u8],
    ) -> Result<(), ControlError>;

    /// Gives an account another role and ends its sessions.
    async fn set_role(&self, token: &str, username: &str, role: &str) -> Result<(), ControlError>;

    /// Lets nobody log in by an account and ends its sessions, or lets them again.
    async fn set_disabled(
        &self,
        token: &str,
        username: &str,
        disabled: bool,
    ) -> Result<(), ControlError>;

    /// Opens an account that wrong passwords have closed; on the system bus only.
    async fn unlock_admin(&self, username: &str) -> Result<(), ControlError>;

    /// Removes an account with its sessions.
    async fn remove_admin(&self, token: &str, username: &str) -> Result<(), ControlError>;

    /// Makes a token.
    async fn create_token(&self, token: &str, order: &TokenOrder)
    -> Result<NewToken, ControlError>;

    /// All tokens.
    async fn list_tokens(&self, token: &str) -> Result<Vec<TokenReport>, ControlError>;

    /// Ends the token of this name, or whose digest begins so; its name.
    async fn revoke_token(&self, token: &str, word: &str) -> Result<String, ControlError>;

    /// Begins a session; on the socket only.
    async fn login(
        &self,
        username: &str,
        password: &[u8],
        from: &str,
    ) -> Result<AdminSession, ControlError>;

    /// Ends the session of `token`; on the socket only.
    async fn logout(&self, token: &str) -> Result<(), ControlError>;

    /// Begins a session in the place of that of `token`, whose admin gives the password again; on the socket
    /// only.
    async fn authenticate(
        &self,
        token: &str,
        password: &[u8],
        from: &str,
    ) -> Result<AdminSession, ControlError>;

    /// Gives the account of `token` another password, ends all its sessions, and begins one; on the socket only.
    async fn change_password(
        &self,
        token: &str,
        old: &[u8],
        new: &[u8],
        from: &str,
    ) -> Result<AdminSession, ControlError>;
}
