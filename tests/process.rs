//! The broker as a process: what it says, and how it starts, refuses and ends.
#![cfg(feature = "runtime")]

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// A user without rights, on every Linux.
const NOBODY: u32 = 65534;

fn ringmq(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.args(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let Output { status, stdout, stderr } = ringmq(arguments).output().unwrap();
    (status.code(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

/// A broker on a free port, stopped when dropped.
struct Broker {
    process: Child,
    log: BufReader<ChildStderr>,
    first_line: String,
}

impl Broker {
    fn start(arguments: &[&str]) -> Self {
        let mut process = ringmq(arguments).spawn().unwrap();
        let mut log = BufReader::new(process.stderr.take().unwrap());
        let mut first_line = String::new();
        log.read_line(&mut first_line).unwrap();
        Self { process, log, first_line }
    }

    fn port(&self) -> &str {
        let address = self.first_line.split([' ', ',', ';']).find(|word| word.starts_with("127.0.0.1:"));
        address
            .and_then(|address| address.rsplit_once(':'))
            .map(|(_, port)| port)
            .unwrap_or_else(|| panic!("{}", self.first_line))
    }

    fn signal(&self, signal: i32) {
        let status = Command::new("kill").arg(format!("-{signal}")).arg(self.process.id().to_string()).status();
        assert!(status.unwrap().success());
    }

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        line
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_start_line_names_listeners_shards_cpus_and_durability() {
    let broker = Broker::start(&["-p", "0", "--bind", "127.0.0.1", "--shards", "2"]);
    let line = &broker.first_line;
    assert!(line.starts_with(concat!("ringmq ", env!("CARGO_PKG_VERSION"), " listening on 127.0.0.1:")), "{line}");
    assert!(line.contains("; 2 shards on cpus "), "{line}");
    assert!(line.contains("; durability: memory (nothing survives a restart)"), "{line}");
    assert!(line.contains("; each shard holds at most ") && line.contains(" MiB for its clients"), "{line}");
}

/// O10: SIGTERM and SIGINT stop in order, whatever else comes before.
#[test]
fn a_signal_to_stop_ends_with_exit_code_0() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut broker = Broker::start(&["-p", "0", "--bind", "127.0.0.1"]);
        broker.signal(libc::SIGHUP);
        assert_eq!(broker.next_line(), "SIGHUP is ignored\n");
        (0..200).for_each(|_| broker.signal(libc::SIGUSR1));
        broker.signal(signal);
        assert_eq!(broker.process.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn a_second_broker_on_the_port_is_refused_and_the_first_serves_on() {
    let mut broker = Broker::start(&["-p", "0", "--bind", "127.0.0.1"]);
    let (code, text) = run(&["-p", broker.port(), "--bind", "127.0.0.1"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("ringmq: cannot listen on 127.0.0.1:") && text.contains("the port is in use"), "{text}");
    assert!(broker.process.try_wait().unwrap().is_none());
}

#[test]
fn what_cannot_be_is_refused_in_one_line() {
    for arguments in [
        &["--bind", "192.0.2.1"][..],
        &["--bind", "127.0.0.1:port"],
        &["--cpus", "100000"],
        &["--shards", "0"],
        &["--set", "packet_byte_max=1"],
        &["--set", "receive_maximum=0"],
    ] {
        let (code, text) = run(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {text}");
        assert!(text.starts_with("ringmq: ") && text.lines().count() == 1, "{text}");
    }
}

#[test]
fn help_and_version_and_limits_are_told_without_starting() {
    assert_eq!(run(&["--version"]), (Some(0), concat!("ringmq ", env!("CARGO_PKG_VERSION"), "\n").into()));
    let (code, help) = run(&["--help"]);
    assert_eq!(code, Some(0));
    assert!(help.contains("--set") && help.contains("--bind") && !help.contains("hash-seed"), "{help}");
    let (code, limits) = run(&["--set", "help"]);
    assert_eq!(code, Some(0));
    assert!(limits.contains("connect_timeout_ms=10000 (milliseconds)"), "{limits}");
    assert!(limits.contains("receive_maximum=20 (messages)"), "what holds without a file: {limits}");
}

/// O11: too little memory may be locked. Root is exempt from the limit, so the broker runs as somebody else then.
#[test]
fn too_little_lockable_memory_is_one_line_and_exit_code_78() {
    let binary = std::env::temp_dir().join(format!("ringmq-locked-memory-{}", std::process::id()));
    std::fs::copy(env!("CARGO_BIN_EXE_ringmq"), &binary).unwrap();
    let script = format!("ulimit -l 64 && exec {} -p 0", binary.display());
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    // Root may lock as much as it likes.
    if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
        command.uid(NOBODY).gid(NOBODY);
    }
    let output = command.output().unwrap();
    std::fs::remove_file(&binary).unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(78), "{text}");
    assert!(text.contains("ulimit -l") && text.lines().count() == 1, "{text}");
}
