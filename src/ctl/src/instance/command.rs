//! A command of an agent, called as the admin and waited for.

use ploinky_contract::CommandName;
use serde::Deserialize;
use serde_json::Value;

use super::{AskError, Instances, parsed};
use crate::place::Place;

#[derive(Deserialize)]
struct Done {
    #[serde(default)]
    data: Value,
}

impl Instances {
    /// Calls `command` of the agent at `place`; its data.
    ///
    /// # Errors
    /// When no instance takes it, or the agent or the instance refuses.
    pub(crate) fn call(
        &self,
        place: &Place,
        command: &CommandName,
        parameters: &[Value],
    ) -> Result<Value, AskError> {
        let body = serde_json::json!({ "command": command, "params": parameters }).to_string();
        let answer = self.send(body, |agent| {
            agent
                .post(format!("http://localhost{}", place.path))
                .header("Content-Type", "application/json")
                .header("Host", place.domain.to_string())
        })?;
        let body = answer.document()?;
        parsed::<Done>(&body).map(|done| done.data)
    }
}
