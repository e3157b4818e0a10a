//! `ploinkyctl undeploy`.

use clap::Args;
use ploinky_contract::{DeployPath, Domain};
use ploinky_control::ControlError;
use serde::Serialize;

use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;
use crate::place::{AgentArgument, Place, resolve};

#[derive(Args, Debug)]
#[command(after_long_help = "\
The agent is stopped; its code, its queue and its data are removed. The image stays.

Example:
  sudo ploinkyctl undeploy localhost /echo")]
pub(crate) struct Arguments {
    /// Host name of the deployment
    domain: Domain,
    /// Path of the deployment
    path: DeployPath,
}

#[derive(Serialize)]
struct Undeployed<'a> {
    domain: &'a Domain,
    path: &'a DeployPath,
}

/// Asks the supervisor and says what is gone.
pub(crate) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { domain, path } = arguments;
    let place = Place { domain: domain.clone(), path: path.clone() };
    let failed = |e: &ControlError| Failure::of_control(format!("cannot undeploy {place}"), e);
    let supervisor = machine.supervisor().map_err(|e| failed(&e))?;
    match supervisor.undeploy(&place) {
        Ok(()) => {}
        Err(e @ ControlError::NotFound(_)) => {
            let agents = supervisor.status().map(|host| host.agents).unwrap_or_default();
            return Err(match resolve(&AgentArgument::Place(place.clone()), &agents) {
                Err(unknown) => unknown.into(),
                Ok(_) => failed(&e).into(),
            });
        }
        Err(e) => return Err(failed(&e).into()),
    }
    if output.json {
        return Ok(output.value(&Undeployed { domain, path })?);
    }
    Ok(output.out.line(&format!("undeployed {place}"))?)
}
