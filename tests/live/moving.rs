//! Moving: what a real Mosquitto has left, carried by `ringmq import`; and back to a real Mosquitto, by the file beside the store.
//!
//! Duty: files that Mosquitto writes and reads itself, the command lines, their exit codes. Must not: know the format. Neighbours:
//! `src/moving` has tests of every chunk and version.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ringmq::wire::Property;

use crate::folder::Folder;
use crate::mosquitto;
use crate::program::{self, Process, ended};

fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = program::ringmq(arguments);
    command.current_dir(folder.root());
    command
}

/// Exit code, standard output and standard error of a ringmq that ends by itself.
fn run(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String, String) {
    ended(&mut command(folder, arguments))
}

/// Mosquitto with a file of its own, killed when dropped.
struct Mosquitto {
    process: Process,
    address: SocketAddr,
}

impl Mosquitto {
    /// One that listens, begins with `m.db` in the folder, if that is there, and writes it at its end.
    fn start(folder: &Folder) -> Self {
        let (process, address) = mosquitto::start(folder, &persistence(folder));
        Self { process, address }
    }

    /// A client whose session is there already.
    fn resume(&self, client_id: &str, expiry_secs: Option<u32>) -> Client {
        let (client, answer) = self.greet(client_id, None, expiry_secs);
        assert_eq!(answer[2], 1, "{client_id} has a session");
        client
    }

    fn connect(&self, client_id: &str, user: Option<&str>, expiry_secs: Option<u32>) -> Client {
        self.greet(client_id, user, expiry_secs).0
    }

    /// The client, and its CONNACK.
    fn greet(&self, client_id: &str, user: Option<&str>, expiry_secs: Option<u32>) -> (Client, Vec<u8>) {
        let stream = TcpStream::connect(self.address).unwrap();
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
        let answer = client.ask(0x10, &body);
        assert_eq!(answer[0], 0x20);
        (client, answer)
    }

    /// Ends as systemd ends it: what it has is written.
    fn stop(mut self) {
        self.process.signal("TERM");
        assert!(self.process.0.wait().unwrap().success());
    }
}

/// The same for both brokers.
fn persistence(folder: &Folder) -> String {
    let place = folder.root().display();
    format!("allow_anonymous true\npersistence true\npersistence_location {place}\npersistence_file m.db\n")
}

/// A ringmq with a store, spoken to like Mosquitto.
struct Ringmq {
    broker: Mosquitto,
    /// What it has said and nobody has looked at.
    lines: Receiver<String>,
}

impl Ringmq {
    fn start(folder: &Folder, store: &str) -> Self {
        Self::launch(folder, &["--bind", "127.0.0.1", "-p", "0", "--store", store])
    }

    /// One with the same persistence as [`Mosquitto::start`].
    fn in_place(folder: &Folder, more: &str) -> Self {
        folder.write("r.conf", &format!("listener 0 127.0.0.1\n{}{more}", persistence(folder)));
        Self::launch(folder, &["-c", "r.conf"])
    }

    fn launch(folder: &Folder, arguments: &[&str]) -> Self {
        let mut command = command(folder, arguments);
        command.args(["--shards", "2"]).stdin(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process(command.spawn().unwrap());
        let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (tell, told) = channel();
        let mut before = Vec::new();
        let line = lines.find(|line| {
            before.push(line.clone());
            let _ = tell.send(line.clone());
            line.contains(" listening on ")
        });
        let line = line.unwrap_or_else(|| panic!("{before:#?}"));
        let address = line.split([' ', ',', ';']).find(|word| word.starts_with("127.0.0.1:")).unwrap();
        let address = address.parse().unwrap();
        // They go on to be read, so that the broker can write.
        std::thread::spawn(move || lines.for_each(|line| drop(tell.send(line))));
        Self { broker: Mosquitto { process, address }, lines: told }
    }

    /// The next line that says this.
    fn line(&self, part: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.lines.recv_timeout(Duration::from_secs(30)) {
                Ok(line) if line.contains(part) => return line,
                Ok(line) => seen.push(line),
                Err(error) => panic!("no {part:?} ({error}) in {seen:#?}"),
            }
        }
    }

    /// Has the file beside the store written; what the log says of it.
    fn save(&self) -> String {
        self.broker.process.signal("USR1");
        self.line("m.db")
    }

    fn kill(self) {
        drop(self.broker);
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
    let (code, lines, error) = run(folder, &["import", "--print", "m.db"]);
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

/// QoS 1 that is not acknowledged, QoS 2 at every stage of both directions, and a retained message; the first message has these
/// properties. The clients are still connected.
fn leave_messages(broker: &Mosquitto, with: &[Property<'_>]) -> [Client; 3] {
    let mut old = broker.connect("old", None, None);
    old.ask(0x82, &[&[0, 1][..], &string("a/#"), &[1]].concat());
    let mut publisher = broker.connect("from", None, Some(u32::MAX));
    let mut properties = Vec::new();
    with.iter().for_each(|property| property.encode(&mut properties));
    let one = [&string("a/one")[..], &[0, 1, properties.len() as u8], &properties, b"first"].concat();
    assert_eq!(publisher.ask(0x34, &one)[0], 0x50);
    assert_eq!(publisher.ask(0x62, &[0, 1])[0], 0x70);
    assert_eq!(old.hear()[0], 0x32, "QoS 1, and never acknowledged");
    let kept = [&string("r/x")[..], &[0, 2, 0], b"on\xFF"].concat();
    assert_eq!(publisher.ask(0x33, &kept)[0], 0x40);
    let pending = [&string("a/two")[..], &[0, 9, 0], b"second"].concat();
    assert_eq!(publisher.ask(0x34, &pending)[0], 0x50);
    let mut busy = broker.connect("busy", None, Some(60));
    busy.ask(0x82, &[&[0, 1, 0][..], &string("q"), &[2]].concat());
    for id in [3, 4] {
        publisher.ask(0x34, &[&string("q")[..], &[0, id, 0], &[b'0' + id]].concat());
        publisher.ask(0x62, &[0, id]);
        assert_eq!(busy.hear()[0], 0x34);
    }
    assert_eq!(busy.ask(0x50, &[0, 1])[0], 0x62, "the first is released, the second waits for PUBREC");
    [old, publisher, busy]
}

/// Sessions of both dialects, queues, states of QoS 2 in both directions, retained messages, as Mosquitto itself writes them.
#[test]
fn what_mosquitto_keeps_is_read_from_its_own_file() {
    let folder = Folder::new();
    let mosquitto = Mosquitto::start(&folder);
    let mut away = mosquitto.connect("away", None, Some(3600));
    away.ask(0x82, &[&[0, 1, 2, 0x0B, 7][..], &string("a/#"), &[2 | 8]].concat());
    away.0.shutdown(std::net::Shutdown::Both).unwrap();
    let properties = [
        Property::MessageExpiryInterval(5000),
        Property::ContentType("text/plain"),
        Property::CorrelationData(b"\x00\xFF"),
        Property::UserProperty("k", "v"),
    ];
    let _connected = leave_messages(&mosquitto, &properties);
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
    let folder = Folder::new();
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
    let (code, _, told) = run(&folder, &["import", "m.db", "--store", "kept"]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("2 sessions, 1 subscriptions, 3 waiting and 1 retained messages, into kept"), "{told}");
    let (code, _, error) = run(&folder, &["import", "m.db", "--store", "kept"]);
    assert!(code == Some(1) && error.contains("kept has sessions or messages already"), "{error}");
    let (code, lines, error) = run(&folder, &["export", "--store", "kept"]);
    assert!(code == Some(0) && error.is_empty() && lines.lines().count() == 8, "{error}{lines}");

    let broker = Ringmq::start(&folder, "kept");
    let mut old = broker.broker.connect("old", None, None);
    assert_eq!(old.hear(), [0x62, 2, 0, 1], "PUBREL, as the client has the first message");
    let dup = [&[0x3C, 8][..], &string("a/b"), &[0, 2, b'2']].concat();
    assert_eq!(old.hear(), dup, "with DUP and its own packet id");
    let third = old.hear();
    assert!(third.ends_with(b"third") && third[0] & 6 == 4, "{third:02x?}");
    let mut publisher = broker.broker.connect("from", None, None);
    assert_eq!(publisher.ask(0x62, &[0, 9]), [0x70, 2, 0, 9]);
    publisher.ask(0x82, &[&[0, 1][..], &string("r"), &[0]].concat());
    assert_eq!(publisher.hear(), [&[0x31, 5][..], &string("r"), b"on"].concat());
    broker.broker.stop();

    let (code, lines, error) = run(&folder, &["export", "--store", "kept"]);
    assert_eq!(code, Some(0), "{error}");
    folder.write("lines", &lines);
    let (code, _, error) = run(&folder, &["import", "lines", "--store", "again"]);
    assert_eq!(code, Some(0), "{error}");
    assert_eq!(run(&folder, &["export", "--store", "again"]).1, lines, "nothing is lost on the way");
}

/// Sessions of both dialects with what is theirs, made at a broker as Mosquitto's clients make them.
fn leave_everything(broker: &Mosquitto) {
    let mut away = broker.connect("away", None, Some(3600));
    away.ask(0x82, &[&[0, 1, 2, 0x0B, 7][..], &string("a/#"), &[2 | 8]].concat());
    away.ask(0x82, &[&[0, 2, 2, 0x0B, 9][..], &string("a/one"), &[1]].concat());
    away.ask(0x82, &[&[0, 3, 0][..], &string("$share/g/s/#"), &[1]].concat());
    assert_eq!(away.ask(0xC0, &[]), [0xD0, 0]);
    away.say(0xE0, &[]);
    drop(leave_messages(broker, &[Property::ContentType("text/plain"), Property::UserProperty("k", "v")]));
}

/// What all of them get of a broker that goes on for them [MQTT-4.4.0-1] [MQTT-4.3.3-2] [MQTT-3.3.1-1].
fn find_everything(broker: &Mosquitto) {
    let mut publisher = broker.resume("from", Some(u32::MAX));
    // Mosquitto would take a second PUBLISH for a new message: it compares it with the first, of which a store keeps the packet id.
    assert_eq!(publisher.ask(0x62, &[0, 9]), [0x70, 2, 0, 9], "it comes to nobody twice");
    let mut away = broker.resume("away", Some(3600));
    let first = away.hear();
    assert!(first[0] & 6 == 4 && first.ends_with(b"first"), "{first:02x?}");
    let text = String::from_utf8_lossy(&first);
    // It comes by two subscriptions; Mosquitto keeps one identifier.
    assert!(text.contains("text/plain") && text.contains("\x0B\x07"), "{first:02x?}");
    for words in ["second", "third"] {
        let next = away.hear();
        assert!(next.ends_with(words.as_bytes()) && next[0] & 6 == 4, "{next:02x?}");
    }
    let mut old = broker.resume("old", None);
    let dup = [&[0x3A][..], &[14], &string("a/one"), &[0, 1], b"first"].concat();
    assert_eq!(old.hear(), dup, "with DUP and its packet id");
    assert!(old.hear().ends_with(b"second") && old.hear().ends_with(b"third"));
    let mut busy = broker.resume("busy", Some(60));
    assert_eq!(busy.hear()[..4], [0x62, 2, 0, 1], "the client has the first");
    let second = busy.hear();
    assert_eq!((second[0], &second[5..7], second.last()), (0x3C, &[0, 2][..], Some(&b'4')), "{second:02x?}");
    publisher.ask(0x82, &[&[0, 5, 0][..], &string("r/#"), &[0]].concat());
    assert!(publisher.hear().ends_with(b"on\xFF"), "what is retained");
    assert_eq!(publisher.ask(0x32, &[&string("s/x")[..], &[0, 6, 0], b"shared"].concat())[0], 0x40);
    let shared = away.hear();
    assert!(shared.ends_with(b"shared"), "a shared subscription: {shared:02x?}");
}

/// Who comes from Mosquitto can go back to it: its file is written at SIGUSR1 and at the end, by a store that loses nothing when it is
/// killed. A file that Mosquitto has written meanwhile is left alone, and taken over, and kept.
#[test]
fn users_of_mosquitto_can_go_back_to_it() {
    let folder = Folder::new();
    let ringmq = Ringmq::in_place(&folder, "autosave_interval 0\n");
    leave_everything(&ringmq.broker);
    assert!(!folder.has("m.db"));
    let told = ringmq.save();
    assert!(
        told.contains("Saved in") && told.contains("4 sessions, 5 subscriptions, 6 waiting and 1 retained"),
        "{told}"
    );
    let mode = fs::metadata(folder.path("m.db")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (code, lines, error) = run(&folder, &["import", "--print", "m.db"]);
    assert!(code == Some(0) && lines.lines().count() == 17, "{error}{lines}");
    let mut publisher = ringmq.broker.resume("from", Some(u32::MAX));
    publisher.ask(0x34, &[&string("a/three")[..], &[0, 7, 0], b"third"].concat());
    assert_eq!(publisher.ask(0x62, &[0, 7])[0], 0x70);
    ringmq.kill();
    assert!(!run(&folder, &["import", "--print", "m.db"]).1.contains("a/three"));

    // The directory is the truth, whatever the file has.
    let ringmq = Ringmq::in_place(&folder, "autosave_interval 0\n");
    ringmq.broker.stop();
    let export = run(&folder, &["export", "--store", "m.ringmq"]).1;
    let mosquitto = Mosquitto::start(&folder);
    find_everything(&mosquitto);
    mosquitto.stop();

    let theirs = fs::read(folder.path("m.db")).unwrap();
    let ringmq = Ringmq::in_place(&folder, "autosave_interval 0\n");
    let told = ringmq.line("m.db");
    assert!(told.contains("was changed since ringmq wrote it") && told.contains("remove"), "{told}");
    assert!(ringmq.save().contains("is left as it is"));
    ringmq.broker.stop();
    assert!(fs::read(folder.path("m.db")).unwrap() == theirs, "nothing is overwritten");
    assert_eq!(run(&folder, &["export", "--store", "m.ringmq"]).1.lines().count(), export.lines().count());

    fs::remove_dir_all(folder.path("m.ringmq")).unwrap();
    let ringmq = Ringmq::in_place(&folder, "autosave_interval 0\n");
    ringmq.line("m.db of Mosquitto is taken over: 4 sessions");
    ringmq.broker.resume("old", None);
    assert!(ringmq.save().contains("of Mosquitto is kept as"));
    ringmq.line("Saved in");
    assert!(ringmq.save().contains("Saved in"), "it is kept once");
    ringmq.broker.stop();
    assert!(fs::read(folder.path("m.db.mosquitto")).unwrap() == theirs);
    assert!(!folder.has("m.db.new") && !folder.has("m.db.mosquitto.2"));
}

/// [MQTT-4.3.3-2]: `ringmq export --mosquitto` writes the same file, once.
#[test]
fn a_store_is_exported_for_mosquitto() {
    let folder = Folder::new();
    let ringmq = Ringmq::start(&folder, "kept");
    leave_everything(&ringmq.broker);
    let mut publisher = ringmq.broker.resume("from", Some(u32::MAX));
    publisher.ask(0x34, &[&string("a/three")[..], &[0, 7, 0], b"third"].concat());
    publisher.ask(0x62, &[0, 7]);
    ringmq.broker.stop();
    let arguments = ["export", "--store", "kept", "--mosquitto", "m.db"];
    let (code, out, told) = run(&folder, &arguments);
    assert!(code == Some(0) && out.is_empty() && told.contains("4 sessions, 5 subscriptions, 8 waiting"), "{told}");
    let (code, _, told) = run(&folder, &arguments);
    assert!(code == Some(1) && told.contains("m.db: "), "nothing is overwritten: {told}");
    find_everything(&Mosquitto::start(&folder));
}

/// A file that is damaged, or is none of Mosquitto's, is neither lost nor taken for an empty one.
#[test]
fn a_file_that_is_none_of_mosquittos_is_left_alone() {
    let folder = Folder::new();
    folder.write("m.db", "somebody's");
    let ringmq = Ringmq::in_place(&folder, "autosave_interval 1\n");
    assert!(ringmq.line("m.db").contains("is no file of Mosquitto's, and is left as it is"));
    ringmq.broker.stop();
    assert_eq!(fs::read(folder.path("m.db")).unwrap(), b"somebody's");
    fs::remove_dir_all(folder.path("m.ringmq")).unwrap();
    fs::write(folder.path("m.db"), b"\x00\xB5\x00mosquitto db\x00\x00\x00").unwrap();
    let (code, _, error) = run(&folder, &["-c", "r.conf", "--shards", "1"]);
    assert!(
        code == Some(1) && error.contains("is not taken over: at byte 15") && error.contains("move it away"),
        "{error}"
    );
    assert!(!folder.has("m.ringmq"));
}

/// [MQTT-4.1.0-1]: the file is written by itself: each so many seconds, or after so many changes.
#[test]
fn mosquittos_file_is_written_by_itself() {
    for pace in ["autosave_interval 1\n", "autosave_interval 3\nautosave_on_changes true\n"] {
        let folder = Folder::new();
        let ringmq = Ringmq::in_place(&folder, pace);
        leave_everything(&ringmq.broker);
        ringmq.line("Saved in");
        ringmq.kill();
        assert!(run(&folder, &["import", "--print", "m.db"]).0 == Some(0));
    }
}

/// Mosquitto 2.0.11 writes what lies in its memory where a client without a user name comes after one that has one.
#[test]
fn a_file_with_damaged_user_names_is_read() {
    let folder = Folder::new();
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
    let folder = Folder::new();
    let lines = "{\"kind\":\"session\",\"client\":\"c\",\"expiry_secs\":60}\n{\"kind\":\"received\",\"client\":\"c\",\"packet_id\":3}\n";
    folder.write("good", &format!("\n{lines}"));
    assert_eq!(run(&folder, &["import", "--print", "good"]), (Some(0), lines.into(), String::new()));
    folder.write("bad", &format!("{lines}{{\"kind\":\"sesion\"}}\n"));
    let (code, _, error) = run(&folder, &["import", "--print", "bad"]);
    assert!(code == Some(1) && error.starts_with("ringmq: bad:3: unknown variant `sesion`"), "{error}");
    fs::write(folder.path("foreign"), b"\xFF\xFE\n").unwrap();
    let (code, _, error) = run(&folder, &["import", "--print", "foreign"]);
    assert!(code == Some(1) && error.contains("neither Mosquitto's file nor JSON lines"), "{error}");
    fs::write(folder.path("cut"), b"\x00\xB5\x00mosquitto db\x00\x00\x00").unwrap();
    let (code, _, error) = run(&folder, &["import", "--print", "cut"]);
    assert!(code == Some(1) && error.starts_with("ringmq: cut: at byte 15: the head needs 4 bytes and 3"), "{error}");
    folder.write("orphan", "{\"kind\":\"received\",\"client\":\"c\",\"packet_id\":3}\n");
    let (code, _, error) = run(&folder, &["import", "orphan", "--store", "new"]);
    assert!(code == Some(1) && error.starts_with("ringmq: orphan:1: no session of client 'c'"), "{error}");
    assert!(!folder.has("new"), "nothing is made for a file that cannot be used");
}

#[test]
fn a_store_is_named_by_hand_or_by_the_brokers_file() {
    let folder = Folder::new();
    folder.write("good", "");
    folder.write("m.conf", "persistence true\npersistence_location kept\n");
    folder.write("off.conf", "persistence false\n");
    for (arguments, words) in [
        (&["import", "none"][..], "which store? --store DIR"),
        (&["import", "none", "--store", "d"], "none: cannot be read: "),
        (&["import", "good", "-c", "off.conf"], "the configuration has no store"),
        (&["import", "good", "-c", "no.conf"], "no.conf"),
        (&["export"], "which store? --store DIR"),
        (&["export", "--store", "none"], "none: there is no store"),
        (&["export", "-c", "m.conf"], "kept/mosquitto.ringmq: there is no store"),
    ] {
        let (code, out, error) = run(&folder, arguments);
        assert!(code == Some(1) && out.is_empty() && error.contains(words), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
    assert_eq!(run(&folder, &["import", "good", "--print", "--store", "d"]).0, Some(2));
}
