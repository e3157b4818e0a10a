//! `ploinkyctl deploy`.

use std::path::{Path, PathBuf};

use clap::Args;
use ploinky_contract::limits::MANIFEST_MAX_BYTES;
use ploinky_contract::{AgentName, DeployPath, Domain, Manifest, Service};
use ploinky_control::{AgentStatus, ControlError};

use crate::archive::Source;
use crate::failure::{Failure, Stop};
use crate::machine::Machine;
use crate::output::Output;
use crate::place::{Place, name_from, nearest};
use crate::report::AgentReport;
use crate::supervisor::Supervisor;
use crate::words;

/// Lines of the agent's log that are shown when it did not start.
const LOG_LINES: &str = "--lines=10";

#[derive(Args, Debug)]
#[command(after_long_help = "\
A directory with a manifest.json becomes the agent that the manifest describes.
A directory without one becomes a static agent that serves all its files; it can
be deployed at / only. `.git` is left out. An agent that is there is replaced.

Examples:
  Deploy the installed agent `echo`
    sudo ploinkyctl deploy localhost /echo echo
  Deploy a directory of files as the web site of a domain
    sudo ploinkyctl deploy example.org / ./public")]
pub(crate) struct Arguments {
    /// Host name at which the agent answers
    domain: Domain,
    /// Path at which the agent answers; `/` is for static agents
    path: DeployPath,
    /// A directory (`.` or anything with a `/`), or the name of an installed agent
    #[arg(value_name = "DIR|AGENT")]
    source: String,
    /// Name of the agent, for a directory without manifest.json
    #[arg(long)]
    name: Option<AgentName>,
}

/// Checks here what can be checked here, hands the agent to the supervisor, and says where it answers.
pub(crate) fn run(
    arguments: &Arguments,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let Arguments { domain, path, source, name } = arguments;
    let place = Place { domain: domain.clone(), path: path.clone() };
    let is_directory = source.contains('/') || source == "." || source == "..";
    if is_directory {
        from_directory(Path::new(source), name.as_ref(), &place, machine, output)
    } else if name.is_some() {
        Err(Failure::usage("--name goes with a directory; an installed agent has its name").into())
    } else {
        installed(source, &place, machine, output)
    }
}

fn from_directory(
    directory: &Path,
    name: Option<&AgentName>,
    place: &Place,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let what = || format!("cannot deploy {}", directory.display());
    let source = Source::open(directory).map_err(|e| Failure::refused(what()).because(&e))?;
    let text = source.manifest().map_err(|e| Failure::refused(what()).because(&e))?;
    let manifest = match (text, name) {
        (Some(text), None) => parse(&text, &directory.join("manifest.json"), what())?,
        (Some(_), Some(_)) => {
            let hint = "leave out --name; the name is in the manifest";
            return Err(Failure::usage(format!("{} has a manifest.json", directory.display()))
                .hint(hint)
                .into());
        }
        (None, Some(name)) => Manifest::of_plain_files(name.clone()),
        (None, None) => Manifest::of_plain_files(name_from(&base_name(directory))),
    };
    fits(&manifest, place, what())?;
    if let Service::Static { directory: files } = &manifest.service
        && !source.has_directory(files)
    {
        let missing = format!("`static`: {} is not a directory", directory.join(files).display());
        return Err(Failure::refused(what()).cause(missing).into());
    }
    let packed = source
        .pack(&machine.paths().temporary)
        .map_err(|e| Failure::refused(what()).because(&e))?;
    output.progress(&format_args!(
        "packed {}, {}",
        words::count(packed.files, "file", "files"),
        words::size(packed.bytes)
    ))?;
    hand_over(&manifest, place, machine, output, &|supervisor| {
        supervisor.deploy_archive(place, &manifest.name, &packed.file)
    })
}

fn installed(
    word: &str,
    place: &Place,
    machine: &dyn Machine,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let what = || format!("cannot deploy `{word}`");
    let agent: AgentName = word.parse().map_err(|e: ploinky_contract::InvalidAgentName| {
        let hint = format!("a directory is written with a slash: `./{word}`");
        Failure::usage(what()).because(&e).hint(hint)
    })?;
    let root = &machine.paths().installed;
    let path = root.join(agent.as_str()).join("manifest.json");
    if !machine.exists(&path) {
        return Err(not_installed(&agent, root, machine, what()).into());
    }
    let text = machine.read(&path, MANIFEST_MAX_BYTES).map_err(|e| {
        Failure::refused(what()).cause(format!("cannot read {}", path.display())).because(&e)
    })?;
    let manifest = parse(&text, &path, what())?;
    fits(&manifest, place, what())?;
    hand_over(&manifest, place, machine, output, &|supervisor| {
        supervisor.deploy_installed(place, &agent)
    })
}

fn not_installed(agent: &AgentName, root: &Path, machine: &dyn Machine, what: String) -> Failure {
    let names: Vec<String> = machine
        .list(root)
        .unwrap_or_default()
        .into_iter()
        .filter(|name| machine.exists(&root.join(name).join("manifest.json")))
        .collect();
    let failure = Failure::refused(what).cause(if names.is_empty() {
        format!("no agent is installed in {}", root.display())
    } else {
        format!("no such agent is installed; there are {}", names.join(", "))
    });
    if Path::new(agent.as_str()).is_dir() {
        return failure.hint(format!("a directory is written with a slash: `./{agent}`"));
    }
    match nearest(agent.as_str(), names.iter().map(String::as_str)).as_slice() {
        [] => failure,
        near => failure.hint(format!("did you mean {}?", near.join(" or "))),
    }
}

fn parse(text: &[u8], path: &Path, what: String) -> Result<Manifest, Failure> {
    Manifest::parse(text).map_err(|e| {
        Failure::refused(what)
            .cause(format!("{}: {e}", path.display()))
            .hint("ploinky-manifest(5) lists all keys")
    })
}

/// The path `/` is for static agents, and they for it.
fn fits(manifest: &Manifest, place: &Place, what: String) -> Result<(), Failure> {
    match (&manifest.service, place.path.is_root()) {
        (Service::Static { .. }, true) | (Service::Container(_), false) => Ok(()),
        (Service::Static { .. }, false) => Err(Failure::refused(what)
            .cause(format!(
                "`{}` serves files, which is possible at the path / only",
                manifest.name
            ))
            .hint(format!(
                "deploy it at / of {}, or add `container` to a manifest.json",
                place.domain
            ))),
        (Service::Container(_), true) => Err(Failure::refused(what)
            .cause(format!("`{}` runs a container, and the path / is for files", manifest.name))
            .hint(format!("deploy it at another path, for example /{}", manifest.name))),
    }
}

fn base_name(directory: &Path) -> String {
    let absolute = directory.canonicalize().unwrap_or_else(|_e| PathBuf::from(directory));
    absolute.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
}

fn hand_over(
    manifest: &Manifest,
    place: &Place,
    machine: &dyn Machine,
    output: &mut Output<'_>,
    ask: &dyn Fn(&dyn Supervisor) -> Result<AgentStatus, ControlError>,
) -> Result<(), Stop> {
    let what = || format!("cannot deploy `{}` at {place}", manifest.name);
    let supervisor = machine.supervisor().map_err(|e| Failure::of_control(what(), &e))?;
    output.progress(&format_args!("deploying `{}` at {place}", manifest.name))?;
    let began = machine.now_usec() / 1_000_000;
    let agent = ask(&*supervisor).map_err(|e| {
        explained(Failure::of_control(what(), &e), &e, manifest, place, machine, began)
    })?;
    if let Some(problem) = &agent.problem {
        output.warning(problem)?;
    }
    if output.json {
        return Ok(output.value(&AgentReport::from(agent))?);
    }
    let port = supervisor.status().map_or(8000, |host| host.port);
    Ok(output.out.line(&format!("deployed {} at {}", manifest.name, place.url(port)))?)
}

/// Adds what is known here to a refusal: the image's name, the last words of the agent.
fn explained(
    failure: Failure,
    error: &ControlError,
    manifest: &Manifest,
    place: &Place,
    machine: &dyn Machine,
    began: u64,
) -> Failure {
    match (error, &manifest.service) {
        (ControlError::ImageMissing(_), Service::Container(container)) => {
            failure.hint(format!("{}, as root; then deploy again", container.image.remedy()))
        }
        (ControlError::StartFailed(_), _) => failure
            .log(last_words(place, machine, began))
            .hint(format!("`ploinkyctl agent logs {place}` shows more of the log")),
        _ => failure,
    }
}

fn last_words(place: &Place, machine: &dyn Machine, began: u64) -> Vec<String> {
    let Ok(service) = place.service() else { return Vec::new() };
    let (unit, since) = (format!("--unit={service}"), format!("--since=@{began}"));
    let words = ["journalctl", "--no-pager", "--quiet", "--output=cat", LOG_LINES, &unit, &since];
    match machine.run(&words, &[]) {
        Ok(finished) if finished.code == Some(0) => {
            finished.stdout.lines().map(str::to_owned).collect()
        }
        // The error itself is told; a log that cannot be read adds nothing.
        Ok(_) | Err(_) => Vec::new(),
    }
}
