//! Setting: the limits by name, as the command line and TOML set them.
//!
//! Duty: know the name, unit and least value of every limit. Must not: know why a limit is there (`limits` says so).
//! Neighbours: `load` assigns what `--set` says, `toml` what a file says.

use std::fmt::Write;

use super::mistake::near;
use super::mosquitto;
use crate::limits::{Limits, QueueFull, REMAINING_LENGTH_MAX};

/// A limit that can be set.
pub(super) struct Setting {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    pub(super) min: u64,
    pub(super) max: u64,
    pub(super) get: fn(&Limits) -> u64,
    /// The value is between `min` and `max`.
    pub(super) set: fn(&mut Limits, u64),
}

const U16_MAX: u64 = u16::MAX as u64;
const U32_MAX: u64 = u32::MAX as u64;
const COUNT_MAX: u64 = usize::MAX as u64;
/// Longest packet: a fixed header of five bytes and the greatest Remaining Length (section 2.1.4).
const PACKET_MAX: u64 = REMAINING_LENGTH_MAX as u64 + 5;

pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "packet_bytes_max",
        unit: "bytes",
        min: 128,
        max: PACKET_MAX,
        get: |l| l.packet_bytes_max.into(),
        set: |l, v| l.packet_bytes_max = v as u32,
    },
    Setting {
        name: "preauth_bytes_max",
        unit: "bytes",
        min: 128,
        max: PACKET_MAX,
        get: |l| l.preauth_bytes_max.into(),
        set: |l, v| l.preauth_bytes_max = v as u32,
    },
    Setting {
        name: "preauth_bytes_total_max",
        unit: "bytes",
        min: 128,
        max: COUNT_MAX,
        get: |l| l.preauth_bytes_total_max as u64,
        set: |l, v| l.preauth_bytes_total_max = v as usize,
    },
    Setting {
        name: "accepts_per_address_per_sec_max",
        unit: "connections per second",
        min: 0,
        max: U32_MAX,
        get: |l| l.accepts_per_address_per_sec_max.into(),
        set: |l, v| l.accepts_per_address_per_sec_max = v as u32,
    },
    Setting {
        name: "accepts_per_turn_max",
        unit: "connections",
        min: 1,
        max: COUNT_MAX,
        get: |l| l.accepts_per_turn_max as u64,
        set: |l, v| l.accepts_per_turn_max = v as usize,
    },
    Setting {
        name: "tls_handshakes_per_turn_max",
        unit: "steps",
        min: 1,
        max: COUNT_MAX,
        get: |l| l.tls_handshakes_per_turn_max as u64,
        set: |l, v| l.tls_handshakes_per_turn_max = v as usize,
    },
    Setting {
        name: "upgrade_bytes_max",
        unit: "bytes",
        min: 256,
        max: COUNT_MAX,
        get: |l| l.upgrade_bytes_max as u64,
        set: |l, v| l.upgrade_bytes_max = v as usize,
    },
    Setting {
        name: "websocket_message_bytes_max",
        unit: "bytes",
        min: 1024,
        max: COUNT_MAX,
        get: |l| l.websocket_message_bytes_max as u64,
        set: |l, v| l.websocket_message_bytes_max = v as usize,
    },
    Setting {
        name: "turn_bytes_per_connection_max",
        unit: "bytes",
        min: 1024,
        max: COUNT_MAX,
        get: |l| l.turn_bytes_per_connection_max as u64,
        set: |l, v| l.turn_bytes_per_connection_max = v as usize,
    },
    Setting {
        name: "connect_timeout_ms",
        unit: "milliseconds",
        min: 1,
        max: U32_MAX,
        get: |l| l.connect_timeout_ms,
        set: |l, v| l.connect_timeout_ms = v,
    },
    Setting {
        name: "password_bytes_max",
        unit: "bytes",
        min: 1,
        max: U16_MAX,
        get: |l| l.password_bytes_max as u64,
        set: |l, v| l.password_bytes_max = v as usize,
    },
    Setting {
        name: "token_bytes_max",
        unit: "bytes",
        min: 1,
        max: U16_MAX,
        get: |l| l.token_bytes_max as u64,
        set: |l, v| l.token_bytes_max = v as usize,
    },
    Setting {
        name: "password_checks_waiting_max",
        unit: "passwords",
        min: 1,
        max: U16_MAX,
        get: |l| l.password_checks_waiting_max as u64,
        set: |l, v| l.password_checks_waiting_max = v as usize,
    },
    Setting {
        name: "authenticator_requests_max",
        unit: "threads",
        min: 1,
        max: 256,
        get: |l| l.authenticator_requests_max as u64,
        set: |l, v| l.authenticator_requests_max = v as usize,
    },
    Setting {
        name: "wrong_passwords_per_address_max",
        unit: "passwords per minute",
        min: 0,
        max: U32_MAX,
        get: |l| l.wrong_passwords_per_address_max.into(),
        set: |l, v| l.wrong_passwords_per_address_max = v as u32,
    },
    Setting {
        name: "client_id_bytes_max",
        unit: "bytes",
        min: 23,
        max: U16_MAX,
        get: |l| l.client_id_bytes_max as u64,
        set: |l, v| l.client_id_bytes_max = v as usize,
    },
    Setting {
        name: "topic_bytes_max",
        unit: "bytes",
        min: 1,
        max: U16_MAX,
        get: |l| l.topic_bytes_max as u64,
        set: |l, v| l.topic_bytes_max = v as usize,
    },
    Setting {
        name: "topic_levels_max",
        unit: "levels",
        min: 1,
        max: U16_MAX + 1,
        get: |l| l.topic_levels_max as u64,
        set: |l, v| l.topic_levels_max = v as usize,
    },
    Setting {
        name: "user_properties_max",
        unit: "properties",
        min: 0,
        max: COUNT_MAX,
        get: |l| l.user_properties_max as u64,
        set: |l, v| l.user_properties_max = v as usize,
    },
    Setting {
        name: "subscriptions_per_session_max",
        unit: "subscriptions",
        min: 1,
        max: COUNT_MAX,
        get: |l| l.subscriptions_per_session_max as u64,
        set: |l, v| l.subscriptions_per_session_max = v as usize,
    },
    Setting {
        name: "receive_maximum",
        unit: "messages",
        min: 1,
        max: U16_MAX,
        get: |l| l.receive_maximum.into(),
        set: |l, v| l.receive_maximum = v as u16,
    },
    Setting {
        name: "owed_acks_max",
        unit: "acknowledgements",
        min: 1,
        max: COUNT_MAX,
        get: |l| l.owed_acks_max as u64,
        set: |l, v| l.owed_acks_max = v as usize,
    },
    Setting {
        name: "inflight_messages_max",
        unit: "messages",
        min: 1,
        max: U16_MAX,
        get: |l| l.inflight_messages_max.into(),
        set: |l, v| l.inflight_messages_max = v as u16,
    },
    Setting {
        name: "topic_alias_max",
        unit: "aliases",
        min: 0,
        max: U16_MAX,
        get: |l| l.topic_alias_max.into(),
        set: |l, v| l.topic_alias_max = v as u16,
    },
    Setting {
        name: "topic_alias_out_max",
        unit: "aliases",
        min: 0,
        max: U16_MAX,
        get: |l| l.topic_alias_out_max.into(),
        set: |l, v| l.topic_alias_out_max = v as u16,
    },
    Setting {
        name: "queued_messages_max",
        unit: "messages",
        min: 0,
        max: COUNT_MAX,
        get: |l| l.queued_messages_max as u64,
        set: |l, v| l.queued_messages_max = v as usize,
    },
    Setting {
        name: "queued_bytes_max",
        unit: "bytes",
        min: 0,
        max: COUNT_MAX,
        get: |l| l.queued_bytes_max as u64,
        set: |l, v| l.queued_bytes_max = v as usize,
    },
    Setting {
        name: "backpressure_ms_max",
        unit: "milliseconds",
        min: 0,
        max: U32_MAX,
        get: |l| l.backpressure_ms_max,
        set: |l, v| l.backpressure_ms_max = v,
    },
    Setting {
        name: "held_bytes_per_shard_max",
        unit: "bytes",
        min: 1 << 20,
        max: COUNT_MAX,
        get: |l| l.held_bytes_per_shard_max as u64,
        set: |l, v| l.held_bytes_per_shard_max = v as usize,
    },
    Setting {
        name: "session_expiry_secs_max",
        unit: "seconds",
        min: 0,
        max: U32_MAX,
        get: |l| l.session_expiry_secs_max.into(),
        set: |l, v| l.session_expiry_secs_max = v as u32,
    },
    Setting {
        name: "keep_alive_secs_max",
        unit: "seconds",
        min: 0,
        max: U16_MAX,
        get: |l| l.keep_alive_secs_max.into(),
        set: |l, v| l.keep_alive_secs_max = v as u16,
    },
    Setting {
        name: "idle_secs_max",
        unit: "seconds",
        min: 1,
        max: U32_MAX,
        get: |l| l.idle_secs_max,
        set: |l, v| l.idle_secs_max = v,
    },
    Setting {
        name: "egress_bytes_max",
        unit: "bytes",
        min: 1024,
        max: COUNT_MAX,
        get: |l| l.egress_bytes_max as u64,
        set: |l, v| l.egress_bytes_max = v as usize,
    },
    Setting {
        name: "egress_control_bytes_max",
        unit: "bytes",
        min: 1024,
        max: COUNT_MAX,
        get: |l| l.egress_control_bytes_max as u64,
        set: |l, v| l.egress_control_bytes_max = v as usize,
    },
    Setting {
        name: "retained_messages_max",
        unit: "messages",
        min: 0,
        max: COUNT_MAX,
        get: |l| l.retained_messages_max as u64,
        set: |l, v| l.retained_messages_max = v as usize,
    },
    Setting {
        name: "retained_bytes_max",
        unit: "bytes",
        min: 0,
        max: COUNT_MAX,
        get: |l| l.retained_bytes_max as u64,
        set: |l, v| l.retained_bytes_max = v as usize,
    },
    Setting {
        name: "mesh_publishes_max",
        unit: "messages",
        min: 1,
        max: COUNT_MAX,
        get: |l| l.mesh_publishes_max as u64,
        set: |l, v| l.mesh_publishes_max = v as usize,
    },
    Setting {
        name: "mesh_bytes_max",
        unit: "bytes",
        min: 1,
        max: COUNT_MAX,
        get: |l| l.mesh_bytes_max as u64,
        set: |l, v| l.mesh_bytes_max = v as usize,
    },
    Setting {
        name: "connections_per_shard_max",
        unit: "connections",
        min: 1,
        max: U32_MAX,
        get: |l| l.connections_per_shard_max as u64,
        set: |l, v| l.connections_per_shard_max = v as usize,
    },
    Setting {
        name: "sessions_per_shard_max",
        unit: "sessions",
        min: 1,
        max: U32_MAX,
        get: |l| l.sessions_per_shard_max as u64,
        set: |l, v| l.sessions_per_shard_max = v as usize,
    },
    Setting {
        name: "sessions_per_user_per_shard_max",
        unit: "sessions",
        min: 1,
        max: COUNT_MAX,
        get: |l| l.sessions_per_user_per_shard_max as u64,
        set: |l, v| l.sessions_per_user_per_shard_max = v as usize,
    },
    Setting {
        name: "match_nodes_max",
        unit: "nodes",
        min: 1,
        max: COUNT_MAX,
        get: |l| l.match_nodes_max as u64,
        set: |l, v| l.match_nodes_max = v as usize,
    },
    Setting {
        name: "retained_search_nodes_max",
        unit: "nodes",
        min: 1,
        max: COUNT_MAX,
        get: |l| l.retained_search_nodes_max as u64,
        set: |l, v| l.retained_search_nodes_max = v as usize,
    },
    Setting {
        name: "match_cache_topics_max",
        unit: "topics",
        min: 0,
        max: COUNT_MAX,
        get: |l| l.match_cache_topics_max as u64,
        set: |l, v| l.match_cache_topics_max = v as usize,
    },
    Setting {
        name: "admin_connections_max",
        unit: "connections",
        min: 1,
        max: U16_MAX,
        get: |l| l.admin_connections_max as u64,
        set: |l, v| l.admin_connections_max = v as usize,
    },
    Setting {
        name: "admin_traces_max",
        unit: "watchers",
        min: 0,
        max: U32_MAX,
        get: |l| l.admin_traces_max as u64,
        set: |l, v| l.admin_traces_max = v as usize,
    },
    Setting {
        name: "admin_request_bytes_max",
        unit: "bytes",
        // The least that the HTTP library takes.
        min: 8192,
        max: U32_MAX,
        get: |l| l.admin_request_bytes_max as u64,
        set: |l, v| l.admin_request_bytes_max = v as usize,
    },
    Setting {
        name: "admin_body_bytes_max",
        unit: "bytes",
        min: 1,
        max: U32_MAX,
        get: |l| l.admin_body_bytes_max as u64,
        set: |l, v| l.admin_body_bytes_max = v as usize,
    },
    Setting {
        name: "admin_request_ms_max",
        unit: "milliseconds",
        min: 1,
        max: U32_MAX,
        get: |l| l.admin_request_ms_max,
        set: |l, v| l.admin_request_ms_max = v,
    },
    Setting {
        name: "store_free_bytes_min",
        unit: "bytes",
        min: 0,
        max: COUNT_MAX,
        get: |l| l.store_free_bytes_min,
        set: |l, v| l.store_free_bytes_min = v,
    },
];

/// The one that is chosen, not counted.
pub(super) const QUEUE_FULL: &str = "queue_full";

/// The limit that depends on the system unless it is set.
pub(super) const HELD_BYTES: &str = "held_bytes_per_shard_max";

/// Sets one limit as `name=value` says.
///
/// # Errors
/// In one line: no such limit, and which are near; or no such value, and which could be.
pub(super) fn assign(limits: &mut Limits, assignment: &str) -> Result<(), String> {
    let (name, value) = assignment
        .split_once('=')
        .ok_or_else(|| format!("--set {assignment}: write name=value; `--set help` lists the names"))?;
    let name = name.trim();
    if name == QUEUE_FULL {
        limits.queue_full = value.trim().parse()?;
        return Ok(());
    }
    let setting = SETTINGS.iter().find(|setting| setting.name == name).ok_or_else(|| unknown(name))?;
    let (min, max, unit) = (setting.min, setting.max, setting.unit);
    let value = value
        .trim()
        .parse::<u64>()
        .ok()
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("--set {assignment}: a number from {min} to {max} is wanted ({unit})"))?;
    (setting.set)(limits, value);
    Ok(())
}

/// All limits with their defaults and units, a line each, for a broker without a file of ringmq's own.
pub fn list() -> String {
    let defaults = mosquitto::limits();
    let mut list =
        String::from("Limits for --set, with their defaults (with --config: those of `ringmq config default`):\n");
    for setting in SETTINGS {
        // Writing to a string does not fail.
        let _ = writeln!(list, "  {}={} ({})", setting.name, (setting.get)(&defaults), setting.unit);
    }
    let words = QueueFull::WORDS.map(|(word, _)| word).join(", ");
    let _ = writeln!(list, "  {QUEUE_FULL}={} (one of {words})", QueueFull::WORDS[0].0);
    list
}

/// Limits by which something was sized at the start.
const FIXED: &[&str] = &[
    "held_bytes_per_shard_max",
    "match_cache_topics_max",
    "match_nodes_max",
    "password_checks_waiting_max",
    "authenticator_requests_max",
    "wrong_passwords_per_address_max",
];

/// Limits that connected clients were told, so that they must not become less for them.
const PROMISED: &[&str] = &["packet_bytes_max", "receive_maximum", "topic_alias_max"];

/// What of the `wanted` limits a running broker can do, and the names of those that need a new start. Memory counts only if it was
/// `is_held_bytes_set`.
pub fn change(running: &Limits, wanted: &Limits, is_held_bytes_set: bool) -> (Limits, Vec<&'static str>) {
    let mut limits = wanted.clone();
    let mut left = Vec::new();
    for setting in SETTINGS {
        let (now, then) = ((setting.get)(running), (setting.get)(wanted));
        let is_fixed = FIXED.contains(&setting.name) || PROMISED.contains(&setting.name) && then < now;
        if is_fixed && now != then {
            (setting.set)(&mut limits, now);
            if setting.name != HELD_BYTES || is_held_bytes_set {
                left.push(setting.name);
            }
        }
    }
    (limits, left)
}

fn unknown(name: &str) -> String {
    let names = near(name, SETTINGS.iter().map(|setting| setting.name));
    if names.is_empty() {
        format!("--set {name}: there is no such limit; `--set help` lists them")
    } else {
        format!("--set {name}: there is no such limit; near it: {names}; `--set help` lists all")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_limit_can_be_set_and_is_set_alone() {
        let defaults = Limits::default();
        let fields = format!("{defaults:?}");
        assert_eq!(
            fields.matches(": ").count(),
            SETTINGS.len() + 1,
            "each field of Limits is listed once, and queue_full"
        );
        for setting in SETTINGS {
            let default = (setting.get)(&defaults);
            assert!((setting.min..=setting.max).contains(&default), "{}", setting.name);
            let value = if default == setting.max { default - 1 } else { default + 1 };
            let mut limits = defaults.clone();
            assign(&mut limits, &format!("{}={value}", setting.name)).unwrap();
            let changed = format!("{}: {value}", setting.name);
            assert_eq!(format!("{limits:?}"), fields.replace(&format!("{}: {default}", setting.name), &changed));
        }
    }

    #[test]
    fn a_running_broker_keeps_what_was_sized_and_what_was_promised() {
        let running = Limits::default();
        let wanted = Limits {
            queued_messages_max: 7,
            match_nodes_max: 7,
            receive_maximum: 7,
            packet_bytes_max: running.packet_bytes_max + 1,
            held_bytes_per_shard_max: 5_000_000,
            ..running.clone()
        };
        let (limits, left) = change(&running, &wanted, false);
        assert_eq!(left, ["receive_maximum", "match_nodes_max"]);
        let expected =
            Limits { queued_messages_max: 7, packet_bytes_max: running.packet_bytes_max + 1, ..running.clone() };
        assert_eq!(limits, expected);
        assert!(change(&running, &wanted, true).1.contains(&"held_bytes_per_shard_max"));
        assert_eq!(change(&running, &running, true), (running.clone(), vec![]));
    }

    #[test]
    fn what_happens_at_a_full_queue_is_a_word() {
        let mut limits = Limits::default();
        for (word, policy) in QueueFull::WORDS {
            assign(&mut limits, &format!("queue_full={word}")).unwrap();
            assert_eq!(limits.queue_full, policy);
        }
        assert!(assign(&mut limits, "queue_full=1").unwrap_err().contains("drop-oldest"));
    }

    #[test]
    fn a_wrong_name_is_answered_by_near_ones() {
        let error = assign(&mut Limits::default(), "packet_byte_max=1").unwrap_err();
        assert!(error.contains("near it: packet_bytes_max"), "{error}");
        let error = assign(&mut Limits::default(), "retained=1").unwrap_err();
        assert!(error.contains("retained_bytes_max") && error.contains("retained_messages_max"), "{error}");
        assert!(assign(&mut Limits::default(), "zzz=1").unwrap_err().contains("--set help"));
    }

    #[test]
    fn a_wrong_value_is_answered_by_the_range() {
        for wrong in ["receive_maximum=0", "receive_maximum=65536", "receive_maximum=x", "receive_maximum=-1"] {
            assert!(assign(&mut Limits::default(), wrong).unwrap_err().contains("from 1 to 65535"), "{wrong}");
        }
        assert!(assign(&mut Limits::default(), "receive_maximum").unwrap_err().contains("name=value"));
    }
}
