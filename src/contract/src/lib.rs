//! Words that all processes of Ploinky share: names, the manifest, the configuration, limits, paths.
//!
//! Everything here is parsed once, at the edge, into a type that is safe by construction; behind the edge
//! there is no raw text. No I/O, no async, no clock.

mod agent_id;
mod agent_name;
mod auth_rules;
mod callback_origin;
mod chain;
mod client_limits;
mod command_name;
mod command_pattern;
mod condition;
mod config;
mod deploy_path;
mod domain;
pub mod exit;
mod grant;
mod image;
mod json;
pub mod limits;
mod manifest;
mod network;
pub mod paths;
mod route_limits;
mod session_document;
mod space;
mod task_document;
mod task_id;
mod task_key;
mod token;
mod user_id;

pub use agent_id::{AgentId, InvalidAgentId};
pub use agent_name::{AgentName, InvalidAgentName};
pub use auth_rules::AuthRules;
pub use callback_origin::{CallbackOrigin, InvalidCallbackOrigin};
pub use chain::chain;
pub use client_limits::ClientLimits;
pub use command_name::{CommandName, InvalidCommandName};
pub use command_pattern::{
    AllowedCommands, CommandPattern, InvalidCommandPattern, TooManyPatterns,
};
pub use condition::Condition;
pub use config::{
    Config, ConfigError, Deployment, DomainEntry, RepositoryEntry, Settings, WorkersCount,
};
pub use deploy_path::{DeployPath, InvalidDeployPath};
pub use domain::{Domain, InvalidDomain};
pub use grant::{Grant, GrantError, Role, UnknownRole};
pub use image::{ImageName, InvalidImageName};
pub use json::{TooDeep, check_depth, is_object};
pub use manifest::{
    Command, Container, Handler, Health, Manifest, ManifestError, Resources, Retry, Service, Worker,
};
pub use network::{InvalidNetwork, Network};
pub use route_limits::{Amount, Limit, Origin, RouteLimitsError, route_limits};
pub use session_document::{SESSION_ID_DIGITS, SessionDocument, SessionPage};
pub use space::{Floor, Space};
pub use task_document::{ErrorDocument, FileDocument, TaskDocument, TaskPage, TaskState};
pub use task_id::{InvalidTaskId, TaskId};
pub use task_key::{TASK_KEY_DIGITS, is_task_key};
pub use token::{
    API_TOKEN_PREFIX, InvalidToken, InvalidTokenDigest, TOKEN_BYTES, Token, TokenDigest,
};
pub use user_id::{InvalidUserId, UserId};

/// Implements the traits of a newtype over a `String` whose only maker is its `FromStr`.
macro_rules! text_type {
    ($name:ident, $error:ident) => {
        impl $name {
            /// The text, as it was accepted.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl TryFrom<String> for $name {
            type Error = $error;

            fn try_from(text: String) -> Result<Self, $error> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(name: $name) -> Self {
                name.0
            }
        }
    };
}
use text_type;
