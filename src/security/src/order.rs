//! What is asked: a command and its parameters, checked before anything is looked at.

use ploinky_contract::{AllowedCommands, CommandPattern, InvalidCommandPattern};
use ploinky_password::Password;
use serde_json::Value;

use crate::refused::Refused;
use crate::user_name::UserName;

/// A command with its parameters.
#[derive(Debug)]
pub(crate) enum Order {
    /// Who says to be `name` knows the password. Any text may be such a name.
    Login { name: String, password: Password },
    /// The server ends the session itself.
    Logout,
    /// The caller sets a new password of their own.
    ChangePassword { old: Password, new: Password },
    /// Users are managed.
    Manage(Errand),
}

/// What is done to users by somebody who manages them.
#[derive(Debug)]
pub(crate) enum Errand {
    /// A new user.
    Add { name: UserName, password: Password, allowed: AllowedCommands },
    /// All users.
    List,
    /// One user.
    Show(UserName),
    /// Another password for a user.
    SetPassword { name: UserName, password: Password },
    /// A user may not log in any more.
    Disable(UserName),
    /// They may again.
    Enable(UserName),
    /// A user is gone.
    Remove(UserName),
    /// What a user may call.
    SetPermissions { name: UserName, allowed: AllowedCommands },
}

impl Order {
    /// The order that `command` with `params` is.
    ///
    /// # Errors
    /// When there is no such command, or the parameters are not those of it. Passwords are never repeated.
    pub(crate) fn parse(command: &str, params: Vec<Value>) -> Result<Self, Refused> {
        let mut params = Params(params.into_iter());
        let order = match command {
            "login" => Self::Login {
                name: params.text("the user name is missing, or no string")?,
                password: params.password()?,
            },
            "logout" => Self::Logout,
            "password.change" => {
                Self::ChangePassword { old: params.password()?, new: params.password()? }
            }
            _ => Self::Manage(Errand::parse(command, &mut params)?),
        };
        match params.0.next() {
            None => Ok(order),
            Some(_) => Err(Refused::Parameters("there are more than it has")),
        }
    }
}

impl Errand {
    fn parse(command: &str, params: &mut Params) -> Result<Self, Refused> {
        Ok(match command {
            "user.add" => Self::Add {
                name: params.name()?,
                password: params.password()?,
                allowed: params.patterns()?.unwrap_or_else(AllowedCommands::all),
            },
            "user.list" => Self::List,
            "user.show" => Self::Show(params.name()?),
            "user.password" => {
                Self::SetPassword { name: params.name()?, password: params.password()? }
            }
            "user.disable" => Self::Disable(params.name()?),
            "user.enable" => Self::Enable(params.name()?),
            "user.remove" => Self::Remove(params.name()?),
            "user.permissions" => {
                let missing = Refused::Parameters("a list of patterns is missing");
                let name = params.name()?;
                Self::SetPermissions { name, allowed: params.patterns()?.ok_or(missing)? }
            }
            _ => return Err(Refused::UnknownCommand),
        })
    }
}

struct Params(std::vec::IntoIter<Value>);

impl Params {
    fn text(&mut self, expected: &'static str) -> Result<String, Refused> {
        match self.0.next() {
            Some(Value::String(text)) => Ok(text),
            Some(_) | None => Err(Refused::Parameters(expected)),
        }
    }

    fn password(&mut self) -> Result<Password, Refused> {
        Ok(Password::try_from(self.text("a password is missing, or no string")?)?)
    }

    fn name(&mut self) -> Result<UserName, Refused> {
        Ok(self.text("the name of a user is missing, or no string")?.parse()?)
    }

    fn patterns(&mut self) -> Result<Option<AllowedCommands>, Refused> {
        let Some(value) = self.0.next() else { return Ok(None) };
        let Value::Array(values) = value else {
            return Err(Refused::Parameters("patterns of commands are a list of strings"));
        };
        let parsed: Result<Vec<CommandPattern>, Refused> = values
            .into_iter()
            .map(|value| {
                let Value::String(text) = value else {
                    return Err(Refused::Parameters("patterns of commands are a list of strings"));
                };
                text.parse().map_err(|e: InvalidCommandPattern| Refused::Value(e.to_string()))
            })
            .collect();
        Ok(Some(parsed?.try_into()?))
    }
}

#[cfg(test)]
mod tests {
    use ploinky_contract::{Manifest, Service};
    use serde_json::json;

    use super::*;
    use crate::seats::SEATS;

    #[test]
    fn parameters_that_are_not_those_of_the_command_are_refused() {
        for (command, params, code) in [
            ("user.create", json!(["a", "b"]), "NOT_FOUND"),
            ("", json!([]), "NOT_FOUND"),
            ("LOGIN", json!(["a", "b"]), "NOT_FOUND"),
            ("login", json!([]), "BAD_REQUEST"),
            ("login", json!(["alice"]), "BAD_REQUEST"),
            ("login", json!(["alice", 7]), "BAD_REQUEST"),
            ("login", json!([{"username": "alice"}, "x"]), "BAD_REQUEST"),
            ("login", json!(["alice", "x", "y"]), "BAD_REQUEST"),
            ("login", json!(["alice", "x".repeat(1025)]), "BAD_REQUEST"),
            ("user.add", json!(["a b", "x"]), "BAD_REQUEST"),
            ("user.add", json!(["Admin", "x"]), "BAD_REQUEST"),
            ("user.add", json!(["alice", "x", "*"]), "BAD_REQUEST"),
            ("user.add", json!(["alice", "x", [1]]), "BAD_REQUEST"),
            ("user.add", json!(["alice", "x", ["us*"]]), "BAD_REQUEST"),
            ("user.add", json!(["alice", "x", vec!["a"; 257]]), "BAD_REQUEST"),
            ("user.permissions", json!(["alice"]), "BAD_REQUEST"),
            ("user.list", json!(["alice"]), "BAD_REQUEST"),
            ("user.show", json!(["../../etc"]), "ok"),
            ("user.permissions", json!(["alice", []]), "ok"),
            ("login", json!(["no name at all\n", ""]), "ok"),
        ] {
            let params = params.as_array().unwrap().clone();
            let found = Order::parse(command, params.clone());
            let found = found.as_ref().map_or_else(Refused::code, |_order| "ok");
            assert_eq!(found, code, "{command} {params:?}");
        }
    }

    #[test]
    fn the_manifest_that_is_shipped_has_the_commands_that_are_known_and_a_process_for_the_one_too_many()
     {
        let text = include_bytes!("../../../packaging/agents/security/manifest.json");
        let manifest = Manifest::parse(text).unwrap();
        let Service::Container(container) = manifest.service else { panic!("a container") };
        for command in container.commands.keys() {
            let found = Order::parse(command.as_str(), Vec::new());
            assert!(!matches!(found, Err(Refused::UnknownCommand)), "{command}");
        }
        assert_eq!(container.commands.len(), 11);
        assert_eq!(usize::from(container.worker.unwrap().processes), SEATS + 1);
        assert_eq!((usize::from(container.concurrency), container.data), (SEATS + 1, true));
    }
}
