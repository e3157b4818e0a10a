//! The same two questions asked of NATS with its streams: how many messages are accepted per second, and how long does
//! a round trip through a work queue take.
//!
//! `jetstream ADDRESS SECONDS CLIENTS accept|roundtrip` prints operations per second and the median in
//! microseconds. It speaks the client protocol itself (docs.nats.io, "Client Protocol" and the API of its streams),
//! so that no library stands between: one connection and one thread per client, one message in flight each.
//!
//! `accept`: publish into a stream with file storage and work-queue retention, and wait for the stream's
//! acknowledgement. `roundtrip`: two workers of a queue group get messages from the stream's consumer, acknowledge
//! each, and answer to the inbox that the message names.
#![expect(
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    reason = "a measuring program, not a part of the product"
)]

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// Bytes of a message, as in the other floors.
const SIZE: usize = 200;
const STREAM: &str = r#"{"name":"TASKS","subjects":["tasks.>"],"retention":"workqueue","storage":"file","max_msgs":-1,"max_bytes":-1,"max_age":0,"num_replicas":1,"discard":"new"}"#;
const CONSUMER: &str = r#"{"stream_name":"TASKS","config":{"durable_name":"W","deliver_subject":"work","deliver_group":"workers","ack_policy":"explicit","max_ack_pending":1000}}"#;

/// One connection.
struct Client {
    stream: BufReader<TcpStream>,
    inbox: String,
}

/// A message that came: where an answer goes, and its bytes.
struct Message {
    reply: String,
    bytes: Vec<u8>,
}

impl Client {
    fn connect(address: &str, inbox: String) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut client = Self { stream: BufReader::new(stream), inbox };
        client.line()?;
        let inbox = &client.inbox;
        let hello = format!(
            "CONNECT {{\"verbose\":false,\"pedantic\":false,\"lang\":\"rust\",\"version\":\"0\",\"headers\":true}}\r\nSUB {inbox} 1\r\nPING\r\n"
        );
        client.send(hello.as_bytes())?;
        while client.line()? != "PONG" {}
        Ok(client)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.get_mut().write_all(bytes)
    }

    fn publish(&mut self, subject: &str, bytes: &[u8]) -> io::Result<()> {
        let mut message = format!("PUB {subject} {} {}\r\n", self.inbox, bytes.len()).into_bytes();
        message.extend_from_slice(bytes);
        message.extend_from_slice(b"\r\n");
        self.send(&message)
    }

    /// The next message; pings are answered.
    fn message(&mut self) -> io::Result<Message> {
        loop {
            let line = self.line()?;
            let words: Vec<&str> = line.split(' ').collect();
            match words[0] {
                "MSG" | "HMSG" => {
                    let length: usize = words[words.len() - 1].parse().map_err(io::Error::other)?;
                    let numbers = if words[0] == "MSG" { 1 } else { 2 };
                    let reply = if 3 + numbers < words.len() { words[3] } else { "" };
                    let reply = reply.to_owned();
                    let mut bytes = vec![0; length + 2];
                    self.stream.read_exact(&mut bytes)?;
                    bytes.truncate(length);
                    return Ok(Message { reply, bytes });
                }
                "PING" => self.send(b"PONG\r\n")?,
                "-ERR" => return Err(io::Error::other(line)),
                _ => {}
            }
        }
    }

    fn request(&mut self, subject: &str, bytes: &[u8]) -> io::Result<String> {
        self.publish(subject, bytes)?;
        Ok(String::from_utf8_lossy(&self.message()?.bytes).into_owned())
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

/// One client; how long each operation took, in nanoseconds.
fn measure(
    address: &str,
    number: usize,
    is_round_trip: bool,
    stop: &AtomicBool,
) -> io::Result<Vec<u64>> {
    let mut client = Client::connect(address, format!("_INBOX.c{number}"))?;
    // The answer of a worker comes to another subject than the stream's acknowledgement.
    let answers = format!("answers.{number}");
    client.send(format!("SUB {answers} 2\r\n").as_bytes())?;
    let mut payload = answers.into_bytes();
    payload.resize(SIZE, b' ');
    let mut took = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let start = Instant::now();
        client.publish("tasks.a", &payload)?;
        let first = client.message()?;
        if is_round_trip {
            client.message()?;
        } else if !first.bytes.starts_with(b"{\"stream\"") {
            return Err(io::Error::other(String::from_utf8_lossy(&first.bytes).into_owned()));
        }
        took.push(u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX));
    }
    Ok(took)
}

/// Takes messages, acknowledges and answers them.
fn work(address: &str, number: usize, stop: &AtomicBool) -> io::Result<()> {
    let mut client = Client::connect(address, format!("_INBOX.w{number}"))?;
    client.send(b"SUB work workers 3\r\n")?;
    while !stop.load(Ordering::Relaxed) {
        let message = client.message()?;
        let subject = String::from_utf8_lossy(&message.bytes).trim_end().to_owned();
        let mut out =
            format!("PUB {} 4\r\n+ACK\r\nPUB {subject} {SIZE}\r\n", message.reply).into_bytes();
        out.extend_from_slice(&message.bytes);
        out.extend_from_slice(b"\r\n");
        client.send(&out)?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    let words: Vec<String> = std::env::args().collect();
    let [_, address, seconds, clients, what] = words.as_slice() else {
        return Err(io::Error::other("usage: jetstream ADDRESS SECONDS CLIENTS accept|roundtrip"));
    };
    let seconds: u64 = seconds.parse().map_err(io::Error::other)?;
    let clients: usize = clients.parse().map_err(io::Error::other)?;
    let is_round_trip = what == "roundtrip";
    let mut admin = Client::connect(address, "_INBOX.admin".to_owned())?;
    admin.request("$JS.API.STREAM.DELETE.TASKS", b"")?;
    for (subject, body) in [
        ("$JS.API.STREAM.CREATE.TASKS", STREAM),
        ("$JS.API.CONSUMER.DURABLE.CREATE.TASKS.W", CONSUMER),
    ] {
        let said = admin.request(subject, body.as_bytes())?;
        if said.contains("\"error\"") {
            return Err(io::Error::other(said));
        }
    }
    let [stop, stop_workers] = [(); 2].map(|()| Arc::new(AtomicBool::new(false)));
    let workers: Vec<_> = (0..if is_round_trip { 2 } else { 0 })
        .map(|number| {
            let (address, stop) = (address.clone(), Arc::clone(&stop_workers));
            thread::spawn(move || work(&address, number, &stop))
        })
        .collect();
    let start = Instant::now();
    let threads: Vec<_> = (0..clients)
        .map(|number| {
            let (address, stop) = (address.clone(), Arc::clone(&stop));
            thread::spawn(move || measure(&address, number, is_round_trip, &stop))
        })
        .collect();
    thread::park_timeout(Duration::from_secs(seconds));
    stop.store(true, Ordering::Relaxed);
    let mut took = Vec::new();
    for thread in threads {
        took.extend(thread.join().map_err(|_panic| io::Error::other("a client panicked"))??);
    }
    let elapsed = start.elapsed().as_secs_f64();
    // Workers wait for a message that does not come any more; the end of the program ends them.
    stop_workers.store(true, Ordering::Relaxed);
    drop(workers);
    took.sort_unstable();
    let median = took.get(took.len() / 2).copied().unwrap_or(0);
    println!("{:.0} {:.0}", took.len() as f64 / elapsed, median as f64 / 1000.0);
    Ok(())
}
