//! A client that tells an answer from a connection that broke.

use std::collections::HashMap;
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::host::WORKERS;
use crate::process::pause;

/// One answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: u16,
    /// Its `Task-Id`, or empty.
    pub task: String,
    /// Its body.
    pub body: String,
}

impl Reply {
    /// The member `code` of a failure.
    pub fn code(&self) -> String {
        self.json()["code"].as_str().unwrap_or_default().to_owned()
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }
}

/// Connections to all workers, one each.
#[derive(Debug)]
pub struct Client {
    ports: [u16; WORKERS],
    open: HashMap<usize, BufReader<TcpStream>>,
    patience: Duration,
}

impl Client {
    /// A client that waits `patience` for each answer.
    pub fn new(ports: [u16; WORKERS], patience: Duration) -> Self {
        Self { ports, open: HashMap::new(), patience }
    }

    /// One request to one worker. Each line of `headers` ends with a line end.
    ///
    /// # Errors
    /// Nothing is known then of what became of the request.
    pub fn ask(
        &mut self,
        worker: usize,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> io::Result<Reply> {
        let mut connection = match self.open.remove(&worker) {
            Some(connection) => connection,
            None => self.connect(worker)?,
        };
        let text = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.get_mut().write_all(text.as_bytes())?;
        let (reply, stays) = read(&mut connection)?;
        if stays {
            self.open.insert(worker, connection);
        }
        Ok(reply)
    }

    /// The same again and again until there is an answer; for requests that may come twice.
    pub fn ask_again(
        &mut self,
        worker: usize,
        method: &str,
        path: &str,
        headers: &str,
        body: &str,
    ) -> Reply {
        let mut tries = 0;
        loop {
            match self.ask(worker, method, path, headers, body) {
                Ok(reply) => return reply,
                Err(e) => assert!(tries < 100, "{method} {path} is not answered: {e}"),
            }
            tries += 1;
            pause(Duration::from_millis(50));
        }
    }

    fn connect(&self, worker: usize) -> io::Result<BufReader<TcpStream>> {
        let address = SocketAddr::from(([127, 0, 0, 1], self.ports[worker]));
        let stream = TcpStream::connect_timeout(&address, self.patience)?;
        stream.set_read_timeout(Some(self.patience))?;
        stream.set_write_timeout(Some(self.patience))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}

fn read(connection: &mut BufReader<TcpStream>) -> io::Result<(Reply, bool)> {
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or(io::ErrorKind::UnexpectedEof)?;
    let (mut length, mut task, mut stays) = (0, String::new(), true);
    loop {
        let mut line = String::new();
        if connection.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse().unwrap_or(0),
            "task-id" => value.clone_into(&mut task),
            "connection" => stays = !value.eq_ignore_ascii_case("close"),
            _ => {}
        }
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok((Reply { status, task, body: String::from_utf8_lossy(&body).into_owned() }, stays))
}
