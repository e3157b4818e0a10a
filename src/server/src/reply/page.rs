//! A refusal as a page for a person with a browser.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderValue, StatusCode, header};

use super::{NO_STORE, protect};

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// A page that says one sentence.
pub(super) fn page(status: StatusCode, message: &str) -> Response {
    let title = status.canonical_reason().unwrap_or("Error");
    let number = status.as_str();
    let message = escaped(message);
    let text = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<title>{number} {title}</title>\n\
         <h1>{number} {title}</h1>\n<p>{message}.</p>\n</html>\n"
    );
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    protect(headers);
    headers.insert(header::CONTENT_TYPE, HTML);
    headers.insert(header::CACHE_CONTROL, NO_STORE);
    response
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use http_body_util::BodyExt as _;

    use super::*;

    #[tokio::test]
    async fn a_page_shows_no_markup_of_the_client() {
        let shown = page(StatusCode::NOT_FOUND, "A&B <script> \"x\"");
        let bytes = shown.into_body().collect().await.unwrap().to_bytes();
        let text = std::str::from_utf8(&bytes).unwrap();
        assert!(text.contains("<p>A&amp;B &lt;script&gt; &quot;x&quot;.</p>"), "{text}");
    }
}
