//! The order of what the broker asks of the system: no PUBACK leaves before the sync that covers its message has returned.
//!
//! Duty: let strace write down what all threads do, and judge it. Must not: measure. Neighbours: `wire` has the client; `campaign`
//! kills, which cannot see whether anything was synced.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use super::wire::{Link, Version, put_filters, put_publish};

/// Messages; one waits for the acknowledgement of the one before, so that each answer leaves alone, by send(2).
const MESSAGES: u16 = 40;

/// For strace to write down the end.
const PATIENCE: Duration = Duration::from_secs(20);

/// How far a message is, by the file that it is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Written(u32),
    /// A sync of its file has begun behind the write.
    Syncing(u32),
    Synced,
}

/// What a trace says of the order.
#[derive(Debug, Default, PartialEq, Eq)]
struct Findings {
    /// Acknowledgements that left after the sync.
    covered: Vec<u16>,
    /// Others.
    early: Vec<u16>,
}

fn payload(number: u16) -> String {
    format!("oracle-{number:04}")
}

/// Reads a trace of `strace -f`. The message of each packet id has it in its payload.
fn judge(trace: &str) -> Findings {
    let mut stages = HashMap::new();
    let mut syncing = HashMap::new();
    let mut findings = Findings::default();
    for line in trace.lines() {
        let Some((thread, call)) = line.split_once(' ') else { continue };
        let call = call.trim_start();
        if let Some(file) = argument_of(call, &["write(", "pwrite64(", "writev("]) {
            for (_, number) in call.match_indices("oracle-").map(|(at, _)| (at, &call[at + 7..at + 11])) {
                stages.insert(number.parse::<u16>().expect("four digits"), Stage::Written(file));
            }
        } else if let Some(file) = argument_of(call, &["fdatasync(", "fsync("]) {
            advance(&mut stages, Stage::Written(file), Stage::Syncing(file));
            if call.ends_with("= 0") {
                advance(&mut stages, Stage::Syncing(file), Stage::Synced);
            } else {
                syncing.insert(thread, file);
            }
        } else if call.contains("sync resumed>") && call.ends_with("= 0") {
            if let Some(file) = syncing.remove(thread) {
                advance(&mut stages, Stage::Syncing(file), Stage::Synced);
            }
        } else if let Some(number) = puback_of(call) {
            let is_covered = stages.get(&number) == Some(&Stage::Synced);
            if is_covered { &mut findings.covered } else { &mut findings.early }.push(number);
        }
    }
    findings
}

fn advance(stages: &mut HashMap<u16, Stage>, from: Stage, to: Stage) {
    stages.values_mut().filter(|stage| **stage == from).for_each(|stage| *stage = to);
}

/// The first argument, a descriptor, of one of these calls.
fn argument_of(call: &str, names: &[&str]) -> Option<u32> {
    let rest = names.iter().find_map(|name| call.strip_prefix(name))?;
    rest.split([',', ')', ' ']).next()?.parse().ok()
}

/// The packet id of a PUBACK that begins to leave. Bytes are written as \xNN.
fn puback_of(call: &str) -> Option<u16> {
    let rest = call.strip_prefix("sendto(")?.split_once("\"\\x40\\x02\\x")?.1;
    let (high, low) = (rest.get(..2)?, rest.get(4..6)?);
    Some(u16::from_str_radix(high, 16).ok()? << 8 | u16::from_str_radix(low, 16).ok()?)
}

/// Undoes \xNN, so that payloads are found; what is no text is left out.
fn with_text(line: &str) -> String {
    let is_answer = line.contains("sendto(");
    if is_answer {
        return line.to_owned();
    }
    let mut parts = line.split("\\x");
    let mut text = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = part.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok()).unwrap_or_default();
        if byte.is_ascii_graphic() {
            text.push(char::from(byte));
        }
        text.push_str(part.get(2..).unwrap_or_default());
    }
    text
}

/// What the broker does while one client publishes for one that is away. Its address is that of no broker beside it: a port that is
/// free now may be that of one that was just killed, and comes back.
fn trace_of(binary: &Path, folder: &Path, host: Ipv4Addr, faults: Option<&str>) -> String {
    let _ = fs::remove_dir_all(folder);
    fs::create_dir_all(folder).expect("a folder");
    let trace = folder.join("trace");
    let listener = TcpListener::bind((host, 0)).and_then(|listener| listener.local_addr());
    let address = listener.expect("a free port");
    let mut command = Command::new("strace");
    // -D: the broker is the child.
    command.args(["-D", "-f", "-xx", "-s", "4096", "-o"]).arg(&trace);
    command.args(["-e", "trace=fdatasync,fsync,sendto,write,pwrite64,writev"]).arg(binary);
    command.args(["--bind", &address.to_string(), "--cpus", "0,1", "--sys-interval", "0"]);
    command.arg("--store").arg(folder.join("store"));
    command.env_remove("RINGMQ_FAULTS").envs(faults.map(|faults| ("RINGMQ_FAULTS", faults)));
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut broker = command.spawn().expect("strace is there: scripts/test setup");
    publish(address);
    broker.kill().expect("it runs");
    broker.wait().expect("it has ended");
    let until = Instant::now() + PATIENCE;
    loop {
        let text = String::from_utf8_lossy(&fs::read(&trace).expect("a trace")).into_owned();
        if text.contains("+++ killed by SIGKILL") {
            return text.lines().map(|line| with_text(line) + "\n").collect();
        }
        assert!(Instant::now() < until, "strace does not end: {}", trace.display());
        thread::sleep(Duration::from_millis(20));
    }
}

fn publish(address: SocketAddr) {
    let (mut away, _) = Link::open(address, "away", Version::V311, false).expect("the broker lives");
    put_filters(Version::V311, 1, &["o/#".to_owned()], Some(1), &mut away.out);
    await_packet(&mut away, 9);
    drop(away);
    let (mut link, _) = Link::open(address, "publisher", Version::V311, true).expect("the broker lives");
    for number in 1..=MESSAGES {
        put_publish(2, Version::V311, b"o/x", number, payload(number).as_bytes(), &mut link.out);
        await_packet(&mut link, 4);
    }
}

fn await_packet(link: &mut Link, kind: u8) {
    let mut has_come = false;
    while !has_come {
        link.flush().expect("the broker lives");
        link.read().expect("the broker lives");
        link.take(|_, packet| has_come |= packet.kind() == kind);
    }
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("order-{name}-{}", std::process::id()))
}

#[test]
fn no_puback_leaves_before_the_sync_that_covers_it() {
    let folder = folder("good");
    let findings = judge(&trace_of(&super::binary(), &folder, Ipv4Addr::new(127, 0, 0, 2), None));
    assert_eq!(findings, Findings { covered: (1..=MESSAGES).collect(), early: Vec::new() });
    let _ = fs::remove_dir_all(folder);
}

/// The control.
#[test]
fn a_puback_that_leaves_before_the_write_is_seen() {
    let folder = folder("control");
    let findings = judge(&trace_of(&super::binary(), &folder, Ipv4Addr::new(127, 0, 0, 3), Some("nosync")));
    assert_eq!(findings, Findings { covered: Vec::new(), early: (1..=MESSAGES).collect() });
    let _ = fs::remove_dir_all(folder);
}

#[test]
fn only_a_sync_that_begins_after_the_write_covers_it() {
    let answer = "7 sendto(9, \"\\x40\\x02\\x00\\x01\", 4, 0, NULL, 0) = 4\n";
    let judged = |trace: &str| judge(&format!("{trace}{answer}")).early.is_empty();
    assert!(judged("8 write(3, \"oracle-0001\", 5) = 5\n8 fdatasync(3) = 0\n"));
    assert!(judged("8 write(3, \"oracle-0001\", 5) = 5\n8 fsync(3 <unfinished ...>\n8 <... fsync resumed>) = 0\n"));
    assert!(!judged("8 write(3, \"oracle-0001\", 5) = 5\n"));
    assert!(!judged("8 write(3, \"oracle-0001\", 5) = 5\n8 fdatasync(3 <unfinished ...>\n"), "it has not returned");
    assert!(!judged("8 write(3, \"oracle-0001\", 5) = 5\n8 fdatasync(3) = -1 EIO\n"), "it has failed");
    assert!(!judged("8 write(3, \"oracle-0001\", 5) = 5\n8 fdatasync(4) = 0\n"), "another file");
    let begun_before =
        "6 fdatasync(3 <unfinished ...>\n8 write(3, \"oracle-0001\", 5) = 5\n6 <... fdatasync resumed>) = 0\n";
    assert!(!judged(begun_before));
}
