//! What the verbs ask of the supervisor, and the asking over the system bus.
//!
//! The trait is blocking: a command does one thing after another. [`Bus`] is its only real implementation.

use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

use ploinky_contract::limits::START_TIMEOUT;
use ploinky_contract::{AgentName, DeployPath, Domain};
use ploinky_control::{AgentStatus, ControlError, HostStatus, Supervisor1Proxy};
use tokio::runtime::Runtime;
use zbus::Connection;

use crate::place::Place;

/// Time for one answer, more than the supervisor's own limits add up to: two minutes for polkit, one in the
/// queue behind other changes, a restart, and another one if the first has to be taken back.
const ANSWER_TIMEOUT: Duration = START_TIMEOUT.saturating_mul(6);

/// `io.ploinky.Supervisor1`, call by call.
pub(crate) trait Supervisor {
    /// Deploys an agent that a package installed.
    fn deploy_installed(&self, at: &Place, agent: &AgentName) -> Result<AgentStatus, ControlError>;
    /// Deploys a packed directory.
    fn deploy_archive(
        &self,
        at: &Place,
        name: &AgentName,
        archive: &File,
    ) -> Result<AgentStatus, ControlError>;
    /// Removes a deployment.
    fn undeploy(&self, at: &Place) -> Result<(), ControlError>;
    /// Starts, stops or restarts an agent.
    fn change(&self, change: Change, at: &Place) -> Result<AgentStatus, ControlError>;
    /// One deployment with everything that is known of it.
    fn agent_status(&self, at: &Place) -> Result<AgentStatus, ControlError>;
    /// The host and all deployments, in brief.
    fn status(&self) -> Result<HostStatus, ControlError>;
    /// The configuration in force.
    fn config(&self) -> Result<String, ControlError>;
}

/// What can be done to a running agent.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Change {
    /// Runs again, also after a boot.
    Start,
    /// Does not run, also after a boot.
    Stop,
    /// Ends and runs anew.
    Restart,
}

/// The supervisor on a bus.
pub(crate) struct Bus {
    runtime: Runtime,
    proxy: Supervisor1Proxy<'static>,
}

impl Bus {
    /// Connects to the system bus.
    ///
    /// # Errors
    /// When there is no bus; whether the supervisor is on it shows at the first call.
    pub(crate) fn system() -> Result<Self, ControlError> {
        Self::connect(zbus::connection::Builder::system)
    }

    fn connect(
        builder: impl FnOnce() -> zbus::connection::Builder<'static>,
    ) -> Result<Self, ControlError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| ControlError::Bus(e.into()))?;
        let proxy = runtime.block_on(async {
            let connection: Connection = builder().method_timeout(ANSWER_TIMEOUT).build().await?;
            Supervisor1Proxy::new(&connection).await
        })?;
        Ok(Self { runtime, proxy })
    }
}

impl Bus {
    /// Asks something over the connection and waits for the answer.
    pub(crate) fn ask<T>(
        &self,
        what: impl AsyncFnOnce(&Connection) -> Result<T, ControlError>,
    ) -> Result<T, ControlError> {
        self.runtime.block_on(what(self.proxy.inner().connection()))
    }
}

/// Domain and path as the interface takes them.
fn words(Place { domain, path }: &Place) -> (&str, &str) {
    (Domain::as_str(domain), DeployPath::as_str(path))
}

impl Supervisor for Bus {
    fn deploy_installed(&self, at: &Place, agent: &AgentName) -> Result<AgentStatus, ControlError> {
        let (domain, path) = words(at);
        self.runtime.block_on(self.proxy.deploy_installed(domain, path, agent.as_str()))
    }

    fn deploy_archive(
        &self,
        at: &Place,
        name: &AgentName,
        archive: &File,
    ) -> Result<AgentStatus, ControlError> {
        let (domain, path) = words(at);
        let archive = archive.as_fd().into();
        self.runtime.block_on(self.proxy.deploy_archive(domain, path, name.as_str(), archive))
    }

    fn undeploy(&self, at: &Place) -> Result<(), ControlError> {
        let (domain, path) = words(at);
        self.runtime.block_on(self.proxy.undeploy(domain, path))
    }

    fn change(&self, change: Change, at: &Place) -> Result<AgentStatus, ControlError> {
        let (domain, path) = words(at);
        self.runtime.block_on(async {
            match change {
                Change::Start => self.proxy.start_agent(domain, path).await,
                Change::Stop => self.proxy.stop_agent(domain, path).await,
                Change::Restart => self.proxy.restart_agent(domain, path).await,
            }
        })
    }

    fn agent_status(&self, at: &Place) -> Result<AgentStatus, ControlError> {
        let (domain, path) = words(at);
        self.runtime.block_on(self.proxy.agent_status(domain, path))
    }

    fn status(&self) -> Result<HostStatus, ControlError> {
        self.runtime.block_on(self.proxy.status())
    }

    fn config(&self) -> Result<String, ControlError> {
        self.runtime.block_on(self.proxy.config())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::failure::Failure;

    /// Serves a few verbs; the others are unknown methods, as on a supervisor of another version.
    struct Stub;

    #[expect(clippy::unused_self, reason = "the interface is called with it")]
    #[zbus::interface(name = "io.ploinky.Supervisor1")]
    impl Stub {
        fn status(&self) -> HostStatus {
            let agents = vec![AgentStatus { path: "/echo".into(), ..AgentStatus::default() }];
            HostStatus { version: "0.1.0".into(), port: 8000, agents, ..HostStatus::default() }
        }

        fn undeploy(&self, domain: &str, path: &str) -> Result<(), ControlError> {
            Err(ControlError::NotFound(format!("no agent is deployed at {domain}{path}")))
        }

        fn stop_agent(&self, domain: &str, path: &str) -> Result<AgentStatus, ControlError> {
            Err(ControlError::NotAuthorized(format!("stop {domain}{path}")))
        }

        fn config(&self) -> Result<String, zbus::fdo::Error> {
            Err(zbus::fdo::Error::AccessDenied("the bus says no".into()))
        }
    }

    /// A client of a stub that runs in a thread, without a bus between them.
    fn connected() -> (Bus, std::thread::JoinHandle<()>) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        for stream in [&ours, &theirs] {
            stream.set_nonblocking(true).unwrap();
        }
        let server = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let connection = zbus::connection::Builder::unix_stream(theirs)
                    .server(zbus::Guid::generate())
                    .p2p()
                    .serve_at(ploinky_control::OBJECT_PATH, Stub)
                    .build()
                    .await
                    .unwrap();
                // The client's end of the stream ends it.
                connection.closed().await;
            });
        });
        let bus = Bus::connect(|| zbus::connection::Builder::unix_stream(ours).p2p());
        (bus.unwrap(), server)
    }

    #[test]
    fn refusals_of_the_supervisor_keep_their_name_and_exit_code() {
        let (bus, server) = connected();
        let at: Place = "localhost/echo".parse().unwrap();
        let exit = |error: &ControlError| Failure::of_control("", error).exit();

        let found = bus.undeploy(&at).unwrap_err();
        assert!(
            matches!(&found, ControlError::NotFound(text) if text == "no agent is deployed at localhost/echo")
        );
        assert_eq!(exit(&found), 1);
        let found = bus.change(Change::Stop, &at).unwrap_err();
        assert!(
            matches!(&found, ControlError::NotAuthorized(text) if text == "stop localhost/echo")
        );
        assert_eq!(exit(&found), 77);
        let found = bus.config().unwrap_err();
        assert_eq!((exit(&found), matches!(found, ControlError::Bus(_))), (77, true));
        let found = bus.change(Change::Restart, &at).unwrap_err();
        assert_eq!((exit(&found), matches!(found, ControlError::Bus(_))), (69, true));

        assert_eq!(bus.status().unwrap().agents[0].path, "/echo");
        drop(bus);
        server.join().unwrap();
    }
}
