//! Judges: clients that somebody else answers for: tokens made by others, and an authenticator over HTTP, beside the real binary.
//!
//! Duty: tokens of an independent implementation, keys of openssl, a web server that hangs, dies and lies. Must not: test what becomes
//! of a verdict on a shard (`conformance`). Neighbours: `token.py` and `authenticator.py` are the other side.

mod http;
mod tokens;

use std::process::Command;

use ringmq::wire::{Connect, ProtocolVersion, ReasonCode};

use crate::broker::Broker;
use crate::folder::Folder;
use crate::program::ended;

/// A broker with this configuration behind a listener on a free port.
fn serve(folder: &Folder, text: &str) -> Broker {
    let config = folder.write("ringmq.toml", &format!("{text}\n[[listener]]\naddress = \"127.0.0.1:0\"\n"));
    Broker::of_arguments(&["--config", &config], 2)
}

/// What a program prints.
fn output(program: &str, arguments: &[&str]) -> String {
    let (code, out, err) = ended(Command::new(program).args(arguments));
    assert_eq!(code, Some(0), "{program} {arguments:?}: {err}");
    out.trim_end().to_owned()
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
