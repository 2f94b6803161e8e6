//! Option: every option of Mosquitto's configuration file, in one table.
//!
//! Duty: name, scope, what we do with it and what its value may be. Must not: read files or lines. Neighbours: `mosquitto` looks
//! an option up for each line, `draft` gathers what they say.

use super::draft::{Draft, Family, Wrong};
use crate::config::{Identity, Network};
use crate::wire::{ProtocolVersion, QoS};

/// What an option belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scope {
    /// The broker.
    General,
    /// The broker, or with `per_listener_settings` the last listener.
    Security,
    /// The last listener.
    Listener,
    /// The last bridge.
    Bridge,
    /// The last plugin.
    Plugin,
}

/// What we do with an option.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// What Mosquitto does.
    Works,
    /// Nothing, and the user should know: this is instead.
    Unsupported(&'static str),
    /// Nothing, and nothing is lost by it: this is why.
    Accepted(&'static str),
    /// A broker without it would be another one than was asked for: this is missing.
    Refused(&'static str),
}

/// What a value may be, and what is done with it.
pub(super) enum Act {
    /// `true`, `false`, `1` or `0`.
    Flag(fn(&mut Draft, bool)),
    /// A whole number between two.
    Number(i64, i64, fn(&mut Draft, i64)),
    /// Text that may be given once.
    Once(fn(&mut Draft, &str) -> Result<(), Wrong>),
    /// Text that may be given often.
    Often(fn(&mut Draft, &str) -> Result<(), Wrong>),
    /// Whatever stands there.
    Nothing,
}

/// One option.
pub(super) struct Row {
    pub(super) name: &'static str,
    pub(super) scope: Scope,
    pub(super) verdict: Verdict,
    pub(super) act: Act,
}

const fn row(name: &'static str, scope: Scope, verdict: Verdict, act: Act) -> Row {
    Row { name, scope, verdict, act }
}

use Act::{Flag, Nothing, Number, Often, Once};
use Scope::{Bridge, General, Listener, Plugin, Security};
use Verdict::{Accepted, Refused, Unsupported, Works};

const ANY: i64 = i64::MAX;
const U16: i64 = u16::MAX as i64;
const U32: i64 = u32::MAX as i64;
const PACKET: i64 = crate::limits::REMAINING_LENGTH_MAX as i64;

const CIPHERS: &str = "the broker offers the cipher suites of TLS 1.2 and 1.3 that are held safe today";
const OPENSSL: &str = "it is of OpenSSL, which this broker does not use";
const PSK: &str = "TLS with pre-shared keys is not supported; use certificates (certfile, keyfile)";
const HELD: &str = "use --set held_bytes_per_shard_max=BYTES";

/// All options but those of bridges, in the order of Mosquitto's manual; `admin...` and `otlp_endpoint` are ringmq's own. `include_dir`
/// is followed by who reads the lines.
pub(super) const ROWS: &[Row] = &[
    row("acl_file", Security, Works, Once(|d, v| d.security().rest.acl_file.put(v))),
    row("admin", General, Works, Once(Draft::set_admin)),
    row("admin_token_file", General, Works, Once(|d, v| d.config.admin.token_file.put(v))),
    row("admin_users", General, Works, Often(Draft::add_admin_user)),
    row("admin_allow_changes", General, Works, Flag(|d, v| d.config.admin.allows_changes = v)),
    row("admin_tls_cert", General, Works, Once(|d, v| d.config.admin.certificate.put(v))),
    row("admin_tls_key", General, Works, Once(|d, v| d.config.admin.key.put(v))),
    row("otlp_endpoint", General, Works, Once(|d, v| d.config.admin.otlp_endpoint.put(v))),
    row("allow_anonymous", Security, Works, Flag(|d, v| d.security().anonymous = Some(v))),
    row("allow_duplicate_messages", General, Works, Flag(|d, v| d.config.offer.copies_per_subscription = v)),
    row("allow_zero_length_clientid", Security, Works, Flag(|d, v| d.security().rest.allow_empty_client_id = v)),
    row("auth_plugin_deny_special_chars", Security, Accepted("no plugin is asked for rights"), Flag(|_, _| {})),
    row("auto_id_prefix", Security, Works, Once(|d, v| d.security().id_prefix.put(v))),
    row("listener_auto_id_prefix", Listener, Works, Once(|d, v| d.listener().listener.generated_id_prefix.put(v))),
    // Each change is written when it is made; this is about the file to go back with.
    row("autosave_interval", General, Works, Number(0, U32, |d, v| d.persistence.every = v as u32)),
    row("autosave_on_changes", General, Works, Flag(|d, v| d.persistence.counts_changes = v)),
    row("check_retain_source", General, Works, Flag(|d, v| d.checks_retain_source = v)),
    row("clientid_prefixes", General, Works, Once(|d, v| d.client_id_prefix.put(v))),
    row("connection_messages", General, Works, Flag(|d, v| d.config.logging.tells_connections = v)),
    row("enable_control_api", General, Accepted("there are no plugins to list"), Flag(|_, _| {})),
    row("global_max_clients", General, Unsupported("use --set sessions_per_shard_max=N"), Number(-1, ANY, |_, _| {})),
    row(
        "global_max_connections",
        General,
        Unsupported("use max_connections of each listener, or --set connections_per_shard_max=N"),
        Number(-1, ANY, |_, _| {}),
    ),
    row("global_plugin", General, Works, Often(Draft::load_plugin)),
    row("plugin", Security, Works, Often(Draft::load_plugin)),
    row("auth_plugin", Security, Works, Often(Draft::load_plugin)),
    row("plugin_load", General, Works, Often(Draft::load_named_plugin)),
    row("plugin_use", Security, Accepted("plugin_load has already said what it is"), Often(|_, _| Ok(()))),
    row("plugin_opt_", Plugin, Works, Nothing),
    row("auth_opt_", Plugin, Works, Nothing),
    row("include_dir", General, Works, Often(|_, _| Ok(()))),
    row("log_dest", General, Works, Often(Draft::add_log_destination)),
    row("log_facility", General, Works, Number(0, 7, |d, v| d.log_facility = Some(v))),
    row("log_timestamp", General, Works, Flag(|d, v| d.has_timestamp = v)),
    row("log_timestamp_format", General, Works, Once(|d, v| d.timestamp_format.put(v))),
    row("log_type", General, Works, Often(Draft::add_log_type)),
    row(
        "max_inflight_bytes",
        General,
        Unsupported("max_inflight_messages bounds what is in flight"),
        Number(0, ANY, |_, _| {}),
    ),
    row("max_inflight_messages", General, Works, Number(0, U16, Draft::set_inflight)),
    row("max_keepalive", General, Works, Number(0, U16, |d, v| d.config.limits.keep_alive_secs_max = v as u16)),
    row("max_packet_size", General, Works, Number(20, PACKET, |d, v| d.config.limits.packet_bytes_max = v as u32)),
    row("max_queued_bytes", General, Works, Number(0, ANY, |d, v| d.queued_bytes = Some(v))),
    row("max_queued_messages", General, Works, Number(0, ANY, |d, v| d.queued_messages = Some(v))),
    row("memory_limit", General, Unsupported(HELD), Number(0, ANY, |_, _| {})),
    row("message_size_limit", General, Works, Number(0, PACKET, Draft::set_payload_bytes)),
    row("password_file", Security, Works, Once(|d, v| d.security().rest.password_file.put(v))),
    row("per_listener_settings", General, Works, Flag(|d, v| d.is_per_listener = v)),
    row("persistence", General, Works, Flag(|d, v| d.persistence.is_on = v)),
    row("retained_persistence", General, Works, Flag(|d, v| d.persistence.is_on = v)),
    row("persistence_file", General, Works, Once(Draft::set_persistence_file)),
    row("persistence_location", General, Works, Once(Draft::set_persistence_folder)),
    row("persistent_client_expiration", General, Works, Once(Draft::set_session_expiry)),
    row("pid_file", General, Works, Once(|d, v| d.config.pid_file.put(v))),
    row("psk_file", Security, Unsupported(PSK), Once(|_, _| Ok(()))),
    row("queue_qos0_messages", General, Works, Flag(|d, v| d.config.offer.queues_qos0 = v)),
    row("retain_available", General, Works, Flag(|d, v| d.config.offer.retains = v)),
    row(
        "retain_expiry_interval",
        General,
        Accepted("retained messages that have expired are removed at once"),
        Number(0, ANY, |_, _| {}),
    ),
    row(
        "retry_interval",
        General,
        Accepted("messages are sent again when a client comes back"),
        Number(0, ANY, |_, _| {}),
    ),
    row("set_tcp_nodelay", General, Accepted("the broker never delays what it sends"), Flag(|_, _| {})),
    row("sys_interval", General, Works, Number(0, U16, |d, v| d.config.sys_interval_secs = v as u32)),
    row(
        "upgrade_outgoing_qos",
        General,
        Unsupported("messages keep the QoS they were published with"),
        Flag(|_, _| {}),
    ),
    row("user", General, Works, Once(|d, v| d.config.user.put(v))),
    row("listener", General, Works, Often(Draft::add_listener)),
    row("port", General, Works, Number(1, U16, Draft::set_default_port)),
    row("bind_address", General, Works, Once(Draft::set_default_host)),
    row("bind_interface", Listener, Works, Once(|d, v| d.listener().listener.interface.put(v))),
    row("socket_domain", Listener, Works, Often(Draft::set_family)),
    row("protocol", Listener, Works, Often(Draft::set_protocol)),
    row("http_dir", Listener, Accepted("the broker serves no pages"), Often(|_, _| Ok(()))),
    row("max_connections", Listener, Works, Number(-1, ANY, Draft::set_connections_max)),
    row("max_qos", Listener, Works, Number(0, 2, |d, v| d.listener().listener.maximum_qos = qos(v))),
    row("maximum_qos", Listener, Works, Number(0, 2, |d, v| d.listener().listener.maximum_qos = qos(v))),
    row(
        "max_topic_alias",
        Listener,
        Works,
        Number(0, U16, |d, v| d.listener().listener.topic_alias_max = Some(v as u16)),
    ),
    row(
        "max_topic_alias_broker",
        Listener,
        Works,
        Number(0, U16, |d, v| d.listener().listener.topic_alias_out_max = Some(v as u16)),
    ),
    row("mount_point", Listener, Works, Once(Draft::set_mount_point)),
    row("accept_protocol_versions", Listener, Works, Once(Draft::set_versions)),
    row("listener_allow_anonymous", Listener, Works, Flag(|d, v| d.listener().anonymous = Some(v))),
    row(
        "use_username_as_clientid",
        Listener,
        Works,
        Flag(|d, v| d.listener().listener.uses_user_name_as_client_id = v),
    ),
    row(
        "enable_proxy_protocol",
        Listener,
        Works,
        Number(1, 2, |d, v| d.listener().listener.proxy_protocol = Some(v as u8)),
    ),
    // Three of our own.
    row("proxy_trusted", Listener, Works, Often(|d, v| add_networks(&mut d.listener().listener.access.proxies, v))),
    row("allow_address", Listener, Works, Often(|d, v| add_networks(&mut d.listener().listener.access.allow, v))),
    row("deny_address", Listener, Works, Often(|d, v| add_networks(&mut d.listener().listener.access.deny, v))),
    row(
        "proxy_protocol_v2_require_tls",
        Listener,
        Works,
        Flag(|d, v| d.listener().listener.proxied_tls.is_required = v),
    ),
    row("packet_buffer_size", Listener, Accepted("buffers take the size they need"), Number(0, ANY, |_, _| {})),
    row("websockets_headers_size", Listener, Accepted("buffers take the size they need"), Number(0, ANY, |_, _| {})),
    row("websockets_log_level", Listener, Accepted("it is of libwebsockets, which this broker does not use"), Nothing),
    row("websockets_origin", Listener, Works, Often(Draft::add_origin)),
    row("certfile", Listener, Works, Once(|d, v| d.listener().tls.certificate.put(v))),
    row("keyfile", Listener, Works, Once(|d, v| d.listener().tls.key.put(v))),
    row("cafile", Listener, Works, Once(|d, v| d.listener().tls.authority_file.put(v))),
    row("capath", Listener, Works, Once(|d, v| d.listener().tls.authority_folder.put(v))),
    row("require_certificate", Listener, Works, Flag(|d, v| d.listener().tls.requires_certificate = v)),
    row("use_identity_as_username", Listener, Works, Flag(|d, v| d.set_identity(v, Identity::CommonName))),
    row("use_subject_as_username", Listener, Works, Flag(|d, v| d.set_identity(v, Identity::Subject))),
    row("crlfile", Listener, Works, Once(|d, v| d.listener().tls.revoked.put(v))),
    row(
        "disable_client_cert_date_checks",
        Listener,
        Unsupported("clients need certificates that have not expired"),
        Flag(|_, _| {}),
    ),
    row("ciphers", Listener, Unsupported(CIPHERS), Once(|_, _| Ok(()))),
    row("ciphers_tls1.3", Listener, Unsupported(CIPHERS), Once(|_, _| Ok(()))),
    row("tls_version", Listener, Works, Once(Draft::set_tls_version)),
    row("dhparamfile", Listener, Accepted(OPENSSL), Once(|_, _| Ok(()))),
    row("tls_engine", Listener, Accepted(OPENSSL), Once(|_, _| Ok(()))),
    row("tls_engine_kpass_sha1", Listener, Accepted(OPENSSL), Once(|_, _| Ok(()))),
    row("tls_keyform", Listener, Accepted(OPENSSL), Once(|_, _| Ok(()))),
    row("psk_hint", Listener, Refused(PSK), Once(|_, _| Ok(()))),
    row("connection", General, Refused("bridges are not supported yet"), Once(|_, _| Ok(()))),
];

/// Options of bridges: known, so that a file with a bridge has one mistake and not twenty.
const BRIDGE_NAMES: &[&str] = &[
    "address",
    "addresses",
    "topic",
    "bridge_protocol_version",
    "cleansession",
    "local_cleansession",
    "keepalive_interval",
    "remote_clientid",
    "clientid",
    "remote_username",
    "username",
    "remote_password",
    "password",
    "local_clientid",
    "local_username",
    "local_password",
    "notifications",
    "notifications_local_only",
    "notification_topic",
    "restart_timeout",
    "start_type",
    "threshold",
    "idle_timeout",
    "round_robin",
    "try_private",
    "bridge_cafile",
    "bridge_capath",
    "bridge_certfile",
    "bridge_keyfile",
    "bridge_insecure",
    "bridge_alpn",
    "bridge_tls_version",
    "bridge_tls_use_os_certs",
    "bridge_attempt_unsubscribe",
    "bridge_outgoing_retain",
    "bridge_max_packet_size",
    "bridge_max_topic_alias",
    "bridge_receive_maximum",
    "bridge_session_expiry_interval",
    "bridge_bind_address",
    "bridge_tcp_keepalive",
    "bridge_tcp_user_timeout",
    "bridge_reload_type",
    "bridge_ciphers",
    "bridge_ciphers_tls1.3",
    "bridge_require_ocsp",
    "bridge_psk",
    "bridge_identity",
];

const BRIDGE_ROW: &Row = &row("a bridge's option", Bridge, Works, Nothing);

/// The option of this name; those of plugins have names of their own behind a common beginning.
pub(super) fn find(name: &str) -> Option<&'static Row> {
    let is_it = |row: &&Row| row.name == name || row.scope == Plugin && name.starts_with(row.name);
    let is_of_bridge = BRIDGE_NAMES.contains(&name);
    ROWS.iter().find(is_it).or_else(|| is_of_bridge.then_some(BRIDGE_ROW))
}

/// All names.
pub(super) fn names() -> impl Iterator<Item = &'static str> {
    ROWS.iter().map(|row| row.name).chain(BRIDGE_NAMES.iter().copied())
}

/// Adds the networks of a line, with blanks or commas between them.
fn add_networks(networks: &mut Vec<Network>, value: &str) -> Result<(), Wrong> {
    for text in value.split([',', ' ']).filter(|text| !text.is_empty()) {
        networks.push(text.parse().map_err(Wrong::Value)?);
    }
    Ok(())
}

fn qos(value: i64) -> QoS {
    match value {
        0 => QoS::AtMostOnce,
        1 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

/// The version of the protocol that `accept_protocol_versions` calls so.
pub(super) fn version(text: &str) -> Option<ProtocolVersion> {
    match text {
        "3" => Some(ProtocolVersion::V31),
        "4" => Some(ProtocolVersion::V311),
        "5" => Some(ProtocolVersion::V5),
        _ => None,
    }
}

/// What `socket_domain` calls so.
pub(super) fn family(text: &str) -> Option<Family> {
    match text {
        "ipv4" => Some(Family::V4),
        "ipv6" => Some(Family::V6),
        _ => None,
    }
}

/// An option's place for one value.
pub(super) trait Put {
    /// Puts the value there.
    fn put(&mut self, value: &str) -> Result<(), Wrong>;
}

impl<T: for<'a> From<&'a str>> Put for Option<T> {
    fn put(&mut self, value: &str) -> Result<(), Wrong> {
        *self = Some(value.into());
        Ok(())
    }
}
