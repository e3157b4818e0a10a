//! The systemd generator: `settings` of `config.json` becomes instances that `ploinky.target` starts.
//!
//! ```text
//!  /var/lib/ploinky/config.json ──► settings ──► units ──► <normal-dir>/ploinky.target.wants/ploinky@N.{socket,service}
//!                                                          <normal-dir>/ploinky.target.wants/ploinky-admin@N.socket
//!                                                          <normal-dir>/ploinky@.socket.d/50-port.conf
//! ```
//! It runs early in the boot and at each reload of the service manager (systemd.generator(7)), so it needs the
//! file system only, bounds what it reads, and falls back to the defaults: a broken file must not keep the
//! host from answering.

mod log;
mod settings;
mod units;

use std::ffi::OsString;
use std::io::Write;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::ExitCode;
use std::thread::available_parallelism;

use ploinky_contract::exit;
use ploinky_contract::paths::{STATE, StateDir};

use crate::log::Log;

/// The process: `ploinky-generator NORMAL-DIR [EARLY-DIR LATE-DIR]`.
pub fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let cores = available_parallelism().map_or(1, NonZeroUsize::get);
    let (mut kernel, mut stderr) = (log::kernel().ok(), std::io::stderr());
    let kernel = kernel.as_mut().map(|kernel| kernel as &mut dyn Write);
    run(&arguments, &StateDir::new(STATE), cores, &mut Log::new(kernel, &mut stderr))
}

/// The generator over another state directory, number of cores and log.
fn run(arguments: &[OsString], state: &StateDir, cores: usize, log: &mut Log<'_>) -> ExitCode {
    let normal = match arguments {
        [normal] | [normal, _, _] => Path::new(normal),
        [] | [_, _] | [_, _, _, ..] => {
            log.say(&"usage: ploinky-generator NORMAL-DIR [EARLY-DIR LATE-DIR]");
            return ExitCode::from(exit::USAGE);
        }
    };
    let settings = settings::read(&state.config()).unwrap_or_else(|e| {
        log.say(&format_args!("{}; the default settings are used", chain(&e)));
        ploinky_contract::Settings::default()
    });
    match units::write(normal, &units::wanted(&settings, cores)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(e) => {
            log.say(&chain(&e));
            ExitCode::from(exit::REFUSED)
        }
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    struct Machine {
        directory: tempfile::TempDir,
    }

    impl Machine {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            for name in ["state", "normal", "early", "late"] {
                fs::create_dir(directory.path().join(name)).unwrap();
            }
            Self { directory }
        }

        fn config(&self) -> PathBuf {
            self.directory.path().join("state/config.json")
        }

        fn put(&self, text: &str) {
            fs::File::create(self.config()).unwrap().write_all(text.as_bytes()).unwrap();
        }

        /// Runs the generator on two cores; what it said, and what it left: text of files, targets of links.
        fn run(&self) -> (ExitCode, String, BTreeMap<String, String>) {
            let at = |name: &str| self.directory.path().join(name);
            let arguments = ["normal", "early", "late"].map(|name| at(name).into_os_string());
            let mut log = Vec::new();
            let state = StateDir::new(at("state"));
            let code = run(&arguments, &state, 2, &mut Log::new(None, &mut log));
            let mut found = BTreeMap::new();
            for name in ["normal", "early", "late"] {
                list(&at(name), &at("normal"), &mut found);
            }
            (code, String::from_utf8(log).unwrap(), found)
        }
    }

    /// Puts something hostile, or a link to the valid text, in the place of the file.
    type Prepare = fn(&Machine, &str);

    fn list(directory: &Path, root: &Path, found: &mut BTreeMap<String, String>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_symlink() {
                let target = fs::read_link(&path).unwrap();
                found.insert(relative(&path, root), format!("-> {}", target.display()));
            } else if path.is_dir() {
                list(&path, root, found);
            } else {
                found.insert(relative(&path, root), fs::read_to_string(&path).unwrap());
            }
        }
    }

    fn relative(path: &Path, root: &Path) -> String {
        path.strip_prefix(root).unwrap().display().to_string()
    }

    fn instances(count: usize) -> BTreeMap<String, String> {
        (1..=count)
            .flat_map(|n| {
                ["ploinky@.service", "ploinky@.socket", "ploinky-admin@.socket"].map(|unit| {
                    (
                        format!("ploinky.target.wants/{}", unit.replace('@', &format!("@{n}"))),
                        format!("-> /usr/lib/systemd/system/{unit}"),
                    )
                })
            })
            .collect()
    }

    #[test]
    fn a_broken_file_is_one_message_and_the_defaults() {
        let machine = Machine::new();
        machine.put(r#"{"domains":[],"deployments":[],"settings":{"port":0}}"#);
        let (code, log, found) = machine.run();
        assert_eq!(code, ExitCode::SUCCESS);
        assert_eq!(
            log,
            format!(
                "ploinky-generator: {} is not valid: `settings.port`: 0 is not in the range 1 to 65535; \
                 the default settings are used\n",
                machine.config().display()
            )
        );
        assert_eq!(found, instances(2));
    }

    #[test]
    fn hostile_files_are_refused_and_give_the_defaults() {
        let valid = r#"{"domains":[],"deployments":[],"settings":{"port":1}}"#;
        let cases: [(&str, Prepare); 6] = [
            ("Is a directory", |machine, _valid| fs::create_dir(machine.config()).unwrap()),
            ("is not a regular file", |machine, _valid| {
                let mode = rustix::fs::Mode::from_raw_mode(0o600);
                rustix::fs::mkfifoat(rustix::fs::CWD, machine.config(), mode).unwrap();
            }),
            ("Too many levels of symbolic links", |machine, valid| {
                let target = machine.directory.path().join("elsewhere");
                fs::File::create(&target).unwrap().write_all(valid.as_bytes()).unwrap();
                symlink(target, machine.config()).unwrap();
            }),
            ("bytes; 4194304 are allowed", |machine, _valid| machine.put(&" ".repeat(10 << 20))),
            ("nests deeper", |machine, _valid| machine.put(&"{\"a\":".repeat(100_000))),
            ("is not a JSON object", |machine, _valid| machine.put("\0\0\0")),
        ];
        for (expected, prepare) in cases {
            let machine = Machine::new();
            prepare(&machine, valid);
            let (code, log, found) = machine.run();
            assert_eq!((code, &found), (ExitCode::SUCCESS, &instances(2)), "{expected}");
            assert!(
                log.contains(expected) && log.lines().count() == 1,
                "want {expected}, got {log}"
            );
        }
    }

    #[test]
    fn a_sparse_file_larger_than_the_memory_is_not_read() {
        let machine = Machine::new();
        fs::File::create(machine.config()).unwrap().set_len(1 << 40).unwrap();
        let (code, log, found) = machine.run();
        assert_eq!((code, found), (ExitCode::SUCCESS, instances(2)));
        assert!(log.contains("bytes; 4194304 are allowed"), "{log}");
    }

    #[test]
    fn without_a_file_the_defaults_hold_silently() {
        let (code, log, found) = Machine::new().run();
        assert_eq!((code, log.as_str()), (ExitCode::SUCCESS, ""));
        assert_eq!(found, instances(2));
    }

    #[test]
    fn port_and_count_come_from_the_file() {
        let machine = Machine::new();
        machine.put(r#"{"domains":[],"deployments":[],"settings":{"port":80,"workersCount":3}}"#);
        let (code, log, found) = machine.run();
        assert_eq!((code, log.as_str()), (ExitCode::SUCCESS, ""));
        let mut expected = instances(3);
        expected.insert(
            "ploinky@.socket.d/50-port.conf".to_owned(),
            "# settings.port of /var/lib/ploinky/config.json\n[Socket]\nListenStream=\nListenStream=80\n"
                .to_owned(),
        );
        assert_eq!(found, expected);
    }

    #[test]
    fn an_output_directory_that_is_not_there_is_an_error() {
        let machine = Machine::new();
        fs::remove_dir(machine.directory.path().join("normal")).unwrap();
        let mut log = Vec::new();
        let normal = machine.directory.path().join("normal").into_os_string();
        let state = StateDir::new(machine.directory.path().join("state"));
        let code = run(&[normal], &state, 1, &mut Log::new(None, &mut log));
        assert_eq!(code, ExitCode::from(exit::REFUSED));
        assert!(String::from_utf8(log).unwrap().contains("cannot make"));
    }

    #[test]
    fn other_argument_counts_are_a_usage_error() {
        let state = StateDir::new("/nonexistent");
        for count in [0, 2, 4] {
            let arguments = vec![OsString::from("/nonexistent"); count];
            let code = run(&arguments, &state, 1, &mut Log::new(None, &mut Vec::new()));
            assert_eq!(code, ExitCode::from(exit::USAGE));
        }
    }
}
