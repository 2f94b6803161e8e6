//! Api: what is asked and answered.
//!
//! Duty: paths, the token, the name by which a browser may call the room, and an answer from what the window shows. Must not: wait for
//! anything but a shard's answer. Neighbours: `server` brings requests; `auth` decides; `answer` has the words.

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::answer::{Explained, WhyQuestion};
use super::problem::{Problem, json_of};
use super::server::{Refused, Why};
use crate::auth::{Asked, Question, Wish};
use crate::runtime::{Phase, SessionUser, Window};

/// What answers need.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) window: Window,
    /// Whether only processes of this machine's broker and root come in; a browser does not.
    pub(super) is_unix: bool,
    pub(super) refused: Arc<Refused>,
}

/// All paths.
pub(super) fn router(room: Room) -> Router {
    let of_api =
        Router::new().route("/api/v1/why", get(why)).route_layer(middleware::from_fn_with_state(room.clone(), let_in));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .merge(of_api)
        .fallback(|| async {
            Problem::new(StatusCode::NOT_FOUND, "there is nothing here; /api/v1/why, /healthz and /readyz are")
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "GET is wanted; nothing can be changed")
        })
        .with_state(room)
}

/// This process is up.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Every shard listens, and none was told to stop.
async fn readyz(State(room): State<Room>) -> (StatusCode, &'static str) {
    match room.window.phase() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Serving => (StatusCode::OK, "ready\n"),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

/// Lets in who knows the token; where there is none, who calls the room by its address: a page whose host name leads here by a trick of
/// its name server (DNS rebinding) calls it by that name.
async fn let_in(State(room): State<Room>, request: Request, next: Next) -> Response {
    let refused = match &room.window.shown().token {
        Some(token) => {
            let given = request.headers().get(header::AUTHORIZATION).map(|value| value.as_bytes());
            let given = given.and_then(|value| value.strip_prefix(b"Bearer "));
            let is_known = given.is_some_and(|given| token.is(given));
            let detail = "the token is wanted: Authorization: Bearer TOKEN";
            if !is_known {
                room.refused.note(Why::Token);
            }
            (!is_known).then(|| Problem::new(StatusCode::UNAUTHORIZED, detail))
        }
        None => {
            let detail = "without a token the room is called by its IP address or localhost";
            let is_own = room.is_unix || is_own_name(request.headers());
            (!is_own).then(|| Problem::new(StatusCode::MISDIRECTED_REQUEST, detail))
        }
    };
    match refused {
        Some(problem) => problem.into_response(),
        None => next.run(request).await,
    }
}

/// Whether the Host header is an address or `localhost`.
fn is_own_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    let unbracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || unbracketed.parse::<std::net::IpAddr>().is_ok()
}

/// Whether a client may do something, by the rules that hold now.
async fn why(
    State(room): State<Room>,
    question: Result<Query<WhyQuestion>, QueryRejection>,
) -> Result<Response, Problem> {
    let Query(question) = question.map_err(|error| Problem::bad(error.body_text()))?;
    let WhyQuestion { user, client, action, topic, listener } = question;
    let wish = Wish::WORDS.iter().find(|(word, _)| *word == action).map(|(_, wish)| *wish);
    let wish = wish.ok_or_else(|| Problem::bad("action: publish, receive or subscribe is wanted"))?;
    let (user, user_is_of_session) = match user {
        Some(user) => (Some(user), false),
        None if client.is_empty() => (None, false),
        None => match room.window.user_of(&client).await {
            Some(SessionUser::User(user)) => (Some(user.into_string()), true),
            Some(SessionUser::Nobody | SessionUser::NoSession) => (None, false),
            None => return Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the shards do not answer")),
        },
    };
    let shown = room.window.shown();
    let asked = Asked { user: user.as_deref(), client_id: &client, grants: None };
    let question = Question { asked, wish, topic: &topic, port: listener };
    let answer = shown.policy.answer(question, &shown.ports).map_err(|error| Problem::bad(error.to_string()))?;
    let (file, line) = answer.line.map(|(file, line)| (file.to_string(), line)).unzip();
    let explained = Explained { allowed: answer.is_allowed, text: answer.text, file, line, user, user_is_of_session };
    Ok(json_of(StatusCode::OK, &explained))
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_room_without_a_token_is_called_by_its_address() {
        let is_own = |host: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            host.map(|host| headers.insert(header::HOST, HeaderValue::from_static(host)));
            is_own_name(&headers)
        };
        for own in ["127.0.0.1", "127.0.0.1:1885", "localhost", "localhost:1885", "[::1]:1885", "[::1]"] {
            assert!(is_own(Some(own)), "{own}");
        }
        for other in
            ["example.org", "example.org:1885", "localhost.example.org", "127.0.0.1.example.org:80", "", ":1885"]
        {
            assert!(!is_own(Some(other)), "{other}");
        }
        assert!(!is_own(None));
    }
}
