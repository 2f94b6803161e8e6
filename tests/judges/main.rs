//! Clients that somebody else answers for: tokens made by others, and an authenticator over HTTP, beside the real binary.
//!
//! Duty: tokens of an independent implementation, keys of openssl, a web server that hangs, dies and lies. Must not: test what becomes
//! of a verdict on a shard (`conformance`). Neighbours: `live` has the broker, `token.py` and `authenticator.py` the other side.
#![cfg(feature = "runtime")]
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and clocks")]

#[allow(dead_code, reason = "only some of it is used here")]
#[path = "../live/broker.rs"]
mod broker;
#[allow(dead_code, reason = "only some of it is used here")]
#[path = "../live/client.rs"]
mod client;
#[allow(dead_code, reason = "only some words are used here")]
#[path = "../conformance/packets.rs"]
mod packets;

mod http;
mod tokens;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use broker::Broker;
use ringmq::wire::{Connect, ProtocolVersion, ReasonCode};

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmq-judges-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).display().to_string()
    }

    fn write(&self, name: &str, text: &str) -> String {
        fs::write(self.0.join(name), text).unwrap();
        self.path(name)
    }

    /// A broker with this configuration behind a listener on a free port.
    fn serve(&self, text: &str) -> Broker {
        let config = self.write("ringmq.toml", &format!("{text}\n[[listener]]\naddress = \"127.0.0.1:0\"\n"));
        Broker::of_arguments(&["--config", &config], 2)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// What a program prints.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap_or_else(|error| panic!("{program}: {error}"));
    assert!(output.status.success(), "{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

fn as_user<'a>(version: ProtocolVersion, client_id: &'a str, user: &'a str, password: &'a str) -> Connect<'a> {
    Connect { user_name: Some(user), password: Some(password.as_bytes()), ..Connect::new(version, client_id) }
}

/// What the broker says to a CONNECT.
fn answer(broker: &Broker, connect: &Connect<'_>) -> u8 {
    let mut client = broker.dial();
    client.say(|out| connect.encode(out));
    client.hear()[3]
}

#[track_caller]
fn refused(broker: &Broker, user: &str, password: &str, reason: ReasonCode) {
    let connect = as_user(ProtocolVersion::V5, "who", user, password);
    assert_eq!(answer(broker, &connect), reason as u8, "{user} {password}");
}
