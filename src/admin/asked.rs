//! Asked: what a request says, checked, or the problem with it.
//!
//! Duty: parameters, names in paths, bodies, cursors, how many are wanted, and whether the room lets anything be changed. Must not: answer.
//! Neighbours: each room of the API takes these; `problem` says what is wrong.

use axum::body::to_bytes;
use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::api::Room;
use super::problem::Problem;

/// Items of a list unless it is said otherwise, and at most.
const LIMIT: u32 = 100;
pub(super) const LIMIT_MAX: u32 = 1000;

/// What stands behind the question mark.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequestParts<Room> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Room) -> Result<Self, Problem> {
        let query = parts.uri.query().unwrap_or_default();
        serde_urlencoded::from_str(query).map(Self).map_err(|error| Problem::bad(format!("the query: {error}")))
    }
}

/// Nothing stands there.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

/// A name in a path, whatever is in it.
pub(super) struct Name(pub(super) String);

impl FromRequestParts<Room> for Name {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, room: &Room) -> Result<Self, Problem> {
        let Path(name) = Path::<String>::from_request_parts(parts, room)
            .await
            .map_err(|error| Problem::bad(format!("the path: {}", error.body_text())))?;
        if name.is_empty() {
            return Err(Problem::bad("the path: a name is wanted at its end"));
        }
        Ok(Self(name))
    }
}

/// A body of JSON.
pub(super) struct Said<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Room> for Said<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, room: &Room) -> Result<Self, Problem> {
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
        let is_json =
            kind.is_some_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json"));
        // No page of another host can send that unasked.
        if !is_json {
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "Content-Type: application/json is wanted"));
        }
        let most = room.window.shown().limits.admin_body_bytes_max;
        let body = to_bytes(request.into_body(), most).await;
        let too_large = format!("the body is larger than admin_body_bytes_max ({most} bytes), or did not arrive");
        let body = body.map_err(|_| Problem::new(StatusCode::PAYLOAD_TOO_LARGE, too_large))?;
        serde_json::from_slice(&body).map(Self).map_err(|error| Problem::bad(format!("the body: {error}")))
    }
}

/// The request may change something.
pub(super) struct Changing;

impl FromRequestParts<Room> for Changing {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, room: &Room) -> Result<Self, Problem> {
        let forbidden = |detail: &str| Err(Problem::new(StatusCode::FORBIDDEN, detail));
        if !room.window.shown().config.admin.allows_changes {
            return forbidden(
                "nothing can be changed here: admin_allow_changes = true (--admin-allow-changes) allows it",
            );
        }
        if !is_of_own_page(&parts.headers) {
            return forbidden("a page of another host may change nothing here (Origin)");
        }
        Ok(Self)
    }
}

/// Whether no page, or one of this room, sends the request.
fn is_of_own_page(headers: &HeaderMap) -> bool {
    let text = |name| headers.get(name).map(|value| value.to_str().unwrap_or_default());
    let Some(origin) = text(header::ORIGIN) else { return true };
    let host = origin.split_once("://").map_or(origin, |(_, host)| host);
    text(header::HOST).is_some_and(|own| own.eq_ignore_ascii_case(host))
}

/// How many are wanted.
pub(super) fn limit_of(limit: Option<u32>) -> Result<usize, Problem> {
    match limit.unwrap_or(LIMIT) {
        limit @ 1..=LIMIT_MAX => Ok(limit as usize),
        _ => Err(Problem::bad(format!("limit: 1 to {LIMIT_MAX} is wanted"))),
    }
}

/// Two numbers of a cursor, the first in hexadecimal digits.
pub(super) fn cursor_of(text: Option<&str>) -> Result<Option<(u64, u32)>, Problem> {
    let Some(text) = text else { return Ok(None) };
    let is_plain = |part: &str, radix| part.chars().all(|digit| digit.is_digit(radix));
    let parts = text.split_once('.').filter(|(first, second)| is_plain(first, 16) && is_plain(second, 10));
    let numbers =
        parts.and_then(|(first, second)| Some((u64::from_str_radix(first, 16).ok()?, second.parse::<u32>().ok()?)));
    numbers.map(Some).ok_or_else(|| Problem::bad("cursor: what `next` of the piece before says is wanted"))
}

/// A cursor of two numbers.
pub(super) fn cursor_text(first: u64, second: u32) -> String {
    format!("{first:x}.{second}")
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn a_cursor_is_read_as_it_is_written() {
        for (first, second) in [(0, 0), (u64::MAX, u32::MAX), (10, 7)] {
            assert_eq!(cursor_of(Some(&cursor_text(first, second))).unwrap(), Some((first, second)));
        }
        assert_eq!(cursor_of(None).unwrap(), None);
        for bad in ["", ".", "1", "1.", ".1", "g.1", "1.1.1", "+1.1", "1.-1", "1.4294967296", "11111111111111111.0"] {
            assert!(cursor_of(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_own_pages_change_anything() {
        let is_own = |origin: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_static("127.0.0.1:1885"));
            origin.map(|origin| headers.insert(header::ORIGIN, HeaderValue::from_static(origin)));
            is_of_own_page(&headers)
        };
        assert!(is_own(None) && is_own(Some("http://127.0.0.1:1885")) && is_own(Some("https://127.0.0.1:1885")));
        for other in ["null", "http://127.0.0.1", "http://127.0.0.1:8080", "http://evil.example.org", ""] {
            assert!(!is_own(Some(other)), "{other}");
        }
    }

    #[test]
    fn a_list_has_a_hundred_items_unless_more_or_fewer_are_wanted() {
        assert_eq!([None, Some(1), Some(1000)].map(|limit| limit_of(limit).unwrap()), [100, 1, 1000]);
        assert!(limit_of(Some(0)).is_err() && limit_of(Some(1001)).is_err());
    }
}
