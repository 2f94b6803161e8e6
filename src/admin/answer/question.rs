//! Question: what can stand behind the question mark of a path.
//!
//! Duty: these types; a parameter that is not in them is a mistake. Must not: check a value. Neighbours: `api` and the rooms beside it read
//! them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// May a client do something?
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WhyQuestion {
    /// Whose rights; without it, those of the user whose session the client id is, else of a client without a user name.
    pub user: Option<String>,
    /// Client id.
    #[serde(default)]
    pub client: String,
    /// `publish`, `receive` or `subscribe`.
    #[schemars(extend("enum" = ["publish", "receive", "subscribe"]))]
    pub action: String,
    /// Topic name or filter.
    pub topic: String,
    /// Port of the listener that the client comes by, 0 for a Unix socket.
    pub listener: Option<u16>,
}

/// Which clients?
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ClientsQuestion {
    /// Part of the client id, the user name or the address.
    pub filter: Option<String>,
    /// Only those that are connected, or only those that are not.
    pub connected: Option<bool>,
    /// `none`, `slowest` or `talkers`; the last two have no cursor.
    #[schemars(extend("enum" = ["none", "slowest", "talkers"]))]
    pub order: Option<String>,
    /// How many at most, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Where to go on: `next` of the piece before.
    #[schemars(regex(pattern = "^[0-9a-f]{1,16}\\.[0-9]{1,9}$"))]
    pub cursor: Option<String>,
}

/// How much of a queue?
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QueueQuestion {
    /// How many messages at most, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// How many topics?
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TopicsQuestion {
    /// How many at most, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
}

/// Which retained messages?
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RetainedQuestion {
    /// Topic filter; `#` unless given.
    pub filter: Option<String>,
    /// How many at most, 1 to 1000.
    #[schemars(range(min = 1, max = 1000))]
    pub limit: Option<u32>,
    /// Where to go on: `next` of the piece before.
    #[schemars(regex(pattern = "^[0-9a-f]{1,16}\\.[0-9]{1,9}$"))]
    pub cursor: Option<String>,
    /// Whether payloads are wanted.
    pub payload: Option<bool>,
}

/// Which retained messages are to be deleted?
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct DeleteQuestion {
    /// Topic filter.
    pub filter: String,
}

/// What becomes of the session of a client whose connection is ended?
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct EndQuestion {
    /// `keep` or `end`; it is kept unless this says otherwise.
    #[schemars(extend("enum" = ["keep", "end"]))]
    pub session: Option<String>,
}

/// What is to be watched?
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TraceQuestion {
    /// Client id.
    pub client: Option<String>,
    /// Topic filter.
    pub topic: Option<String>,
    /// Whether payloads are wanted.
    pub payload: Option<bool>,
    /// After how many events it ends, 1 to 1000000.
    #[schemars(range(min = 1, max = 1_000_000))]
    pub limit: Option<u32>,
}
