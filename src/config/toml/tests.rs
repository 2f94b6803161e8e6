//! Tests: ringmq's own file, written and read.
//!
//! Duty: that defaults and converted files are read as what they were written from; texts of mistakes. Must not: start a broker.
//! Neighbours: `config::mosquitto` has tests of its own.

use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::config::{MosquittoFile, Network, PORT, Store, mosquitto, store};
use crate::store::Level;
use crate::wire::QoS;

fn with_file<T>(text: &str, read: impl FnOnce(&Path) -> T) -> T {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let file = std::env::temp_dir().join(format!("ringmq-toml-{}-{number}.toml", std::process::id()));
    std::fs::write(&file, text).unwrap();
    let result = read(&file);
    std::fs::remove_file(&file).unwrap();
    result
}

fn read_text(text: &str) -> (Told, Vec<String>) {
    let mut mistakes = Vec::new();
    let told = with_file(text, |file| read(file, Config::of_cpus(Vec::new()), false, &mut mistakes));
    let line = |mistake: &Mistake| mistake.place.as_ref().map_or(0, |place| place.line);
    (told, mistakes.iter().map(|mistake| format!("{}: {}", line(mistake), mistake.text)).collect())
}

fn config(text: &str) -> Config {
    let (told, mistakes) = read_text(text);
    assert_eq!(mistakes, [""; 0], "{text}");
    let store = store::choose(told.store, store::Places::default(), &mut Vec::new()).unwrap();
    Config { store, ..told.config }
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    assert_eq!(config(&default_text()), Config::of_cpus(Vec::new()));
    assert_eq!(config(""), Config::of_cpus(Vec::new()));
}

#[test]
fn every_example_of_the_printed_defaults_is_read() {
    let uncommented = |line: &str| match line.strip_prefix('#') {
        Some(rest) if rest.starts_with(|letter: char| letter.is_ascii_lowercase() || letter == '[') => rest.to_owned(),
        _ => line.to_owned(),
    };
    let text: Vec<_> = default_text().lines().map(uncommented).collect();
    let (told, mistakes) = read_text(&text.join("\n"));
    assert_eq!(mistakes, [""; 0]);
    assert_eq!(told.store.durability, [("alarms/#".into(), Level::Commit), ("#".into(), Level::Memory)]);
    assert!(told.config.listeners[0].tls.is_some() && told.config.is_held_bytes_set && told.cpus.is_some());
}

#[test]
fn a_converted_file_says_the_same() {
    for text in [
        "",
        "allow_anonymous false\npassword_file p \"q\" \\\n",
        "listener 1884 127.0.0.1\nmax_connections 5\nmount_point a/\nmax_qos 1\nlistener 0 /run/m.sock\n",
        "listener 8080 127.0.0.1\nprotocol websockets\nwebsockets_origin https://a\naccept_protocol_versions 3,5\nauto_id_prefix x\n",
        "listener 8883\ncertfile c\nkeyfile k\ncafile a\nrequire_certificate true\nuse_identity_as_username true\nacl_file r\n",
        "per_listener_settings true\nlistener 1 127.0.0.1\npassword_file p\nlistener 2 127.0.0.1\nallow_anonymous true\n",
        "max_queued_messages 0\nmax_inflight_messages 3\nlog_dest file /l\nlog_dest syslog\nlog_type all\nlog_timestamp_format %H\n",
        "admin unix:/run/a.sock\nadmin_token_file /t\n",
        "admin 127.0.0.1:1\nadmin_users ann\nadmin_users bob\nadmin_allow_changes true\nadmin_tls_cert c\nadmin_tls_key k\n",
        "admin default\n",
        "persistence true\nautosave_interval 5\nautosave_on_changes true\nretain_available false\nmessage_size_limit 9\nuser u\n",
        "listener 1 127.0.0.1\nenable_proxy_protocol 2\nproxy_trusted 10.0.0.0/8 ::1\nallow_address 192.0.2.7\ndeny_address ::/0\n",
        "listener 1 127.0.0.1\nenable_proxy_protocol 2\nproxy_protocol_v2_require_tls true\nrequire_certificate true\n",
        "listener 0 /run/m.sock\nuse_identity_as_username true\nenable_proxy_protocol 2\nallow_address 192.0.2.0/24,2001:db8::/32\n",
        "socket_domain ipv4\nenable_proxy_protocol 1\nclientid_prefixes d\ncheck_retain_source false\nsys_interval 0\npid_file /p\n",
    ] {
        let mut mistakes = Vec::new();
        let read = |file: &Path| mosquitto::read(file, Config::of_cpus(Vec::new()), &[PORT], false, &mut mistakes);
        let mut told = with_file(text, read);
        assert!(mistakes.is_empty(), "{mistakes:?}");
        let converted = converted_text(&told, &told.warnings);
        assert_eq!(converted.matches("Warning: ").count(), told.warnings.len());
        told.warnings.clear();
        assert_eq!(config(&converted), told, "{text}\n{converted}");
    }
}

#[test]
fn judges_are_written_as_they_are_read() {
    let text = "[security]\nallow_anonymous = true\n[security.token]\nsecret_file = \"s\"\nkey_file = \"k\"\njwks_file = \"j\"\n\
                audience = [\"a\"]\nissuer = [\"i\", \"j\"]\nleeway_secs = 7\nuser_claim = \"name\"\npublish_claim = \"p\"\n\
                subscribe_claim = \"s\"\nrequire_expiry = false\ndisconnect_expired = false\n\
                [[listener]]\naddress = \"[::1]:1\"\n[listener.security.http]\nurl = \"https://a/b\"\nauthority = \"c\"\n\
                timeout_millis = 1\ncache_secs = 2\nrefusal_cache_secs = 3\ncache_entries_max = 4\n";
    let told = config(text);
    let (first, own) = (&told.securities[0], &told.securities[1]);
    assert!(first.tokens.is_some() && first.authenticator.is_none());
    assert!(own.tokens.is_none() && own.authenticator.is_some());
    let converted = converted_text(&told, &[]);
    assert_eq!(config(&converted), told, "{converted}");
    for value in
        ["\"name\"", "leeway_secs = 7", "require_expiry = false", "refusal_cache_secs = 3", "cache_entries_max = 4"]
    {
        assert!(converted.contains(value), "{value}: {converted}");
    }
    assert_eq!(super::super::files_of(&told).len(), 4, "all are watched");
}

#[test]
fn a_judge_that_cannot_judge_is_a_mistake() {
    let text = "[security.token]\nuser_claim = \"\"\n[security.http]\nurl = \"ftp://a\"\ntimeout_millis = 0\ncache_sec = 1\n\
                [security.tokens]\n";
    let (_, found) = read_text(text);
    let expected = [
        "1: 'security.token' needs a key: 'secret_file', 'key_file' or 'jwks_file'",
        "1: 'security.token.user_claim' is empty",
        "3: 'security.http' needs 'url', which begins with http:// or https://",
        "3: 'security.http.timeout_millis': a number from 1 to 60000 is wanted",
        "6: unknown key 'security.http.cache_sec'; near it: cache_secs",
        "7: unknown key 'security.tokens'; near it: token",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}

#[test]
fn levels_are_of_topic_filters_and_the_first_counts() {
    let text = "[store]\npath = \"/d \\\"e\"\n\
                durability = [{ level = \"write\", filter = \"a/+\" }, { filter = \"#\", level = \"memory\" }]\n";
    let durability = vec![("a/+".into(), Level::Write), ("#".into(), Level::Memory)];
    let told = config(text);
    assert_eq!(told.store, Some(Store { durability, ..Store::at("/d \"e") }));
    // Nothing is written for Mosquitto unless that is asked for.
    let file = config("[store]\npath = \"/d\"\nmosquitto_file = \"/m.db\"\nmosquitto_every_secs = 5\n")
        .store
        .unwrap()
        .mosquitto;
    assert_eq!(file, Some(MosquittoFile { path: "/m.db".into(), every_secs: 5, every_changes: 0 }));
    assert_eq!(config(&converted_text(&told, &[])), told);
    assert!(config("[store]\npath = \"none\"\n").store.is_none() && config("[store]\n").store.is_none());
    for (wrong, words) in [
        ("path = \"\"", "'store.path': a directory, or \"none\", is wanted"),
        ("paht = \"/d\"", "unknown key 'store.paht'; near it: path"),
        ("durability = \"commit\"", "'store.durability': a list in square brackets is wanted"),
        ("durability = [\"#\"]", "'store.durability': { filter = \"FILTER\", level = \"LEVEL\" } is wanted"),
        ("durability = [{ filter = \"#\" }]", "'store.durability': { filter = \"FILTER\", level"),
        ("durability = [{ filter = \"#\", level = \"disk\" }]", "'store.durability': one of memory, write, commit is"),
        ("durability = [{ filter = \"#a\", level = \"write\" }]", "'store.durability': '#a' is no topic filter: mis"),
        (
            "durability = [{ filter = \"$share/g/a\", level = \"write\" }]",
            "'store.durability': '$share/g/a': levels are",
        ),
    ] {
        let found = read_text(&format!("[store]\n{wrong}\n")).1;
        assert!(found.len() == 1 && found[0].starts_with(&format!("2: {words}")), "{found:?}");
    }
    let old = read_text("[persistence]\n").1;
    assert!(old.len() == 1 && old[0].starts_with("1: unknown key 'persistence'"), "{old:?}");
}

#[test]
fn a_listener_is_closed_unless_it_is_opened_and_useless_subscriptions_are_refused() {
    let closed = config("[[listener]]\naddress = \"0.0.0.0\"\n");
    assert_eq!(closed.listeners, [Listener::plain(ListenAddress::Tcp(([0, 0, 0, 0], 1883).into()))]);
    assert!(!closed.securities[0].allow_anonymous && closed.securities[0].refuses_useless_subscriptions);
    let own = "[security]\nallow_anonymous = true\n[[listener]]\naddress = \"[::1]:1\"\nmaximum_qos = 1\n\
               [[listener]]\naddress = \"unix:/s\"\nsecurity = { password_file = \"p\" }\n";
    let own = config(own);
    assert_eq!(own.listeners.iter().map(|listener| listener.security).collect::<Vec<_>>(), [0, 1]);
    assert!(own.securities[0].allow_anonymous && !own.securities[1].allow_anonymous);
    assert_eq!(own.listeners[0].maximum_qos, QoS::AtLeastOnce);
}

#[test]
fn all_mistakes_are_found_with_line_and_what_would_be_right() {
    let text = "sys_interval = 5\n\n[limits]\npacket_byte_max = 1\nreceive_maximum = 0\nqueue_full = \"x\"\n[log]\nquiet = 1\n\
                [nonsense]\n[[listener]]\nadress = \"0.0.0.0\"\n[[listener]]\naddress = \"1.2.3.4:x\"\norigins = [\"a\"]\n\
                proxy_protocol = 3\n[listener.tls]\ncertificate = \"c\"\n";
    let (_, found) = read_text(text);
    let expected = [
        "1: unknown key 'sys_interval'; near it: sys_interval_secs",
        "4: unknown key 'limits.packet_byte_max'; near it: packet_bytes_max",
        "5: 'limits.receive_maximum': a number from 1 to 65535 is wanted (messages)",
        "6: 'limits.queue_full': one of reject",
        "8: 'log.quiet': true or false is wanted",
        "9: unknown key 'nonsense'",
        "10: a listener needs an 'address'",
        "11: unknown key 'listener.adress'; near it: address",
        "12: 'listener.proxy_protocol': 1 or 2 is wanted",
        "12: 'listener.origins' is of listeners with websocket = true only",
        "13: 'listener.address': 1.2.3.4:x: its port is no number",
        "16: 'listener.tls' needs 'certificate' and 'key'",
    ];
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
    assert!(read_text("a = = 1").1[0].starts_with("1: "));
}

#[test]
fn who_may_reach_a_listener_is_said_with_networks() {
    let own = "[[listener]]\naddress = \"0.0.0.0\"\nproxy_protocol = 2\nproxy_trusted = [\"10.0.0.0/8\", \"::1\"]\n\
               deny = [\"192.0.2.66\"]\n[[listener]]\naddress = \"[::]:1\"\nallow = [\"2001:db8::/32\"]\n";
    let listeners = config(own).listeners;
    let words = |networks: &[Network]| networks.iter().map(Network::to_string).collect::<Vec<_>>().join(" ");
    let access = listeners.iter().map(|listener| &listener.access);
    let said: Vec<_> = access.map(|it| [words(&it.proxies), words(&it.allow), words(&it.deny)]).collect();
    assert_eq!(said, [["10.0.0.0/8 ::1", "", "192.0.2.66"], ["", "2001:db8::/32", ""]].map(|it| it.map(str::to_owned)));
    let text = "[[listener]]\naddress = \"0.0.0.0\"\nproxy_protocol = 1\n[[listener]]\naddress = \"[::]:1\"\n\
                proxy_trusted = [\"10.0.0.0/8\"]\nallow = [\"10.1.2.3/8\"]\ndeny = \"::/0\"\n\
                [[listener]]\naddress = \"unix:/s\"\nallow = [\"::/0\"]\nalow = []\n";
    let expected = [
        "1: 'proxy_protocol' needs 'proxy_trusted', the addresses of the proxies, such as",
        "4: 'proxy_trusted' is of listeners with 'proxy_protocol' only",
        "7: 'listener.allow': '10.1.2.3/8' is an address within a network; write 10.1.2.3 or 10.0.0.0/8",
        "8: 'listener.deny': a list in square brackets is wanted",
        "9: 'allow' and 'deny' are of listeners that have addresses; ",
        "12: unknown key 'listener.alow'; near it: allow",
    ];
    let (_, found) = read_text(text);
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.starts_with(expected), "{found}\n{expected}");
    }
}
