//! A client that sends exactly the bytes it is given.

use std::io::{self, BufRead as _, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest wait for anything.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// One connection.
pub(crate) struct Client {
    reader: BufReader<Wire>,
}

/// The two ways to a worker.
enum Wire {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Read for Wire {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One response.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Reply {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_nodelay(true).unwrap();
        Self { reader: BufReader::new(Wire::Tcp(stream)) }
    }

    /// A connection of the admin.
    pub(crate) fn connect_admin(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { reader: BufReader::new(Wire::Unix(stream)) }
    }

    pub(crate) fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.reader.get_mut().write_all(bytes.as_ref()).unwrap();
    }

    /// Sends as much as the server takes.
    pub(crate) fn try_send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).ok();
    }

    /// The next response, with its body.
    pub(crate) fn reply(&mut self) -> Reply {
        let mut reply = self.head();
        let length = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
        reply.body = vec![0; length];
        self.reader.read_exact(&mut reply.body).unwrap();
        reply
    }

    /// The next response to a HEAD request.
    pub(crate) fn head(&mut self) -> Reply {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no status in {line:?}"));
        let status = status.parse().unwrap();
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            self.reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.push((name.to_ascii_lowercase(), value.to_owned()));
        }
        Reply { status, headers, body: Vec::new() }
    }

    /// All that follows, until the server ends the connection.
    pub(crate) fn rest(&mut self) -> String {
        let mut rest = String::new();
        self.reader.read_to_string(&mut rest).unwrap();
        rest
    }

    /// The next line, without its end.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line.trim_end_matches('\n').to_owned()
    }

    /// Whether the server ends the connection without another byte.
    pub(crate) fn is_closed(&mut self) -> bool {
        matches!(self.reader.read(&mut [0; 1]), Ok(0))
    }

    pub(crate) fn shut_down(&self) {
        match self.reader.get_ref() {
            Wire::Tcp(stream) => stream.shutdown(Shutdown::Both).unwrap(),
            Wire::Unix(stream) => stream.shutdown(Shutdown::Both).unwrap(),
        }
    }
}

impl Reply {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e} in {self:?}"))
    }

    /// Status and `code` of a failure.
    pub(crate) fn failure(&self) -> (u16, String) {
        let json = self.json();
        assert_eq!(json["error"], true, "{self:?}");
        assert!(json["message"].as_str().is_some_and(|text| !text.is_empty()), "{self:?}");
        assert!(json["details"].is_object(), "{self:?}");
        (self.status, json["code"].as_str().unwrap().to_owned())
    }
}

/// One request on a connection of its own.
pub(crate) fn exchange(address: SocketAddr, request: impl AsRef<[u8]>) -> Reply {
    let mut client = Client::connect(address);
    client.send(request);
    client.reply()
}

/// One request of the admin.
pub(crate) fn exchange_as_admin(socket: &Path, request: impl AsRef<[u8]>) -> Reply {
    let mut client = Client::connect_admin(socket);
    client.send(request);
    client.reply()
}

/// The bytes of a request without a body.
pub(crate) fn ask_text(method: &str, path: &str, headers: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// The bytes of a call with headers, each of which ends with a line end.
pub(crate) fn call_with(path: &str, headers: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A request for a file.
pub(crate) fn get(address: SocketAddr, path: &str, headers: &str) -> Reply {
    exchange(address, format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
}

/// The bytes of a call.
pub(crate) fn call_text(path: &str, body: &str) -> String {
    format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// A call of an agent.
pub(crate) fn call(address: SocketAddr, path: &str, body: &str) -> Reply {
    exchange(address, call_text(path, body))
}
