//! A broker of a test's own.
//!
//! Duty: start it on a free port, wait until it listens, end it whatever happens, and show what it said if the test fails.
//! Must not: speak MQTT. Neighbours: every test; `client` connects to it.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const START_TIMEOUT: Duration = Duration::from_secs(20);
const SHARD_COUNTS: [usize; 3] = [1, 2, SHARD_COUNT_MAX];
pub(crate) const SHARD_COUNT_MAX: usize = 4;
const LOG_LINES_SHOWN: usize = 200;

/// Ports below the range from which the kernel takes those of clients, so that no client sits on one.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A running broker.
pub(crate) struct Broker {
    process: Child,
    /// Where it listens, on 127.0.0.1 and ::1.
    pub(crate) port: u16,
    shards: usize,
    log: Arc<Mutex<Vec<String>>>,
}

/// Runs `check` against a broker of 1, of 2 and of 4 shards, side by side.
pub(crate) fn on_each_shard_count(check: impl Fn(&Broker) + Sync) {
    on_each_shard_count_with(&[], check);
}

/// Like `on_each_shard_count`, with more arguments for our broker.
pub(crate) fn on_each_shard_count_with(arguments: &[&str], check: impl Fn(&Broker) + Sync) {
    let counts = if other_broker().is_some_and(|line| !line.contains("{shards}")) { &[1][..] } else { &SHARD_COUNTS };
    std::thread::scope(|scope| {
        let check = &check;
        let runs = counts.iter().map(|shards| (shards, scope.spawn(move || check(&Broker::start(*shards, arguments)))));
        let runs: Vec<_> = runs.collect();
        let failed: Vec<_> = runs.into_iter().filter_map(|(shards, run)| run.join().err().map(|_| shards)).collect();
        assert!(failed.is_empty(), "failed with {failed:?} shards");
    });
}

impl Broker {
    /// Starts a broker and waits until it listens.
    pub(crate) fn start(shards: usize, arguments: &[&str]) -> Self {
        let port = free_port();
        let mut command = command(port, shards);
        if other_broker().is_none() {
            command.args(arguments);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap_or_else(|error| panic!("{command:?} did not start: {error}"));
        let stderr = process.stderr.take().expect("stderr is piped");
        let log = Arc::new(Mutex::new(Vec::new()));
        let listening = read_log(stderr, Arc::clone(&log));
        let broker = Self { process, port, shards, log };
        let heard = listening.recv_timeout(START_TIMEOUT);
        assert!(heard.is_ok(), "the broker did not say that it listens: {heard:?}");
        broker
    }

    /// Whether the log says for each shard that a client lived there; always true of another broker than ours.
    pub(crate) fn every_shard_had_a_client(&self) -> bool {
        let is_seen = |shard: usize| {
            // In the line that says how a client has left.
            let mention = format!(", shard {shard}");
            let log = self.log.lock().expect("no reader of the log panics");
            log.iter().any(|line| line.split_inclusive(char::is_numeric).any(|part| part.ends_with(&mention)))
        };
        let until = Instant::now() + START_TIMEOUT;
        while other_broker().is_none() && !(0..self.shards).all(is_seen) {
            // Lines come by a pipe of their own.
            if Instant::now() > until {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let ended_before = self.process.try_wait().ok().flatten();
        let _ = self.process.kill();
        let _ = self.process.wait();
        if !std::thread::panicking() {
            assert!(ended_before.is_none(), "the broker ended by itself: {ended_before:?}");
            return;
        }
        let log = self.log.lock().expect("no reader of the log panics");
        let shown = &log[log.len().saturating_sub(LOG_LINES_SHOWN)..];
        let state = ended_before.map_or("was there".into(), |status| format!("HAD ENDED BY ITSELF ({status})"));
        eprintln!("---- the broker of {} shards {state}; it said: ----\n{}\n----", self.shards, shown.join("\n"));
    }
}

/// Whether it is another broker than ours that the tests run against.
pub(crate) fn is_another() -> bool {
    other_broker().is_some()
}

fn other_broker() -> Option<String> {
    std::env::var("RINGMQ_TEST_BROKER").ok().filter(|line| !line.is_empty())
}

fn command(port: u16, shards: usize) -> Command {
    let Some(line) = other_broker() else {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        command.args(["-v", "-p", &port.to_string(), "--shards", &shards.to_string(), "--hash-seed", "1"]);
        command.args(["--sys-interval", "1"]);
        return command;
    };
    let line = line.replace("{port}", &port.to_string()).replace("{shards}", &shards.to_string());
    let mut words = line.split_whitespace();
    let mut command = Command::new(words.next().expect("RINGMQ_TEST_BROKER is not empty"));
    command.args(words);
    command
}

/// Collects the log; the receiver hears once that the broker listens, or hangs up if it ends before.
fn read_log(stderr: impl std::io::Read + Send + 'static, log: Arc<Mutex<Vec<String>>>) -> Receiver<()> {
    let (listening, heard) = channel();
    std::thread::spawn(move || {
        let mut listening = Some(listening);
        for line in BufReader::new(stderr).lines() {
            let Ok(line) = line else { break };
            let is_ready =
                line.contains("listening on") || (line.starts_with(char::is_numeric) && line.ends_with(" running"));
            log.lock().expect("no reader of the log panics").push(line);
            if is_ready && let Some(listening) = listening.take() {
                let _ = listening.send(());
            }
        }
    });
    heard
}

/// A port that is free on both loopback addresses; no two brokers of this process get the same.
fn free_port() -> u16 {
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let ports = PORTS.end - PORTS.start;
    let start =
        u16::try_from(u32::from(ports) * (std::process::id() % 100) / 100).expect("it is below the number of ports");
    let is_free = |port: &u16| {
        TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()
            && TcpListener::bind((Ipv6Addr::LOCALHOST, *port)).is_ok()
    };
    std::iter::repeat_with(|| PORTS.start + (start + TAKEN.fetch_add(1, Ordering::Relaxed)) % ports)
        .take(usize::from(ports))
        .find(is_free)
        .expect("some port is free")
}
