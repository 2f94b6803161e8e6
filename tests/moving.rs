//! Moving: what a real Mosquitto has left, carried by `ringmq import`.
//!
//! Duty: files that Mosquitto writes itself, the command lines, their exit codes. Must not: know the format. Neighbours: `cli/import` has
//! tests of every chunk and version.
#![cfg(feature = "runtime")]
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads")]

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ringmq::wire::Property;

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmq-moving-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    /// Exit code, standard output and standard error.
    fn ringmq(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        command.args(arguments).current_dir(&self.0).stdin(Stdio::null());
        let Output { status, stdout, stderr } = command.output().unwrap();
        (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Mosquitto with a file of its own, killed when dropped.
struct Mosquitto {
    process: Child,
    port: u16,
}

impl Mosquitto {
    /// One that listens, and writes `m.db` in the folder at its end.
    fn start(folder: &Folder) -> Self {
        let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\npersistence true\npersistence_location {}\n\
             persistence_file m.db\n",
            folder.0.display()
        );
        fs::write(folder.path("m.conf"), text).unwrap();
        let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var_os("PATH").unwrap_or_default().display());
        let mut command = Command::new("mosquitto");
        command.args(["-c", &folder.path("m.conf")]).env("PATH", path);
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        assert!(lines.map_while(Result::ok).any(|line| line.contains("running")));
        Self { process, port }
    }

    fn connect(&self, client_id: &str, user: Option<&str>, expiry_secs: Option<u32>) -> Client {
        let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let mut client = Client(stream);
        let flags = if user.is_some() { 0x80 } else { 0 };
        let version = if expiry_secs.is_some() { 5 } else { 4 };
        let mut body = [&string("MQTT")[..], &[version, flags, 0, 60]].concat();
        if let Some(secs) = expiry_secs {
            body.extend([&[5, 0x11][..], &secs.to_be_bytes()].concat());
        }
        body.extend(string(client_id));
        body.extend(user.map(string).unwrap_or_default());
        client.say(0x10, &body);
        assert_eq!(client.hear()[0], 0x20);
        client
    }

    /// Ends as systemd ends it: what it has is written.
    fn stop(mut self) {
        assert!(Command::new("kill").arg(self.process.id().to_string()).status().unwrap().success());
        assert!(self.process.wait().unwrap().success());
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// A ringmq with a store, spoken to like Mosquitto.
struct Ringmq(Mosquitto);

impl Ringmq {
    fn start(folder: &Folder, store: &str) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        command.args(["--bind", "127.0.0.1", "-p", "0", "--shards", "2", "--store", store]).current_dir(&folder.0);
        let mut process = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines().map_while(Result::ok);
        let line = lines.find(|line| line.contains(" listening on ")).unwrap();
        let address = line.split([' ', ',', ';']).find(|word| word.starts_with("127.0.0.1:")).unwrap();
        let port = address.rsplit_once(':').unwrap().1.parse().unwrap();
        // It goes on to be read, so that the broker can write.
        std::thread::spawn(move || lines.for_each(drop));
        Self(Mosquitto { process, port })
    }
}

/// A client that says bytes.
struct Client(TcpStream);

impl Client {
    fn say(&mut self, kind: u8, body: &[u8]) {
        assert!(body.len() < 128, "one byte of length");
        self.0.write_all(&[&[kind, body.len() as u8][..], body].concat()).unwrap();
    }

    fn hear(&mut self) -> Vec<u8> {
        let mut packet = vec![0; 2];
        self.0.read_exact(&mut packet).unwrap();
        packet.resize(2 + usize::from(packet[1]), 0);
        self.0.read_exact(&mut packet[2..]).unwrap();
        packet
    }

    fn ask(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        self.say(kind, body);
        self.hear()
    }
}

fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// What `ringmq import --print` says of what this Mosquitto leaves.
fn printed(folder: &Folder, mosquitto: Mosquitto) -> Vec<String> {
    mosquitto.stop();
    let (code, lines, error) = folder.ringmq(&["import", "--print", "m.db"]);
    assert_eq!(code, Some(0), "{error}");
    lines.lines().map(str::to_owned).collect()
}

/// Without what says when something ends: that is another moment in each run.
fn timeless(lines: &[String]) -> Vec<String> {
    let cut = |line: &String| {
        let mut line = line.clone();
        for key in [",\"ends_at_ms\":", ",\"expires_at_ms\":"] {
            if let Some(at) = line.find(key) {
                let end = line[at + key.len()..].find(|letter: char| !letter.is_ascii_digit()).unwrap_or(0);
                line.replace_range(at..at + key.len() + end, ",?");
            }
        }
        line
    };
    lines.iter().map(cut).collect()
}

/// Sessions of both dialects, queues, states of QoS 2 in both directions, retained messages, as Mosquitto itself writes them.
#[test]
fn what_mosquitto_keeps_is_read_from_its_own_file() {
    let folder = Folder::new("keeps");
    let mosquitto = Mosquitto::start(&folder);
    let mut away = mosquitto.connect("away", None, Some(3600));
    away.ask(0x82, &[&[0, 1, 2, 0x0B, 7][..], &string("a/#"), &[2 | 8]].concat());
    away.0.shutdown(std::net::Shutdown::Both).unwrap();
    let mut old = mosquitto.connect("old", None, None);
    old.ask(0x82, &[&[0, 1][..], &string("a/#"), &[1]].concat());
    let mut publisher = mosquitto.connect("from", None, Some(u32::MAX));
    let mut properties = Vec::new();
    Property::MessageExpiryInterval(5000).encode(&mut properties);
    Property::ContentType("text/plain").encode(&mut properties);
    Property::CorrelationData(b"\x00\xFF").encode(&mut properties);
    Property::UserProperty("k", "v").encode(&mut properties);
    let one = [&string("a/one")[..], &[0, 1, properties.len() as u8], &properties, b"first"].concat();
    assert_eq!(publisher.ask(0x34, &one)[0], 0x50);
    assert_eq!(publisher.ask(0x62, &[0, 1])[0], 0x70);
    assert_eq!(old.hear()[0], 0x32, "QoS 1, and never acknowledged");
    let kept = [&string("r/x")[..], &[0, 2, 0], b"on\xFF"].concat();
    assert_eq!(publisher.ask(0x33, &kept)[0], 0x40);
    let pending = [&string("a/two")[..], &[0, 9, 0], b"second"].concat();
    assert_eq!(publisher.ask(0x34, &pending)[0], 0x50);

    let mut busy = mosquitto.connect("busy", None, Some(60));
    busy.ask(0x82, &[&[0, 1, 0][..], &string("q"), &[2]].concat());
    for id in [3, 4] {
        publisher.ask(0x34, &[&string("q")[..], &[0, id, 0], &[b'0' + id]].concat());
        publisher.ask(0x62, &[0, id]);
        assert_eq!(busy.hear()[0], 0x34);
    }
    assert_eq!(busy.ask(0x50, &[0, 1])[0], 0x62, "the first is released, the second waits for PUBREC");
    let lines = printed(&folder, mosquitto);
    let first = concat!(
        r#"{"topic":"a/one","qos":2,"payload":{"text":"first"},?"#,
        r#","properties":{"content_type":"text/plain","correlation_data":{"base64":"AP8="},"user":[["k""#,
        r#","v"]]}}"#
    );
    let second = r#"{"topic":"a/two","qos":2,"payload":{"text":"second"}}"#;
    let away = r#"{"kind":"queued","client":"away","state":"queued","qos":2"#;
    let mut expected = [
        r#"{"kind":"session","client":"away","expiry_secs":3600,?}"#.to_owned(),
        r#"{"kind":"session","client":"old","expiry_secs":4294967295}"#.to_owned(),
        r#"{"kind":"session","client":"from","expiry_secs":4294967295}"#.to_owned(),
        r#"{"kind":"session","client":"busy","expiry_secs":60}"#.to_owned(),
        r#"{"kind":"subscription","client":"away","filter":"a/#","qos":2,"retain_as_published":true,"id":7}"#
            .to_owned(),
        r#"{"kind":"subscription","client":"old","filter":"a/#","qos":1}"#.to_owned(),
        r#"{"kind":"subscription","client":"busy","filter":"q","qos":2}"#.to_owned(),
        r#"{"kind":"received","client":"from","packet_id":9}"#.to_owned(),
        format!(r#"{away},"subscription_ids":[7],"message":{first}}}"#),
        format!(r#"{away},"subscription_ids":[7],"message":{second}}}"#),
        format!(r#"{{"kind":"queued","client":"old","state":"sent","packet_id":1,"qos":1,"message":{first}}}"#),
        format!(r#"{{"kind":"queued","client":"old","state":"queued","qos":1,"message":{second}}}"#),
        r#"{"kind":"queued","client":"busy","state":"released","packet_id":1,"qos":2}"#.to_owned(),
        concat!(
            r#"{"kind":"queued","client":"busy","state":"sent","packet_id":2,"qos":2,"message":{"topic":"q""#,
            r#","qos":2,"payload":{"text":"4"}}}"#
        )
        .to_owned(),
        concat!(
            r#"{"kind":"retained","message":{"topic":"r/x","qos":1,"retain":true"#,
            r#","payload":{"base64":"b27/"}},"source":{"client":"from"}}"#
        )
        .to_owned(),
    ];
    expected.sort();
    let mut found = timeless(&lines);
    // Mosquitto writes sessions in the order of a hash, and what belongs to each in its own.
    let is_after_session = |line: &String| line.contains("\"kind\":\"session\"");
    assert!(found.iter().take(4).all(is_after_session), "{found:#?}");
    found.sort();
    assert_eq!(found, expected, "{found:#?}");
}

/// What Mosquitto has left is there for its clients when they come to ringmq: sessions, queues, packet ids, both halves of QoS 2, what is
/// retained [MQTT-4.4.0-1] [MQTT-4.3.3-2].
#[test]
fn clients_of_mosquitto_go_on_with_ringmq() {
    let folder = Folder::new("goes-on");
    let mosquitto = Mosquitto::start(&folder);
    let mut old = mosquitto.connect("old", None, None);
    old.ask(0x82, &[&[0, 1][..], &string("a/#"), &[2]].concat());
    let mut publisher = mosquitto.connect("from", None, None);
    for id in [1, 2] {
        publisher.ask(0x34, &[&string("a/b")[..], &[0, id, b'0' + id]].concat());
        publisher.ask(0x62, &[0, id]);
        assert_eq!(old.hear()[0], 0x34);
    }
    assert_eq!(old.ask(0x50, &[0, 1])[0], 0x62);
    publisher.ask(0x33, &[&string("r")[..], &[0, 3], b"on"].concat());
    assert_eq!(publisher.ask(0x34, &[&string("a/c")[..], &[0, 9], b"third"].concat())[0], 0x50);
    mosquitto.stop();
    let (code, _, told) = folder.ringmq(&["import", "m.db", "--store", "kept"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("2 sessions, 1 subscriptions, 3 waiting and 1 retained messages, into kept"), "{told}");
    let (code, _, error) = folder.ringmq(&["import", "m.db", "--store", "kept"]);
    assert!(code == Some(1) && error.contains("kept has sessions or messages already"), "{error}");
    let (code, lines, error) = folder.ringmq(&["export", "--store", "kept"]);
    assert!(code == Some(0) && error.is_empty() && lines.lines().count() == 8, "{error}{lines}");

    let broker = Ringmq::start(&folder, "kept");
    let mut old = broker.0.connect("old", None, None);
    assert_eq!(old.hear(), [0x62, 2, 0, 1], "PUBREL, as the client has the first message");
    let dup = [&[0x3C, 8][..], &string("a/b"), &[0, 2, b'2']].concat();
    assert_eq!(old.hear(), dup, "with DUP and its own packet id");
    let third = old.hear();
    assert!(third.ends_with(b"third") && third[0] & 6 == 4, "{third:02x?}");
    let mut publisher = broker.0.connect("from", None, None);
    assert_eq!(publisher.ask(0x62, &[0, 9]), [0x70, 2, 0, 9]);
    publisher.ask(0x82, &[&[0, 1][..], &string("r"), &[0]].concat());
    assert_eq!(publisher.hear(), [&[0x31, 5][..], &string("r"), b"on"].concat());
    broker.0.stop();

    let (code, lines, error) = folder.ringmq(&["export", "--store", "kept"]);
    assert_eq!(code, Some(0), "{error}");
    fs::write(folder.path("lines"), &lines).unwrap();
    let (code, _, error) = folder.ringmq(&["import", "lines", "--store", "again"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(folder.ringmq(&["export", "--store", "again"]).1, lines, "nothing is lost on the way");
}

/// Mosquitto 2.0.11 writes what lies in its memory where a client without a user name comes after one that has one.
#[test]
fn a_file_with_damaged_user_names_is_read() {
    let folder = Folder::new("users");
    let mosquitto = Mosquitto::start(&folder);
    for (client, user) in [("a", Some("ann")), ("b", None), ("c", Some("bob"))] {
        let mut client = mosquitto.connect(client, user, Some(60));
        client.ask(0xC0, &[]);
    }
    let lines = printed(&folder, mosquitto).join("\n");
    for (client, user) in [("a", "ann"), ("c", "bob")] {
        assert!(lines.contains(&format!("\"client\":\"{client}\",\"user\":\"{user}\"")), "{lines}");
    }
    assert!(lines.lines().count() == 3 && lines.contains("\"client\":\"b\""), "{lines}");
}

#[test]
fn lines_are_printed_as_they_were_read_and_mistakes_have_their_line() {
    let folder = Folder::new("lines");
    let lines = "{\"kind\":\"session\",\"client\":\"c\",\"expiry_secs\":60}\n{\"kind\":\"received\",\"client\":\"c\",\"packet_id\":3}\n";
    fs::write(folder.path("good"), format!("\n{lines}")).unwrap();
    assert_eq!(folder.ringmq(&["import", "--print", "good"]), (Some(0), lines.into(), String::new()));
    fs::write(folder.path("bad"), format!("{lines}{{\"kind\":\"sesion\"}}\n")).unwrap();
    let (code, _, error) = folder.ringmq(&["import", "--print", "bad"]);
    assert!(code == Some(1) && error.starts_with("ringmq: bad:3: unknown variant `sesion`"), "{error}");
    fs::write(folder.path("foreign"), b"\xFF\xFE\n").unwrap();
    let (code, _, error) = folder.ringmq(&["import", "--print", "foreign"]);
    assert!(code == Some(1) && error.contains("neither Mosquitto's file nor JSON lines"), "{error}");
    fs::write(folder.path("cut"), b"\x00\xB5\x00mosquitto db\x00\x00\x00").unwrap();
    let (code, _, error) = folder.ringmq(&["import", "--print", "cut"]);
    assert!(code == Some(1) && error.starts_with("ringmq: cut: at byte 15: the head needs 4 bytes and 3"), "{error}");
    fs::write(folder.path("orphan"), "{\"kind\":\"received\",\"client\":\"c\",\"packet_id\":3}\n").unwrap();
    let (code, _, error) = folder.ringmq(&["import", "orphan", "--store", "new"]);
    assert!(code == Some(1) && error.starts_with("ringmq: orphan:1: no session of client 'c'"), "{error}");
    assert!(!folder.0.join("new").exists(), "nothing is made for a file that cannot be used");
}

#[test]
fn a_store_is_named_by_hand_or_by_the_brokers_file() {
    let folder = Folder::new("named");
    fs::write(folder.path("good"), "").unwrap();
    fs::write(folder.path("m.conf"), "persistence true\npersistence_location kept\n").unwrap();
    fs::write(folder.path("off.conf"), "persistence false\n").unwrap();
    for (arguments, words) in [
        (&["import", "none"][..], "which store? --store DIR"),
        (&["import", "none", "--store", "d"], "none: cannot be read: "),
        (&["import", "good", "-c", "off.conf"], "the configuration has no store"),
        (&["import", "good", "-c", "no.conf"], "no.conf"),
        (&["export"], "which store? --store DIR"),
        (&["export", "--store", "none"], "none: there is no store"),
        (&["export", "-c", "m.conf"], "kept/mosquitto.ringmq: there is no store"),
    ] {
        let (code, out, error) = folder.ringmq(arguments);
        assert!(code == Some(1) && out.is_empty() && error.contains(words), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_eq!(folder.ringmq(&["import", "good", "--print", "--store", "d"]).0, Some(2));
}
