//! An authenticator over HTTP: `authenticator.py`, as a user might write one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use ringmq::wire::{Connect, ProtocolVersion, QoS, ReasonCode};

use super::{answer, as_user, output, refused, serve};
use crate::broker::Broker;
use crate::folder::Folder;
use crate::program::{Process, own_address};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/live/judges/authenticator.py");
const V5: ProtocolVersion = ProtocolVersion::V5;
const WRONG: ReasonCode = ReasonCode::BadUserNameOrPassword;
const BUSY: ReasonCode = ReasonCode::ServerBusy;

/// A web server, killed with the test.
struct Server {
    process: Process,
    address: Ipv4Addr,
    port: u16,
    log: String,
}

impl Server {
    fn start(folder: &Folder, options: &[&str]) -> Self {
        Self::start_at(folder, (Ipv4Addr::LOCALHOST, 0), options)
    }

    fn start_at(folder: &Folder, (address, port): (Ipv4Addr, u16), options: &[&str]) -> Self {
        let log = folder.path("questions");
        let mut command = Command::new("python3");
        command.args([SCRIPT, &address.to_string(), &port.to_string(), &log]).args(options).stdout(Stdio::piped());
        let mut process = Process(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(process.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        Self { process, address, port: line.trim().parse().unwrap(), log }
    }

    /// What it was asked about a user.
    fn asked(&self, user: &str) -> Vec<String> {
        let log = fs::read_to_string(&self.log).unwrap();
        log.lines().filter(|line| line.contains(&format!(r#""user": "{user}""#))).map(str::to_owned).collect()
    }
}

fn url(server: &Server, scheme: &str) -> String {
    format!("[security.http]\nurl = \"{scheme}://{}:{}/mqtt\"\n", server.address, server.port)
}

/// Case A26: who is let in in so many words is in; everything else is a refusal, with its reason and counter.
#[test]
fn only_a_clear_yes_lets_a_client_in() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let mut broker = serve(&folder, &format!("{}timeout_millis = 1000\n", url(&server, "http")));
    for (client_id, version) in [("ann", V5), ("bob", ProtocolVersion::V311)] {
        assert_eq!(answer(&broker, &as_user(version, client_id, "alice", "secret")), 0);
    }
    for user in ["refused", "forbidden", "missing", "nobody"] {
        refused(&broker, user, "secret", WRONG);
    }
    for user in ["odd", "broken", "moved", "created", "text", "long", "hanging"] {
        refused(&broker, user, "secret", BUSY);
    }
    // 3.1.1 has another word for it.
    let busy = answer(&broker, &as_user(ProtocolVersion::V311, "cat", "hanging", "secret"));
    assert_eq!(busy, 3);
    let asked = server.asked("alice");
    let words = [r#""client_id": "ann""#, r#""address": "127.0.0.1""#, r#""protocol": "5.0""#, r#""listener": 0"#];
    assert!(words.iter().all(|words| asked[0].contains(words)) && asked.len() == 2, "{asked:?}");
    assert!(asked[1].contains(r#""protocol": "3.1.1""#) && asked[1].contains(r#""password": "secret""#));
    broker.line_with(&["the authenticator did not answer in time"]);
    assert_eq!(broker.stop(), Some(0));
    assert_eq!(broker.counted("refused_by_authenticator"), 4);
    assert_eq!(broker.counted("authenticator_failures"), 8);
    let log = broker.log.lock().unwrap().join("\n");
    assert!(!log.contains("secret"), "case O02: {log}");
}

/// What was answered holds for the same question alone, and for a while; a wrong password does not profit by a right one.
#[test]
fn answers_are_remembered_for_the_same_question() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker = serve(&folder, &format!("{}cache_secs = 600\nrefusal_cache_secs = 600\n", url(&server, "http")));
    for _ in 0..3 {
        assert_eq!(answer(&broker, &as_user(V5, "ann", "alice", "secret")), 0);
        refused(&broker, "alice", "wrong", WRONG);
    }
    assert_eq!(server.asked("alice").len(), 2);
    assert_eq!(answer(&broker, &as_user(V5, "bob", "alice", "secret")), 0);
    assert_eq!(server.asked("alice").len(), 3, "another client id");
    // A reload forgets; a shard that hears of it while it waits for the answer asks again.
    broker.signal("HUP");
    broker.line_with(&["Reloaded"]);
    assert_eq!(answer(&broker, &as_user(V5, "ann", "alice", "secret")), 0);
    assert!(server.asked("alice").len() > 3);
}

/// The server may say who it is, and what it may do.
#[test]
fn an_answer_brings_a_name_and_rights() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let acl = folder.write("acl", "user bob\ntopic readwrite bobs/#\n");
    let broker = serve(&folder, &format!("[security]\nacl_file = \"{acl}\"\n{}", url(&server, "http")));
    let publish = |user: &str, topic: &str| {
        let mut client = broker.join(&as_user(V5, "ann", user, "secret"));
        client.publish(topic, QoS::AtLeastOnce, 1, b"x");
        let puback = client.hear();
        puback.get(4).copied() != Some(ReasonCode::NotAuthorized as u8)
    };
    assert!(publish("limited", "dev/ann/x") && !publish("limited", "dev/bob/x") && !publish("limited", "bobs/x"));
    assert!(publish("renamed", "bobs/x") && !publish("renamed", "dev/ann/x"));
    assert!(!publish("alice", "bobs/x"), "no line of the file speaks of alice");
}

/// A server that hangs holds up nobody who does not need it; one that has died lets nobody in, and those that it let in stay.
#[test]
fn a_server_that_hangs_or_dies_costs_nobody_else_anything() {
    let folder = Folder::new();
    // Its port is not given to another test while it is away.
    let mut server = Server::start_at(&folder, (own_address(), 0), &[]);
    let passwords = folder.path("pw");
    output(env!("CARGO_BIN_EXE_ringmq"), &["passwd", "-H", "sha512", "-c", "-b", &passwords, "carol", "here"]);
    let text = format!(
        "[security]\npassword_file = \"{passwords}\"\n{}timeout_millis = 60000\ncache_secs = 0\n",
        url(&server, "http")
    );
    let broker = serve(&folder, &text);
    let mut alice = broker.join(&as_user(V5, "ann", "alice", "secret"));
    let hanging: Vec<_> = (0..20)
        .map(|number| {
            let mut client = broker.dial();
            let client_id = format!("hanging-{number}");
            client.say(|out| as_user(V5, &client_id, "hanging", "secret").encode(out));
            client
        })
        .collect();
    while server.asked("hanging").len() < 8 {
        std::thread::yield_now();
    }
    // All threads wait for the server; who is in the file does not.
    assert_eq!(answer(&broker, &as_user(V5, "cat", "carol", "here")), 0);
    alice.expect_alive();
    server.process.0.kill().unwrap();
    server.process.0.wait().unwrap();
    for mut client in hanging {
        assert_eq!(client.hear()[3], BUSY as u8);
    }
    refused(&broker, "alice", "secret", BUSY);
    alice.expect_alive();
    assert_eq!(answer(&broker, &as_user(V5, "cat", "carol", "here")), 0);
    let place = (server.address, server.port);
    drop(server);
    let _again = Server::start_at(&folder, place, &[]);
    assert_eq!(answer(&broker, &as_user(V5, "bob", "alice", "secret")), 0);
}

/// HTTPS: the server's certificate must be signed by the authority that is named.
#[test]
fn a_server_that_cannot_prove_its_name_is_not_believed() {
    let folder = Folder::new();
    let (certificate, key) = (folder.path("cert.pem"), folder.path("key.pem"));
    let rcgen::CertifiedKey { cert, signing_key } =
        rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
    folder.write("cert.pem", &cert.pem());
    folder.write("key.pem", &signing_key.serialize_pem());
    let server = Server::start(&folder, &["--tls", &certificate, &key]);
    let trusting = serve(&folder, &format!("{}authority = \"{certificate}\"\n", url(&server, "https")));
    assert_eq!(answer(&trusting, &as_user(V5, "ann", "alice", "secret")), 0);
    let trusting_others = serve(&folder, &url(&server, "https"));
    refused(&trusting_others, "alice", "secret", BUSY);
    trusting_others.line_with(&["certificate is not trusted"]);
}

/// Case A30: guesses are counted here, too; a client without a user name and a password is not asked about.
#[test]
fn who_guesses_at_the_authenticator_is_slowed_down() {
    let folder = Folder::new();
    let server = Server::start(&folder, &[]);
    let broker: Broker =
        serve(&folder, &format!("{}\n[limits]\nwrong_passwords_per_address_max = 3\n", url(&server, "http")));
    for guess in ["1", "2", "3"] {
        refused(&broker, "alice", guess, WRONG);
    }
    // One may be checked in a second.
    let answers: Vec<_> = ["4", "5"].map(|guess| answer(&broker, &as_user(V5, "ann", "alice", guess))).into();
    assert!(answers.contains(&(BUSY as u8)), "{answers:02x?}");
    assert_eq!(answer(&broker, &Connect::new(V5, "ann")), WRONG as u8);
    assert!(server.asked("alice").len() <= 4);
}
