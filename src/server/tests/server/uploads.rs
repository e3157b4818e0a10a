//! Forms with files.

use std::net::SocketAddr;
use std::path::Path;

use ploinky_contract::TaskId;
use ploinky_contract::limits::UPLOADS_AT_ONCE;

use crate::agent::Agent;
use crate::client::{Client, Reply, exchange, get};
use crate::host::{Host, Mounted, eventually, queue_files};

/// A form with one file and one field.
fn form(content: &str) -> String {
    format!(
        "--X\r\nContent-Disposition: form-data; name=\"f\"; filename=\"../a.txt\"\r\n\
         Content-Type: text/plain\r\n\r\n{content}\r\n\
         --X\r\nContent-Disposition: form-data; name=\"metadata\"\r\n\r\n{{\"n\":1}}\r\n--X--\r\n"
    )
}

fn head(query: &str, headers: &str, length: usize) -> String {
    format!(
        "POST /a/upload{query} HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: multipart/form-data; boundary=X\r\nContent-Length: {length}\r\n{headers}\r\n"
    )
}

fn upload(address: SocketAddr, query: &str, headers: &str, form: &str) -> Reply {
    exchange(address, head(query, headers, form.len()) + form)
}

fn assert_nothing_is_left(tasks: &Path) {
    eventually("nothing is left", || queue_files(tasks).is_empty());
}

#[test]
fn what_is_no_upload_is_refused_before_its_body() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let expect = "Expect: 100-continue\r\n";
    let cross = format!("{expect}Sec-Fetch-Site: cross-site\r\n");
    for (query, headers, length, failure) in [
        ("?command=absent", expect, 9, (404, "UNKNOWN_COMMAND")),
        ("?command=../x", expect, 9, (400, "BAD_REQUEST")),
        ("?cmd=echo", expect, 9, (400, "BAD_REQUEST")),
        ("?command=echo", &cross, 9, (403, "FORBIDDEN")),
        ("?command=echo", expect, 200 << 20, (413, "BODY_TOO_LARGE")),
    ] {
        let mut client = Client::connect(server.address);
        client.send(head(query, headers, length));
        // Not 100: no byte of the body was asked for.
        let (status, code) = failure;
        assert_eq!(client.reply().failure(), (status, code.to_owned()), "{query}");
    }
    for (method, media_type, status) in [
        ("PUT", "multipart/form-data; boundary=X", 405),
        ("POST", "application/json", 415),
        ("POST", "multipart/form-data", 415),
        ("POST", "multipart/form-data; boundary=\"{\"", 415),
    ] {
        let request = format!(
            "{method} /a/upload HTTP/1.1\r\nHost: localhost\r\nContent-Type: {media_type}\r\n\
             Content-Length: 2\r\n\r\n{{}}"
        );
        assert_eq!(exchange(server.address, request).status, status, "{method} {media_type}");
    }
    assert_eq!(queue_files(&directory.tasks()), [""; 0]);
}

#[test]
fn a_form_that_is_refused_leaves_nothing() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let whole = form("content");
    let no_file = "--X\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n--X--\r\n";
    for (query, form, failure) in [
        ("?command=echo", "", (400, "BAD_REQUEST")),
        ("?command=echo", "--Y--\r\n", (400, "BAD_REQUEST")),
        ("?command=echo", no_file, (400, "BAD_REQUEST")),
        ("?command=echo", whole.split_at(120).0, (400, "BAD_REQUEST")),
        // Without a name the command is `upload`, which this agent has not.
        ("", &whole, (404, "UNKNOWN_COMMAND")),
    ] {
        let reply = upload(server.address, query, "", form);
        let (status, code) = failure;
        assert_eq!(reply.failure(), (status, code.to_owned()), "{form}");
        assert_nothing_is_left(&directory.tasks());
    }
}

#[test]
fn a_client_that_goes_away_leaves_nothing() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let mut client = Client::connect(server.address);
    client.send(head("?command=echo", "", 1 << 20));
    client.send(form(&"x".repeat(600_000)).split_at(600_000).0);
    let is_coming = || !queue_files(&directory.tasks()).is_empty();
    eventually("the file is coming", is_coming);
    client.shut_down();
    assert_nothing_is_left(&directory.tasks());
    // The task ends, too, if the client goes away after its form.
    let _agent = Agent::start(&directory.tasks());
    let whole = form("content");
    let mut client = Client::connect(server.address);
    client.send(head("?command=hang", "", whole.len()) + &whole);
    eventually("the task runs", || {
        queue_files(&directory.tasks()).iter().any(|name| name.starts_with("locks/"))
    });
    client.shut_down();
    assert_nothing_is_left(&directory.tasks());
}

#[test]
fn as_many_uploads_come_at_once_as_allowed() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let mut coming = Vec::new();
    for _ in 0..UPLOADS_AT_ONCE {
        let mut client = Client::connect(server.address);
        client.send(head("?command=echo", "", 1000) + "--X\r\n");
        coming.push(client);
    }
    eventually("all are coming", || queue_files(&directory.tasks()).len() == UPLOADS_AT_ONCE);
    let reply = upload(server.address, "?command=echo", "", &form("content"));
    assert_eq!(reply.failure(), (503, "UNAVAILABLE".to_owned()));
    assert_eq!(reply.header("retry-after"), Some("1"));
    drop(coming);
    assert_nothing_is_left(&directory.tasks());
}

#[test]
fn a_full_disk_refuses_the_upload_whole() {
    let host = Host::new();
    let directory = host.directory("localhost", "/a");
    std::fs::create_dir_all(directory.tasks()).unwrap();
    let _mounted = Mounted::small(&directory.tasks());
    let directory = host.agent("localhost", "/a", 30);
    host.configure(&crate::host::config(&["/a"]));
    let server = host.start();
    // Announced, and found out.
    let long = form(&"x".repeat(5 << 20));
    let mut client = Client::connect(server.address);
    client.send(head("?command=echo", "Expect: 100-continue\r\n", long.len()));
    assert_eq!(client.reply().failure(), (507, "NO_SPACE".to_owned()));
    let mut client = Client::connect(server.address);
    client.send(
        "POST /a/upload?command=echo HTTP/1.1\r\nHost: localhost\r\n\
         Content-Type: multipart/form-data; boundary=X\r\nTransfer-Encoding: chunked\r\n\r\n",
    );
    client.try_send(format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len()).as_bytes());
    let reply = client.reply();
    assert_eq!(reply.failure(), (507, "NO_SPACE".to_owned()), "{}", reply.text());
    assert_nothing_is_left(&directory.tasks());
}

#[test]
fn the_agent_gets_the_files_and_they_go_with_the_task() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let agent = Agent::asleep(&directory.tasks());
    let content = "0123456789".repeat(100_000);
    let whole = form(&content);
    let mut client = Client::connect(server.address);
    client.send(head("?command=echo", "", whole.len()) + &whole);
    let mut id = None;
    eventually("the task is written", || {
        let files = queue_files(&directory.tasks());
        id = files.iter().find_map(|name| name.strip_prefix("requests/").map(str::to_owned));
        id.is_some()
    });
    let id: TaskId = id.unwrap().parse().unwrap();
    let file = directory.tasks().join("files").join(id.as_str()).join("0");
    assert!(std::fs::read_to_string(file).unwrap() == content);
    agent.wake();
    let reply = client.reply();
    assert_eq!((reply.status, reply.header("task-id")), (200, Some(id.as_str())));
    let expected = format!(
        r#"{{"success":true,"data":["InternetUser",[{{"field":"f","name":"../a.txt","type":"text/plain","size":1000000,"path":"/agent/.tasks/files/{id}/0"}}],{{"metadata":{{"n":1}}}}]}}"#
    );
    assert_eq!(reply.text(), expected);
    assert_nothing_is_left(&directory.tasks());
}

#[test]
fn an_accepted_upload_stays_with_its_task() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let reply =
        upload(server.address, "?command=echo", "Prefer: respond-async\r\n", &form("content"));
    assert_eq!(reply.status, 202);
    let task = reply.header("location").unwrap();
    let document = || get(server.address, task, "").json();
    eventually("the task has ended", || document()["state"] == "done");
    let id = task.rsplit('/').next().unwrap();
    let file = directory.tasks().join("files").join(id).join("0");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "content");
    let delete = format!("DELETE {task} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(exchange(server.address, delete).status, 204);
    assert_nothing_is_left(&directory.tasks());
}

#[test]
fn an_upload_that_failed_runs_again_with_its_files() {
    let (host, directory) = Host::with_agent(30);
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let send = |method: &str, path: &str| {
        exchange(server.address, format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    };
    let ends = |task: &str| {
        eventually("the task has failed", || {
            get(server.address, task, "").json()["state"] == "failed"
        });
    };
    let reply =
        upload(server.address, "?command=fail", "Prefer: respond-async\r\n", &form("content"));
    let first = reply.header("location").unwrap();
    ends(first);
    let reply = send("POST", &format!("{first}/retry"));
    assert_eq!(reply.status, 202, "{reply:?}");
    let second = reply.header("location").unwrap();
    ends(second);
    assert_eq!(send("DELETE", first).status, 204);
    let id = second.rsplit('/').next().unwrap();
    let request = std::fs::read_to_string(directory.tasks().join("requests").join(id)).unwrap();
    let path =
        format!(r#""size":7,"path":"/agent/.tasks/files/{id}/0"}}],{{"metadata":{{"n":1}}}}]"#);
    assert!(request.contains(&path), "{request}");
    let file = directory.tasks().join("files").join(id).join("0");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "content");
    // Without its files it is no task that could run.
    std::fs::remove_file(file).unwrap();
    let gone = send("POST", &format!("{second}/retry"));
    assert_eq!(gone.failure(), (404, "TASK_NOT_FOUND".to_owned()));
    assert_eq!(send("DELETE", second).status, 204);
    assert_nothing_is_left(&directory.tasks());
}

#[test]
fn the_same_form_with_the_same_key_is_the_same_task() {
    let (host, directory) = Host::with_agent(30);
    std::fs::write(host.state().task_key(), "ab".repeat(32)).unwrap();
    let server = host.start();
    let _agent = Agent::start(&directory.tasks());
    let key = "Idempotency-Key: k1\r\n";
    let with = |content: &str| upload(server.address, "?command=echo", key, &form(content));
    let first = with("content");
    assert_eq!(first.status, 200, "{first:?}");
    let again = with("content");
    assert_eq!((again.status, &again.body), (200, &first.body));
    assert_eq!(again.header("task-id"), first.header("task-id"));
    // Only the bytes of the file differ.
    let other = with("CONTENT");
    assert_eq!(other.failure(), (422, "IDEMPOTENCY_KEY_REUSED".to_owned()));
    let id = first.header("task-id").unwrap();
    let names = || std::fs::read_dir(directory.tasks().join("files")).unwrap();
    eventually("one upload is left", || names().count() == 1);
    let file = directory.tasks().join("files").join(id).join("0");
    assert_eq!(std::fs::read_to_string(file).unwrap(), "content");
}
