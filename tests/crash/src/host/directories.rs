//! The directories of a host, as the package and the supervisor make them.

use std::fs::{File, Permissions};
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};

use ploinky_contract::paths::{AgentDir, RuntimeDir, StateDir};
use ploinky_contract::{AgentId, DeployPath, Domain};

use super::{AGENT, Host, SERVER};

/// A persistent handler: notes that it ran, then answers. `again` fails once or twice for some tasks, and for
/// good for few; `slow` takes a moment.
const HANDLER: &str = r#"n=0
while IFS= read -r line; do
    id=${line#*'"id":"'}; id=${id%%'"'*}
    command=${line#*'"command":"'}; command=${command%%'"'*}
    attempt=${line##*'"attempt":'}; attempt=${attempt%%[!0-9]*}
    case $line in
    *'["InternetUser",'*) call=${line#*'["InternetUser",'}; call=$id#${call%%]*} ;;
    *) call=$id#0 ;;
    esac
    n=$((n + 1))
    printf '%s %s %s\n' "$call" "$command" "$attempt" >>"$PLOINKY_CRASH_EFFECTS" || exit
    fails=no
    case $command$attempt$id in
    again1[0-7]* | again2[0-3]* | again3[0]*) fails=yes ;;
    slow*) sleep 1 ;;
    esac
    if [ $fails = yes ]; then
        printf '{"id":"%s","error":{"message":"not yet","code":"NOT_YET"}}\n' "$id"
    else
        printf '{"id":"%s","response":["%s",%s,"%s.%s"]}\n' "$id" "$call" "$attempt" $$ $n
    fi
done
"#;
const MANIFEST: &str = r#"{"name":"a","container":"localhost/a","timeout":60,"concurrency":8,
"commands":{"once":"worker","again":{"run":"worker","retry":{"attempts":3,"backoff":0.01,"maxBackoff":0.05}},
"slow":"worker"},"worker":{"command":"sh worker.sh","processes":4}}"#;
const CONFIG: &str = r#"{"domains":[{"name":"localhost"}],
"deployments":[{"domain":"localhost","path":"/a","agent":"a"}]}"#;

impl Host {
    /// The state directory.
    pub(super) fn state(&self) -> StateDir {
        StateDir::new(self.disk.path().join("state"))
    }

    /// That of the agent.
    pub(super) fn agent(&self) -> AgentDir {
        let (domain, path) = place();
        self.state().agent(&domain, &path)
    }

    /// Its lane in memory.
    pub(super) fn lane(&self) -> PathBuf {
        let (domain, path) = place();
        RuntimeDir::new(self.root.path().join("run"))
            .sync_of(&AgentId::new(&domain, &path).unwrap())
    }

    /// What the supervisor makes, with the owners and modes that it gives.
    pub(super) fn furnish(&self) {
        let (state, agent) = (self.state(), self.agent());
        make(state.root(), 0, SERVER, 0o751);
        put(&state.config(), CONFIG, 0, 0o644);
        put(&state.task_key(), &"0f".repeat(32), SERVER, 0o640);
        make(&state.agents(), 0, 0, 0o711);
        make(&state.domain(&place().0), 0, 0, 0o711);
        make(agent.root(), 0, SERVER, 0o2711);
        put(&agent.manifest(), MANIFEST, 0, 0o644);
        make(&agent.tasks(), SERVER, AGENT, 0o2750);
        for (name, mode) in [
            ("requests", 0o2750),
            ("urgent", 0o2750),
            ("files", 0o2750),
            ("responses", 0o3770),
            ("errors", 0o3770),
            ("locks", 0o3770),
            ("outputs", 0o3770),
        ] {
            make(&agent.tasks().join(name), SERVER, AGENT, mode);
        }
        rustix::fs::syncfs(File::open(self.disk.path()).unwrap()).unwrap();
        let root = self.root.path();
        make(&root.join("code"), 0, 0, 0o755);
        put(&root.join("code/worker.sh"), HANDLER, 0, 0o755);
        put(&root.join("effects"), "", 0, 0o666);
        self.furnish_runtime();
    }

    /// The same of what a reboot ends.
    pub(super) fn furnish_runtime(&self) {
        let run = self.root.path().join("run");
        make(&run, SERVER, SERVER, 0o755);
        make(&run.join("inst"), SERVER, SERVER, 0o750);
        make(&run.join("sync"), 0, 0, 0o711);
        make(&self.lane(), SERVER, AGENT, 0o2750);
        for (name, mode) in [
            ("requests", 0o2750),
            ("urgent", 0o2750),
            ("streams", 0o2750),
            ("responses", 0o2750),
            ("locks", 0o3770),
        ] {
            make(&self.lane().join(name), SERVER, AGENT, mode);
        }
    }
}

fn place() -> (Domain, DeployPath) {
    ("localhost".parse().unwrap(), "/a".parse().unwrap())
}

fn make(path: &Path, user: u32, group: u32, mode: u32) {
    std::fs::create_dir_all(path).unwrap();
    allow(path, user, group, mode);
}

fn put(path: &Path, text: &str, group: u32, mode: u32) {
    std::fs::write(path, text).unwrap();
    allow(path, 0, group, mode);
}

pub(super) fn allow(path: &Path, user: u32, group: u32, mode: u32) {
    chown(path, Some(user), Some(group)).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}
