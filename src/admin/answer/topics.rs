//! Topics: what is published, who gets it, what is retained.
//!
//! Duty: these types. Must not: compute. Neighbours: `topics` and `retained` fill them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Topics that much is published to.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct TopicRates {
    /// Topics, hottest first.
    pub items: Vec<TopicRate>,
    /// The time that the rates are of, seconds.
    pub seconds: f64,
}

/// A topic that something is published to.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct TopicRate {
    /// Topic name.
    pub topic: String,
    /// Messages published, as far as remembered.
    pub messages: u64,
    /// Messages published in a second.
    pub messages_per_sec: f64,
}

/// Who gets what is published to a topic now.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Audience {
    /// Topic name.
    pub topic: String,
    /// Clients, the first 1000 of each shard.
    pub clients: Vec<Receiver>,
    /// Shared subscriptions.
    pub shared: Vec<Group>,
    /// How many clients there are, without the members of shared subscriptions.
    pub clients_total: u64,
    /// Whether something is retained.
    pub retained: bool,
    /// Messages published to it, as far as remembered.
    pub published: u64,
}

/// A client that gets it.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Receiver {
    /// Client id.
    pub client_id: String,
    /// The shard that has its session.
    pub shard: u32,
    /// Whether it is connected.
    pub connected: bool,
    /// Highest QoS that it gets it with.
    pub qos: u8,
    /// Its filters that match, if they were looked up.
    pub filters: Vec<String>,
}

/// A shared subscription.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Group {
    /// Its name.
    pub group: String,
    /// Topic filter.
    pub filter: String,
    /// How many members it has in the broker.
    pub members: u64,
}

/// A retained message.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Retained {
    /// Topic name.
    pub topic: String,
    /// QoS.
    pub qos: u8,
    /// Length of its payload, bytes.
    pub payload_bytes: u64,
    /// The payload, not more than its first 64 KiB in a list, if it was asked for.
    pub payload_base64: Option<String>,
    /// When it ends, seconds from now.
    pub expires_secs: Option<u64>,
    /// Client id of its publisher; not known yet.
    pub published_by: Option<String>,
}

/// A packet of a client that was watched.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Traced {
    /// When, milliseconds since 1970.
    pub at_unix_ms: u64,
    /// The shard that had it.
    pub shard: u32,
    /// Client id.
    pub client_id: String,
    /// `in`: of the client; `out`: to it.
    pub direction: String,
    /// Its type, as `PUBLISH`.
    pub packet: String,
    /// Length, bytes.
    pub size_bytes: u64,
    /// What is in it, one line.
    pub text: String,
    /// Topic name of a PUBLISH.
    pub topic: Option<String>,
    /// Length of the payload of a PUBLISH, bytes.
    pub payload_bytes: Option<u64>,
    /// The payload, if it was asked for.
    pub payload_base64: Option<String>,
    /// Events that were lost before this one.
    pub lost: u64,
}
