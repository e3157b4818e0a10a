//! An instance that answers from a script, one connection after the other, on a Unix socket.
//!
//! `STATUS [cut] [chunked] [Name=Value …] BODY`: `cut` ends the connection before the end that was promised,
//! `chunked` sends the parts of the body between `|` one by one, with `~` for line feeds. `closes` is no
//! answer at all.

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread::JoinHandle;

/// Headers of a request that a transcript shows.
const SHOWN: [&str; 9] = [
    "host",
    "prefer",
    "idempotency-key",
    "priority",
    "task-deadline",
    "callback-url",
    "accept",
    "content-type",
    "expect",
];

/// A running script.
pub(super) struct Scripted {
    served: JoinHandle<Vec<String>>,
    path: std::path::PathBuf,
}

impl Scripted {
    /// Listens at `path` and gives the answers in order.
    pub(super) fn start(path: &Path, answers: Vec<String>) -> Self {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let listener = UnixListener::bind(path).unwrap();
        let served = std::thread::spawn(move || {
            let mut asked = Vec::new();
            for answer in answers {
                let (mut stream, _from) = listener.accept().unwrap();
                let Some(request) = Request::read(&mut stream, &answer) else { break };
                asked.push(request.shown());
                // A client that has heard enough may be gone.
                drop(give(&mut stream, &answer));
            }
            asked
        });
        Self { served, path: path.to_owned() }
    }

    /// What was asked, a line each.
    pub(super) fn end(self) -> String {
        // Answers that nobody asked for are waited for no longer.
        drop(UnixStream::connect(&self.path));
        let asked = self.served.join().unwrap();
        std::fs::remove_file(self.path).unwrap();
        asked.into_iter().map(|asked| format!("asked {asked}\n")).collect::<Vec<_>>().concat()
    }
}

struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    /// All of a request; none if nothing came.
    fn read(stream: &mut UnixStream, answer: &str) -> Option<Self> {
        let mut bytes = Vec::new();
        let end = loop {
            if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
            if !more(stream, &mut bytes) {
                return None;
            }
        };
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap().to_ascii_lowercase();
        let value = |name: &str| {
            head.lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                .map(str::to_owned)
        };
        let length: usize = value("content-length").map_or(0, |text| text.parse().unwrap());
        // A body that waits for leave gets it from an answer that takes it.
        let asks = value("expect").is_some();
        let is_wanted = !asks || answer.starts_with('2');
        if asks && is_wanted {
            stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").unwrap();
        }
        while is_wanted && bytes.len() < end + length && more(stream, &mut bytes) {}
        let head = String::from_utf8(bytes[..end].to_vec()).unwrap();
        Some(Self { head, body: bytes[end..].to_vec() })
    }

    fn shown(&self) -> String {
        let mut lines = self.head.trim_end().lines();
        let line = lines.next().unwrap().trim_end_matches(" HTTP/1.1");
        let mut words = vec![line.to_owned()];
        let mut boundary = None;
        for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
            let name = name.to_ascii_lowercase();
            let is_usual =
                matches!((name.as_str(), value), ("host", "localhost") | ("accept", "*/*"));
            if let Some((_kind, text)) = value.split_once("boundary=") {
                boundary = Some(text.to_owned());
            }
            if SHOWN.contains(&name.as_str()) && !is_usual {
                words.push(format!("[{name}: {value}]"));
            }
        }
        let body = String::from_utf8_lossy(&self.body).replace("\r\n", "~");
        words.extend((!body.is_empty()).then_some(body));
        let shown = words.join(" ");
        boundary.map_or(shown.clone(), |boundary| shown.replace(&boundary, "BOUNDARY"))
    }
}

fn more(stream: &mut UnixStream, bytes: &mut Vec<u8>) -> bool {
    let mut chunk = [0; 4096];
    // A client that is refused may leave with what it has not sent yet.
    let length = stream.read(&mut chunk).unwrap_or_default();
    bytes.extend_from_slice(&chunk[..length]);
    length != 0
}

fn give(stream: &mut UnixStream, answer: &str) -> std::io::Result<()> {
    let (status, mut rest) = answer.split_once(' ').unwrap_or((answer, ""));
    if status == "closes" {
        return Ok(());
    }
    let mut head = format!("HTTP/1.1 {status} Said\r\nConnection: close\r\n");
    if status == "204" {
        return write!(stream, "{head}\r\n");
    }
    let mut is_cut = false;
    let mut is_chunked = false;
    while let Some((word, after)) = rest.split_once(' ') {
        match word {
            "cut" => is_cut = true,
            "chunked" => is_chunked = true,
            _ => match word.split_once('=') {
                Some((name, value)) if word.starts_with(|c: char| c.is_ascii_uppercase()) => {
                    head.extend([name, ": ", value, "\r\n"]);
                }
                _ => break,
            },
        }
        rest = after;
    }
    if !is_chunked {
        let length = rest.len() + usize::from(is_cut);
        return write!(stream, "{head}Content-Length: {length}\r\n\r\n{rest}");
    }
    write!(stream, "{head}Transfer-Encoding: chunked\r\n\r\n")?;
    for part in rest.split('|') {
        let part = part.replace('~', "\n");
        write!(stream, "{:x}\r\n{part}\r\n", part.len())?;
    }
    if is_cut { Ok(()) } else { write!(stream, "0\r\n\r\n") }
}
