//! Key: every key of ringmq's own configuration file but the limits, in one table for each section.
//!
//! Duty: name, meaning, example, and the field behind it. Must not: read or print a file. Neighbours: `toml` reads by these
//! tables, `print` writes by them, `config::setting` has those of `[limits]`.

use ::toml::de::DeValue;

use super::value::Value;
use crate::config::store::Wanted;
use crate::config::{Authenticator, Config, Listener, Logging, Offer, Security, Tls, Tokens};

/// A key of a section that fills a `T`.
pub(super) struct Key<T> {
    pub(super) name: &'static str,
    /// A line for the reader.
    pub(super) about: &'static str,
    /// A value for a reader who is shown the key where it has none.
    pub(super) example: &'static str,
    pub(super) read: fn(&mut T, &DeValue<'_>) -> Result<(), String>,
    pub(super) write: fn(&T) -> Option<String>,
}

macro_rules! keys {
    ($($name:literal $about:literal ($example:literal) = $($field:ident).+;)*) => {
        &[$(Key {
            name: $name,
            about: $about,
            example: $example,
            read: |target, value| {
                target.$($field).+ = Value::read(value)?;
                Ok(())
            },
            write: |target| target.$($field).+.write(),
        }),*]
    };
}

/// What a file says, before the cpus are known to be there.
#[derive(Debug)]
pub(super) struct Root {
    pub(super) config: Config,
    pub(super) shards: Option<usize>,
    pub(super) cpus: Option<Vec<usize>>,
}

pub(super) const ROOT: &[Key<Root>] = keys! {
    "shards" "Number of shards; one per cpu unless set." ("2") = shards;
    "cpus" "The cpu of each shard, instead of `shards`." ("[0, 1]") = cpus;
    "sys_interval_secs" "Pause between two publications of $SYS, seconds; 0 for none." ("10")
        = config.sys_interval_secs;
    "pid_file" "A file that names the process." ("\"/run/ringmq.pid\"") = config.pid_file;
    "admin" "Where the broker is asked about itself (`ringmq why`): default (a Unix socket in /run/ringmq), IP:PORT, unix:/PATH or none."
        ("\"127.0.0.1:1885\"") = config.admin.address;
    "admin_token_file" "A file with the token that is wanted there; an address that other machines reach needs one."
        ("\"/etc/ringmq/token\"") = config.admin.token_file;
    "admin_users" "Users of the password files who may ask there too, with their passwords (HTTP Basic)." ("[\"ann\"]")
        = config.admin.users;
    "admin_allow_changes" "Whether clients can be disconnected there, messages published and deleted, and files read again." ("true")
        = config.admin.allows_changes;
    "admin_tls_cert" "Certificate chain with which that is encrypted, PEM." ("\"/etc/ringmq/admin.pem\"") = config.admin.certificate;
    "admin_tls_key" "Private key of that, PEM." ("\"/etc/ringmq/admin.key\"") = config.admin.key;
    "otlp_endpoint" "A collector of OpenTelemetry that gets a span for each message whose publisher traces it (OTLP over HTTP)."
        ("\"http://127.0.0.1:4318\"") = config.admin.otlp_endpoint;
    "user" "Whom to become once everything is bound, if started as root." ("\"ringmq\"") = config.user;
};

pub(super) const SECURITY: &[Key<Security>] = keys! {
    "allow_anonymous" "Whether a client may come without a user name; true unless set only if there is no [[listener]]." ("false")
        = allow_anonymous;
    "password_file" "Users and hashes of their passwords, in Mosquitto's format." ("\"/etc/ringmq/passwords\"") = password_file;
    "acl_file" "Rights, in Mosquitto's format." ("\"/etc/ringmq/rights\"") = acl_file;
    "allow_empty_client_id" "Whether a client may come without a client id." ("true") = allow_empty_client_id;
    "client_id_prefix" "What every client id must begin with." ("\"sensor-\"") = client_id_prefix;
    "refuse_useless_subscriptions" "Whether a subscription that can never match a topic its client may read is refused." ("true")
        = refuses_useless_subscriptions;
    "check_retain_source" "Whether the publisher of a retained message is asked for its right again when it is sent." ("true")
        = checks_retain_source;
};

pub(super) const TOKEN: &[Key<Tokens>] = keys! {
    "secret_file" "The secret of HS256, HS384 and HS512: 32, 48 or 64 bytes at least." ("\"/etc/ringmq/token.secret\"") = secret_file;
    "key_file" "Public keys of RS256, PS256 and the like, ES256, ES384 and EdDSA, PEM." ("\"/etc/ringmq/token.pem\"") = key_file;
    "jwks_file" "A set of keys, JWKS." ("\"/etc/ringmq/jwks.json\"") = jwks_file;
    "audience" "Who a token must be for: one of these; if empty, a token that is for somebody is refused." ("[\"mqtt\"]") = audience;
    "issuer" "Whose tokens are taken; all if empty." ("[\"https://login.example.org\"]") = issuer;
    "leeway_secs" "By how much clocks may differ, seconds." ("10") = leeway_secs;
    "user_claim" "The claim that is the user name, whatever CONNECT says." ("\"sub\"") = user_claim;
    "publish_claim" "The claim with the topic filters to publish to; with it, no ACL file is asked." ("\"publish\"") = publish_claim;
    "subscribe_claim" "The claim with the topic filters to receive from; with it, no ACL file is asked." ("\"subscribe\"")
        = subscribe_claim;
    "require_expiry" "Whether a token without exp is refused." ("true") = requires_expiry;
    "disconnect_expired" "Whether a client is disconnected when its token ends." ("true") = disconnects_expired;
};

pub(super) const HTTP: &[Key<Authenticator>] = keys! {
    "url" "The server's address: what it is asked, and answers, stands in docs/operating.md." ("\"https://auth.example.org/mqtt\"") = url;
    "authority" "Certificates that sign the server's, PEM, instead of the system's." ("\"/etc/ringmq/auth-ca.pem\"") = authority;
    "timeout_millis" "How long an answer may take, milliseconds; then the client is refused." ("2000") = timeout_millis;
    "cache_secs" "How long it is remembered who may come, seconds; 0 for not." ("60") = cache_secs;
    "refusal_cache_secs" "How long it is remembered who may not, seconds; 0 for not." ("5") = refusal_cache_secs;
    "cache_entries_max" "Answers of each kind that are remembered." ("10000") = cache_entries_max;
};

pub(super) const LOG: &[Key<Logging>] = keys! {
    "destinations" "Where lines go: stderr, stdout, topic, syslog:FACILITY, file:PATH." ("[\"stderr\"]") = destinations;
    "types" "Which lines are told: error, warning, notice, information, subscribe, unsubscribe, debug." ("[\"error\", \"warning\"]")
        = types;
    "format" "How they are worded: plain, mosquitto (for programs that read its log) or json (an object per line)." ("\"json\"")
        = form;
    "connections" "Whether each connect and disconnect is told." ("true") = tells_connections;
    "subscriptions" "Whether each subscription is told, and each that is given up." ("true") = tells_subscriptions;
    "quiet" "Whether only errors are told." ("true") = is_quiet;
    "timestamp" "What stands before each line: none, epoch (seconds) or a format of strftime." ("\"epoch\"")
        = timestamp;
};

pub(super) const OFFER: &[Key<Offer>] = keys! {
    "retain" "Whether messages may be retained." ("true") = retains;
    "queue_qos0" "Whether QoS 0 messages wait for sessions that are away." ("false") = queues_qos0;
    "refuse_long_keep_alive" "Whether a 3.x client with a keep alive above keep_alive_secs_max is refused."
        ("false") = refuses_long_keep_alive;
    "copies_per_subscription" "Whether overlapping subscriptions give one copy each, at the QoS of each; else one for all." ("false")
        = copies_per_subscription;
    "payload_bytes_max" "Largest payload, bytes; a larger one is acknowledged and dropped." ("1048576")
        = payload_bytes_max;
};

pub(super) const STORE: &[Key<Wanted>] = keys! {
    "path" "The directory, of this broker alone; none for no store. Unless set, systemd's StateDirectory= if there is one."
        ("\"/var/lib/ringmq\"") = path;
    "durability" "Levels by topic filter, the first that matches counts: commit (for what none matches), write, memory."
        ("[{ filter = \"alarms/#\", level = \"commit\" }, { filter = \"#\", level = \"memory\" }]") = durability;
    "mosquitto_file" "A file of Mosquitto's: a new store begins with it; then it is written at SIGUSR1 and at the end, to go back with."
        ("\"/var/lib/mosquitto/mosquitto.db\"") = mosquitto_file;
    "mosquitto_every_secs" "How often that file is written besides, seconds; 0 for never." ("1800") = mosquitto_every_secs;
    "mosquitto_every_changes" "After how many changed records it is written besides; 0 for none." ("10000") = mosquitto_every_changes;
};

pub(super) const LISTENER: &[Key<Station>] = keys! {
    "address" "IP:PORT, or unix:PATH for a Unix socket." ("\"0.0.0.0:1883\"") = listener.address;
    "optional" "Whether the broker does without if the machine does not have the address." ("true") = listener.is_optional;
    "websocket" "Whether MQTT comes in WebSocket frames." ("true") = is_websocket;
    "origins" "Pages that may connect by WebSocket, as their Origin says it; all if empty." ("[\"https://example.org\"]")
        = origins;
    "proxy_protocol" "Version of the PROXY protocol that each connection begins with: 1 or 2." ("2") = listener.proxy_protocol;
    "proxy_trusted" "The proxies, as addresses and networks: whose PROXY header is believed; who else connects is closed."
        ("[\"10.0.0.0/8\"]") = listener.access.proxies;
    "proxy_require_tls" "Whether a client is refused that did not come to the proxy by TLS (version 2 tells)." ("true")
        = listener.proxied_tls.is_required;
    "proxy_require_certificate" "Whether a client is refused that has no certificate which the proxy has verified." ("true")
        = listener.proxied_tls.requires_certificate;
    "proxy_common_name_as_user" "Whether the common name of that certificate is the user name." ("true")
        = listener.proxied_tls.names_user;
    "allow" "Addresses and networks of clients that may connect, with a PROXY header those it names; all if empty."
        ("[\"192.0.2.0/24\", \"2001:db8::/32\"]") = listener.access.allow;
    "deny" "Addresses and networks that may not connect, client or proxy, also if they are in allow." ("[\"192.0.2.66\"]")
        = listener.access.deny;
    "interface" "Network interface that connections must come by." ("\"eth0\"") = listener.interface;
    "connections_max" "Connections at once." ("1000") = listener.connections_max;
    "maximum_qos" "Highest QoS that clients may use: 0, 1 or 2." ("2") = listener.maximum_qos;
    "topic_alias_max" "Topic Alias Maximum, instead of that in [limits]." ("10") = listener.topic_alias_max;
    "topic_alias_out_max" "Topics that each client may be sent under aliases, instead of that in [limits]." ("10")
        = listener.topic_alias_out_max;
    "mount_point" "What stands before each topic of its clients, unseen by them." ("\"site/\"") = listener.mount_point;
    "versions" "Versions of MQTT: 3.1, 3.1.1 and 5.0; all if empty." ("[\"3.1.1\", \"5.0\"]") = listener.versions;
    "user_name_as_client_id" "Whether the user name becomes the client id." ("true") = listener.uses_user_name_as_client_id;
    "generated_id_prefix" "What stands before each client id that the broker makes." ("\"auto-\"")
        = listener.generated_id_prefix;
};

pub(super) const TLS: &[Key<Tls>] = keys! {
    "certificate" "The broker's certificate chain, PEM." ("\"/etc/ringmq/cert.pem\"") = certificate;
    "key" "Its private key, PEM." ("\"/etc/ringmq/key.pem\"") = key;
    "client_authority" "Certificates that sign the clients', PEM: a file or a directory." ("\"/etc/ringmq/ca.pem\"")
        = client_authority;
    "revoked" "Certificates of clients that are revoked, PEM." ("\"/etc/ringmq/crl.pem\"") = revoked;
    "require_certificate" "Whether a client without a certificate is refused." ("true") = requires_certificate;
    "identity" "What of a client's certificate is its user name: none, common-name or subject." ("\"common-name\"") = identity;
    "tls13_only" "Whether TLS 1.2 is refused." ("true") = is_tls13_only;
};

/// A listener as a file says it.
#[derive(Debug)]
pub(super) struct Station {
    pub(super) listener: Listener,
    pub(super) is_websocket: bool,
    pub(super) origins: Vec<String>,
}
