//! Steering: drops and denials, rights, configuration, and what can be changed.
//!
//! Duty: these types. Must not: compute. Neighbours: `drops`, `configuration` and `change` fill and read them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that was dropped, denied or cut short.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Drop {
    /// Its name, the same in log and metrics.
    pub name: String,
    /// `drop`: a message did not reach a session; `denial`: there was no right; `limit`: a bound was met, or something failed.
    pub kind: String,
    /// How often since the start.
    pub count: u64,
    /// How often in a second, of the last seconds.
    pub per_sec: f64,
    /// What it means.
    pub meaning: String,
}

/// A request that was denied for want of a right.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Denial {
    /// When, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// Client id.
    pub client_id: String,
    /// User name.
    pub user: Option<String>,
    /// The other end of its connection.
    pub address: Option<String>,
    /// `publish`; `receive`: a subscription that could bring nothing.
    pub access: String,
    /// Topic name or filter.
    pub topic: String,
    /// What has decided.
    pub rule: String,
}

/// What a client may do, and who says so.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
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

/// The configuration in force.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub struct ConfigText {
    /// As a file of ringmq's own (TOML), secrets masked.
    pub text: String,
    /// The file that the broker was given, if it was.
    pub file: Option<String>,
}

/// What a reload has done.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub struct Told {
    /// The line of the log.
    pub told: String,
}

/// What is logged.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LogChoice {
    /// Whether each connection and disconnection is.
    pub connections: bool,
    /// Kinds of lines: `error`, `warning`, `notice`, `information`, `subscribe`, `unsubscribe`, `debug`.
    #[schemars(extend("items" = {
        "type": "string",
        "enum": ["error", "warning", "notice", "information", "subscribe", "unsubscribe", "debug"],
    }))]
    pub types: Vec<String>,
}

/// A message to be published by the broker itself.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Publication {
    /// Topic name.
    #[schemars(length(min = 1))]
    pub topic: String,
    /// The payload as text; not both this and `payload_base64`.
    #[serde(default)]
    pub payload: Option<String>,
    /// The payload in base64.
    #[serde(default)]
    pub payload_base64: Option<String>,
    /// QoS, 0 to 2.
    #[serde(default)]
    #[schemars(range(max = 2))]
    pub qos: u8,
    /// Whether it is retained; an empty payload deletes what is.
    #[serde(default)]
    pub retain: bool,
}

/// What was deleted.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub struct Deleted {
    /// How many retained messages.
    pub deleted: u64,
}

/// Why there is no answer (RFC 9457).
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Eq, Serialize)]
pub struct ProblemText {
    /// What kind of problem; `about:blank`: what the status says.
    #[serde(rename = "type")]
    pub kind: String,
    /// The name of the status.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong, and what would be right.
    pub detail: String,
}
