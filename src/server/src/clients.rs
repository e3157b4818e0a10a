//! The clients of this instance: who is at the other end of a connection, and how much one of them may take.
//!
//! An address is all that is known before a request is read, so connections are counted by it, and requests by it
//! and by the token that they come with. Decides nothing about what a client may do.

mod block;
mod buckets;
mod connections;
mod forwarded;

use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use http::{Extensions, Request};
use ploinky_contract::{ClientLimits, Settings, TokenDigest};

use self::block::Block;
use self::buckets::{Buckets, Rate};
use self::connections::Connections;
pub(crate) use self::connections::Place;
use crate::refusal::Refusal;
use crate::reload::Table;

/// Who sends a request, as far as the connection tells and proxies that the admin trusts.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct Client {
    /// Its address; none over a socket of this host.
    pub(crate) address: Option<IpAddr>,
    /// Whether TLS hides the request from others on its way, up to us or to a trusted proxy.
    pub(crate) is_tls: bool,
    /// Whether requests of this client are not counted.
    is_exempt: bool,
}

/// All clients.
#[derive(Debug)]
pub(crate) struct Clients {
    table: Table,
    connections: Connections,
    /// Secret, so that nobody can make up addresses that fall together.
    hasher: RandomState,
    by_address: Mutex<Buckets>,
    by_token: Mutex<Buckets>,
}

impl Client {
    /// Who sends the request of these extensions.
    pub(crate) fn of(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or_default()
    }
}

impl Clients {
    /// Nobody yet; `table` has the settings.
    pub(crate) fn new(table: Table) -> Self {
        let buckets = || Mutex::new(Buckets::new(Instant::now()));
        Self {
            table,
            connections: Connections::default(),
            hasher: RandomState::new(),
            by_address: buckets(),
            by_token: buckets(),
        }
    }

    /// The right of one more connection from `peer`, if it may have that many.
    pub(crate) fn connect(&self, peer: Option<IpAddr>) -> Option<Place> {
        let routes = self.table.routes();
        let settings = routes.settings();
        match peer {
            Some(peer) if !is_local(peer) && !is_proxy(peer, settings) => {
                self.connections.take(Block::of(peer), settings.limits.connections_per_address)
            }
            // All clients of a proxy come by its address; those of a host itself have better ways to harm it.
            Some(_) | None => Some(Place::uncounted()),
        }
    }

    /// Writes onto a request that came from `peer` whose it is, and counts it.
    pub(crate) fn meet<B>(
        &self,
        peer: Option<IpAddr>,
        request: &mut Request<B>,
        now: Instant,
    ) -> Result<(), Refusal> {
        let Some(peer) = peer else { return Ok(()) };
        let routes = self.table.routes();
        let settings = routes.settings();
        let client = client(peer, request, settings);
        request.extensions_mut().insert(client);
        match client.address {
            Some(address) if !client.is_exempt => {
                let key = self.hasher.hash_one(Block::of(address));
                take(&self.by_address, key, &settings.limits, now)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Counts a request of `client` that came with a token that is known, within `limits`.
    pub(crate) fn meet_token(
        &self,
        client: Client,
        token: &TokenDigest,
        limits: &ClientLimits,
        now: Instant,
    ) -> Result<(), Refusal> {
        if client.is_exempt || client.address.is_none() {
            return Ok(());
        }
        take(&self.by_token, self.hasher.hash_one(token), limits, now)
    }
}

fn take(
    buckets: &Mutex<Buckets>,
    key: u64,
    limits: &ClientLimits,
    now: Instant,
) -> Result<(), Refusal> {
    let ClientLimits { requests_per_second, burst, connections_per_address: _ } = *limits;
    let Some(rate) = Rate::new(requests_per_second, burst) else { return Ok(()) };
    let mut buckets = buckets.lock().unwrap_or_else(PoisonError::into_inner);
    buckets
        .take(key, rate, now)
        .map_err(|wait| Refusal::TooManyRequests { rate: requests_per_second, wait })
}

fn client<B>(peer: IpAddr, request: &Request<B>, settings: &Settings) -> Client {
    if is_proxy(peer, settings) {
        let forwarded =
            forwarded::read(peer, request.headers(), |address| is_proxy(address, settings));
        Client { address: Some(forwarded.address), is_tls: forwarded.is_tls, is_exempt: false }
    } else {
        Client { address: Some(peer), is_tls: false, is_exempt: is_local(peer) }
    }
}

fn is_proxy(address: IpAddr, settings: &Settings) -> bool {
    settings.trusted_proxies.iter().any(|network| network.covers(address))
}

/// Whether `peer`, which is no proxy that the admin named, is on this host. If it is another one, its clients cannot be
/// told apart, and one of them must not use up what is there for all.
fn is_local(peer: IpAddr) -> bool {
    peer.to_canonical().is_loopback()
}

#[cfg(test)]
mod tests {
    use ploinky_contract::Config;

    use super::*;
    use crate::routes::Routes;

    fn clients(settings: &str) -> Clients {
        let text = format!(r#"{{"domains":[],"deployments":[],"settings":{settings}}}"#);
        let config = Config::parse(text.as_bytes()).unwrap();
        Clients::new(Table::of(Routes::with_settings(config.settings)))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn from(clients: &Clients, peer: &str, header: (&str, &str)) -> Result<Client, Refusal> {
        let mut request = Request::builder().header(header.0, header.1).body(()).unwrap();
        clients.meet(Some(ip(peer)), &mut request, Instant::now())?;
        Ok(Client::of(request.extensions()))
    }

    #[test]
    fn an_address_has_so_many_connections_and_no_more() {
        let clients =
            clients(r#"{"trustedProxies":["10.0.0.1"],"limits":{"connectionsPerAddress":2}}"#);
        let connect = |peer: &str| clients.connect(Some(ip(peer)));
        let (first, second) = (connect("2001:db8::1"), connect("2001:db8::ffff"));
        assert!(first.is_some() && second.is_some());
        assert!(connect("2001:db8::2").is_none());
        assert!(connect("2001:db8:0:1::2").is_some());
        drop(first);
        let _third = connect("2001:db8::2").unwrap();
        assert!(connect("2001:db8::3").is_none());
        let held: Vec<_> = (0..2).map(|_| connect("192.0.2.1").unwrap()).collect();
        assert!(connect("::ffff:192.0.2.1").is_none());
        drop(held);
        for unlimited in ["127.0.0.1", "::1", "10.0.0.1"] {
            assert!([(); 5].map(|()| connect(unlimited)).iter().all(Option::is_some));
        }
        assert!([(); 5].map(|()| clients.connect(None)).iter().all(Option::is_some));
    }

    #[test]
    fn only_a_trusted_proxy_tells_whose_a_request_is() {
        let clients = clients(r#"{"trustedProxies":["127.0.0.1","10.0.0.0/8"]}"#);
        let named = ("x-forwarded-for", "192.0.2.1");
        assert_eq!(from(&clients, "192.0.2.9", named).unwrap().address, Some(ip("192.0.2.9")));
        let local = from(&clients, "::1", named).unwrap();
        assert_eq!((local.address, local.is_exempt), (Some(ip("::1")), true));
        let client = from(&clients, "127.0.0.1", named).unwrap();
        assert_eq!((client.address, client.is_exempt), (Some(ip("192.0.2.1")), false));
    }

    #[test]
    fn a_client_that_sends_too_much_is_asked_for_patience_and_the_others_are_not() {
        let clients = clients(
            r#"{"trustedProxies":["127.0.0.1"],"limits":{"requestsPerSecond":1,"burst":2}}"#,
        );
        let send = |address: &str| from(&clients, "127.0.0.1", ("x-forwarded-for", address));
        for _ in 0..2 {
            assert!(send("192.0.2.1").is_ok());
        }
        assert!(matches!(send("192.0.2.1"), Err(Refusal::TooManyRequests { rate: 1, .. })));
        assert!(send("192.0.2.2").is_ok());
        let (one, two) = ("0".repeat(64).parse().unwrap(), "1".repeat(64).parse().unwrap());
        let client = send("192.0.2.3").unwrap();
        let routes = clients.table.routes();
        let limits = &routes.settings().limits;
        let now = Instant::now();
        for _ in 0..2 {
            assert!(clients.meet_token(client, &one, limits, now).is_ok());
        }
        assert!(clients.meet_token(client, &one, limits, now).is_err());
        assert!(clients.meet_token(client, &two, limits, now).is_ok());
        // A program of this host is not held up.
        for _ in 0..9 {
            let local = from(&clients, "::1", ("x", "y")).unwrap();
            assert!(clients.meet_token(local, &one, limits, now).is_ok());
        }
    }

    #[test]
    fn a_rate_of_nothing_is_no_limit() {
        let clients = clients(r#"{"limits":{"requestsPerSecond":0,"burst":1}}"#);
        for _ in 0..9 {
            assert!(from(&clients, "192.0.2.1", ("x", "y")).is_ok());
        }
    }
}
