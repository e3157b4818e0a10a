//! Answers that come while the handler works (`GET <path>/subscribe`): server-sent events out of a pipe.
//!
//! Does not submit tasks, and does not know how they end.

mod event;
mod lines;
mod source;

use std::os::fd::OwnedFd;
use std::sync::Arc;

use axum::body::Body;
use ploinky_contract::TaskId;
use ploinky_contract::limits::STREAMS_AT_ONCE;
use tokio::net::unix::pipe::Receiver;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

pub(crate) use self::source::{Broken, Last, Outcome};
use self::source::{Flow, Source};

/// What all streams of the process share.
#[derive(Debug)]
pub(crate) struct Streams {
    going: Arc<Semaphore>,
    draining: watch::Sender<bool>,
}

impl Default for Streams {
    fn default() -> Self {
        let going = Arc::new(Semaphore::new(STREAMS_AT_ONCE));
        Self { going, draining: watch::Sender::new(false) }
    }
}

impl Streams {
    /// The right to have one stream; `None` if as many as allowed go on.
    pub(crate) fn admit(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.going).try_acquire_owned().ok()
    }

    /// Ends all streams, in order.
    pub(crate) fn end_all(&self) {
        self.draining.send_replace(true);
    }

    /// The body of an answer: the lines in `pipe` as events of task `id`, and its outcome as the last one.
    /// `words` are for an end that comes before. Dropping the body drops `outcome`, which ends the task.
    ///
    /// # Errors
    /// When `pipe` is no pipe that can be read.
    pub(crate) fn body(
        &self,
        permit: OwnedSemaphorePermit,
        id: TaskId,
        pipe: OwnedFd,
        outcome: Outcome,
        words: fn(Broken) -> Last,
    ) -> std::io::Result<Body> {
        let pipe = Receiver::from_owned_fd(pipe)?;
        let draining = self.draining.subscribe();
        let flow = Flow::new(Source { pipe, outcome, words, draining, permit, id });
        Ok(Body::from_stream(futures_util::stream::unfold(flow, Flow::next)))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Write as _;
    use std::time::Duration;

    use bytes::Bytes;
    use http_body_util::BodyExt as _;
    use ploinky_contract::limits::STREAM_LINE_MAX_BYTES;
    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};
    use tokio::sync::oneshot;

    use super::*;

    struct Scratch {
        streams: Streams,
        writer: Option<File>,
        ending: Option<oneshot::Sender<Last>>,
        body: Body,
        _directory: tempfile::TempDir,
    }

    fn words(why: Broken) -> Last {
        Last { is_success: false, answer: Bytes::from(format!("\"{why:?}\"")) }
    }

    impl Scratch {
        fn new() -> Self {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("pipe");
            mknodat(CWD, &path, FileType::Fifo, Mode::RWXU, 0).unwrap();
            let pipe = open(&path, OFlags::RDWR | OFlags::NONBLOCK, Mode::empty()).unwrap();
            let writer = open(&path, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()).unwrap();
            let (ending, ended) = oneshot::channel();
            let streams = Streams::default();
            let permit = streams.admit().unwrap();
            let outcome = Box::pin(async move { ended.await.unwrap() });
            let id = TaskId::from_random([0x22; 16]);
            let body = streams.body(permit, id, pipe, outcome, words).unwrap();
            let writer = Some(File::from(writer));
            Self { streams, writer, ending: Some(ending), body, _directory: directory }
        }

        fn write(&mut self, text: &[u8]) {
            self.writer.as_mut().unwrap().write_all(text).unwrap();
        }

        fn end(&mut self, answer: &'static str) {
            let last = Last { is_success: true, answer: Bytes::from(answer) };
            self.ending.take().unwrap().send(last).unwrap();
        }

        /// The next piece, shorter where the id of the task stands.
        async fn piece(&mut self) -> String {
            let frame = self.body.frame().await.unwrap().unwrap();
            let text = String::from_utf8(frame.into_data().unwrap().to_vec()).unwrap();
            text.replace(&"2".repeat(32), "T")
        }

        async fn rest(&mut self) -> String {
            let mut all = String::new();
            while let Some(frame) = self.body.frame().await {
                let bytes = frame.unwrap().into_data().unwrap();
                all.push_str(std::str::from_utf8(&bytes).unwrap());
            }
            all.replace(&"2".repeat(32), "T")
        }
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_ends_the_stream_and_the_task() {
        let mut scratch = Scratch::new();
        assert_eq!(scratch.piece().await, "id: T-0\n\n");
        let mut writer = scratch.writer.take().unwrap();
        let writing = async {
            let mut left = STREAM_LINE_MAX_BYTES + 1;
            while 0 < left {
                left -= writer.write(&vec![b'x'; left]).unwrap_or(0);
                tokio::task::yield_now().await;
            }
        };
        let (rest, ()) = tokio::join!(scratch.rest(), writing);
        assert_eq!(rest, "id: T-1\nevent: error\ndata: \"LineTooLong\"\n\n");
        assert!(scratch.ending.as_ref().unwrap().is_closed());
    }

    #[tokio::test]
    async fn a_restart_ends_the_stream_and_the_task() {
        let mut scratch = Scratch::new();
        scratch.write(b"1\n");
        assert_eq!(scratch.piece().await, "id: T-0\n\n");
        assert_eq!(scratch.piece().await, "id: T-1\ndata: 1\n\n");
        scratch.streams.end_all();
        assert_eq!(scratch.rest().await, "id: T-2\nevent: error\ndata: \"Restart\"\n\n");
        assert!(scratch.ending.as_ref().unwrap().is_closed());
    }

    #[tokio::test]
    async fn a_client_that_goes_away_ends_the_task() {
        let mut scratch = Scratch::new();
        assert_eq!(scratch.piece().await, "id: T-0\n\n");
        scratch.body = Body::empty();
        assert!(scratch.ending.as_ref().unwrap().is_closed());
        assert!(scratch.writer.as_mut().unwrap().write_all(b"x").is_err());
    }

    #[tokio::test]
    async fn no_more_streams_go_on_than_allowed() {
        let scratch = Scratch::new();
        let others: Vec<_> =
            (1..STREAMS_AT_ONCE).map(|_| scratch.streams.admit().unwrap()).collect();
        assert!(scratch.streams.admit().is_none());
        drop(scratch.body);
        assert!(scratch.streams.admit().is_some());
        drop(others);
    }

    #[tokio::test]
    async fn all_lines_come_before_the_end_though_the_outcome_came_first() {
        let mut scratch = Scratch::new();
        assert_eq!(scratch.piece().await, "id: T-0\n\n");
        scratch.write(b"{\"n\":1}\ntwo\nno line feed");
        scratch.end(r#"{"success":true,"data":3}"#);
        assert_eq!(
            scratch.rest().await,
            "id: T-1\ndata: {\"n\":1}\n\nid: T-2\ndata: \"two\"\n\nid: T-3\ndata: \"no line feed\"\n\n\
             id: T-4\nevent: end\ndata: {\"success\":true,\"data\":3}\n\n"
        );
    }

    #[tokio::test]
    async fn a_handler_waits_while_the_client_takes_nothing() {
        let mut scratch = Scratch::new();
        let line = [b'x'; 1024];
        let writer = scratch.writer.as_mut().unwrap();
        let mut count = 0_usize;
        while writer.write_all(&line).is_ok() {
            count += 1;
        }
        assert!(count <= 1024, "{count} lines were taken");
        assert_eq!(scratch.piece().await, "id: T-0\n\n");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_stream_is_kept_open() {
        let mut scratch = Scratch::new();
        assert_eq!(scratch.piece().await, "id: T-0\n\n");
        for _ in 0..3 {
            let before = tokio::time::Instant::now();
            assert_eq!(scratch.piece().await, ":\n\n");
            assert!(before.elapsed() < Duration::from_secs(20));
        }
    }
}
