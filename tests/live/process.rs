//! Process: what the broker says by itself, and how it starts, refuses and ends.
//!
//! Duty: the start line, signals, exit codes, `ringmq why` with files, what systemd hears. Must not: speak MQTT. Neighbours:
//! `configuration` starts it with files.

use std::io::{BufRead, BufReader, ErrorKind};
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{ChildStderr, Command, Stdio};

use crate::broker::TIMEOUT;
use crate::folder::Folder;
use crate::program::{Process, ended, ringmq};

/// A user without rights, on every Linux.
const NOBODY: u32 = 65534;

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let (code, out, err) = ended(&mut ringmq(arguments));
    (code, out + &err)
}

/// A broker on a free port, stopped when dropped.
struct Broker {
    process: Process,
    log: BufReader<ChildStderr>,
    first_line: String,
}

impl Broker {
    fn start(arguments: &[&str]) -> Self {
        let spawned = ringmq(arguments).stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut process = Process(spawned.unwrap());
        let mut log = BufReader::new(process.0.stderr.take().unwrap());
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

    fn next_line(&mut self) -> String {
        let mut line = String::new();
        self.log.read_line(&mut line).unwrap();
        line
    }
}

#[test]
fn the_start_line_names_listeners_shards_cpus_and_durability() {
    let broker = Broker::start(&["-p", "0", "--bind", "127.0.0.1", "--shards", "2"]);
    let line = &broker.first_line;
    assert!(line.starts_with(concat!("ringmq ", env!("CARGO_PKG_VERSION"), " listening on 127.0.0.1:")), "{line}");
    assert!(line.contains("; 2 shards on cpus "), "{line}");
    assert!(line.contains("; durability: memory (nothing survives a restart; --store DIR changes that)"), "{line}");
    assert!(line.contains("; each shard holds at most ") && line.contains(" MiB for its clients"), "{line}");
}

/// O10: SIGTERM and SIGINT stop in order, whatever else comes before.
#[test]
fn a_signal_to_stop_ends_with_exit_code_0() {
    for signal in ["TERM", "INT"] {
        let mut broker = Broker::start(&["-p", "0", "--bind", "127.0.0.1"]);
        broker.process.signal("HUP");
        assert_eq!(broker.next_line(), "Reloaded: users and rights read again, 0 listeners added, 0 removed\n");
        (0..200).for_each(|_| broker.process.signal("USR1"));
        broker.process.signal(signal);
        assert_eq!(broker.process.0.wait().unwrap().code(), Some(0));
    }
}

#[test]
fn signals_of_users_are_answered_in_the_log() {
    let mut broker = Broker::start(&["-p", "0", "--bind", "127.0.0.1", "--shards", "2"]);
    broker.process.signal("USR1");
    assert_eq!(broker.next_line(), "Nothing to save: durability is memory (nothing survives a restart)\n");
    broker.process.signal("USR2");
    for shard in 0..2 {
        let line = broker.next_line();
        let begin = format!("Shard {shard} has 0 subscriptions (0 shared), 0 sessions (0 connected), ");
        assert!(line.starts_with(&begin) && line.contains(" retained messages of the broker"), "{line}");
    }
}

#[test]
fn a_second_broker_on_the_port_is_refused_and_the_first_serves_on() {
    let mut broker = Broker::start(&["-p", "0", "--bind", "127.0.0.1"]);
    let (code, text) = run(&["-p", broker.port(), "--bind", "127.0.0.1"]);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("ringmq: cannot listen on 127.0.0.1:") && text.contains("the port is in use"), "{text}");
    assert!(broker.process.0.try_wait().unwrap().is_none());
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

/// `ringmq why`: the decision, and the file and line that made it; a file with mistakes is exit code 3, with every line.
#[test]
fn why_names_the_line_that_decides() {
    let folder = Folder::new();
    let file = folder.write("acl", "user alice\ntopic read a/#\npattern write dev/%c\n");
    let why = |words: &[&str]| run(&[&["why", "--acl", &file], words].concat());
    for (words, answer) in [
        (&["--user", "alice", "receive", "a/b"][..], format!("allowed by {file}:2\n")),
        (&["--user", "alice", "publish", "a/b"], format!("denied: no line of {file} allows it\n")),
        (&["--client", "x", "publish", "dev/x"], format!("allowed by {file}:3\n")),
        (&["--user", "alice", "--strict", "subscribe", "$share/g/a/+"], "allowed".into()),
        (&["--strict", "subscribe", "a/+"], "denied".into()),
        (&["publish", "$SYS/x"], "denied".into()),
    ] {
        let (code, text) = why(words);
        assert_eq!(code, Some(0), "{words:?}: {text}");
        assert!(text.starts_with(&answer) && text.lines().count() == 1, "{words:?}: {text}");
    }
    assert_eq!(why(&["publish", "a/#"]).0, Some(1), "no topic name");
    folder.write("acl", "topic read a\nuser\nthing\n");
    let (code, text) = why(&["publish", "a"]);
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains(&format!("{file}:2: ")) && text.contains(&format!("{file}:3: ")), "{text}");
}

/// A configuration file names the ACL file and the mount point; where its listeners differ, one must be chosen.
#[test]
fn why_reads_the_rights_of_a_listener_from_a_configuration_file() {
    let folder = Folder::new();
    let acl = folder.write("acl", "topic read m/a\n");
    let text = format!(
        "per_listener_settings true\nlistener 1883\nacl_file {acl}\nmount_point m/\nlistener 1884\nallow_anonymous true\n"
    );
    let conf = folder.write("m.conf", &text);
    let toml = folder.write("r.toml", &format!("[security]\nacl_file = \"{acl}\"\n"));
    for (words, code, answer) in [
        (&["-c", &conf, "--listener", "1883", "receive", "a"][..], 0, &*format!("allowed by {acl}:1\n")),
        (&["-c", &conf, "--listener", "1883", "subscribe", "$share/g/+"], 0, "allowed: "),
        (&["-c", &conf, "--listener", "1883", "publish", "a"], 0, "denied: no line of "),
        (&["-c", &conf, "--listener", "1884", "publish", "a"], 0, "allowed: no acl_file"),
        (&["-c", &conf, "publish", "a"], 1, "ringmq: why: the listeners have different rights"),
        (&["-c", &conf, "--listener", "9", "publish", "a"], 1, "ringmq: why: there is no listener on that port"),
        (&["--config", &toml, "receive", "m/a"], 0, &*format!("allowed by {acl}:1\n")),
        (&["--config", &toml, "subscribe", "z"], 0, "denied: "),
    ] {
        let (got, text) = run(&[&["why"], words].concat());
        assert!(got == Some(code) && text.starts_with(answer), "{words:?}: {got:?} {text}");
    }
}

/// O11: too little memory may be locked. Root is exempt from the limit, so the broker runs as somebody else then.
#[test]
fn too_little_lockable_memory_is_one_line_and_exit_code_78() {
    let folder = Folder::new();
    let binary = folder.path("ringmq");
    // Nobody may not go where it was built. A program that a test had open for writing could not be run as long as any other process
    // had inherited that, so another one writes it.
    assert_eq!(ended(Command::new("cp").args([env!("CARGO_BIN_EXE_ringmq"), &binary])).0, Some(0));
    let script = format!("ulimit -l 64 && exec {binary} -p 0");
    let mut command = Command::new("sh");
    command.args(["-c", &script]);
    // Root may lock as much as it likes.
    if Command::new("id").arg("-u").output().unwrap().stdout == b"0\n" {
        command.uid(NOBODY).gid(NOBODY);
    }
    let (code, _, text) = ended(&mut command);
    assert_eq!(code, Some(78), "{text}");
    assert!(text.contains("ulimit -l") && text.lines().count() == 1, "{text}");
}

/// READY=1 once every shard serves, WATCHDOG=1 as long as every shard answers, STOPPING=1 at the end (sd_notify(3)).
#[test]
fn systemd_hears_that_the_broker_is_ready_alive_and_stopping() {
    let folder = Folder::new();
    let path = folder.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let hear = || {
        let mut text = [0; 200];
        loop {
            match socket.recv(&mut text) {
                Ok(len) => return String::from_utf8_lossy(&text[..len]).trim().to_owned(),
                // A receive with a time limit is not begun again by itself (signal(7)).
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("systemd would wait for it as well: {error}"),
            }
        }
    };
    let mut command = ringmq(&["-p", "0", "--bind", "127.0.0.1", "--shards", "2"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "200000");
    let mut process = Process(command.stderr(Stdio::piped()).spawn().unwrap());
    assert_eq!([hear(), hear(), hear()], ["READY=1", "WATCHDOG=1", "WATCHDOG=1"]);
    process.signal("TERM");
    while hear() != "STOPPING=1" {}
    assert!(process.0.wait().unwrap().success());
}
