//! Look: the commands that ask a running broker, or steer it, against a real one.
//!
//! Duty: each command as table and as JSON, what is said when it cannot be done, packets shown as real clients send them. Must not: test
//! the API beyond that. Neighbours: `room` has the API, `admin` who is let in.

use std::io::{BufRead, BufReader, Lines, Read, Write};
use std::process::{ChildStderr, ChildStdout, Command, Stdio};

use ringmq::admin::answer::{
    Audience, Client as Seen, ClientDetail, Deleted, Denial, Drop as Lost, Items, List, Overview, Queued, Retained,
    Shard, Told, TopicRate, TopicRates, Traced,
};
use ringmq::wire::Connect;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::broker::Broker;
use crate::client::Client;
use crate::folder::Folder;
use crate::packets::{Q0, Q1, Say, V5, V311, lasting, puback, qos0, qos1, suback, subscribe};
use crate::papers::Papers;
use crate::program::{self, Process, ended, ended_after};

/// A broker with an admin room on a free port and these lines in its file of Mosquitto's.
fn start(folder: &Folder, lines: &str, options: &[&str]) -> Broker {
    let head = "listener 0 127.0.0.1\nallow_anonymous true\nlog_timestamp false\nsys_interval 0\nadmin 127.0.0.1:0\n";
    let conf = folder.write("m.conf", &format!("{head}{lines}"));
    Broker::of_arguments(&[&["-c", &conf], options].concat(), 2)
}

fn place(broker: &Broker) -> String {
    format!("127.0.0.1:{}", broker.port_of("http://"))
}

/// What a command has printed, and how it has ended.
struct Printed {
    code: Option<i32>,
    out: String,
    err: String,
}

fn ringmq(arguments: &[&str]) -> Printed {
    let (code, out, err) = ended(&mut program::ringmq(arguments));
    Printed { code, out, err }
}

/// What a command says of the broker.
#[track_caller]
fn says(broker: &Broker, words: &[&str]) -> String {
    let Printed { code, out, err } = ringmq(&[words, &["--admin", &place(broker)]].concat());
    assert_eq!((code, &*err), (Some(0), ""), "{words:?}");
    out
}

/// The same as one JSON document.
#[track_caller]
fn document<T: DeserializeOwned>(broker: &Broker, words: &[&str]) -> T {
    let text = says(broker, &[words, &["--json"]].concat());
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Why a command was not done, one line.
#[track_caller]
fn refused(broker: &Broker, words: &[&str]) -> String {
    let Printed { code, out, err } = ringmq(&[words, &["--admin", &place(broker)]].concat());
    assert_eq!((code, &*out), (Some(1), ""), "{words:?}");
    assert!(err.starts_with(&format!("ringmq: {}: ", words[0])) && err.lines().count() == 1, "{words:?}: {err}");
    err
}

#[track_caller]
fn has(text: &str, words: &[&str]) {
    words.iter().for_each(|word| assert!(text.contains(word), "{word:?} is missing in\n{text}"));
}

/// The row of a table that begins with this.
#[track_caller]
fn row<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.split_whitespace().next() == Some(name));
    line.unwrap_or_else(|| panic!("no {name} in\n{text}")).split_whitespace().collect()
}

/// A subscriber that is sent QoS 1 and acknowledges nothing.
fn sleeper(broker: &Broker, client_id: &str, filter: &str) -> Client {
    let mut client = broker.join(&lasting(V311, client_id, 0));
    client.send(subscribe(1).to(filter, Q1));
    client.expect(&suback(1, &[1]).bytes(V311));
    client
}

/// So many messages that the broker has taken.
fn publish(broker: &Broker, topic: &str, messages: u16) {
    let mut client = broker.connect("publisher");
    for id in 1..=messages {
        client.send(qos1(id, topic, "12345"));
        client.expect(&puback(id).bytes(V311));
    }
}

#[test]
fn the_broker_is_seen_at_a_glance_and_by_shard() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    let ids = [0, 1].map(|shard| broker.client_id("one", shard));
    let _clients = ids.each_ref().map(|id| broker.connect(id));
    let text = says(&broker, &["stats"]);
    has(&text, &["serving", "2 shards", "2 connected, 2 sessions, 2 connections", "not allowed (admin_allow_changes)"]);
    assert_eq!(row(&text, "durability")[1], "memory");
    assert!(!text.contains('\u{1b}'), "no colours for programs");
    let overview: Overview = document(&broker, &["stats"]);
    assert_eq!((overview.clients.connected, overview.shards, overview.allow_changes), (2, 2, false));
    let text = says(&broker, &["shards"]);
    for shard in ["0", "1"] {
        assert_eq!(row(&text, shard)[4], "1", "one client: {text}");
    }
    assert_eq!(says(&broker, &["topics"]), "nothing is published\n");
    let shards: Items<Shard> = document(&broker, &["shards"]);
    assert_eq!(shards.items.iter().map(|shard| shard.connected).collect::<Vec<_>>(), [1, 1]);
}

#[test]
fn clients_are_listed_found_and_looked_at() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    let ann = Connect { user_name: Some("ann"), ..Connect::new(V5, "cellar/1") };
    let _ann = broker.join(&ann);
    let mut bob = sleeper(&broker, "bob", "home/#");
    let text = says(&broker, &["clients"]);
    assert_eq!(row(&text, "cellar/1")[1], "ann");
    assert_eq!(row(&text, "bob")[4], "connected");
    assert_eq!(says(&broker, &["clients", "llar"]).lines().count(), 2, "its head and one client");
    assert_eq!(says(&broker, &["clients", "nobody-like-that"]), "no clients\n");
    has(&says(&broker, &["clients", "--limit", "1"]), &["there are more: --all"]);
    let all: List<Seen> = document(&broker, &["clients", "--all"]);
    assert_eq!((all.items.len(), all.next), (2, None));
    // It goes away, and messages wait.
    bob.say(|out| out.extend([0xe0, 0]));
    bob.expect_end();
    publish(&broker, "home/door", 3);
    let away: List<Seen> = document(&broker, &["clients", "--away"]);
    assert_eq!(away.items.iter().map(|client| &*client.client_id).collect::<Vec<_>>(), ["bob"]);
    let text = says(&broker, &["client", "bob", "--queue", "2"]);
    has(&text, &["away", "it is away: 3 messages wait until it comes back", "home/#", "home/door", "and 1 more"]);
    has(&says(&broker, &["client", "cellar/1"]), &["connected, MQTT 5.0 from 127.0.0.1:", "user", "ann"]);
    #[derive(Deserialize)]
    struct Whole {
        client: ClientDetail,
        queue: Vec<Queued>,
    }
    let whole: Whole = document(&broker, &["client", "bob"]);
    assert_eq!((whole.client.client.queued_messages, whole.queue.len()), (3, 3));
    assert_eq!(whole.queue[0].topic, "home/door");
    has(&refused(&broker, &["client", "nobody"]), &["no session of client id \"nobody\""]);
}

/// Who keeps others waiting stands first, with the reason.
#[test]
fn the_slowest_client_is_first_and_the_reason_said() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    let _quick = broker.connect("quick");
    let _slow = sleeper(&broker, "slow", "t");
    let _slower = sleeper(&broker, "slower", "#");
    publish(&broker, "t", 30);
    publish(&broker, "u", 5);
    let text = says(&broker, &["clients", "--order", "slowest"]);
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[1].starts_with("slower ") && lines[2].starts_with("slow "), "{text}");
    has(lines[1], &["it does not acknowledge: 20 messages are on their way"]);
    let slowest: List<Seen> = document(&broker, &["clients", "--order", "slowest", "--limit", "1"]);
    assert_eq!(slowest.items.iter().map(|client| &*client.client_id).collect::<Vec<_>>(), ["slower"]);
    let talkers: List<Seen> = document(&broker, &["clients", "--order", "talkers"]);
    assert_eq!(talkers.next, None);
    says(&broker, &["clients", "--order", "talkers"]);
}

#[test]
fn topics_are_ranked_and_who_gets_them_is_said() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    let _slow = sleeper(&broker, "slow", "hot/+");
    let mut member = broker.connect("member");
    member.send(subscribe(1).to("$share/crew/hot/#", Q0));
    member.expect(&suback(1, &[0]).bytes(V311));
    publish(&broker, "hot/\u{1b}spot", 20);
    // A topic is remembered from its first or second message on.
    let counted = |text: &str| assert!(["19", "20"].contains(&text), "{text}");
    counted(row(&says(&broker, &["topics"]), "hot/\\u{1b}spot")[2]);
    let rates: TopicRates = document(&broker, &["topics", "--limit", "1"]);
    assert_eq!(&*rates.items[0].topic, "hot/\u{1b}spot");
    let text = says(&broker, &["topic", "hot/\u{1b}spot"]);
    has(&text, &["hot/+", "crew", "nothing"]);
    counted(row(&text, "published")[1]);
    assert_eq!(row(&text, "slow")[3], "1", "its QoS: {text}");
    let audience: Audience = document(&broker, &["topic", "hot/\u{1b}spot"]);
    assert_eq!((audience.clients_total, audience.shared.len()), (1, 1));
    has(&refused(&broker, &["topic", "a/#"]), &["\"a/#\""]);
}

#[test]
fn retained_messages_are_listed_and_deleted_when_that_is_said_twice() {
    let folder = Folder::new();
    let broker = start(&folder, "admin_allow_changes true\n", &[]);
    assert_eq!(says(&broker, &["retained"]), "nothing is retained there\n");
    for (topic, payload) in [("lamp/1", "on"), ("lamp/2", "\u{1b}[2J"), ("door", "shut")] {
        assert_eq!(says(&broker, &["publish", topic, payload, "--retain", "--qos", "1"]), "published\n");
    }
    // What was published is on all shards at once with the answer of the one that is asked.
    let text = says(&broker, &["retained"]);
    assert!(text.lines().count() == 4 && !text.contains("shut"), "payloads are not asked for: {text}");
    let text = says(&broker, &["retained", "lamp/#", "--payload"]);
    assert_eq!((row(&text, "lamp/1").last(), row(&text, "lamp/2").last()), (Some(&"on"), Some(&"\\u{1b}[2J")));
    let list: List<Retained> = document(&broker, &["retained", "door", "--payload"]);
    assert_eq!(list.items[0].payload_base64.as_deref(), Some("c2h1dA=="));
    has(&says(&broker, &["topic", "door"]), &["QoS 1, 4 B: shut"]);
    has(&refused(&broker, &["retained", "lamp/#", "--delete"]), &["2 retained messages would be deleted", "--yes"]);
    assert_eq!(says(&broker, &["retained", "lamp/#", "--delete", "--yes"]), "2 messages deleted\n");
    let deleted: Deleted = document(&broker, &["retained", "#", "--delete", "--yes"]);
    assert_eq!(deleted.deleted, 1);
    assert_eq!(says(&broker, &["retained"]), "nothing is retained there\n");
    has(&refused(&broker, &["retained", "a/#/b"]), &["\"a/#/b\""]);
}

#[test]
fn what_was_lost_or_denied_is_listed_with_its_reason() {
    let folder = Folder::new();
    let acl = folder.write("acl", "topic readwrite ok/#\n");
    let broker = start(&folder, &format!("acl_file {acl}\n"), &[]);
    assert_eq!(says(&broker, &["denials"]), "nothing was denied\n");
    assert_eq!(says(&broker, &["drops"]), "nothing was dropped, denied or cut short\n");
    let mut client = broker.connect("thief");
    client.send(qos0("secret/x", ""));
    client.expect_alive();
    assert_eq!(row(&says(&broker, &["drops"]), "publishes_denied")[1..3], ["denial", "1"]);
    has(&says(&broker, &["drops", "--all"]), &["dropped_queue_full"]);
    let drops: Items<Lost> = document(&broker, &["drops"]);
    assert!(drops.items.iter().any(|line| line.name == "publishes_denied" && line.count == 1));
    has(&says(&broker, &["denials"]), &["thief", "publish", "secret/x", &acl]);
    let denials: Items<Denial> = document(&broker, &["denials"]);
    assert_eq!((&*denials.items[0].client_id, &*denials.items[0].topic), ("thief", "secret/x"));
    has(&says(&broker, &["why", "--client", "thief", "publish", "secret/x"]), &["denied"]);
}

#[test]
fn clients_are_ended_messages_published_and_files_read_again() {
    let folder = Folder::new();
    let broker = start(&folder, "admin_allow_changes true\n", &[]);
    let mut reader = broker.connect("reader");
    reader.send(subscribe(1).to("news", Q0));
    reader.expect(&suback(1, &[0]).bytes(V311));
    says(&broker, &["publish", "news", "spring"]);
    reader.expect(b"\x30\x0c\x00\x04newsspring");
    assert_eq!(says(&broker, &["publish", "news", "x", "--json"]), "{}\n");
    reader.expect(b"\x30\x07\x00\x04newsx");
    let mut kept = broker.join(&lasting(V5, "kept", 1000));
    assert_eq!(says(&broker, &["kick", "kept"]), "ended the connection of kept\n");
    let end = kept.expect_end();
    assert_eq!((end.first(), end.get(2)), (Some(&0xe0), Some(&0x98)), "DISCONNECT: administrative action");
    has(&says(&broker, &["client", "kept"]), &["away, its session ends in 16 min"]);
    has(&refused(&broker, &["kick", "kept"]), &["not connected"]);
    assert_eq!(says(&broker, &["kick", "kept", "--end-session"]), "ended the connection and session of kept\n");
    refused(&broker, &["client", "kept"]);
    refused(&broker, &["kick", "kept"]);
    has(&refused(&broker, &["publish", "a/#", "x"]), &["\"a/#\""]);
    has(&says(&broker, &["reload"]), &["Reloaded: "]);
    let told: Told = document(&broker, &["reload"]);
    has(&told.told, &["Reloaded: "]);
    folder.write("m.conf", "nonsense\n");
    has(&refused(&broker, &["reload"]), &["nonsense", "m.conf:1"]);
}

/// Nothing is done without the key, and its name is said.
#[test]
fn nothing_changes_unless_that_is_allowed() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    let mut client = broker.connect("here");
    for words in [&["kick", "here"][..], &["publish", "a", "b"], &["retained", "#", "--delete", "--yes"], &["reload"]] {
        has(&refused(&broker, words), &["admin_allow_changes", "--admin-allow-changes"]);
    }
    client.expect_alive();
}

#[test]
fn why_no_broker_answers_is_said_with_the_remedy() {
    let folder = Folder::new();
    let token = folder.write("token", "first-token-0123456789\n");
    let other = folder.write("other", "other-token-0123456789\n");
    let mut broker = start(&folder, &format!("admin_token_file {token}\n"), &[]);
    has(&refused(&broker, &["stats"]), &["--admin-token-file"]);
    has(&refused(&broker, &["stats", "--admin-token-file", &other]), &["another token", &other]);
    has(&refused(&broker, &["stats", "--admin-token-file", "/no/such/file"]), &["/no/such/file"]);
    has(&refused(&broker, &["trace", "--client", "c"]), &["--admin-token-file"]);
    says(&broker, &["stats", "--admin-token-file", &token]);
    assert_eq!(broker.stop(), Some(0));
    for words in [&["stats"][..], &["top"], &["trace", "--topic", "#"], &["kick", "c"]] {
        has(&refused(&broker, words), &["no broker answers at 127.0.0.1:", "--admin ADDR"]);
    }
    for words in [&["stats", "--admin", "nonsense"][..], &["clients", "--order", "best"], &["trace"], &["kick"]] {
        let Printed { code, err, .. } = ringmq(words);
        assert!(matches!(code, Some(1 | 2)) && !err.is_empty(), "{words:?} {code:?} {err}");
    }
}

#[test]
fn top_that_is_told_to_end_leaves_the_terminal_as_it_was() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/terminal.py");
    let top = [env!("CARGO_BIN_EXE_ringmq"), "top", "--admin", &place(&broker)];
    for (number, name) in [("15", "SIGTERM"), ("1", "SIGHUP")] {
        let (code, out, err) = ended(Command::new("python3").args([script, number, "q quit"]).args(top));
        assert_eq!((code, &*err), (Some(0), ""));
        assert_eq!(out, format!("was raw, is as it was, screen left, {name}\n"));
    }
}

/// A room that wants a user, over TLS: both are named, and what is wrong with them is said.
#[test]
fn an_encrypted_room_is_asked_by_who_is_known_there() {
    let (folder, papers) = (Folder::new(), Papers::new());
    let passwords = folder.path("passwords");
    assert_eq!(ringmq(&["passwd", "-c", "-b", &passwords, "ann", "se:cret"]).code, Some(0));
    let (certificate, key) = (papers.path("broker.pem"), papers.path("broker.key"));
    let security = format!("password_file {passwords}\nadmin_users ann\n");
    let broker = start(&folder, &format!("{security}admin_tls_cert {certificate}\nadmin_tls_key {key}\n"), &[]);
    let place = format!("127.0.0.1:{}", broker.port_of("https://"));
    let authority = papers.path("ca.pem");
    let asked = |words: &[&str], password: &str| {
        let (code, out, err) = ended_after(program::ringmq(words).args(["--admin", &place]), &format!("{password}\n"));
        (code, out + &err)
    };
    let known = ["--admin-ca", &authority, "--admin-user", "ann"];
    let (code, text) = asked(&[&["stats"][..], &known].concat(), "se:cret");
    assert_eq!(code, Some(0), "{text}");
    has(&text, &["serving"]);
    let (code, text) = asked(&[&["why"][..], &known, &["publish", "a"]].concat(), "se:cret");
    assert_eq!((code, &*text), (Some(0), "allowed: no acl_file, so everybody may do everything\n"));
    for (words, password, expected) in [
        (&known[..], "wrong", "no user ann with this password"),
        (&["--admin-ca", &authority], "", "--admin-user"),
        (&["--admin-ca", &certificate], "", "certificate"),
        (&["--admin-ca", "/no/such/file"], "", "/no/such/file"),
        (&[], "", "--admin-ca"),
    ] {
        let (code, text) = asked(&[&["stats"][..], words].concat(), password);
        assert!(code == Some(1) && text.contains(expected), "{words:?}: {text}");
    }
}

/// `ringmq trace`, which shows packets.
struct Trace {
    process: Process,
    lines: Lines<BufReader<ChildStdout>>,
    errors: BufReader<ChildStderr>,
}

impl Trace {
    /// Shows all from now on.
    fn start(broker: &Broker, words: &[&str]) -> Self {
        Self::try_start(broker, words).unwrap()
    }

    /// The same, unless it is refused.
    fn try_start(broker: &Broker, words: &[&str]) -> Option<Self> {
        let mut command = program::ringmq(&["trace"]);
        command.args(words).args(["--admin", &place(broker)]).stdin(Stdio::null());
        let mut process = Process(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap());
        let lines = BufReader::new(process.0.stdout.take().unwrap()).lines();
        let mut errors = BufReader::new(process.0.stderr.take().unwrap());
        let mut first = String::new();
        errors.read_line(&mut first).unwrap();
        let trace = Self { process, lines, errors };
        (first == "watching; Ctrl-C ends it\n").then_some(trace)
    }

    /// The next line without its time.
    fn line(&mut self) -> String {
        let line = self.lines.next().unwrap().unwrap();
        line.split_once(' ').unwrap().1.to_owned()
    }

    fn event(&mut self) -> Traced {
        serde_json::from_str(&self.lines.next().unwrap().unwrap()).unwrap()
    }

    /// How it ends by itself, and what it says.
    fn end(&mut self) -> (Option<i32>, String) {
        let mut text = String::new();
        self.errors.read_to_string(&mut text).unwrap();
        assert!(self.lines.next().is_none());
        (self.process.0.wait().unwrap().code(), text)
    }
}

/// Runs one of Mosquitto's clients to its end.
fn mosquitto(program: &str, broker: &Broker, arguments: &[&str]) -> std::process::Child {
    let mut command = Command::new(program);
    command.args(["-p", &broker.port.to_string()]).args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

/// Both directions of a client, decoded; no password, and no payload unless asked.
#[test]
fn packets_of_a_client_are_shown_as_they_pass() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    let mut plain = Trace::start(&broker, &["--client", "kitchen"]);
    let mut whole = Trace::start(&broker, &["--client", "kitchen", "--payload", "--json"]);
    let of_sub = ["-i", "kitchen", "-q", "1", "-t", "oven/#", "-V", "5", "-u", "ann", "-P", "hunter2", "-C", "1"];
    let mut subscriber = mosquitto("mosquitto_sub", &broker, &of_sub);
    let connect = plain.line();
    has(&connect, &["kitchen -> CONNECT (p5.0, c1, k60, 'kitchen', u'ann', a password"]);
    assert!(!connect.contains("hunter2"));
    has(&plain.line(), &["kitchen <- CONNACK (s0, Success (0x00)"]);
    assert_eq!(plain.line(), "kitchen -> SUBSCRIBE (m1, 'oven/#' q1)");
    assert_eq!(plain.line(), "kitchen <- SUBACK (m1, 1)");
    let published = mosquitto("mosquitto_pub", &broker, &["-i", "p", "-q", "1", "-t", "oven/1", "-m", "220 C"]).wait();
    assert!(published.unwrap().success() && subscriber.wait().unwrap().success());
    assert_eq!(plain.line(), "kitchen <- PUBLISH (d0, q1, r0, m1, 'oven/1', ... (5 bytes))");
    assert_eq!(plain.line(), "kitchen -> PUBACK (m1)");
    assert_eq!(plain.line(), "kitchen -> DISCONNECT (Success (0x00))");
    let events: Vec<_> = (0..7).map(|_| whole.event()).collect();
    let said = |event: &Traced| (event.direction.clone(), event.packet.clone());
    let pairs: Vec<_> = events.iter().map(said).collect();
    let expected = [
        ("in", "CONNECT"),
        ("out", "CONNACK"),
        ("in", "SUBSCRIBE"),
        ("out", "SUBACK"),
        ("out", "PUBLISH"),
        ("in", "PUBACK"),
        ("in", "DISCONNECT"),
    ];
    assert_eq!(pairs, expected.map(|(direction, packet)| (direction.to_owned(), packet.to_owned())));
    let publish = &events[4];
    assert_eq!((publish.topic.as_deref(), publish.payload_bytes), (Some("oven/1"), Some(5)));
    assert_eq!((publish.payload_base64.as_deref(), publish.lost), (Some("MjIwIEM="), 0));
    assert!(events.iter().all(|event| !event.text.contains("hunter2")));
}

/// On every shard; the reader has enough after so many.
#[test]
fn messages_to_topics_are_shown_as_they_are_published() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    let mut trace = Trace::start(&broker, &["--topic", "room/+", "--payload", "--limit", "3"]);
    let ids = [0, 1].map(|shard| broker.client_id("p", shard));
    for (id, topic) in [(&ids[0], "room/1"), (&ids[1], "hall"), (&ids[1], "room/2"), (&ids[0], "room/3")] {
        let arguments = ["-i", id, "-q", "2", "-r", "-t", topic, "-m", "warm"];
        assert!(mosquitto("mosquitto_pub", &broker, &arguments).wait().unwrap().success());
    }
    for (id, topic) in [(&ids[0], "room/1"), (&ids[1], "room/2"), (&ids[0], "room/3")] {
        assert_eq!(trace.line(), format!("{id} -> PUBLISH (d0, q2, r1, '{topic}', ... (4 bytes))"));
        assert_eq!(trace.lines.next().unwrap().unwrap(), "    warm");
    }
    assert_eq!(trace.end(), (Some(0), String::new()), "three were wanted");
}

#[test]
fn no_more_watch_than_may_and_a_place_is_free_when_one_has_gone() {
    let folder = Folder::new();
    let mut broker = start(&folder, "", &["--set", "admin_traces_max=1"]);
    let first = Trace::start(&broker, &["--topic", "#"]);
    has(&refused(&broker, &["trace", "--topic", "#"]), &["1 watch already", "admin_traces_max"]);
    broker.line_with(&["Admin requests refused: 1 ", "(admin_traces_max)"]);
    has(&refused(&broker, &["trace", "--topic", "a/#/b"]), &["a/#/b"]);
    drop(first);
    // Its place is free when the broker sees that the connection has ended: until then others are refused.
    let mut second = loop {
        if let Some(trace) = Trace::try_start(&broker, &["--topic", "#"]) {
            break trace;
        }
    };
    assert_eq!(broker.stop(), Some(0));
    let (code, text) = second.end();
    assert!(code == Some(1) && text.starts_with("ringmq: trace: the broker has gone"), "{code:?} {text}");
}

/// Into a pipe it is printed once; on a terminal it takes keys and leaves all as it was.
#[test]
fn top_shows_the_broker_on_one_screen() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    let _slow = sleeper(&broker, "slow", "hot");
    publish(&broker, "hot", 30);
    let text = says(&broker, &["top"]);
    has(&text, &["serving", "Hottest topics", "hot", "Slowest clients", "it does not acknowledge"]);
    assert!(!text.contains("q quit") && !text.contains('\u{1b}'), "{text}");
    #[derive(Deserialize)]
    struct Whole {
        overview: Overview,
        shards: Vec<Shard>,
        topics: Vec<TopicRate>,
        clients: Vec<Seen>,
    }
    let whole: Whole = document(&broker, &["top"]);
    assert_eq!((whole.overview.shards, whole.shards.len()), (2, 2));
    assert_eq!((&*whole.topics[0].topic, &*whole.clients[0].client_id), ("hot", "slow"));
    let command =
        format!("stty rows 24 cols 120; exec {} top --admin {}", env!("CARGO_BIN_EXE_ringmq"), place(&broker));
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &command, "/dev/null"]).env("TERM", "xterm").stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut terminal = terminal.spawn().unwrap();
    let (mut keys, mut screen) = (terminal.stdin.take().unwrap(), terminal.stdout.take().unwrap());
    let mut shown = String::new();
    let mut until = |words: &str| {
        let mut bytes = [0; 4096];
        while !shown.contains(words) {
            let read = screen.read(&mut bytes).unwrap();
            assert!(read > 0, "{shown}");
            shown += &String::from_utf8_lossy(&bytes[..read]);
        }
    };
    until("q quit");
    keys.write_all(b"t").unwrap();
    until("Loudest clients");
    keys.write_all(b"q").unwrap();
    until("\u{1b}[?1049l");
    assert_eq!(terminal.wait().unwrap().code(), Some(0));
    has(&shown, &["\u{1b}[?1049h", "Slowest clients", "\u{1b}[?25h"]);
}
