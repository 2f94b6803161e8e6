//! Listeners of the real binary: TLS, WebSocket, Unix sockets, each with foreign clients, and files that change.
//!
//! Duty: rows T of `cases.tsv` that need sockets; each foreign client once over each transport. Must not: test MQTT (`conformance` and
//! `interop` do). Neighbours: `papers` has the certificates; `scripts/test setup` installs the clients.

mod admission;
mod operating;
mod stuck;
mod tls;
mod unix;
mod web;

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};

use crate::program::{Process, ended};

/// Runs a program to its end; whether it is content, and what it printed.
#[track_caller]
fn run(program: &str, arguments: &[&str]) -> (bool, String) {
    let (code, out, err) = ended(Command::new(program).args(arguments));
    (code == Some(0), out + &err)
}

/// A mosquitto_sub that waits for one message.
struct Subscriber(Process);

impl Subscriber {
    /// Returns when it has subscribed.
    fn start(arguments: &[&str], topic: &str) -> Self {
        let mut command = Command::new("stdbuf");
        command.args(["-oL", "mosquitto_sub", "-d", "-C", "1", "-t", topic, "-F", "GOT %p"]).args(arguments);
        let process = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut subscriber = Self(Process(process.expect("`scripts/test setup` installs mosquitto_sub")));
        subscriber.line_with("received SUBACK");
        subscriber
    }

    /// The next line with this word.
    #[track_caller]
    fn line_with(&mut self, word: &str) -> String {
        let mut output = BufReader::with_capacity(1, self.0.0.stdout.as_mut().unwrap());
        let mut seen = String::new();
        loop {
            let mut line = String::new();
            if output.read_line(&mut line).unwrap() == 0 {
                let mut errors = String::new();
                self.0.0.stderr.as_mut().unwrap().read_to_string(&mut errors).unwrap();
                panic!("no {word} in {seen}{errors}");
            }
            if line.contains(word) {
                return line;
            }
            seen += &line;
        }
    }

    #[track_caller]
    fn expect(mut self, payload: &str) {
        assert_eq!(self.line_with("GOT "), format!("GOT {payload}\n"));
    }
}
