//! Entry: who is let in, and for how long a request may take.
//!
//! Duty: the token, users with an admin right, the name by which a browser may call the room without either; the bound of an answer.
//! Must not: check a password itself (the verifier does). Neighbours: `server` says who calls; `api` is behind this.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tokio::time::timeout;

use super::api::Room;
use super::problem::Problem;
use super::server::Why;
use crate::runtime::Shown;

/// Who calls, as far as the connection says.
#[derive(Clone, Debug, Default)]
pub(super) struct Caller {
    /// Its address; `None` on a Unix socket.
    pub(super) address: Option<IpAddr>,
    /// Whether the connection has brought a whole request.
    pub(super) has_asked: Arc<AtomicBool>,
}

/// Answers in time, or says that it does not.
pub(super) async fn bound(State(room): State<Room>, request: Request, next: Next) -> Response {
    if let Some(caller) = request.extensions().get::<Caller>() {
        caller.has_asked.store(true, Ordering::Relaxed);
    }
    let most = Duration::from_millis(room.window.shown().limits.admin_request_ms_max);
    match timeout(most, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            room.refused.note(Why::Slow);
            let detail =
                "the answer takes longer than admin_request_ms_max; what it was to change may be changed in part";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail).into_response()
        }
    }
}

/// Lets in who knows the token or is a user with an admin right; where there is neither, who calls the room by its address: a page whose
/// host name leads here by a trick of its name server (DNS rebinding) calls it by that name.
pub(super) async fn let_in(State(room): State<Room>, request: Request, next: Next) -> Response {
    let shown = room.window.shown();
    let address = request.extensions().get::<Caller>().and_then(|caller| caller.address);
    match check(&room, &shown, request.headers(), address).await {
        Ok(()) => next.run(request).await,
        Err(problem) => {
            let is_unknown = problem.status == StatusCode::UNAUTHORIZED;
            let mut response = problem.into_response();
            let headers = response.headers_mut();
            if is_unknown && shown.token.is_some() {
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            if is_unknown && !shown.config.admin.users.is_empty() {
                headers.append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"ringmq\""));
            }
            response
        }
    }
}

async fn check(room: &Room, shown: &Shown, headers: &HeaderMap, address: Option<IpAddr>) -> Result<(), Problem> {
    let users = &shown.config.admin.users;
    if shown.token.is_none() && users.is_empty() {
        let detail = "without a token the room is called by its IP address or localhost";
        let is_own = room.is_unix || is_own_name(headers);
        return if is_own { Ok(()) } else { Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail)) };
    }
    let given = headers.get(header::AUTHORIZATION).map_or(&[][..], HeaderValue::as_bytes);
    if let (Some(token), Some(given)) = (&shown.token, given.strip_prefix(b"Bearer "))
        && token.is(given)
    {
        return Ok(());
    }
    if let Some((user, password)) = given.strip_prefix(b"Basic ").filter(|_| !users.is_empty()).and_then(basic_of) {
        match room.window.is_user(&user, &password, address).await {
            Some(true) if users.contains(&user) => return Ok(()),
            Some(true) => {
                let detail = format!("user {user:?} has no admin right (admin_users)");
                return Err(Problem::new(StatusCode::FORBIDDEN, detail));
            }
            Some(false) => {}
            None => {
                let detail = "too many passwords are wrong, or wait to be checked; try again in a second";
                return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, detail));
            }
        }
    }
    room.refused.note(Why::Token);
    let wanted = match (&shown.token, users.is_empty()) {
        (Some(_), true) => "the token is wanted: Authorization: Bearer TOKEN",
        (Some(_), false) => "the token is wanted, or a user of admin_users: Authorization: Bearer TOKEN, or Basic",
        (None, _) => "a user of admin_users is wanted: Authorization: Basic",
    };
    Err(Problem::new(StatusCode::UNAUTHORIZED, wanted))
}

/// User and password of a Basic header (RFC 7617).
fn basic_of(given: &[u8]) -> Option<(String, Vec<u8>)> {
    let given = STANDARD.decode(given.trim_ascii()).ok()?;
    let colon = given.iter().position(|byte| *byte == b':')?;
    let user = String::from_utf8(given[..colon].to_vec()).ok()?;
    Some((user, given[colon + 1..].to_vec()))
}

/// Whether the Host header is an address or `localhost`.
fn is_own_name(headers: &HeaderMap) -> bool {
    let Some(host) = headers.get(header::HOST).and_then(|host| host.to_str().ok()) else { return false };
    let is_port = |port: &str| port.parse::<u16>().is_ok();
    let name = host.rsplit_once(':').filter(|(_, port)| is_port(port)).map_or(host, |(name, _)| name);
    let unbracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || unbracketed.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
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

    #[test]
    fn a_password_may_have_colons_and_any_bytes() {
        assert_eq!(basic_of(b"YW5uOmE6Yg=="), Some(("ann".into(), b"a:b".to_vec())));
        assert_eq!(basic_of(b"YW5uOv8="), Some(("ann".into(), vec![0xff])));
        for bad in [&b""[..], b"YW5u", b"!", b"/zph"] {
            assert_eq!(basic_of(bad), None);
        }
    }
}
