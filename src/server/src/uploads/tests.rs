//! Forms of all kinds against an empty directory.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::StreamBody;
use hyper::body::Frame;
use ploinky_contract::limits::{
    BODY_IDLE, UPLOAD_BLOCK_BYTES, UPLOAD_FIELD_MAX_BYTES, UPLOAD_FILES_MAX,
};

use ploinky_queue::Producer;

use super::*;

const LIMIT: u64 = 1 << 20;

pub(super) fn id(number: u8) -> TaskId {
    TaskId::from_random([number; 16])
}

fn form(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut form = Vec::new();
    for (head, content) in parts {
        let head = format!("--X\r\nContent-Disposition: form-data; {head}\r\n\r\n");
        form.extend_from_slice(head.as_bytes());
        form.extend_from_slice(content);
        form.extend_from_slice(b"\r\n");
    }
    form.extend_from_slice(b"--X--\r\n");
    form
}

/// An empty queue.
pub(super) struct Queue(tempfile::TempDir);

impl Queue {
    pub(super) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        for name in ["requests", "urgent", "responses", "errors", "locks", "files", "outputs"] {
            std::fs::create_dir(directory.path().join(name)).unwrap();
        }
        Self(directory)
    }

    pub(super) fn producer(&self) -> Arc<Producer> {
        Arc::new(Producer::open(self.0.path()).unwrap())
    }

    /// What is left in the directory of files.
    pub(super) fn left(&self) -> Vec<String> {
        names(&self.0.path().join("files"))
    }

    pub(super) fn file(&self, task: TaskId, name: &str) -> PathBuf {
        self.0.path().join("files").join(task.as_str()).join(name)
    }
}

fn names(at: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(at).unwrap();
    entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

struct Scratch {
    queue: Queue,
    uploads: Uploads,
}

impl Scratch {
    fn new() -> Self {
        Self { queue: Queue::new(), uploads: Uploads::default() }
    }

    async fn receive(&self, body: Body, command: Option<&str>) -> Result<Received, UploadError> {
        let announced = Announced {
            boundary: "X".to_owned(),
            length: None,
            command: command.map(|name| name.parse().unwrap()),
            limit: LIMIT,
            is_durable: true,
            is_digested: true,
        };
        let knows = |name: &CommandName| matches!(name.as_str(), "upload" | "a");
        let bodies = ByteBudget::new(1 << 20);
        let stage = Stage::make(self.queue.producer(), id(2)).unwrap();
        self.uploads.receive(announced, body, id(1), stage, &bodies, &knows).await
    }

    /// Why the form is refused; nothing of it is left.
    async fn refused(&self, form: Vec<u8>) -> String {
        let body = in_pieces(&form, 16 * 1024, Last::End);
        let refused = self.receive(body, None).await.unwrap_err();
        self.assert_empty();
        refused.to_string()
    }

    /// Files are removed on other threads; that takes no time to speak of.
    fn assert_empty(&self) {
        let mut looks = 0;
        while !self.queue.left().is_empty() {
            looks += 1;
            assert!(looks < 4000, "left over: {:?}", self.queue.left());
            std::thread::park_timeout(Duration::from_millis(5));
        }
    }
}

/// A body that gives its bytes in pieces, and then `last`.
fn in_pieces(bytes: &[u8], length: usize, last: Last) -> Body {
    let mut pieces: Vec<_> =
        bytes.chunks(length).map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece)))).collect();
    if last == Last::Broken {
        pieces.push(Err(io::Error::other("the client went away")));
    }
    let pieces = futures_util::stream::iter(pieces);
    if last == Last::Silence {
        let silence = futures_util::stream::pending();
        return Body::new(StreamBody::new(futures_util::StreamExt::chain(pieces, silence)));
    }
    Body::new(StreamBody::new(pieces))
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Last {
    End,
    Broken,
    Silence,
}

#[test]
fn only_a_form_with_a_legal_boundary_is_taken() {
    let of = |values: &[&str]| {
        let mut headers = http::HeaderMap::new();
        for value in values {
            headers.append("content-type", value.parse().unwrap());
        }
        boundary(&headers).ok()
    };
    let long = format!("multipart/form-data; boundary={}", "x".repeat(71));
    for values in [
        &[][..],
        &["application/json"],
        &["multipart/mixed; boundary=x"],
        &["multipart/form-data"],
        &["multipart/form-data; boundary="],
        &["multipart/form-data; boundary=\"a b \""],
        &["multipart/form-data; boundary=\"a{b\""],
        &[&long],
        &["multipart/form-data; boundary=x", "multipart/form-data; boundary=x"],
    ] {
        assert_eq!(of(values), None, "{values:?}");
    }
    assert_eq!(of(&["multipart/form-data; boundary=x"]).as_deref(), Some("x"));
    let quoted = "Multipart/Form-Data; charset=utf-8; boundary=\"--a:b\"";
    assert_eq!(of(&[quoted]).as_deref(), Some("--a:b"));
}

#[tokio::test]
async fn forms_that_are_broken_leave_nothing() {
    let scratch = Scratch::new();
    let file: (&str, &[u8]) = (r#"name="f"; filename="x""#, b"content");
    let whole = form(&[file]);
    let without_name = form(&[("filename=\"x\"", b"")]);
    let bare = b"--X\r\n\r\nx\r\n--X--".to_vec();
    let bad_head = b"--X\r\nContent Disposition: x\r\n\r\nx\r\n--X--".to_vec();
    let control = form(&[("name=\"f\"; filename=\"a\tb\"", b"")]);
    let no_text = [
        &b"--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\xff\"\r\n\r\nx"[..],
        b"\r\n--X--",
    ]
    .concat();
    let cut = whole.get(..whole.len() - 9).unwrap().to_vec();
    let long = format!("name=\"f\"; filename=\"{}\"", "x".repeat(256));
    for (form, said) in [
        (Vec::new(), "ends before"),
        (b"--Y\r\n".to_vec(), "ends before"),
        (b"--X--\r\n".to_vec(), "the form has no file"),
        (cut, "is broken"),
        (bare, "is broken"),
        (without_name, "part 1 of the form has no name"),
        (bad_head, "is broken"),
        (control, "the file name of the field `f`"),
        (no_text, "the file name of the field `f`"),
        (form(&[(&long, b"")]), "the file name of the field `f`"),
        (form(&[("name=\"a\"", b"1")]), "the form has no file"),
        (form(&[(r#"name="f"; filename="""#, b"")]), "the form has no file"),
        (form(&[file, ("name=\"command\"", b"b")]), "the agent has no command `b`"),
        (form(&[file, ("name=\"command\"", b"../b")]), "`command`: "),
        (form(&[file, ("name=\"a\"", b"\xff")]), "the field `a` is not UTF-8"),
    ] {
        let refused = scratch.refused(form.clone()).await;
        assert!(refused.contains(said), "{refused} for {:?}", String::from_utf8_lossy(&form));
    }
}

#[tokio::test]
async fn what_is_too_much_leaves_nothing() {
    let scratch = Scratch::new();
    let file = r#"name="f"; filename="x""#;
    let small: (&str, &[u8]) = (file, b"x");
    let limit = usize::try_from(LIMIT).unwrap();
    let half = vec![b'x'; limit / 2 + 1];
    let long_field = vec![b'x'; UPLOAD_FIELD_MAX_BYTES + 1];
    let field = vec![b'x'; UPLOAD_FIELD_MAX_BYTES];
    let fields = vec![("name=\"a\"", field.as_slice()); 5];
    for (form, said) in [
        (form(&[(file, &vec![b'x'; limit + 1])]), "longer than the 1048576 bytes"),
        (form(&[(file, &half), (file, &half)]), "longer than the 1048576 bytes"),
        (form(&vec![small; UPLOAD_FILES_MAX + 1]), "more than 16 files"),
        (form(&vec![("name=\"a\"", &b"x"[..]); UPLOAD_PARTS_MAX + 1]), "more than 128 parts"),
        (form(&[small, ("name=\"a\"", &long_field)]), "`a` is longer than 262144 bytes"),
        (form(&fields), "the fields of the form are longer"),
    ] {
        let refused = scratch.refused(form).await;
        assert!(refused.contains(said), "{refused}");
    }
    // Heads, and what stands before the first boundary, have an end, too.
    for start in ["--X\r\nX: ", "--X", "no boundary"] {
        let endless = [start.as_bytes(), &vec![b' '; 200_000]].concat();
        let refused = scratch.receive(in_pieces(&endless, 1000, Last::End), None).await;
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("the head of a part is longer"), "{refused}");
        scratch.assert_empty();
    }
    let announced = |length| Announced {
        boundary: String::new(),
        length,
        command: None,
        limit: LIMIT,
        is_durable: false,
        is_digested: false,
    };
    let longest = LIMIT + AROUND_FILES_MAX_BYTES;
    assert!(announced(Some(longest + 1)).check_length().is_err());
    assert!(announced(Some(longest)).check_length().is_ok());
    assert!(announced(None).check_length().is_ok());
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing() {
    let scratch = Scratch::new();
    let content = vec![b'x'; UPLOAD_BLOCK_BYTES * 3];
    let whole = form(&[(r#"name="f"; filename="x""#, &content)]);
    for length in [1, UPLOAD_BLOCK_BYTES, UPLOAD_BLOCK_BYTES * 3] {
        let body = in_pieces(whole.get(..length).unwrap(), 10_000, Last::Broken);
        assert!(scratch.receive(body, None).await.is_err());
        scratch.assert_empty();
        // Its connection is gone: nobody asks any more.
        let body = in_pieces(whole.get(..length).unwrap(), 10_000, Last::Silence);
        let receiving = scratch.receive(body, None);
        assert!(tokio::time::timeout(Duration::from_millis(50), receiving).await.is_err());
        scratch.assert_empty();
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_stops_is_not_waited_for() {
    let scratch = Scratch::new();
    let whole = form(&[(r#"name="f"; filename="x""#, b"content")]);
    let body = in_pieces(whole.get(..60).unwrap(), 10, Last::Silence);
    let refused = scratch.receive(body, None).await.unwrap_err();
    assert!(matches!(refused, UploadError::Form(FormError::Stalled(BODY_IDLE))));
    scratch.assert_empty();
}

#[tokio::test]
async fn as_many_uploads_come_at_once_as_allowed() {
    let uploads = Uploads::default();
    let coming: Vec<_> = (0..UPLOADS_AT_ONCE).map(|_| uploads.admit().unwrap()).collect();
    assert!(matches!(uploads.admit(), Err(UploadError::Busy)));
    drop(coming);
    assert!(uploads.admit().is_ok());
}

#[tokio::test]
async fn files_and_fields_come_through_however_they_are_cut() {
    let mut content = vec![b'\r'; UPLOAD_BLOCK_BYTES];
    content.extend_from_slice(b"\r\n--x\r\n--\r\n\r\n\xff\0 end");
    let whole = form(&[
        ("name=\"n\"", b"{\"deep\":[1]}"),
        ("name=\"a\"; filename=\"../x ä.txt\"\r\nContent-Type: text/plain", &content[..]),
        (r#"name="not chosen"; filename="""#, b""),
        ("name=\"command\"", b"a"),
        (r#"name="b"; filename="empty""#, b""),
    ]);
    let mut digests = Vec::new();
    for length in [1, 7, 1000, 32 * 1024] {
        let scratch = Scratch::new();
        let received = scratch.receive(in_pieces(&whole, length, Last::End), None).await.unwrap();
        let Received { command, params, files: Files { id: task, mut stage, digest } } = received;
        assert_eq!(task, id(1));
        assert_eq!(command.as_str(), "a");
        let params: Vec<_> = params.iter().map(|param| param.get()).collect();
        let path = format!("/agent/.tasks/files/{}", id(1));
        let files = format!(
            concat!(
                r#"[{{"field":"a","name":"../x ä.txt","type":"text/plain","size":{},"path":"{}/0"}},"#,
                r#"{{"field":"b","name":"empty","type":"application/octet-stream","size":0,"path":"{}/1"}}]"#
            ),
            content.len(),
            path,
            path
        );
        assert_eq!(params, [files.as_str(), r#"{"n":{"deep":[1]}}"#]);
        assert!(stage.publish(id(1), true).unwrap());
        stage.hand_over();
        let (first, second) = (scratch.queue.file(id(1), "0"), scratch.queue.file(id(1), "1"));
        assert!(std::fs::read(&first).unwrap() == content);
        assert_eq!(std::fs::read(second).unwrap(), b"");
        assert_eq!(names(first.parent().unwrap()).len(), 2);
        digests.push(digest.unwrap());
    }
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[tokio::test]
async fn the_command_of_the_query_leaves_the_field_to_the_agent() {
    let scratch = Scratch::new();
    let parts: [(&str, &[u8]); 2] =
        [(r#"name="f"; filename="x""#, b"1"), ("name=\"command\"", b"anything")];
    let received = scratch.receive(Body::from(form(&parts)), Some("upload")).await.unwrap();
    assert_eq!(received.command.as_str(), "upload");
    assert_eq!(received.params[1].get(), r#"{"command":"anything"}"#);
}
