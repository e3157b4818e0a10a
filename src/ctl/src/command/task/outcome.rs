//! What the end of a task means for the exit status, and how its result is printed.

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ploinky_contract::{ErrorDocument, FileDocument, TaskDocument, TaskState, exit};
use serde_json::value::RawValue;

use super::Host;
use crate::call::Body;
use crate::command::call::print;
use crate::failure::{Failure, Stop};
use crate::instance::parsed;
use crate::output::Output;

/// Bytes of a file that are held at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// Why a task has no result; none if it has one.
pub(super) fn failure(task: &TaskDocument) -> Option<Failure> {
    let TaskDocument { id, agent, state, .. } = task;
    let (exit, words) = match state {
        TaskState::Done => return None,
        TaskState::Queued | TaskState::Running | TaskState::Retrying => {
            let failure = Failure::new(exit::NOT_ENDED, format!("task {id} has not ended"))
                .cause(format!("it is {}", crate::task_words::standing(task)));
            return Some(failure.hint(format!("`ploinkyctl task watch {id}` waits for its end")));
        }
        TaskState::Failed => (exit::TASK_FAILED, "failed"),
        TaskState::Cancelled => (exit::TASK_CANCELLED, "was cancelled"),
        TaskState::Dead => (exit::TASK_DEAD, "failed in its last retry"),
    };
    let mut failure = Failure::new(exit, format!("task {id} {words}"));
    if let Some(ErrorDocument { message, code, .. }) = &task.error {
        failure = failure.cause(format!("{code}: {message}"));
    }
    Some(failure.hint(if *state == TaskState::Cancelled {
        format!("`ploinkyctl task retry {id}` submits it once more")
    } else {
        format!("`ploinkyctl agent logs {agent} --task {id}` shows what was logged")
    }))
}

/// Prints the result of a task that has one, or writes it to `to`; else says why there is none.
pub(super) fn deliver(
    task: &TaskDocument,
    to: Option<&Path>,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    if let Some(failure) = failure(task) {
        if output.json {
            output.value(task)?;
        }
        return Err(failure.into());
    }
    match &task.file {
        Some(file) => deliver_file(task, file, to, host, output),
        None => deliver_data(task, to, host, output),
    }
}

fn deliver_data(
    task: &TaskDocument,
    to: Option<&Path>,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let what = || format!("cannot get the result of task {}", task.id);
    let answer = host.instances.result(task.id).map_err(|e| e.failure_of(what(), task.id))?;
    let data = parsed::<Body<'_>>(&answer).map_err(|e| e.failure(what()))?.data;
    let data = data.map_or("null", RawValue::get);
    match to {
        Some(to) => {
            let text: Option<String> = serde_json::from_str(data).unwrap_or_default();
            let bytes = text.unwrap_or_else(|| data.to_owned()).into_bytes();
            save(&mut bytes.as_slice(), bytes.len() as u64, to)
        }
        None if output.json => {
            output.out.bytes(answer.trim_ascii_end())?;
            Ok(output.out.bytes(b"\n")?)
        }
        None => print(data, output),
    }
}

fn deliver_file(
    task: &TaskDocument,
    file: &FileDocument,
    to: Option<&Path>,
    host: &Host<'_>,
    output: &mut Output<'_>,
) -> Result<(), Stop> {
    let what = || format!("cannot get the result of task {}", task.id);
    if to.is_none() && output.json {
        return Ok(output.value(task)?);
    }
    if to.is_none() && output.out.is_terminal() {
        let text = format!(
            "it is a file of {} and would be written to the terminal",
            crate::words::size(file.size)
        );
        let name =
            format!("`ploinkyctl task result {} --output FILE` writes it to a file", task.id);
        return Err(Failure::refused(what()).cause(text).hint(name).into());
    }
    let mut content = host.instances.file(task.id).map_err(|e| e.failure_of(what(), task.id))?;
    match to {
        Some(to) => save(&mut content, file.size, to),
        None => blocks(&mut content, file.size, &what, &mut |bytes| Ok(output.out.bytes(bytes)?)),
    }
}

/// Writes all of `content` to `to`: whole and at once where that is a plain file or not there yet.
fn save(content: &mut dyn Read, size: u64, to: &Path) -> Result<(), Stop> {
    let what = || format!("cannot write {}", to.display());
    let failed = |e: io::Error| Failure::refused(what()).because(&e);
    let copy = |content: &mut dyn Read, file: &mut File| {
        blocks(content, size, &what, &mut |bytes| Ok(file.write_all(bytes).map_err(failed)?))
    };
    let is_special = to.metadata().is_ok_and(|found| !found.is_file());
    if is_special {
        let mut file = File::options().write(true).open(to).map_err(failed)?;
        return copy(content, &mut file);
    }
    let directory = match to.parent() {
        Some(parent) if parent != Path::new("") => parent,
        Some(_) | None => Path::new("."),
    };
    let permissions = Permissions::from_mode(0o666);
    let mut file = tempfile::Builder::new()
        .permissions(permissions)
        .tempfile_in(directory)
        // Its text names a file that nobody asked for.
        .map_err(|e| failed(e.kind().into()))?;
    copy(content, file.as_file_mut())?;
    file.persist(to).map_err(|e| failed(e.error.kind().into()))?;
    Ok(())
}

/// Hands `content`, which must have `size` bytes, on in blocks.
fn blocks(
    content: &mut dyn Read,
    size: u64,
    what: &dyn Fn() -> String,
    on: &mut dyn FnMut(&[u8]) -> Result<(), Stop>,
) -> Result<(), Stop> {
    let cut = |came: u64| {
        let text = format!("the connection ended when {came} of {size} bytes had come");
        Failure::new(exit::UNAVAILABLE, what()).cause(text).hint("try again")
    };
    let mut block = vec![0; BLOCK_BYTES];
    let mut came = 0;
    loop {
        let read = content.read(&mut block).map_err(|e| cut(came).because(&e))?;
        match block.get(..read).filter(|bytes| !bytes.is_empty()) {
            Some(bytes) => on(bytes)?,
            None if came == size => return Ok(()),
            None => return Err(cut(came).into()),
        }
        came += read as u64;
    }
}
