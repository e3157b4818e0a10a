//! Deployment and manifest → the Quadlet file of one agent. Pure: reads nothing, writes nothing.
//!
//! Only keys that Podman 5.0 knows are used, because Quadlet drops a unit with a key that it does not know.
//! Bounds on memory, processor and processes are systemd's: Quadlet runs the container in the cgroup of its
//! unit, and `Memory=` came with Podman 5.5 only.

use ploinky_contract::limits::{AGENT_WATCHDOG, START_TIMEOUT, STOP_TIMEOUT, UID_RANGE_SIZE};
use ploinky_contract::paths::{
    AGENT_CORE, AgentDir, CONTAINER_AGENT_CORE, CONTAINER_CODE, CONTAINER_DATA, CONTAINER_MANIFEST,
    CONTAINER_SYNC, CONTAINER_TASKS, RUNTIME, RuntimeDir,
};
use ploinky_contract::{AgentId, Container, Deployment, Resources};

use crate::unit_text::{UnitText, UnitTextError};

/// `MemoryMax=` if the manifest says nothing: enough for Node.js or Python with libraries.
const MEMORY_DEFAULT_BYTES: u64 = 512 << 20;
/// `CPUQuota=` if the manifest says nothing, percent of one core.
const CPU_DEFAULT_PERCENT: u32 = 100;
/// `PidsLimit=` if the manifest says nothing.
const PIDS_DEFAULT: u32 = 256;
/// What `TasksMax=` of the unit allows beyond the container: Podman and conmon with their threads.
const TASKS_BESIDES_CONTAINER: u32 = 44;
/// What a root of a container needs for package managers (the first five) and to end what it started.
const CAPABILITIES: &str = "CAP_CHOWN CAP_DAC_OVERRIDE CAP_FOWNER CAP_SETUID CAP_SETGID CAP_KILL";

/// The program that makes the queue in memory before the container starts.
const SUPERVISOR: &str = "/usr/lib/ploinky/ploinky-supervisor";

/// Everything that the text of a unit depends on.
#[derive(Clone, Debug)]
pub struct AgentUnit<'a> {
    /// Names unit and container.
    pub id: &'a AgentId,
    /// Where the agent answers.
    pub deployment: &'a Deployment,
    /// How its commands are carried out.
    pub container: &'a Container,
    /// Its directory on the host.
    pub dir: &'a AgentDir,
    /// First host uid and gid of its range.
    pub uid_first: u32,
    /// Whether it should run, also after the next boot.
    pub runs: bool,
}

/// Why there is no unit: a value that was accepted everywhere else cannot stand in one.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("cannot write the unit of {id}")]
pub struct QuadletError {
    id: AgentId,
    source: UnitTextError,
}

impl AgentUnit<'_> {
    /// The text of the agent's `.container` file.
    ///
    /// # Errors
    /// When a value cannot stand in a unit file; names the key.
    pub fn text(&self) -> Result<String, QuadletError> {
        let mut unit = UnitText::default();
        self.write(&mut unit).map_err(|source| QuadletError { id: self.id.clone(), source })?;
        Ok(unit.finish())
    }

    fn write(&self, unit: &mut UnitText) -> Result<(), UnitTextError> {
        let Self { id, deployment, container, dir: _, uid_first: _, runs } = self;
        let Deployment { domain, path, agent, .. } = deployment;
        unit.comment(
            "Written by ploinky-supervisor from config.json; what is changed here is lost.",
        );
        unit.comment("To change the agent, use ploinkyctl or edit /var/lib/ploinky/config.json.");
        unit.comment(
            "To add keys, use a drop-in in /etc/containers/systemd/<name of this file>.d/.",
        );

        unit.section("Unit");
        unit.set("Description", &format!("Ploinky agent {agent} at {domain}{path}"))?;
        // `systemctl stop ploinky.target` means all of Ploinky.
        unit.fixed("PartOf", "ploinky.target");
        unit.fixed("StartLimitIntervalSec", "0");
        if self.has_lane() {
            unit.fixed("Wants", "run-ploinky-sync.mount");
            unit.fixed("After", "run-ploinky-sync.mount");
        }

        unit.section("Container");
        unit.set("Image", container.image.as_str())?;
        // The supervisor looked before; a pull at start would need the network and could take for ever.
        unit.fixed("Pull", "never");
        unit.set("ContainerName", &id.container())?;
        unit.set("Label", &format!("io.ploinky.domain={domain}"))?;
        unit.set("Label", &format!("io.ploinky.path={path}"))?;
        unit.set("Label", &format!("io.ploinky.agent={agent}"))?;
        self.write_program(unit)?;
        self.write_files(unit)?;
        self.write_protection(unit)?;
        self.write_service(unit)?;
        // Without a network there is nothing to wait for. Podman 5.3 knows the key; older ones hand the
        // section to systemd, which ignores it.
        unit.section("Quadlet");
        unit.fixed("DefaultDependencies", "false");
        if *runs {
            unit.section("Install");
            unit.fixed("WantedBy", "ploinky.target");
        }
        Ok(())
    }

    /// The words of a program of the image that serves the queue on the disk itself; `None` if agent-core serves
    /// both queues.
    fn own_program(&self) -> Option<&[String]> {
        let run = self.container.run.as_deref();
        run.filter(|words| words.first().is_none_or(|word| word != CONTAINER_AGENT_CORE))
    }

    fn has_lane(&self) -> bool {
        self.own_program().is_none()
    }

    fn write_program(&self, unit: &mut UnitText) -> Result<(), UnitTextError> {
        let Container { run, env, .. } = self.container;
        unit.fixed("WorkingDir", CONTAINER_CODE);
        // In front of a program of the image it shows that the queue is served, and ends what was left in it.
        let hosted = self.own_program().map(|_| ["host", "--"]).into_iter().flatten();
        let core = (run.is_none() || self.own_program().is_some()).then_some(CONTAINER_AGENT_CORE);
        let words = run.iter().flatten().map(String::as_str);
        unit.words("Entrypoint", core.into_iter().chain(hosted).chain(words))?;
        // agent-core says READY=1 when the queue is served.
        unit.fixed("Notify", "true");
        for (name, value) in env {
            unit.environment(name, value)?;
        }
        // Neither ours nor one that the image brings: each run is a whole Podman. systemd's watchdog does it.
        unit.fixed("HealthCmd", "none");
        // Without it there would be a timer that runs nothing, in a whole Podman.
        unit.fixed("HealthInterval", "disable");
        unit.fixed("RunInit", "true");
        unit.fixed("StopTimeout", "10");
        unit.fixed("LogDriver", "journald");
        Ok(())
    }

    fn write_files(&self, unit: &mut UnitText) -> Result<(), UnitTextError> {
        let volume = |host: &std::path::Path, inside: &str, options: &str| {
            let host = host.to_str().unwrap_or_default();
            // A colon would move the border between the parts.
            if !host.starts_with('/') || host.contains(':') {
                return Err(UnitTextError::Shape {
                    key: "Volume".to_owned(),
                    value: host.to_owned(),
                });
            }
            Ok(format!("{host}:{inside}:{options}"))
        };
        let dir = self.dir;
        unit.set("Volume", &volume(&dir.code(), CONTAINER_CODE, "nosuid,nodev")?)?;
        unit.set("Volume", &volume(&dir.tasks(), CONTAINER_TASKS, "nosuid,nodev,noexec")?)?;
        if self.container.data {
            unit.set("Volume", &volume(&dir.data(), CONTAINER_DATA, "nosuid,nodev,noexec")?)?;
        }
        if self.has_lane() {
            let lane = RuntimeDir::new(RUNTIME).lane_of(self.id);
            unit.set("Volume", &volume(&lane, CONTAINER_SYNC, "nosuid,nodev,noexec")?)?;
        }
        let core = AGENT_CORE.as_ref();
        unit.set("Volume", &volume(core, "/agentCore", "ro,nosuid,nodev")?)?;
        let manifest = volume(&dir.manifest(), CONTAINER_MANIFEST, "ro,nosuid,nodev,noexec")?;
        unit.set("Volume", &manifest)?;
        unit.fixed("ReadOnly", "true");
        unit.fixed("ReadOnlyTmpfs", "true");
        unit.fixed("Tmpfs", "/root:size=256m,mode=0700");
        Ok(())
    }

    fn write_protection(&self, unit: &mut UnitText) -> Result<(), UnitTextError> {
        let map = format!("0:{}:{UID_RANGE_SIZE}", self.uid_first);
        unit.set("UIDMap", &map)?;
        unit.set("GIDMap", &map)?;
        // Root of the range, whatever the image says: the queue belongs to its group.
        unit.fixed("User", "0");
        unit.fixed("Group", "0");
        unit.fixed("NoNewPrivileges", "true");
        unit.fixed("DropCapability", "all");
        unit.fixed("AddCapability", CAPABILITIES);
        unit.fixed("Network", "none");
        unit.fixed("Ulimit", "nofile=4096:8192");
        unit.fixed("Ulimit", "core=0");
        let pids = self.container.resources.pids.unwrap_or(PIDS_DEFAULT);
        unit.set("PidsLimit", &pids.to_string())?;
        Ok(())
    }

    fn write_service(&self, unit: &mut UnitText) -> Result<(), UnitTextError> {
        let Resources { memory_bytes, cpu_percent, pids } = &self.container.resources;
        unit.section("Service");
        unit.fixed("Slice", "ploinky-agents.slice");
        if self.has_lane() {
            // As root of the host, in the cgroup of the agent, whose memory it is.
            let Self { id, uid_first, .. } = self;
            unit.set("ExecStartPre", &format!("+{SUPERVISOR} make-lane {id} {uid_first}"))?;
        }
        unit.fixed("Restart", "always");
        // Short enough to be back before a waiting request gives up, long enough not to spin.
        unit.fixed("RestartSec", "500ms");
        // agent-core gives the signs of life. Without one all processes of the container go at once: Podman, which
        // would ask them first, takes StopTimeout= for that, and conmon alone takes nobody with it.
        unit.set("WatchdogSec", &AGENT_WATCHDOG.as_secs().to_string())?;
        unit.fixed("WatchdogSignal", "SIGKILL");
        unit.fixed("KillMode", "control-group");
        // A program that ends on SIGTERM did what it was asked.
        unit.fixed("SuccessExitStatus", "143");
        unit.set("TimeoutStartSec", &START_TIMEOUT.as_secs().to_string())?;
        unit.set("TimeoutStopSec", &STOP_TIMEOUT.as_secs().to_string())?;
        let memory = memory_bytes.unwrap_or(MEMORY_DEFAULT_BYTES);
        unit.set("MemoryMax", &memory.to_string())?;
        unit.fixed("MemorySwapMax", "0");
        let cpu = cpu_percent.unwrap_or(CPU_DEFAULT_PERCENT);
        unit.percent("CPUQuota", cpu);
        unit.fixed("IOWeight", "50");
        let tasks = pids.unwrap_or(PIDS_DEFAULT).saturating_add(TASKS_BESIDES_CONTAINER);
        unit.set("TasksMax", &tasks.to_string())?;
        Ok(())
    }
}
