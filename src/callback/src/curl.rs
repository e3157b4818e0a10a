//! One POST, by curl(1): names, TLS and proxies are its business, and it is kept by those who know them.

use std::io::{self, Write as _};
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use tempfile::NamedTempFile;

use crate::retry::Verdict;

/// Seconds for the connection, and for all of it.
const CONNECT_S: u32 = 10;
const ALL_S: u32 = 30;
/// Bytes of what curl complains that are kept.
const COMPLAINT_BYTES: usize = 500;

/// What is posted.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    /// Where to.
    pub(crate) url: String,
    /// Header fields; neither names nor values hold control characters.
    pub(crate) headers: Vec<(&'static str, String)>,
    /// JSON.
    pub(crate) body: Vec<u8>,
}

/// Posts a message once.
pub(crate) fn post(message: &Message) -> Verdict {
    let Message { url, headers, body } = message;
    if !is_plain(url) || !headers.iter().all(|(_, value)| is_plain(value)) {
        return Verdict::Refused("the URL or a header cannot be handed to curl".to_owned());
    }
    match run(url, headers, body) {
        Ok(output) => verdict(&output),
        Err(error) => Verdict::Later { why: format!("cannot run curl: {error}"), asked: None },
    }
}

fn run(url: &str, headers: &[(&str, String)], body: &[u8]) -> io::Result<Output> {
    let mut file = NamedTempFile::new()?;
    file.write_all(body)?;
    #[expect(clippy::disallowed_methods, reason = "the only place that starts a program")]
    let mut child = Command::new("curl")
        // What is secret goes to stdin: the command line can be seen by all.
        .args(["--disable", "--config", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(config(url, headers, &file.path().display().to_string()).as_bytes())?;
    }
    child.wait_with_output()
}

fn config(url: &str, headers: &[(&str, String)], body: &str) -> String {
    let mut text = format!(
        "url = \"{url}\"\nrequest = \"POST\"\ndata-binary = \"@{body}\"\n\
         proto = \"=http,https\"\nmax-redirs = 0\ngloboff\nsilent\nshow-error\n\
         connect-timeout = {CONNECT_S}\nmax-time = {ALL_S}\nmax-filesize = 65536\n\
         output = \"/dev/null\"\nwrite-out = \"%{{http_code}} %header{{retry-after}}\"\n\
         user-agent = \"ploinky-callback/{}\"\nheader = \"Expect:\"\n",
        env!("CARGO_PKG_VERSION")
    );
    text.extend(headers.iter().map(|(name, value)| format!("header = \"{name}: {value}\"\n")));
    text
}

/// Whether a text means itself between the quotes of curl's configuration.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|b| (b.is_ascii_graphic() || b == b' ') && b != b'"' && b != b'\\')
}

fn verdict(output: &Output) -> Verdict {
    let Output { status, stdout, stderr } = output;
    let said = String::from_utf8_lossy(stdout);
    let (code, asked) = said.split_once(' ').unwrap_or((&said, ""));
    let asked = asked.trim().parse().ok().map(Duration::from_secs);
    match code.parse::<u16>() {
        Ok(200..=299) => Verdict::Taken,
        Ok(410) => Verdict::Refused("the receiver answered 410 Gone".to_owned()),
        Ok(code) if code != 0 => {
            Verdict::Later { why: format!("the receiver answered {code}"), asked }
        }
        Ok(_) | Err(_) => {
            let complaint = stderr.get(..stderr.len().min(COMPLAINT_BYTES)).unwrap_or_default();
            let complaint = String::from_utf8_lossy(complaint).trim().to_owned();
            let why = match status.signal() {
                Some(signal) => format!("curl was ended by signal {signal}"),
                None => complaint,
            };
            Verdict::Later { why, asked: None }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Read as _};
    use std::net::TcpListener;

    use super::*;

    /// Answers one request with `answer`; gives what came.
    fn receiver(answer: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook?a=1&b=[2]", listener.local_addr().unwrap());
        let thread = std::thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(stream);
            let (mut head, mut length) = (String::new(), 0);
            loop {
                let mut line = String::new();
                reader.read_line(&mut line).unwrap();
                if line == "\r\n" {
                    break;
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                head.push_str(&line);
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).unwrap();
            reader.get_mut().write_all(answer.as_bytes()).unwrap();
            head + &String::from_utf8(body).unwrap()
        });
        (url, thread)
    }

    fn message(url: String) -> Message {
        let headers =
            vec![("webhook-id", "x".to_owned()), ("Content-Type", "application/json".to_owned())];
        Message { url, headers, body: b"{\"a\":\"\xc3\xa4\"}".to_vec() }
    }

    #[test]
    fn what_the_receiver_does_not_take_comes_again_or_never() {
        for (answer, expected) in [
            (
                "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
                Verdict::Later { why: "the receiver answered 302".to_owned(), asked: None },
            ),
            (
                "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n",
                Verdict::Later {
                    why: "the receiver answered 503".to_owned(),
                    asked: Some(Duration::from_secs(7)),
                },
            ),
            (
                "HTTP/1.1 410 Gone\r\nContent-Length: 0\r\n\r\n",
                Verdict::Refused("the receiver answered 410 Gone".to_owned()),
            ),
        ] {
            let (url, thread) = receiver(answer);
            assert_eq!(post(&message(url)), expected);
            thread.join().unwrap();
        }
        let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let verdict = post(&message(format!("http://{closed}/")));
        assert!(
            matches!(&verdict, Verdict::Later { why, .. } if why.contains("curl")),
            "{verdict:?}"
        );
    }

    #[test]
    fn nothing_gets_into_the_configuration_of_curl() {
        for url in ["http://x/\"\noutput = \"/tmp/x", "http://x/\\", "http://x/\u{e4}"] {
            assert!(matches!(post(&message(url.to_owned())), Verdict::Refused(_)), "{url}");
        }
    }

    #[test]
    fn a_receiver_gets_the_body_as_it_is() {
        let (url, thread) = receiver("HTTP/1.1 204 No Content\r\n\r\n");
        assert_eq!(post(&message(url)), Verdict::Taken);
        let came = thread.join().unwrap();
        assert!(came.starts_with("POST /hook?a=1&b=[2] HTTP/1.1\r\n"), "{came}");
        assert!(came.contains("webhook-id: x\r\n") && came.ends_with("{\"a\":\"ä\"}"), "{came}");
    }
}
