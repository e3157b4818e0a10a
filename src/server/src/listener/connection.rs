//! One connection: HTTP/1 with bounds, and its part of the drain.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use axum::Router;
use axum::response::Response;
use http::{HeaderValue, Request, header};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::Service;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use ploinky_contract::limits::{
    DRAIN_IDLE, HEAD_MAX_BYTES, HEADER_TIMEOUT, KEEP_ALIVE, REQUESTS_PER_CONNECTION,
};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::framed::{Fault, Framed};
use super::lingering::Lingering;
use super::patient::Patient;
use crate::clients::Clients;
use crate::edge::has_large_body;
use crate::guardian::Door;
use crate::refusal::Refusal;
use crate::reply::{self, Reader};

/// Where a connection comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    pub(super) door: Door,
    /// The address at its other end.
    pub(super) peer: Option<IpAddr>,
    pub(super) clients: Arc<Clients>,
}

/// Serves one connection to its end.
pub(super) async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    origin: Origin,
    router: Router,
    draining: watch::Receiver<Option<Instant>>,
) {
    let accepted = Instant::now();
    let linger = Arc::new(AtomicBool::new(false));
    let fault = Fault::default();
    let stream = Lingering::new(Patient::new(stream), Arc::clone(&linger));
    let stream = Framed::new(stream, fault.clone());
    let service = Answering {
        router: TowerToHyperService::new(router),
        origin,
        draining: draining.clone(),
        linger,
        fault,
        answered: AtomicU32::new(0),
    };
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // A head that has begun is the business of `Framed`; the parser never sees it before it is whole.
        .header_read_timeout(KEEP_ALIVE + HEADER_TIMEOUT)
        .max_buf_size(HEAD_MAX_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        // An error here is the client's: it went away, was too slow or does not speak HTTP.
        _ended = connection.as_mut() => return,
        () = patience_ends(accepted, draining) => {}
    }
    // An idle connection ends now, one that has a request ends after its answer.
    connection.as_mut().graceful_shutdown();
    connection.await.ok();
}

/// Done when the connection had its time to send a request since the drain began.
async fn patience_ends(accepted: Instant, mut draining: watch::Receiver<Option<Instant>>) {
    let started = draining.wait_for(Option::is_some).await.ok().and_then(|since| *since);
    match started {
        Some(started) => sleep_until(accepted.max(started) + DRAIN_IDLE).await,
        // The listener is gone, and it cuts off what is left.
        None => std::future::pending().await,
    }
}

/// Adds to each answer what concerns the connection.
struct Answering {
    router: TowerToHyperService<Router>,
    origin: Origin,
    draining: watch::Receiver<Option<Instant>>,
    linger: Arc<AtomicBool>,
    fault: Fault,
    /// Requests so far.
    answered: AtomicU32,
}

impl Service<Request<Incoming>> for Answering {
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(fault) = self.fault.of(request.headers()) {
            self.linger.store(true, Ordering::Relaxed);
            let refused = Refusal::Framing(fault.clone());
            let response = reply::refusal(&refused, None, Reader::Program, true);
            return Box::pin(std::future::ready(Ok(response)));
        }
        let Origin { door, peer, clients } = &self.origin;
        if let Err(refused) = clients.meet(*peer, &mut request, Instant::now().into_std()) {
            let is_unread = has_large_body(request.headers());
            self.linger.store(is_unread, Ordering::Relaxed);
            let response = reply::refusal(&refused, None, Reader::Program, is_unread);
            return Box::pin(std::future::ready(Ok(response)));
        }
        door.mark(&mut request);
        // Another server in front may see the end of a chunked request elsewhere, so nothing may follow it.
        let is_last = request.headers().contains_key(header::TRANSFER_ENCODING);
        // What the client has sent behind the last one is not read; it must see this answer all the same.
        let is_full = REQUESTS_PER_CONNECTION <= self.answered.fetch_add(1, Ordering::Relaxed) + 1;
        let answer = self.router.call(request);
        let (draining, linger) = (self.draining.clone(), Arc::clone(&self.linger));
        Box::pin(async move {
            let mut response = answer.await?;
            let headers = response.headers_mut();
            if headers.contains_key(header::CONNECTION) {
                // The stage that refused left a part of the request unread.
                linger.store(true, Ordering::Relaxed);
            } else if is_full {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
                linger.store(true, Ordering::Relaxed);
            } else if is_last || draining.borrow().is_some() {
                headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(response)
        })
    }
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use ploinky_contract::limits::LINGER;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};

    use super::*;
    use crate::reload::Table;

    const REQUEST: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";

    /// A connection to a service that says yes, in a time that passes when all wait.
    fn connect() -> DuplexStream {
        let (client, server) = duplex(1 << 16);
        let router = Router::new().route("/", get(async || "yes"));
        let (sender, draining) = watch::channel(None);
        tokio::spawn(async move {
            let clients = Arc::new(Clients::new(Table::default()));
            let origin = Origin { door: Door::Internet, peer: None, clients };
            serve(server, origin, router, draining).await;
            drop(sender);
        });
        client
    }

    async fn answer(client: &mut DuplexStream) -> String {
        let mut bytes = [0; 4096];
        let count = client.read(&mut bytes).await.unwrap();
        String::from_utf8(bytes.get(..count).unwrap().to_vec()).unwrap()
    }

    #[tokio::test(start_paused = true)]
    async fn who_says_nothing_is_left() {
        let mut client = connect();
        let start = Instant::now();
        assert_eq!(answer(&mut client).await, "");
        assert_eq!(start.elapsed().as_secs(), HEADER_TIMEOUT.as_secs());
    }

    #[tokio::test(start_paused = true)]
    async fn a_head_that_comes_slowly_is_refused_in_words() {
        for before in [0, 1] {
            let mut client = connect();
            for _ in 0..before {
                client.write_all(REQUEST.as_bytes()).await.unwrap();
                assert!(answer(&mut client).await.ends_with("yes"));
                tokio::time::sleep(KEEP_ALIVE).await;
            }
            for piece in ["GET / HT", "TP/1.1\r\nHo", "st: a\r\n", "A: "] {
                client.write_all(piece.as_bytes()).await.unwrap();
                tokio::time::sleep(HEADER_TIMEOUT / 5).await;
            }
            let text = answer(&mut client).await;
            assert!(text.starts_with("HTTP/1.1 408 "), "{text}");
            assert!(text.contains("did not come within 10 s"), "{text}");
            assert_eq!(answer(&mut client).await, "");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_has_so_many_requests_and_each_is_answered() {
        let client = connect();
        let (mut reading, mut writing) = tokio::io::split(client);
        let all = REQUESTS_PER_CONNECTION as usize;
        // Some programs send before they know.
        let sent = tokio::spawn(async move {
            writing.write_all(REQUEST.repeat(all + 9).as_bytes()).await.unwrap();
            writing
        });
        let mut text = String::new();
        reading.read_to_string(&mut text).await.unwrap();
        drop(sent.await.unwrap());
        assert_eq!(text.matches("HTTP/1.1 200 OK").count(), all);
        assert_eq!(text.matches("connection: close").count(), 1);
        assert!(text.ends_with("yes"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_is_kept_for_a_while() {
        let mut client = connect();
        for _ in 0..3 {
            client.write_all(REQUEST.as_bytes()).await.unwrap();
            assert!(answer(&mut client).await.ends_with("yes"));
            tokio::time::sleep(KEEP_ALIVE).await;
        }
        client.write_all(REQUEST.as_bytes()).await.unwrap();
        assert!(answer(&mut client).await.ends_with("yes"));
        let start = Instant::now();
        assert_eq!(answer(&mut client).await, "");
        let kept = start.elapsed();
        assert!(KEEP_ALIVE <= kept && kept <= KEEP_ALIVE + HEADER_TIMEOUT + LINGER, "{kept:?}");
    }
}
