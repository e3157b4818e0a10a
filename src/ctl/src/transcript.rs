//! Replays the files in `transcripts/`: each command runs in the process against a machine in memory, and
//! everything it prints is compared. `UPDATE=1` writes what is printed; the difference is for a reader.
//!
//! A line `# machine: NAME` chooses the machine of the commands below it. Lines after `$ ploinkyctl …` are
//! stdout; `2>` marks stderr, `exit` the code if it is not 0, and `asked` what reached the supervisor or
//! another program. `DIR` stands for the directory of [`machines::lay_out`]. Lines `# answers: …` above a command are
//! what an instance answers it on its socket, see [`scripted`]; `asked` has the requests then. Without them
//! there is no socket, and `# answers: nobody` is one at which nobody listens. `# types: …` is what a person
//! at the terminal says, and `# pipes: …` what stands on standard input without one.

mod machines;
mod scripted;

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use self::machines::{lay_out, machine};
use self::scripted::Scripted;
use crate::machine::fake::Fake;
use crate::output::{Output, Stream};

/// Stands before an empty line that is left out.
const GLUE: &str = "\0\n";

/// Runs one command line; what it prints, as a transcript has it.
fn play(line: &str, machine: &Fake, root: &Path) -> String {
    let root = root.to_str().unwrap();
    let words = shell_words::split(&line.replace("DIR", root)).unwrap();
    let arguments: Vec<OsString> = words.into_iter().map(OsString::from).collect();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let code = crate::run(
        &arguments,
        machine,
        &mut Output {
            out: Stream::new(&mut out, false, false),
            err: Stream::new(&mut err, false, false),
            json: false,
        },
    );
    let err = String::from_utf8(err).unwrap();
    let told = err.lines().map(|line| format!("2> {line}").trim_end().to_owned());
    let asked: Vec<String> = machine.asked.borrow_mut().drain(..).collect();
    let asked = asked.into_iter().map(|asked| format!("asked {asked}"));
    let exit = (code != 0).then(|| format!("exit {code}"));
    let rest: String = told.chain(asked).chain(exit).map(|line| line + "\n").collect();
    (String::from_utf8(out).unwrap() + &rest).replace(root, "DIR")
}

fn replay(text: &str, root: &Path) -> String {
    let mut parts = Vec::new();
    let mut current = None;
    let mut answers = Vec::new();
    let socket = root.join("run/admin-1.sock");
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# machine: ") {
            current = Some(machine(name, root));
            parts.push(format!("{line}\n"));
        } else if let Some(command) = line.strip_prefix("$ ") {
            let machine = current.as_mut().expect("a line `# machine: …` comes first");
            let scripted = match answers.as_slice() {
                [] => None,
                [one] if one == "nobody" => {
                    fs::create_dir_all(root.join("run")).unwrap();
                    drop(UnixListener::bind(&socket).unwrap());
                    answers.clear();
                    None
                }
                _ => Some(Scripted::start(&socket, std::mem::take(&mut answers))),
            };
            let told = play(command, machine, root);
            let asked = scripted.map(Scripted::end).unwrap_or_default();
            parts.push(format!("{line}\n{told}{asked}"));
            (machine.typed, machine.piped) = (None, None);
            drop(fs::remove_file(&socket));
        } else if let Some(answer) = line.strip_prefix("# answers: ") {
            parts.push(format!("{line}\n\0"));
            answers.push(answer.to_owned());
        } else if let Some(words) = line.strip_prefix("# types: ") {
            parts.push(format!("{line}\n\0"));
            current.as_mut().expect("a machine").typed = Some(words.to_owned());
        } else if let Some(words) = line.strip_prefix("# pipes: ") {
            parts.push(format!("{line}\n\0"));
            current.as_mut().expect("a machine").piped = Some(words.to_owned());
        }
    }
    // What belongs together has no empty line in between.
    parts.join("\n").replace(GLUE, "")
}

#[test]
fn every_transcript_happens_again() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("transcripts");
    let mut paths: Vec<PathBuf> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty());
    for path in paths {
        let root = tempfile::tempdir().unwrap();
        lay_out(root.path());
        let expected = fs::read_to_string(&path).unwrap();
        let found = replay(&expected, root.path());
        if std::env::var_os("UPDATE").is_some() {
            File::create(&path).unwrap().write_all(found.as_bytes()).unwrap();
        } else {
            assert!(found == expected, "{} gives now:\n{found}", path.display());
        }
    }
}

#[test]
fn a_reader_that_left_is_no_failure() {
    struct Left;
    impl Write for Left {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let root = tempfile::tempdir().unwrap();
    let machine = machine("three agents", root.path());
    for line in ["agent list", "agent list --json", "status", "--help", "completion bash", "doctor"]
    {
        let arguments: Vec<OsString> =
            format!("ploinkyctl {line}").split(' ').map(OsString::from).collect();
        let (mut left, mut err) = (Left, Vec::new());
        let mut output = Output {
            out: Stream::new(&mut left, false, false),
            err: Stream::new(&mut err, false, false),
            json: false,
        };
        assert_eq!(crate::run(&arguments, &machine, &mut output), 0, "{line}");
        assert_eq!(String::from_utf8(err).unwrap(), "", "{line}");
    }
}

/// Answers one request with `response` and returns what was asked.
fn answer_once(response: String) -> (u16, std::thread::JoinHandle<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let served = std::thread::spawn(move || {
        let (mut stream, _from) = listener.accept().unwrap();
        let mut request = Vec::new();
        let mut chunk = [0; 4096];
        while !request.ends_with(b"]}") {
            let length = stream.read(&mut chunk).unwrap();
            assert!(length != 0, "the request ended early");
            request.extend_from_slice(&chunk[..length]);
        }
        stream.write_all(response.as_bytes()).unwrap();
        String::from_utf8(request).unwrap()
    });
    (port, served)
}

/// What `ploinkyctl call` prints for an answer, and what it sent.
fn call(status: &str, body: &str, words: &str) -> (String, String) {
    let length = body.len();
    let (port, served) = answer_once(format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nTask-Id: 0f\r\nConnection: close\r\n\r\n{body}"
    ));
    let root = tempfile::tempdir().unwrap();
    let machine = machine("no supervisor", root.path());
    let address = format!("http://x.org:{port}/echo");
    let text = play(&format!("ploinkyctl call {address} {words}"), &machine, root.path());
    let sent = served.join().unwrap().replace(&port.to_string(), "PORT");
    (text, sent)
}

#[test]
fn a_failed_call_tells_code_message_and_task() {
    let body = r#"{"error":true,"message":"no \u001b such","code":"UNKNOWN_COMMAND","details":{}}"#;
    let (text, _sent) = call("404 Not Found", body, "sya");
    assert_eq!(
        text,
        "2> error: cannot call `sya` of x.org/echo\n\
         2> cause: UNKNOWN_COMMAND: no \\u{1b} such\n\
         2>\n\
         2> hint: `ploinkyctl agent logs x.org/echo --task 0f` shows what was logged\n\
         exit 1\n"
    );
    let (text, _sent) = call("502 Bad Gateway", "<html>", "say");
    assert!(text.contains("status 502 with a body that is not of Ploinky"), "{text}");
    let (text, _sent) = call("500 Oops", body, "--json say");
    assert!(text.starts_with(body) && text.ends_with("exit 1\n"), "{text}");
}

#[test]
fn a_call_sends_command_and_parameters_and_prints_the_data() {
    let data = |data: &str| format!(r#"{{"success":true,"data":{data}}}"#);
    let (text, sent) = call("200 OK", &data(r#""hello\n""#), r#"say hi -5 '{"a":[1]}' -- --json"#);
    assert_eq!(text, "hello\n");
    let (head, body) = sent.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("POST /echo HTTP/1.1\r\n"), "{head}");
    assert!(head.to_ascii_lowercase().contains("\r\nhost: x.org:port"), "{head}");
    assert_eq!(body, r#"{"command":"say","params":["hi",-5,{"a":[1]},"--json"]}"#);
    assert_eq!(call("200 OK", &data(r#"{"a":1}"#), "say").0, "{\n  \"a\": 1\n}\n");
    assert_eq!(call("200 OK", &data("null"), "say").0, "null\n");
    assert_eq!(call("200 OK", &data("1"), "say --json").0, data("1") + "\n");
}

#[test]
fn a_call_where_nothing_listens_is_unavailable() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let root = tempfile::tempdir().unwrap();
    let machine = machine("no supervisor", root.path());
    let line = format!("ploinkyctl call http://localhost:{port}/echo say");
    let text = play(&line, &machine, root.path());
    assert!(text.contains(&format!("nothing answers at port {port}")), "{text}");
    assert!(text.ends_with("exit 69\n"), "{text}");
}
