//! `/healthz`: whether this process answers. Says nothing about agents.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::Method;

use crate::edge::{Edge, reader};
use crate::refusal::Refusal;
use crate::{guardian, reply};

/// Answers a probe of systemd, a load balancer or a person.
pub(crate) async fn answer(State(edge): State<Arc<Edge>>, request: Request) -> Response {
    let (parts, _body) = request.into_parts();
    let refused = match guardian::check_head(&parts) {
        Err(refused) => refused,
        Ok(_head) if parts.method == Method::GET || parts.method == Method::HEAD => {
            return reply::health(edge.instance());
        }
        Ok(_head) => Refusal::Method { method: parts.method.clone(), allowed: "GET, HEAD" },
    };
    reply::refusal(&refused, None, reader(&parts), false)
}
