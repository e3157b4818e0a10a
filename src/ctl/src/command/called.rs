//! The words that name an agent, its command and the parameters, where an instance is asked.

use clap::Args;
use ploinky_contract::{CommandName, DeployPath, Domain};
use serde_json::Value;

use crate::call::parameter;
use crate::place::Place;

// No documentation comment: clap would take it for the help of the command.
#[derive(Args, Debug)]
pub(crate) struct Called {
    /// Host name of the agent
    domain: Domain,
    /// Path of the agent
    path: DeployPath,
    /// The command
    pub(crate) command: CommandName,
    /// Parameters: JSON if a word is JSON, else the word as a string
    #[arg(value_name = "PARAM", allow_negative_numbers = true)]
    pub(crate) parameters: Vec<String>,
}

impl Called {
    /// Where the agent is deployed.
    pub(crate) fn place(&self) -> Place {
        Place { domain: self.domain.clone(), path: self.path.clone() }
    }

    /// The parameters as values.
    pub(crate) fn values(&self) -> Vec<Value> {
        self.parameters.iter().map(|word| parameter(word)).collect()
    }
}
