//! Page: the dashboard, as it is sent to a browser.
//!
//! Duty: the files of the page in one page, one style and one script, and the policy that keeps a browser from anything else. Must not:
//! know figures or a token: the page asks the API for both. Neighbours: `api` merges these routes; `tests/dashboard.rs` looks at the
//! page in a real browser. The parts of the script share one scope, in this order; there is no build step and no outside resource.

use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

/// What a browser may do for this page: its own script and style, its own origin, and WebSockets for the try-out. Strings never become
/// HTML: the browser itself refuses to (`require-trusted-types-for`).
const SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' ws: wss:; \
     base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'";

const HTML: &str = include_str!("index.html");

const STYLE: &str = include_str!("style.css");

const SCRIPT: &str = concat!(
    include_str!("base.js"),
    include_str!("table.js"),
    include_str!("chart.js"),
    include_str!("overview.js"),
    include_str!("clients.js"),
    include_str!("topics.js"),
    include_str!("refusals.js"),
    include_str!("mqtt.js"),
    include_str!("tryout.js"),
    include_str!("trace.js"),
    include_str!("broker.js"),
    include_str!("main.js"),
);

/// The page and its two files. No token is wanted: there is nothing of the broker in them.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    Router::new()
        .route("/", get(|| async { file("text/html; charset=utf-8", HTML) }))
        .route("/dashboard.css", get(|| async { file("text/css; charset=utf-8", STYLE) }))
        .route("/dashboard.js", get(|| async { file("text/javascript; charset=utf-8", SCRIPT) }))
}

fn file(kind: &'static str, text: &'static str) -> impl IntoResponse {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CONTENT_SECURITY_POLICY, SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text)
}
