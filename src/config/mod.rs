//! What a broker is told to do: one `Config`, checked, whatever said it.
//!
//! Duty: the types behind the command line, Mosquitto's configuration file and TOML, with each default in one place. Must not:
//! open, bind or start anything. Neighbours: `cli` makes a `Config`, `runtime` does what it says.

mod access;
mod address;
mod admin;
mod bind;
mod cpus;
mod load;
mod mistake;
mod mosquitto;
mod setting;
mod store;
mod toml;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

pub use access::{Access, Network, ProxiedTls};
pub use admin::{Admin, AdminAddress};
pub use bind::Binds;
pub use load::{Arguments, File, Loudness, convert, files_of, load, missing_files, text_of};
pub use mistake::{Mistake, Mistakes, Place};
pub use setting::{change as change_limits, list as list_limits};
pub use store::{MosquittoFile, Store};
pub use toml::{default_text, quoted};

use crate::limits::Limits;
use crate::wire::{ProtocolVersion, QoS};

/// Port of MQTT.
pub const PORT: u16 = 1883;

/// Everything a broker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// Where to listen, and how.
    pub listeners: Vec<Listener>,
    /// Who may do what; each listener names one of them by its index.
    pub securities: Vec<Security>,
    /// The cpu of each shard; a cpu may have several.
    pub cpus: Vec<usize>,
    /// Bounds.
    pub limits: Limits,
    /// Whether `held_bytes_per_shard_max` was chosen; else it is lowered to what the system has.
    pub is_held_bytes_set: bool,
    /// What clients get besides.
    pub offer: Offer,
    /// What is kept on disk; `None`: nothing outlives the process.
    pub store: Option<Store>,
    /// What is told to whom.
    pub logging: Logging,
    /// Where it is asked about itself.
    pub admin: Admin,
    /// Pause between two publications of `$SYS`, seconds; 0 for none.
    pub sys_interval_secs: u32,
    /// File that names the process.
    pub pid_file: Option<PathBuf>,
    /// Whom to become once everything is bound, if started as root.
    pub user: Option<String>,
    /// Whether to go to the background.
    pub is_daemon: bool,
    /// Seed of every keyed hash; random unless given.
    pub hash_seed: Option<u64>,
    /// Whether clients may cause faults on purpose, for tests.
    pub is_faulty: bool,
    /// Whether the store answers before it has written, for a test that has to see it lose.
    pub is_hasty: bool,
    /// What was told but does nothing, a line each.
    pub warnings: Vec<String>,
    /// The file that was read.
    pub file: Option<PathBuf>,
}

impl Config {
    /// ringmq's own defaults for shards on these cpus: both loopbacks, open to everybody there.
    pub fn of_cpus(cpus: Vec<usize>) -> Self {
        Self {
            listeners: Listener::loopbacks(PORT),
            securities: vec![Security { refuses_useless_subscriptions: true, ..Security::default() }],
            cpus,
            limits: Limits::default(),
            is_held_bytes_set: false,
            offer: Offer::default(),
            store: None,
            logging: Logging::default(),
            admin: Admin::USUAL,
            sys_interval_secs: 10,
            pid_file: None,
            user: None,
            is_daemon: false,
            hash_seed: None,
            is_faulty: false,
            is_hasty: false,
            warnings: Vec::new(),
            file: None,
        }
    }
}

/// What clients get beyond what `Limits` bound.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Whether messages may be retained [MQTT-3.2.2-13].
    pub retains: bool,
    /// Whether QoS 0 messages wait for sessions that are away.
    pub queues_qos0: bool,
    /// Whether a 3.x client with a keep alive above `Limits::keep_alive_secs_max` is refused; else it is let in.
    pub refuses_long_keep_alive: bool,
    /// Whether overlapping subscriptions give one copy each.
    pub copies_per_subscription: bool,
    /// Largest payload, bytes; a larger one is acknowledged and dropped. `None` for any that fits in a packet.
    pub payload_bytes_max: Option<u32>,
}

impl Default for Offer {
    fn default() -> Self {
        Self {
            retains: true,
            queues_qos0: false,
            refuses_long_keep_alive: false,
            copies_per_subscription: false,
            payload_bytes_max: None,
        }
    }
}

/// Where to listen, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// The address.
    pub address: ListenAddress,
    /// Whether the broker does without if the machine does not have the address.
    pub is_optional: bool,
    /// What is spoken on the connection.
    pub transport: Transport,
    /// Set if the connection is encrypted.
    pub tls: Option<Tls>,
    /// Version of the PROXY protocol that each connection begins with.
    pub proxy_protocol: Option<u8>,
    /// Which addresses may come by it.
    pub access: Access,
    /// What is asked of TLS that the proxy has ended.
    pub proxied_tls: ProxiedTls,
    /// Network interface that connections must come by (`bind_interface`).
    pub interface: Option<String>,
    /// Connections at once; `None` for any number.
    pub connections_max: Option<usize>,
    /// Highest QoS that clients may use [MQTT-3.2.2-9].
    pub maximum_qos: QoS,
    /// Topic Alias Maximum announced to its clients; `None` for `Limits::topic_alias_max`.
    pub topic_alias_max: Option<u16>,
    /// Topics that each of its clients may be sent under aliases; `None` for `Limits::topic_alias_out_max`.
    pub topic_alias_out_max: Option<u16>,
    /// What stands before each topic of its clients, unseen by them.
    pub mount_point: Option<String>,
    /// Protocol versions that its clients may speak; empty for all.
    pub versions: Vec<ProtocolVersion>,
    /// Whether the user name becomes the client id.
    pub uses_user_name_as_client_id: bool,
    /// What stands before each client id that the broker makes.
    pub generated_id_prefix: Option<String>,
    /// Who may do what: an index of `Config::securities`.
    pub security: usize,
}

/// An address to listen on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ListenAddress {
    /// Port 0 takes a free one.
    Tcp(SocketAddr),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// What is spoken on a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// MQTT.
    Mqtt,
    /// MQTT in WebSocket frames (section 6), from pages of these origins; empty for all.
    WebSocket {
        /// Values of the Origin header.
        origins: Vec<String>,
    },
}

/// Certificates and what is asked of the client's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tls {
    /// The broker's certificate chain, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
    /// Certificates that sign the clients', PEM: a file or a directory.
    pub client_authority: Option<PathBuf>,
    /// Certificates of clients that are revoked, PEM.
    pub revoked: Option<PathBuf>,
    /// Whether a client without a certificate is refused.
    pub requires_certificate: bool,
    /// What of a client's certificate is its user name.
    pub identity: Identity,
    /// Whether TLS 1.2 is refused.
    pub is_tls13_only: bool,
}

/// What of a client's certificate is its user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: CONNECT names the user.
    None,
    /// The common name of its subject.
    CommonName,
    /// The whole subject.
    Subject,
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Security {
    /// Whether a client may come without a user name.
    pub allow_anonymous: bool,
    /// Users and hashes of their passwords, in Mosquitto's format.
    pub password_file: Option<PathBuf>,
    /// Keys of tokens, if tokens are taken.
    pub tokens: Option<Tokens>,
    /// A web server that says who may come, if one is asked.
    pub authenticator: Option<Authenticator>,
    /// Rights, in Mosquitto's format.
    pub acl_file: Option<PathBuf>,
    /// Whether a client may come without a client id.
    pub allow_empty_client_id: bool,
    /// What every client id must begin with.
    pub client_id_prefix: Option<String>,
    /// Whether SUBSCRIBE to a filter that can never match a topic that may be read is refused with 0x87. Mosquitto grants it.
    pub refuses_useless_subscriptions: bool,
    /// Whether the right of the publisher of a retained message is asked for again when it is sent.
    pub checks_retain_source: bool,
}

impl Default for Security {
    /// Everybody may do everything.
    fn default() -> Self {
        Self {
            allow_anonymous: true,
            password_file: None,
            tokens: None,
            authenticator: None,
            acl_file: None,
            allow_empty_client_id: true,
            client_id_prefix: None,
            refuses_useless_subscriptions: false,
            checks_retain_source: true,
        }
    }
}

/// The keys of tokens in the place of passwords (JSON Web Tokens), and what is asked of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// A secret for HS256, HS384 and HS512.
    pub secret_file: Option<PathBuf>,
    /// Public keys, PEM.
    pub key_file: Option<PathBuf>,
    /// A set of keys (JWKS).
    pub jwks_file: Option<PathBuf>,
    /// Who a token must be for, one of these; empty: a token that is for somebody is refused.
    pub audience: Vec<String>,
    /// Whose tokens are taken; empty for all.
    pub issuer: Vec<String>,
    /// By how much clocks may differ, seconds.
    pub leeway_secs: u32,
    /// The claim that is the user name.
    pub user_claim: String,
    /// The claim with the topic filters to publish to.
    pub publish_claim: Option<String>,
    /// The claim with the topic filters to receive from.
    pub subscribe_claim: Option<String>,
    /// Whether a token without an end is refused.
    pub requires_expiry: bool,
    /// Whether a client is disconnected when its token ends.
    pub disconnects_expired: bool,
}

impl Tokens {
    /// Whether tokens have rights of their own, instead of those in files.
    pub fn gives_rights(&self) -> bool {
        self.publish_claim.is_some() || self.subscribe_claim.is_some()
    }
}

impl Default for Tokens {
    /// Without a key, which nobody can use.
    fn default() -> Self {
        Self {
            secret_file: None,
            key_file: None,
            jwks_file: None,
            audience: Vec::new(),
            issuer: Vec::new(),
            leeway_secs: 10,
            user_claim: "sub".into(),
            publish_claim: None,
            subscribe_claim: None,
            requires_expiry: true,
            disconnects_expired: true,
        }
    }
}

/// A web server that says who may come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authenticator {
    /// Its address, `http://` or `https://`.
    pub url: String,
    /// Certificates that sign the server's, PEM; `None` for the system's.
    pub authority: Option<PathBuf>,
    /// How long an answer may take, milliseconds.
    pub timeout_millis: u32,
    /// How long it is remembered who may come, seconds; 0 for not.
    pub cache_secs: u32,
    /// How long it is remembered who may not, seconds; 0 for not.
    pub refusal_cache_secs: u32,
    /// Answers of each kind that are remembered.
    pub cache_entries_max: u32,
}

impl Default for Authenticator {
    /// Without an address, which nobody can ask.
    fn default() -> Self {
        Self {
            url: String::new(),
            authority: None,
            timeout_millis: 2000,
            cache_secs: 60,
            refusal_cache_secs: 5,
            cache_entries_max: 10_000,
        }
    }
}

/// What is told to whom.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// Where lines go.
    pub destinations: Vec<LogDestination>,
    /// Which kinds of lines are told.
    pub types: Vec<LogType>,
    /// Whether each connect and disconnect is told.
    pub tells_connections: bool,
    /// Whether each subscription is told.
    pub tells_subscriptions: bool,
    /// Whether only errors are told.
    pub is_quiet: bool,
    /// What stands before each line.
    pub timestamp: Timestamp,
    /// How lines are worded.
    pub form: LogForm,
}

impl Logging {
    /// Whether lines of this kind are told.
    pub fn is_told(&self, kind: LogType) -> bool {
        self.types.contains(&kind) && (!self.is_quiet || kind == LogType::Error)
    }
}

/// A kind of lines, as `log_type` of Mosquitto names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogType {
    /// What was to be done and could not.
    Error,
    /// What will go wrong, or do other than was asked for.
    Warning,
    /// What clients do.
    Notice,
    /// What the broker does.
    Information,
    /// Subscriptions that are made.
    Subscribe,
    /// Subscriptions that are given up.
    Unsubscribe,
    /// What only helps to find mistakes.
    Debug,
}

impl LogType {
    /// All, the gravest first.
    pub const ALL: [Self; 7] =
        [Self::Error, Self::Warning, Self::Notice, Self::Information, Self::Subscribe, Self::Unsubscribe, Self::Debug];

    /// Its word in configuration files.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Notice => "notice",
            Self::Information => "information",
            Self::Subscribe => "subscribe",
            Self::Unsubscribe => "unsubscribe",
            Self::Debug => "debug",
        }
    }
}

/// How lines of the log are worded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogForm {
    /// As sentences.
    Plain,
    /// Of clients as Mosquitto words it, for programs that read its log; the rest as sentences.
    Mosquitto,
    /// A JSON object per line.
    Json,
}

/// Where lines of the log go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogDestination {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// The system's log, with this facility (`daemon`, `local0` to `local7`).
    Syslog(String),
    /// `$SYS/broker/log/...`.
    Topic,
    /// A file, opened again when told to.
    File(PathBuf),
}

/// What stands before each line of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Timestamp {
    /// Nothing.
    None,
    /// Seconds since 1970, as Mosquitto writes them.
    EpochSeconds,
    /// A format of `strftime`.
    Format(String),
}

impl Default for Logging {
    fn default() -> Self {
        Self {
            destinations: vec![LogDestination::Stderr],
            types: LogType::ALL.into_iter().filter(|kind| *kind != LogType::Debug).collect(),
            tells_connections: false,
            tells_subscriptions: false,
            is_quiet: false,
            timestamp: Timestamp::None,
            form: LogForm::Plain,
        }
    }
}

impl Listener {
    /// Plain MQTT on this port of both loopback addresses; the machine may lack the second.
    pub fn loopbacks(port: u16) -> Vec<Self> {
        let local: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let plain = |ip| Self::plain(ListenAddress::Tcp((ip, port).into()));
        local.map(|ip| Self { is_optional: ip.is_ipv6(), ..plain(ip) }).to_vec()
    }

    /// Plain MQTT on an address, for the first of the securities.
    pub fn plain(address: ListenAddress) -> Self {
        Self {
            address,
            is_optional: false,
            transport: Transport::Mqtt,
            tls: None,
            proxy_protocol: None,
            access: Access::default(),
            proxied_tls: ProxiedTls::default(),
            interface: None,
            connections_max: None,
            maximum_qos: QoS::ExactlyOnce,
            topic_alias_max: None,
            topic_alias_out_max: None,
            mount_point: None,
            versions: Vec::new(),
            uses_user_name_as_client_id: false,
            generated_id_prefix: None,
            security: 0,
        }
    }
}
