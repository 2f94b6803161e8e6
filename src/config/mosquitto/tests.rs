//! Tests: files of Mosquitto's, and what is made of them.
//!
//! Duty: options, scopes, defaults, texts of mistakes. Must not: start a broker; `tests/live/configuration.rs` does. Neighbours:
//! `config::toml` has tests of its own.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::config::{
    Identity, ListenAddress, Listener, LogDestination, LogForm, LogType, Network, ProxiedTls, Timestamp, Transport,
};
use crate::limits::{Limits, QueueFull};
use crate::wire::{ProtocolVersion, QoS};

/// Values that some option takes and others refuse.
const VALUES: &[&str] = &[
    "",
    "0",
    "1",
    "-1",
    "true",
    "false",
    "x",
    "é",
    "1 127.0.0.1",
    "0 /p",
    "127.0.0.1",
    "99999999999999999999",
    "a  b",
    "3d",
];

/// A folder of files, removed when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new(files: &[(&str, &str)]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("ringmq-mosquitto-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        for (name, text) in files {
            std::fs::write(folder.join(name), text).unwrap();
        }
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn read_both(text: &str, has_binds: bool) -> (Config, Vec<Mistake>) {
    let folder = Folder::new(&[("m.conf", text)]);
    let mut mistakes = Vec::new();
    let config = read(&folder.path("m.conf"), Config::of_cpus(Vec::new()), &[1883], has_binds, &mut mistakes);
    (config, mistakes)
}

fn config(text: &str) -> Config {
    let (config, mistakes) = read_both(text, false);
    assert!(mistakes.is_empty(), "{text}: {mistakes:?}");
    config
}

/// The mistakes, each with its line.
fn mistakes(text: &str) -> Vec<String> {
    let line = |mistake: &Mistake| mistake.place.as_ref().map_or(0, |place| place.line);
    read_both(text, false).1.iter().map(|mistake| format!("{}: {}", line(mistake), mistake.text)).collect()
}

fn warnings(text: &str) -> Vec<String> {
    let told = |warning: &String| warning.split_once("m.conf:").unwrap().1.replace(" Warning:", "");
    config(text).warnings.iter().map(told).collect()
}

fn addresses(config: &Config) -> Vec<String> {
    let name = |listener: &Listener| match &listener.address {
        ListenAddress::Tcp(address) => address.to_string(),
        ListenAddress::Unix(path) => format!("unix:{}", path.display()),
    };
    config.listeners.iter().map(name).collect()
}

#[test]
fn an_empty_file_is_mosquittos_defaults_for_this_machine_only() {
    let config = config("");
    assert_eq!(addresses(&config), ["127.0.0.1:1883", "[::1]:1883"]);
    assert!(config.securities[0].allow_anonymous && !config.securities[0].refuses_useless_subscriptions);
    let limits = &config.limits;
    assert_eq!((limits.topic_alias_max, limits.packet_bytes_max, limits.receive_maximum), (10, 2_000_000, 20));
    assert_eq!((limits.inflight_messages_max, limits.queue_full), (20, QueueFull::DropNewest));
    assert!(limits.queued_messages_max >= 1_000_000 && limits.queued_bytes_max >= 256 << 20);
    assert_eq!(config.logging.timestamp, Timestamp::EpochSeconds);
    assert!(config.logging.tells_connections && config.warnings.is_empty());
}

#[test]
fn a_line_is_a_name_a_blank_and_a_value() {
    let text =
        "# a comment\r\n\r\n   \n  listener 1884   127.0.0.1  \r\nmax_packet_size   5000\r\nallow_anonymous true";
    let config = config(text);
    assert_eq!(addresses(&config), ["127.0.0.1:1884"]);
    assert_eq!((config.limits.packet_bytes_max, config.securities[0].allow_anonymous), (5000, true));
    assert_eq!(mistakes(" # no comment"), ["1: Error: Unknown configuration variable '#'"]);
    assert!(mistakes("listener\t1884")[0].contains("Unknown configuration variable 'listener\t1884'"));
}

#[test]
fn text_keeps_its_blanks_and_what_follows_a_flag_is_told() {
    assert_eq!(config("password_file /a file").securities[0].password_file, Some("/a file".into()));
    assert_eq!(warnings("allow_anonymous true # why"), ["1: what stands behind 'allow_anonymous true' is ignored"]);
}

#[test]
fn mistakes_have_mosquittos_texts_and_all_are_found() {
    let text = "foo 1\nmax_inflight 5\nallow_anonymous maybe\npassword_file\nacl_file a\nacl_file b\nmax_queued_messages x\n\
                topic #\nlistener_allow_anonymous true\nplugin_opt_x y\nmax_packet_size 19\nlog_type loud\nconnection x\n\
                topic # both\nlistener 0\nlistener 99999\nlistener 1885\nmax_qos 3\ntls_version tlsv1.1";
    let found = mistakes(text);
    let expected = [
        "1: Error: Unknown configuration variable 'foo'",
        "2: Error: Unknown configuration variable 'max_inflight'; near it: max_inflight_",
        "3: Error: Invalid 'allow_anonymous' value (maybe): true or false",
        "4: Error: Empty 'password_file' value in configuration.",
        "6: Error: Duplicate 'acl_file' value in configuration.",
        "7: Error: Invalid 'max_queued_messages' value (x): a number, 0 or more",
        "8: Error: The 'topic' option requires a bridge to be defined first.",
        "9: Error: The 'listener_allow_anonymous' option requires a listener to be defined first.",
        "10: Error: The 'plugin_opt_x' option requires a plugin to be defined first.",
        "11: Error: Invalid 'max_packet_size' value (19): a number, 20 to 268435455",
        "12: Error: Invalid 'log_type' value (loud): one of",
        "13: Error: 'connection' cannot be had: bridges are not supported yet",
        "15: Error: A listener with port 0 must provide a Unix socket path.",
        "16: Error: Invalid 'listener' value (99999): a port",
        "18: Error: Invalid 'max_qos' value (3): a number, 0 to 2",
        "19: Error: Invalid 'tls_version' value (tlsv1.1): tlsv1.2 or tlsv1.3",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn options_of_a_listener_bind_to_the_last_one() {
    let text = "listener 1884 127.0.0.1\nmax_connections 5\nmount_point a/\nmax_qos 1\nmax_topic_alias 3\n\
                listener 8080 127.0.0.1\nprotocol websockets\nwebsockets_origin https://a\nwebsockets_origin https://b\n\
                accept_protocol_versions 4, 5\nuse_username_as_clientid true\nlistener 0 /run/m.sock\n\
                listener_auto_id_prefix u-\nbind_interface lo\nenable_proxy_protocol 2\n";
    let config = config(text);
    assert_eq!(addresses(&config), ["127.0.0.1:1884", "127.0.0.1:8080", "unix:/run/m.sock"]);
    let [plain, web, unix] = &config.listeners[..] else { panic!() };
    assert_eq!((plain.connections_max, plain.mount_point.as_deref()), (Some(5), Some("a/")));
    assert_eq!((plain.maximum_qos, plain.topic_alias_max), (QoS::AtLeastOnce, Some(3)));
    assert_eq!(web.transport, Transport::WebSocket { origins: vec!["https://a".into(), "https://b".into()] });
    assert_eq!(web.versions, [ProtocolVersion::V311, ProtocolVersion::V5]);
    assert!(web.uses_user_name_as_client_id && web.connections_max.is_none());
    assert_eq!((unix.generated_id_prefix.as_deref(), unix.interface.as_deref()), (Some("u-"), Some("lo")));
    assert_eq!(unix.proxy_protocol, Some(2));
    assert!(!config.securities[0].allow_anonymous, "a listener is open to those only who have a name");
}

/// Mosquitto has no word for the proxies that it believes, so that who has one of its files is warned.
#[test]
fn who_may_reach_a_listener_is_said_with_networks() {
    let text = "listener 1 127.0.0.1\nenable_proxy_protocol 2\nproxy_trusted 10.0.0.0/8, ::1\nproxy_trusted 192.0.2.7\n\
                deny_address 10.0.0.66\nlistener 2\nallow_address 2001:db8::/32\n";
    let words = |networks: &[Network]| networks.iter().map(Network::to_string).collect::<Vec<_>>().join(" ");
    let of = |config: Config| {
        let listeners = config.listeners.iter().map(|listener| &listener.access);
        listeners.map(|it| [words(&it.proxies), words(&it.allow), words(&it.deny)]).collect::<Vec<_>>()
    };
    let allows = ["", "2001:db8::/32", ""];
    let expected = [["10.0.0.0/8 ::1 192.0.2.7", "", "10.0.0.66"], allows, allows].map(|it| it.map(str::to_owned));
    assert_eq!(of(config(text)), expected);
    assert_eq!(warnings(text), [""; 0]);
    let old = "listener 1 127.0.0.1\nenable_proxy_protocol 1\n";
    assert_eq!(of(config(old))[0][0], "0.0.0.0/0 ::/0");
    let told = warnings(old);
    assert!(told.len() == 1 && told[0].starts_with("1: 'enable_proxy_protocol' believes everybody"), "{told:?}");
    assert_eq!(warnings("listener 0 /run/m.sock\nenable_proxy_protocol 1\n"), [""; 0]);
    for (text, mistake) in [
        ("proxy_trusted ::1", "1: Error: 'proxy_trusted' is of listeners with 'enable_proxy_protocol' only"),
        ("deny_address x", "2: Error: Invalid 'deny_address' value (x): 'x' is no network; "),
        ("allow_addresses ::1", "2: Error: Unknown configuration variable 'allow_addresses'; near it: allow_address"),
    ] {
        let found = mistakes(&format!("listener 1 127.0.0.1\n{text}"));
        assert!(found.len() == 1 && found[0].starts_with(mistake), "{found:?}");
    }
    assert!(
        mistakes("listener 0 /run/m.sock\nallow_address ::1")[0].contains("'allow_address' and 'deny_address' are of")
    );
}

#[test]
fn where_tls_ends_at_a_proxy_certificates_are_asked_of_it() {
    let behind = |text: &str| format!("listener 1 127.0.0.1\nproxy_trusted ::1\nenable_proxy_protocol 2\n{text}");
    let asked = |text: &str| {
        let config = config(&behind(text));
        let ProxiedTls { is_required, requires_certificate, names_user } = config.listeners[0].proxied_tls;
        assert!(config.listeners[0].tls.is_none() || !(requires_certificate || names_user));
        [is_required, requires_certificate, names_user]
    };
    assert_eq!(asked(""), [false; 3]);
    assert_eq!(asked("proxy_protocol_v2_require_tls true"), [true, false, false]);
    assert_eq!(asked("require_certificate true\nuse_identity_as_username true"), [false, true, true]);
    let own = "certfile c\nkeyfile k\ncafile a\nrequire_certificate true\nuse_identity_as_username true";
    assert_eq!(asked(own), [false; 3], "TLS ends here");
    assert!(mistakes(&behind("use_subject_as_username true"))[0].contains("write use_identity_as_username"));
    assert!(
        mistakes(&behind("certfile c\nkeyfile k\nproxy_protocol_v2_require_tls true"))[0]
            .contains("TLS ends at the proxy or")
    );
    let first = "listener 1 127.0.0.1\nproxy_trusted ::1\nenable_proxy_protocol 1\n";
    assert!(
        mistakes(&format!("{first}proxy_protocol_v2_require_tls true"))[0]
            .contains("only 'enable_proxy_protocol' 2 tells")
    );
    assert!(mistakes(&format!("{first}require_certificate true"))[0].contains("requires certfile and keyfile"));
}

#[test]
fn a_listener_without_address_is_on_both_families_unless_one_is_asked_for() {
    assert_eq!(addresses(&config("listener 1884")), ["0.0.0.0:1884", "[::]:1884"]);
    assert_eq!(addresses(&config("listener 1884\nsocket_domain ipv4")), ["0.0.0.0:1884"]);
    assert_eq!(addresses(&config("listener 1884\nsocket_domain ipv6")), ["[::]:1884"]);
    assert!(
        mistakes("listener 1884 127.0.0.1\nsocket_domain ipv6")[0].starts_with("1: Error: 127.0.0.1 has no address")
    );
}

#[test]
fn what_stands_before_every_listener_is_the_default_listeners() {
    assert_eq!(addresses(&config("port 1885")), ["0.0.0.0:1885", "[::]:1885"]);
    assert_eq!(addresses(&config("bind_address 127.0.0.1")), ["127.0.0.1:1883"]);
    let both = config("max_connections 5\nlistener 1884 127.0.0.1\nsocket_domain ipv4");
    assert_eq!(addresses(&both), ["127.0.0.1:1884", "0.0.0.0:1883", "[::]:1883"]);
    assert_eq!(both.listeners[1].connections_max, Some(5));
    assert!(!config("max_connections 5").securities[0].allow_anonymous);
    assert!(config("per_listener_settings true\npassword_file p").securities[0].allow_anonymous);
}

#[test]
fn rights_are_the_brokers_or_each_listeners() {
    let lines = "listener 1 127.0.0.1\npassword_file p\nlistener 2 127.0.0.1\nallow_anonymous true\nauto_id_prefix x-\n\
                 listener 3 127.0.0.1\npassword_file p\n";
    let own = config(&format!("per_listener_settings true\n{lines}"));
    assert_eq!(own.listeners.iter().map(|listener| listener.security).collect::<Vec<_>>(), [0, 1, 0]);
    assert_eq!((own.securities[0].password_file.is_some(), own.securities[0].allow_anonymous), (true, false));
    assert_eq!((own.securities[1].password_file.is_some(), own.securities[1].allow_anonymous), (false, true));
    assert_eq!(own.listeners[1].generated_id_prefix.as_deref(), Some("x-"));
    let shared = config(&lines.replace("listener 3 127.0.0.1\npassword_file p\n", ""));
    assert_eq!(shared.securities.len(), 1);
    assert!(shared.securities[0].password_file.is_some() && shared.securities[0].allow_anonymous);
    let one_open = config("listener 1 127.0.0.1\nlistener 2 127.0.0.1\nlistener_allow_anonymous true\n");
    assert_eq!(one_open.securities.iter().map(|security| security.allow_anonymous).collect::<Vec<_>>(), [false, true]);
    let late = mistakes("allow_anonymous true\nper_listener_settings true");
    assert_eq!(late, ["2: Error: per_listener_settings must be set before any other security settings."]);
}

#[test]
fn certificates_make_a_listener_encrypted() {
    let tls = |text: &str| config(&format!("listener 8883 127.0.0.1\n{text}")).listeners[0].tls.clone();
    let full = "certfile c\nkeyfile k\ncafile a\ncrlfile r\nrequire_certificate true\nuse_subject_as_username true\ntls_version tlsv1.3";
    let full = tls(full).unwrap();
    assert_eq!((full.certificate, full.key), ("c".into(), "k".into()));
    assert_eq!((full.client_authority, full.revoked), (Some("a".into()), Some("r".into())));
    assert_eq!((full.requires_certificate, full.identity, full.is_tls13_only), (true, Identity::Subject, true));
    let plain = tls("certfile c\nkeyfile k\ncapath d\nuse_identity_as_username true\ntls_version tlsv1.2").unwrap();
    assert_eq!((plain.client_authority, plain.identity), (Some("d".into()), Identity::CommonName));
    assert!(tls("").is_none());
    for half in
        ["certfile c", "keyfile k", "require_certificate true\ncafile a", "certfile c\nkeyfile k\ncafile a\ncapath d"]
    {
        assert!(mistakes(&format!("listener 8883 127.0.0.1\n{half}"))[0].starts_with("1: Error: "), "{half}");
    }
    assert!(warnings("listener 1 127.0.0.1\ncafile a")[0].contains("not encrypted"));
    assert!(mistakes("listener 1 127.0.0.1\npsk_hint x")[0].contains("pre-shared keys"));
}

#[test]
fn bounds_are_set() {
    let text = "max_inflight_messages 7\nmax_keepalive 60\nmessage_size_limit 100\npersistent_client_expiration 2d\n\
                allow_zero_length_clientid false\nclientid_prefixes dev-\ncheck_retain_source false\nretain_available false\n\
                queue_qos0_messages true\nsys_interval 0\npid_file /p\nuser u\nallow_duplicate_messages true\n";
    let config = config(text);
    let Limits { inflight_messages_max, receive_maximum, keep_alive_secs_max, session_expiry_secs_max, .. } =
        config.limits;
    assert_eq!((inflight_messages_max, receive_maximum, keep_alive_secs_max), (7, 7, 60));
    assert_eq!((session_expiry_secs_max, config.sys_interval_secs), (2 * 86_400, 0));
    let security = &config.securities[0];
    assert_eq!((security.allow_empty_client_id, security.checks_retain_source), (false, false));
    assert_eq!(security.client_id_prefix.as_deref(), Some("dev-"));
    let offer = &config.offer;
    assert_eq!((offer.payload_bytes_max, offer.retains, offer.queues_qos0), (Some(100), false, true));
    assert!(offer.copies_per_subscription && offer.refuses_long_keep_alive);
    assert_eq!((config.pid_file, config.user), (Some("/p".into()), Some("u".into())));
}

#[test]
fn nought_is_no_bound() {
    assert_eq!(config("max_inflight_messages 0").limits.receive_maximum, u16::MAX);
    assert_eq!(config("message_size_limit 0").offer.payload_bytes_max, None);
    assert_eq!(config("listener 1 127.0.0.1\nmax_connections -1").listeners[0].connections_max, None);
}

#[test]
fn a_file_that_bounds_queues_gets_mosquittos_rules_for_them() {
    let queue = |text: &str| {
        let limits = config(text).limits;
        assert_eq!(limits.backpressure_ms_max, 0, "what does not fit is dropped at once");
        (limits.queued_messages_max, limits.queued_bytes_max)
    };
    assert_eq!(queue("max_queued_messages 5"), (5, usize::MAX));
    assert_eq!(queue("max_queued_messages 0"), (usize::MAX, usize::MAX));
    assert_eq!(queue("max_queued_bytes 5000"), (1000, 5000));
    assert_eq!(queue("max_queued_bytes 5000\nmax_queued_messages 7"), (7, 5000));
}

#[test]
fn times_have_units() {
    let secs = |text: &str| config(&format!("persistent_client_expiration {text}")).limits.session_expiry_secs_max;
    assert_eq!(
        [secs("30s"), secs("5h"), secs("1w"), secs("2m"), secs("1y")],
        [30, 18_000, 604_800, 5_184_000, 31_536_000]
    );
    assert_eq!(secs("999y"), u32::MAX, "longer than can be said is never");
    for wrong in ["3", "x", "3x", "h", "-1d", "é"] {
        let found = mistakes(&format!("persistent_client_expiration {wrong}"));
        assert!(found[0].contains("Invalid 'persistent_client_expiration' value"), "{found:?}");
    }
}

#[test]
fn the_log_goes_where_it_is_told() {
    let log = |text: &str| config(text).logging;
    let named = log("log_dest file /l og\nlog_dest syslog\nlog_facility 3\nlog_dest topic\nlog_dest stdout");
    let expected = [
        LogDestination::File("/l og".into()),
        LogDestination::Syslog("local3".into()),
        LogDestination::Topic,
        LogDestination::Stdout,
    ];
    assert_eq!(named.destinations, expected);
    assert_eq!(log("log_dest stderr\nlog_dest none").destinations, []);
    assert!(mistakes("log_dest file")[0].contains("Empty 'log_dest file'"));
    assert_eq!(log("log_timestamp false").timestamp, Timestamp::None);
    assert_eq!(log("log_timestamp_format %H:%M").timestamp, Timestamp::Format("%H:%M".into()));
    let told = |log: crate::config::Logging| (log.tells_connections, log.tells_subscriptions, log.types);
    assert_eq!(told(log("log_type all")), (true, true, LogType::ALL.to_vec()));
    assert_eq!(told(log("log_type error")), (false, false, vec![LogType::Error]));
    let two = vec![LogType::Notice, LogType::Subscribe];
    assert_eq!(told(log("log_type subscribe\nlog_type notice")), (true, true, two));
    assert_eq!(told(log("log_type unsubscribe")), (false, true, vec![LogType::Unsubscribe]));
    assert_eq!(told(log("log_type all\nlog_type none")), (false, false, vec![]));
    assert_eq!(told(log("connection_messages false")), (false, false, LogType::ALL[..4].to_vec()));
    assert_eq!(log("").form, LogForm::Mosquitto);
}

#[test]
fn folders_are_read_in_the_order_of_their_bytes() {
    let folder = Folder::new(&[
        ("B.conf", "listener 1 127.0.0.1\nmount_point b/\n"),
        ("a.conf", "listener 2 127.0.0.1\n"),
        ("z.conf", "foo 1\ninclude_dir /nowhere\n"),
        ("left.txt", "nonsense\n"),
    ]);
    let main = Folder::new(&[]);
    let text = format!("listener 3 127.0.0.1\ninclude_dir {}\nmax_qos 1\n", folder.0.display());
    std::fs::write(main.path("m.conf"), text).unwrap();
    let mut mistakes = Vec::new();
    let config = read(&main.path("m.conf"), Config::of_cpus(Vec::new()), &[1883], false, &mut mistakes);
    assert_eq!(addresses(&config), ["127.0.0.1:3", "127.0.0.1:1", "127.0.0.1:2"]);
    assert_eq!(config.listeners[0].maximum_qos, QoS::AtLeastOnce, "the file goes on where it was");
    assert_eq!(config.listeners[1].mount_point.as_deref(), Some("b/"));
    assert_eq!(mistakes.len(), 1);
    assert_eq!(mistakes[0].place, Some(Place { file: folder.path("z.conf"), line: 1 }));
    assert!(config.warnings[0].contains("'include_dir' in an included file is ignored"));
    assert!(self::mistakes("include_dir /nowhere")[0].starts_with("1: Error: Unable to open include_dir '/nowhere'"));
}

#[test]
fn plugins_that_come_with_mosquitto_are_built_in_and_others_are_refused() {
    let text = "plugin /usr/lib/mosquitto_password_file.so\nplugin_opt_password_file p\nplugin_load acl /l/mosquitto_acl_file.so\n\
                plugin_opt_acl_file a\nplugin_use acl\n";
    let security = config(text).securities[0].clone();
    assert_eq!((security.password_file, security.acl_file), (Some("p".into()), Some("a".into())));
    assert!(mistakes("plugin /l/mosquitto_dynamic_security.so")[0].contains("not supported yet"));
    assert!(mistakes("auth_plugin /l/mine.so")[0].contains("Unable to load plugin '/l/mine.so'"));
    assert!(config("plugin mosquitto_persist_sqlite.so\nplugin_opt_sync normal").store.is_some());
}

/// Who goes back to Mosquitto has its file: as often as it says.
#[test]
fn mosquittos_own_file_is_kept_beside_the_store_as_often_as_it_says() {
    let file = |text: &str| {
        let file = config(&format!("persistence true\n{text}")).store.unwrap().mosquitto?;
        Some((file.path.to_str().unwrap().to_owned(), file.every_secs, file.every_changes))
    };
    let at = |path: &str, secs, changes| Some((path.to_owned(), secs, changes));
    assert_eq!(file(""), at("./mosquitto.db", 1800, 0), "Mosquitto's default");
    assert_eq!(file("persistence_location /l\npersistence_file m\nautosave_interval 0\n"), at("/l/m", 0, 0));
    assert_eq!(file("autosave_interval 7\nautosave_on_changes true\n"), at("./mosquitto.db", 0, 7));
    assert_eq!(file("plugin mosquitto_persist_sqlite.so\n"), None, "that has another file");
}

/// Mosquitto writes a file now and then; here all is written at once, in a directory beside it.
#[test]
fn persistence_is_a_store_beside_mosquittos_file_at_the_strongest_level() {
    let directory = |text: &str| {
        assert_eq!(warnings(text), [""; 0]);
        let store = config(text).store?;
        assert!(store.durability.is_empty(), "all is commit");
        Some(store.directory.to_str().unwrap().to_owned())
    };
    assert_eq!(directory("persistence false\npersistence_location /l\n"), None);
    assert_eq!(directory("autosave_interval 5\n"), None);
    assert_eq!(directory("persistence true\n").as_deref(), Some("./mosquitto.ringmq"));
    let debian = "persistence true\npersistence_location /var/lib/mosquitto/\n";
    assert_eq!(directory(debian).as_deref(), Some("/var/lib/mosquitto/mosquitto.ringmq"));
    let all = "persistence_file m.store\nautosave_interval 0\nautosave_on_changes true\nretained_persistence true\n\
               persistence_location /l\n";
    assert_eq!(directory(all).as_deref(), Some("/l/m.store.ringmq"));
    assert!(mistakes("persistence_file a/b")[0].contains("persistence_location names the folder"));
    assert!(mistakes("persistence_file ..")[0].contains("Invalid 'persistence_file' value"));
    assert!(mistakes("persistence maybe")[0].contains("Invalid 'persistence' value (maybe): true or false"));
    assert!(mistakes("autosave_interval x")[0].contains("Invalid 'autosave_interval' value"));
}

#[test]
fn a_bridge_is_one_mistake() {
    let text = "connection up\naddress example.org\ntopic # both 0\nbridge_insecure true\nremote_username\n";
    assert_eq!(mistakes(text), ["1: Error: 'connection' cannot be had: bridges are not supported yet"]);
}

#[test]
fn what_has_no_effect_is_told_and_what_works_is_not() {
    assert_eq!(warnings("persistence false\nretain_available true\nlog_dest stderr\nautosave_interval 1800"), [""; 0]);
    assert!(warnings("memory_limit 100")[0].contains("use --set held_bytes_per_shard_max"));
    assert!(warnings("listener 1 127.0.0.1\ndhparamfile x")[0].contains("OpenSSL"));
    assert_eq!(
        warnings("listener 1 127.0.0.1\nmax_connections 5\nallow_anonymous true\npassword_file p\nacl_file a"),
        [""; 0]
    );
}

#[test]
fn addresses_of_the_command_line_close_a_broker_that_was_for_this_machine_only() {
    assert!(read_both("", false).0.securities[0].allow_anonymous);
    assert!(!read_both("", true).0.securities[0].allow_anonymous);
    assert!(read_both("allow_anonymous true", true).0.securities[0].allow_anonymous);
}

#[test]
fn every_option_is_known_once_and_takes_some_value() {
    let names: Vec<_> = option::names().collect();
    let mut known = names.clone();
    known.sort_unstable();
    known.dedup();
    assert_eq!(known.len(), names.len());
    for name in names {
        assert!(option::find(name).is_some(), "{name}");
    }
    assert_eq!(option::find("plugin_opt_anything").unwrap().name, "plugin_opt_");
}

proptest::proptest! {
    /// Whatever stands in a file, it is read to its end: each line is taken, warned of, or a mistake.
    #[test]
    fn any_lines_are_read(lines in proptest::collection::vec((0_usize..200, 0_usize..VALUES.len()), 0..12)) {
        let names: Vec<_> = option::names().filter(|name| !["bind_address", "include_dir"].contains(name)).collect();
        let line = |(name, value): &(usize, usize)| format!("{} {}\n", names[name % names.len()], VALUES[*value]);
        let text: String = lines.iter().map(line).collect();
        let (config, mistakes) = read_both(&text, false);
        proptest::prop_assert!(!mistakes.is_empty() || !config.listeners.is_empty());
        proptest::prop_assert!(config.listeners.iter().all(|listener| listener.security < config.securities.len()));
    }
}
