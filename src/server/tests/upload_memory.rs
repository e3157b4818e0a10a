//! How much memory a long upload takes. Alone in its process, so that nothing else counts.
#![expect(clippy::unwrap_used, reason = "test support")]
#![expect(clippy::panic, clippy::indexing_slicing, reason = "test support")]
#![expect(clippy::disallowed_methods, reason = "tests make files and directories of all kinds")]
#![expect(dead_code, reason = "the other test uses the rest")]

#[path = "server/client.rs"]
mod client;
#[path = "server/host.rs"]
mod host;

use client::Client;
use host::{Host, eventually, queue_files};

/// Bytes of the file.
const LENGTH: usize = 96 << 20;
/// Growth that is allowed.
const GROWTH_MAX_KIB: usize = 20 << 10;
const START: &str = "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"long\"\r\n\r\n";
const END: &str = "\r\n--X--\r\n";

fn peak_kib() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_long_upload_takes_little_memory() {
    let (host, directory) = Host::with_agent(30);
    let manifest = r#"{"name":"a","container":"localhost/a","commands":{"echo":"x"},
        "uploads":{"max":"2G"}}"#;
    std::fs::write(directory.manifest(), manifest).unwrap();
    let server = host.start();
    let block = vec![b'x'; 1 << 16];
    let bring = |length: usize| {
        let mut client = Client::connect(server.address);
        let whole = START.len() + length + END.len();
        client.send(format!(
            "POST /a/upload?command=echo HTTP/1.1\r\nHost: localhost\r\n\
             Content-Type: multipart/form-data; boundary=X\r\nContent-Length: {whole}\r\n\r\n{START}"
        ));
        for _ in 0..length / block.len() {
            client.send(&block);
        }
        client.send(END);
        let has_task =
            || queue_files(&directory.tasks()).iter().any(|name| name.starts_with("requests/"));
        eventually("the upload is taken", has_task);
        client.shut_down();
        eventually("it is gone", || queue_files(&directory.tasks()).is_empty());
    };
    // Whatever is made once is there.
    bring(1 << 20);
    let before = peak_kib();
    bring(LENGTH);
    let growth = peak_kib() - before;
    assert!(growth < GROWTH_MAX_KIB, "the memory grew by {growth} KiB");
    eprintln!("the memory grew by {growth} KiB for {} MiB", LENGTH >> 20);
}
