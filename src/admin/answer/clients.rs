//! Clients: what is known of each.
//!
//! Duty: these types. Must not: compute. Neighbours: `clients` fills them.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A client, connected or not.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Client {
    /// Client id.
    pub client_id: String,
    /// User name of its last CONNECT.
    pub user: Option<String>,
    /// The shard that has its session.
    pub shard: u32,
    /// Whether it is connected.
    pub connected: bool,
    /// The other end of its connection.
    pub address: Option<String>,
    /// Port of the listener that it came by, 0 for a Unix socket.
    pub listener_port: Option<u16>,
    /// `3.1`, `3.1.1` or `5.0`, if it is connected.
    pub protocol: Option<String>,
    /// Its keep alive, seconds, 0 for none, if it is connected.
    pub keep_alive_secs: Option<u64>,
    /// How long it is connected, seconds.
    pub connected_secs: Option<u64>,
    /// How long nothing has come of it, milliseconds.
    pub idle_ms: Option<u64>,
    /// Its subscriptions.
    pub subscriptions: u64,
    /// Messages that wait for it.
    pub queued_messages: u64,
    /// Messages that it was sent and has not acknowledged.
    pub inflight_messages: u64,
    /// Acknowledgements that the broker owes it.
    pub owed_acks: u64,
    /// Bytes on their way to its socket.
    pub backlog_bytes: u64,
    /// Bytes of the messages that are held for it, without `backlog_bytes`.
    pub held_bytes: u64,
    /// PUBLISH packets of this connection.
    pub messages_received: Option<u64>,
    /// Bytes of packets received on this connection.
    pub bytes_received: Option<u64>,
    /// Bytes of packets sent on this connection.
    pub bytes_sent: Option<u64>,
    /// Bytes received in a second, of the last seconds, where that was asked for.
    pub bytes_received_per_sec: Option<f64>,
    /// What its queue means to publishers: `none`, `congested` or `stuck`.
    pub pressure: String,
    /// Session Expiry Interval, seconds; 4294967295: never.
    pub session_expiry_secs: u32,
    /// In how many seconds its session ends, if it is away and the session ever ends.
    pub session_ends_secs: Option<u64>,
    /// Why messages wait for it, if they do.
    pub slow_because: Option<String>,
}

/// All that is known of a client.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct ClientDetail {
    /// What is known of each client.
    #[serde(flatten)]
    pub client: Client,
    /// Its subscriptions, the first 1000.
    pub subscription_list: Vec<SubscriptionLine>,
    /// What is published when its connection breaks.
    pub will: Option<Will>,
    /// Bytes of the messages that wait for it.
    pub queue_bytes: u64,
}

/// A subscription.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct SubscriptionLine {
    /// Topic filter, with `$share/...` if it is shared.
    pub filter: String,
    /// Highest QoS.
    pub qos: u8,
    /// Whether it gets nothing of its own.
    pub no_local: bool,
    /// Whether RETAIN flags are those of the publishers.
    pub retain_as_published: bool,
    /// When what is retained was sent: 0 always, 1 if the subscription was new, 2 never.
    pub retain_handling: u8,
    /// Subscription Identifier.
    pub subscription_id: Option<u32>,
}

/// What is published when a connection breaks.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Will {
    /// Topic name.
    pub topic: String,
    /// QoS.
    pub qos: u8,
    /// Whether it will be retained.
    pub retain: bool,
    /// Length of its payload, bytes.
    pub payload_bytes: u64,
    /// Will Delay Interval, seconds.
    pub delay_secs: u32,
}

/// A message that was sent and is not acknowledged, or that waits.
#[derive(Clone, Debug, Deserialize, JsonSchema, PartialEq, Serialize)]
pub struct Queued {
    /// Topic name.
    pub topic: String,
    /// QoS that it is sent with.
    pub qos: u8,
    /// RETAIN flag that it is sent with.
    pub retain: bool,
    /// Length of its payload, bytes.
    pub payload_bytes: u64,
    /// `inflight` or `queued`.
    pub state: String,
}
