//! Configuration: what the broker was told, as far as it does that; read again; what is logged.
//!
//! Duty: mask secrets, carry wishes to the main thread. Must not: read a file. Neighbours: `config` writes the text; the `Window` carries.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;

use super::answer::{ConfigText, LogChoice, Told};
use super::api::Room;
use super::asked::{Changing, Nothing, Query, Said};
use super::problem::{Problem, json_of};
use crate::config::{Config, LogType, Logging, text_of};
use crate::runtime::{LogWish, Unable};

/// The configuration in force.
pub(super) async fn config(State(room): State<Room>, _: Query<Nothing>) -> Response {
    let mut config = Config::clone(&room.window.shown().config);
    for server in config.securities.iter_mut().filter_map(|security| security.authenticator.as_mut()) {
        server.url = masked(&server.url);
    }
    let file = config.file.as_ref().map(|file| file.display().to_string());
    json_of(StatusCode::OK, &ConfigText { text: text_of(&config), file })
}

/// A URL without the user name, the password and the query that it may have.
fn masked(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let (rest, query) = rest.split_once('?').map_or((rest, ""), |(rest, _)| (rest, "?***"));
    let (authority, path) = rest.find('/').map_or((rest, ""), |slash| rest.split_at(slash));
    let host = authority.rsplit_once('@').map_or(authority.to_owned(), |(_, host)| format!("***@{host}"));
    format!("{scheme}://{host}{path}{query}")
}

/// Reads the configuration again.
pub(super) async fn reload(State(room): State<Room>, _: Changing, _: Query<Nothing>) -> Result<Response, Problem> {
    let told = room.window.reload().await.map_err(unable)?;
    Ok(json_of(StatusCode::OK, &Told { told }))
}

fn unable(unable: Unable) -> Problem {
    match unable {
        Unable::NotServing => Problem::new(StatusCode::SERVICE_UNAVAILABLE, "the broker is starting or stopping"),
        Unable::Refused(why) => Problem::new(StatusCode::CONFLICT, why),
    }
}

/// What is logged.
pub(super) async fn log(State(room): State<Room>, _: Query<Nothing>) -> Response {
    json_of(StatusCode::OK, &choice_of(&room.window.shown().config.logging))
}

fn choice_of(logging: &Logging) -> LogChoice {
    LogChoice {
        connections: logging.tells_connections,
        types: logging.types.iter().map(|kind| kind.word().to_owned()).collect(),
    }
}

/// Has something else logged, until the next reload.
pub(super) async fn set_log(
    State(room): State<Room>,
    _: Changing,
    _: Query<Nothing>,
    Said(choice): Said<LogChoice>,
) -> Result<Response, Problem> {
    let known = |word: &String| LogType::ALL.into_iter().find(|kind| kind.word() == word);
    let unknown = || Problem::bad(format!("types: of {} are wanted", LogType::ALL.map(LogType::word).join(", ")));
    let types = choice.types.iter().map(known).collect::<Option<Vec<_>>>().ok_or_else(unknown)?;
    let types: Vec<_> = LogType::ALL.into_iter().filter(|kind| types.contains(kind)).collect();
    let wish = LogWish { tells_connections: choice.connections, types };
    room.window.log(wish).await.map_err(unable)?;
    Ok(json_of(StatusCode::OK, &choice_of(&room.window.shown().config.logging)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_in_a_url_are_masked() {
        assert_eq!(masked("https://ann:secret@a.example/b"), "https://***@a.example/b");
        assert_eq!(masked("http://a.example/b?key=secret@x"), "http://a.example/b?***");
        assert_eq!(masked("http://a.example:8080/b@c"), "http://a.example:8080/b@c");
    }
}
