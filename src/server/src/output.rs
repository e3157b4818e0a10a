//! Results that are files, as they are sent: read in blocks, never longer than they were when they were opened.

use http::HeaderMap;
use ploinky_contract::TaskId;
use ploinky_queue::BadResult;
use rustix::fs::fstat;

use crate::orchestrator::FileQueue;
use crate::refusal::Refusal;
use crate::static_files::{self, Found};
use crate::task_queue::{FileResult, OutputFile, TaskQueue as _};

/// All of an open result. What of it is read at once was written a moment ago.
pub(crate) fn whole(file: OutputFile, result: &FileResult) -> Result<Found, Refusal> {
    sent(file, result, &HeaderMap::new(), true)
}

/// What a client that sent `headers` needs of the result of a task that is kept.
pub(crate) async fn kept(
    queue: &FileQueue,
    id: TaskId,
    result: &FileResult,
    headers: HeaderMap,
    wants_content: bool,
) -> Result<Found, Refusal> {
    let file = queue.open(id, result).await?;
    let result = result.clone();
    // The disk may have to be asked.
    let reading = tokio::task::spawn_blocking(move || sent(file, &result, &headers, wants_content));
    reading.await.unwrap_or_else(|ended| Err(Refusal::Queue(Box::new(ended))))
}

fn sent(
    file: OutputFile,
    result: &FileResult,
    headers: &HeaderMap,
    wants_content: bool,
) -> Result<Found, Refusal> {
    let OutputFile { file, size } = file;
    let bad = |source| Refusal::BadResult(BadResult::Open { source });
    let mut stat = fstat(&file).map_err(|e| bad(e.into()))?;
    // It may have grown or shrunk since; what was recorded is what is promised.
    stat.st_size = i64::try_from(size).unwrap_or(i64::MAX);
    let media_type = result.media_type().to_owned();
    static_files::found(file, &stat, media_type, headers, wants_content).map_err(bad)
}
