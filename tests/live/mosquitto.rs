//! Mosquitto: a real one, beside the broker.
//!
//! Duty: find it, start it with a file of its own, wait until it serves. Must not: speak to it. Neighbours: `moving` and `passwords`
//! do, with clients; `configuration` asks what it thinks of files.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};

use super::folder::Folder;
use super::program::{Process, own_address};

/// Mosquitto with this file. Debian has it where only root looks.
pub(crate) fn command(file: &str) -> Command {
    let path = format!("{}:/usr/sbin:/usr/local/sbin", std::env::var_os("PATH").unwrap_or_default().display());
    let mut command = Command::new("mosquitto");
    command.args(["-c", file]).env("PATH", path);
    command
}

/// One that serves where it is told, with these lines in its file.
pub(crate) fn start(folder: &Folder, lines: &str) -> (Process, SocketAddr) {
    // It cannot be told to take a port that is free.
    let address = TcpListener::bind((own_address(), 0)).unwrap().local_addr().unwrap();
    let text = format!("listener {} {}\nuser root\n{lines}", address.port(), address.ip());
    let file = folder.write("mosquitto.conf", &text);
    let spawned = command(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn();
    let mut process = Process(spawned.expect("`scripts/test setup` installs mosquitto"));
    let mut lines = BufReader::new(process.0.stderr.take().unwrap()).lines().map_while(Result::ok);
    let mut seen = Vec::new();
    let is_running = |line: String| {
        seen.push(line);
        seen[seen.len() - 1].contains("running")
    };
    assert!(lines.any(is_running), "{seen:#?}");
    (process, address)
}
