//! Answer: what goes over the wire, as both ends know it.
//!
//! Duty: questions and answers as types that are written and read the same. Must not: ask or answer. Neighbours: `api` answers, `client`
//! asks.

use serde::{Deserialize, Serialize};

/// May a client do something?
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct WhyQuestion {
    /// `None`: whose session the client id is, if there is one; else a client without a user name.
    pub(super) user: Option<String>,
    #[serde(default)]
    pub(super) client: String,
    /// `publish`, `receive` or `subscribe`.
    pub(super) action: String,
    pub(super) topic: String,
    /// Port of the listener that the client comes by, 0 for a Unix socket.
    pub(super) listener: Option<u16>,
}

/// What it may do, and who says so.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Whether it may.
    pub allowed: bool,
    /// The decision and what has made it, one line.
    pub text: String,
    /// The file that has the line that decided, if one did.
    pub file: Option<String>,
    /// The number of the line.
    pub line: Option<u32>,
    /// The user name that was asked for.
    pub user: Option<String>,
    /// Whether that is the user of the session that the client id has now.
    pub user_is_of_session: bool,
}

/// Why there is no answer (RFC 9457).
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(super) struct ProblemText {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) title: String,
    pub(super) status: u16,
    pub(super) detail: String,
}
