//! The least that an axum server does for a JSON call: the yardstick of the benchmarks.
//!
//! One thread, one route, the body parsed and answered. `cargo run --release --example axum_hello -- --listen
//! 127.0.0.1:8001`

use std::net::SocketAddr;

use axum::Router;
use axum::body::Bytes;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use clap::Parser;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Answer JSON calls with their own parameters
#[derive(Parser)]
struct Arguments {
    /// Address to listen on
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:8001")]
    listen: SocketAddr,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(rename = "command")]
    _command: &'a str,
    #[serde(borrow)]
    params: &'a RawValue,
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> std::io::Result<()> {
    let Arguments { listen } = Arguments::parse();
    let socket = tokio::net::TcpListener::bind(listen).await?;
    axum::serve(socket, Router::new().fallback(post(hello))).await
}

async fn hello(body: Bytes) -> Response {
    match serde_json::from_slice::<Call<'_>>(&body) {
        Ok(Call { params, .. }) => {
            let text = format!(r#"{{"success":true,"data":{params}}}"#);
            ([(header::CONTENT_TYPE, "application/json")], text).into_response()
        }
        Err(refused) => (StatusCode::BAD_REQUEST, refused.to_string()).into_response(),
    }
}
