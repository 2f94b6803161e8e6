//! Every bound of the broker: its name with its unit, its default, its reason.
//!
//! Duty: one place to read and to change what "too much" means. Must not: decide what happens at a bound (the room that
//! meets it does, and counts it). Neighbours: every room reads it; `config` fills it from `--set name=value` and files.

/// Bounds of one shard and its connections. Every field can be set with `--set name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest packet a client may send, fixed header included, bytes. Announced to MQTT 5.0 clients as Maximum Packet Size.
    pub packet_bytes_max: u32,
    /// Largest packet before CONNECT was accepted, bytes.
    pub preauth_bytes_max: u32,
    /// Announced bytes of all CONNECT packets of the broker that are not complete; a shard has its equal part of it.
    pub preauth_bytes_total_max: usize,
    /// New connections from one address in a second, on one shard; 0 takes any number.
    pub accepts_per_address_per_sec_max: u32,
    /// New connections that one turn of a shard takes; the others wait for the next one.
    pub accepts_per_turn_max: usize,
    /// Steps of TLS handshakes that one turn takes; the others wait for the next one.
    pub tls_handshakes_per_turn_max: usize,
    /// Longest head of the HTTP request that opens a WebSocket, bytes.
    pub upgrade_bytes_max: usize,
    /// Longest message of a client's WebSocket, all its frames together, bytes. It may hold many packets.
    pub websocket_message_bytes_max: usize,
    /// Received bytes of one connection that one turn handles while others wait.
    pub turn_bytes_per_connection_max: usize,
    /// Time from accept to a complete CONNECT, milliseconds.
    pub connect_timeout_ms: u64,
    /// Longest password, bytes.
    pub password_bytes_max: usize,
    /// Longest token in the place of a password, bytes.
    pub token_bytes_max: usize,
    /// Passwords of the broker that wait to be checked; who comes then is told to come later (0x89).
    pub password_checks_waiting_max: usize,
    /// Questions that an authenticator is asked at once, each by a thread of its own.
    pub authenticator_requests_max: usize,
    /// Wrong passwords from one address in a minute above which only one password of it is checked in a second; 0 for any
    /// number.
    pub wrong_passwords_per_address_max: u32,
    /// Longest client id, bytes.
    pub client_id_bytes_max: usize,
    /// Longest topic name or filter, bytes.
    pub topic_bytes_max: usize,
    /// Most levels of a topic name or filter.
    pub topic_levels_max: usize,
    /// Most user properties in one packet.
    pub user_properties_max: usize,
    /// Most subscriptions of one session.
    pub subscriptions_per_session_max: usize,
    /// Inbound QoS 1 and 2 messages that a client may have unacknowledged; announced as Receive Maximum.
    pub receive_maximum: u16,
    /// Acknowledgements owed to one publisher, waiting for other shards, the store or a congested subscriber, above which its
    /// connection is not read until half of them have left.
    pub owed_acks_max: usize,
    /// Outbound QoS 1 and 2 messages in flight to one client, whatever Receive Maximum it announced.
    pub inflight_messages_max: u16,
    /// Topic aliases that a client may set on its connection; announced as Topic Alias Maximum.
    pub topic_alias_max: u16,
    /// Topic aliases that we set towards a client, whatever it announced.
    pub topic_alias_out_max: u16,
    /// Messages that wait in one session's queue beyond the inflight window.
    pub queued_messages_max: usize,
    /// Bytes (topic, properties, payload) that wait in one session's queue.
    pub queued_bytes_max: usize,
    /// What happens to a QoS 1 or 2 message for a session whose queue is full.
    pub queue_full: QueueFull,
    /// How long publishers wait for their acknowledgements while the queue of a connected subscriber is above a quarter of its
    /// bounds, milliseconds; 0 never makes them wait.
    pub backpressure_ms_max: u64,
    /// Bytes that one shard holds for its clients: queued, in flight, unsent, announced, retained, subscribed. One holder may
    /// grow only up to what is left of them. Unless set, it is lowered at start to its part of half of the memory there is.
    pub held_bytes_per_shard_max: usize,
    /// Longest session expiry that is granted, seconds. `u32::MAX` means never.
    pub session_expiry_secs_max: u32,
    /// Longest keep alive that is granted to an MQTT 5.0 client, seconds; 0 grants any.
    pub keep_alive_secs_max: u16,
    /// Silence after which a connection with keep alive 0 is closed, seconds.
    pub idle_secs_max: u64,
    /// Unsent bytes of one connection above which QoS 0 messages are dropped and QoS 1 and 2 wait in the session.
    pub egress_bytes_max: usize,
    /// Unsent bytes of control packets above which the connection is not read until half is drained.
    pub egress_control_bytes_max: usize,
    /// Retained messages of the broker.
    pub retained_messages_max: usize,
    /// Bytes of retained messages of the broker.
    pub retained_bytes_max: usize,
    /// PUBLISH messages gathered for one peer shard above which this shard takes no further PUBLISH.
    pub mesh_publishes_max: usize,
    /// Payload bytes gathered for one peer shard above which this shard takes no further PUBLISH.
    pub mesh_bytes_max: usize,
    /// Connections of one shard.
    pub connections_per_shard_max: usize,
    /// Sessions of one shard, connected or not.
    pub sessions_per_shard_max: usize,
    /// Sessions of one user name on one shard.
    pub sessions_per_user_per_shard_max: usize,
    /// Nodes of the subscription trie that one message may visit.
    pub match_nodes_max: usize,
    /// Nodes of the retained messages' trie that a shard looks at in one millisecond for new subscriptions; what is more is
    /// looked at later.
    pub retained_search_nodes_max: usize,
    /// Topics whose match result one shard remembers, with 1 KiB for each on average; 0 for none.
    pub match_cache_topics_max: usize,
    /// Connections to the admin room at once; those beyond are answered 503.
    pub admin_connections_max: usize,
    /// Who may watch packets in the admin room at once; others are refused (429).
    pub admin_traces_max: usize,
    /// Longest head of a request to the admin room, bytes.
    pub admin_request_bytes_max: usize,
    /// Longest body of a request to the admin room, bytes.
    pub admin_body_bytes_max: usize,
    /// Time for the head of a request to the admin room, and for its answer, and how long a connection may be silent or not read,
    /// milliseconds.
    pub admin_request_ms_max: u64,
    /// Bytes of the store's file system that are to stay free, at most a twentieth of it; below that, messages that have to be stored
    /// are refused, and what is on its way is written down to a quarter of that. 0 keeps none free.
    pub store_free_bytes_min: u64,
}

/// What happens to a QoS 1 or 2 message for a session whose queue is full. Counted in every case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QueueFull {
    /// The message is not queued; if every matching session refuses, an MQTT 5.0 publisher is told 0x97.
    Reject,
    /// The message is dropped, the publisher is told success (as Mosquitto does).
    DropNewest,
    /// The oldest queued messages make room.
    DropOldest,
}

impl QueueFull {
    /// The words for the policies on the command line; the first is the default.
    pub const WORDS: [(&str, Self); 3] =
        [("reject", Self::Reject), ("drop-newest", Self::DropNewest), ("drop-oldest", Self::DropOldest)];
}

impl std::str::FromStr for QueueFull {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let known = Self::WORDS.iter().find(|(word, _)| *word == text).map(|(_, policy)| *policy);
        known.ok_or_else(|| format!("queue_full={text}: one of reject, drop-newest, drop-oldest is wanted"))
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            packet_bytes_max: 16 << 20,
            preauth_bytes_max: 64 << 10,
            preauth_bytes_total_max: 16 << 20,
            accepts_per_address_per_sec_max: 0,
            accepts_per_turn_max: 64,
            tls_handshakes_per_turn_max: 8,
            upgrade_bytes_max: 8192,
            websocket_message_bytes_max: 32 << 20,
            turn_bytes_per_connection_max: 128 << 10,
            connect_timeout_ms: 10_000,
            password_bytes_max: 1024,
            token_bytes_max: 8192,
            password_checks_waiting_max: 1024,
            authenticator_requests_max: 8,
            wrong_passwords_per_address_max: 10,
            client_id_bytes_max: 256,
            topic_bytes_max: 65_535,
            topic_levels_max: 200,
            user_properties_max: 128,
            subscriptions_per_session_max: 100_000,
            receive_maximum: 1024,
            owed_acks_max: 4096,
            inflight_messages_max: 1024,
            topic_alias_max: 64,
            topic_alias_out_max: 16,
            queued_messages_max: 100_000,
            queued_bytes_max: 64 << 20,
            queue_full: QueueFull::Reject,
            backpressure_ms_max: 10_000,
            held_bytes_per_shard_max: 1 << 30,
            session_expiry_secs_max: u32::MAX,
            keep_alive_secs_max: 0,
            idle_secs_max: 24 * 3600,
            // Room for a few large messages: one of 1 MiB behind another is no sign of a slow reader.
            egress_bytes_max: 4 << 20,
            egress_control_bytes_max: 256 << 10,
            retained_messages_max: 10_000_000,
            retained_bytes_max: 1 << 30,
            mesh_publishes_max: 4096,
            mesh_bytes_max: 4 << 20,
            connections_per_shard_max: 1_000_000,
            sessions_per_shard_max: 1_000_000,
            sessions_per_user_per_shard_max: 100_000,
            match_nodes_max: 65_536,
            retained_search_nodes_max: 8192,
            match_cache_topics_max: 16_384,
            admin_connections_max: 64,
            admin_traces_max: 4,
            admin_request_bytes_max: 16 << 10,
            admin_body_bytes_max: 256 << 10,
            admin_request_ms_max: 5_000,
            store_free_bytes_min: 256 << 20,
        }
    }
}

/// Payloads of this size and more are referenced, never copied, on their way through the broker, bytes.
pub const SHARED_PAYLOAD_BYTES_MIN: usize = 4096;

/// Topic filters in each list of the rights that come with a token or the answer of an authenticator.
pub const GRANTED_FILTERS_MAX: usize = 128;

/// Longest message of a SCRAM exchange that is taken, bytes: user name, nonce and what SCRAM adds to them.
pub const SCRAM_MESSAGE_BYTES_MAX: usize = 4096;

/// Largest Remaining Length of the protocol, bytes (section 1.5.5).
pub const REMAINING_LENGTH_MAX: u32 = 268_435_455;

/// Batches that wait in the channel from one shard to another.
pub const MESH_BATCHES_MAX: usize = 8;

/// Listeners of one broker, those included that a reload has removed: their indexes are not given again.
pub const LISTENERS_MAX: usize = 1 << 16;

/// Shards of one broker; a set of shards is a `u128` bit mask.
pub const SHARDS_MAX: usize = 128;

/// When what is acknowledged is safe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Never written: it lives as long as the process.
    Memory,
    /// Written, and synced within a second; nobody waits for that.
    Write,
    /// Acknowledged when it is synced.
    #[default]
    Commit,
}

impl Level {
    /// Its name, as in a configuration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Write => "write",
            Self::Commit => "commit",
        }
    }

    /// The level of that name.
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Memory, Self::Write, Self::Commit].into_iter().find(|level| level.name() == name)
    }
}
