//! Page: what a browser is shown.
//!
//! Duty: files that are in the program, with headers that let them load nothing from elsewhere. Must not: know what they do. Neighbours:
//! `api` has their paths.

use axum::body::Body;
use axum::http::{HeaderValue, header};
use axum::response::Response;

/// Nothing from other hosts, nothing inline, in no frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The page.
pub(super) async fn index() -> Response {
    file("text/plain; charset=utf-8", "ringmq: see /metrics, /api/openapi.json and /api/v1/overview\n")
}

fn file(kind: &'static str, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    let headers = response.headers_mut();
    let fixed = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    fixed.into_iter().for_each(|(name, value)| drop(headers.insert(name, HeaderValue::from_static(value))));
    response
}
