//! Password files between ringmq and Mosquitto, and a broker that asks for passwords.
//!
//! Duty: real programs read what the other has written, and real clients are let in or not. Must not: look into hashes (`auth`
//! does). Neighbours: `mosquitto`, `mosquitto_passwd`, `mosquitto_pub`.
#![cfg(feature = "runtime")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ringmq::auth::Passwords;

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ringmq-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A process that ends with the test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs a program, with lines on its standard input; its exit code.
fn code(program: &str, arguments: &[&str], input: &str) -> i32 {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut process = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    // It may have ended without reading.
    let _ = process.stdin.take().unwrap().write_all(input.as_bytes());
    process.wait().unwrap().code().unwrap()
}

fn passwd(arguments: &[&str], input: &str) -> i32 {
    code(env!("CARGO_BIN_EXE_ringmq"), &[&["passwd"], arguments].concat(), input)
}

fn shown(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// Whether a client is let in and may publish.
fn may_publish(port: u16, user: &str, password: &str, topic: &str) -> bool {
    let port = port.to_string();
    let arguments =
        ["-V", "5", "-h", "127.0.0.1", "-p", &port, "-q", "1", "-t", topic, "-m", "x", "-u", user, "-P", password];
    code("mosquitto_pub", &arguments, "") == 0
}

/// Mosquitto with a password file, once it listens.
fn mosquitto(folder: &Folder, passwords: &Path) -> (Process, u16) {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
    let config = folder.file("mosquitto.conf");
    let text =
        format!("listener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nuser root\n", shown(passwords));
    fs::write(&config, text).unwrap();
    let mut command = Command::new("mosquitto");
    command.args(["-c", shown(&config)]).stdout(Stdio::null()).stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    let lines = BufReader::new(process.stderr.take().unwrap()).lines();
    let is_listening = lines.map_while(Result::ok).any(|line| line.contains("running"));
    assert!(is_listening && TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok());
    (Process(process), port)
}

#[test]
fn mosquitto_lets_in_whom_ringmq_passwd_has_written() {
    let folder = Folder::new("to-mosquitto");
    let file = folder.file("pw");
    assert_eq!(passwd(&["-H", "sha512-pbkdf2", "-c", "-b", shown(&file), "alice", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "sha512", shown(&file), "bob"], "se cret\nse cret\n"), 0);
    // What Mosquitto does not know keeps out that user alone.
    assert_eq!(passwd(&["-H", "scram-sha-256", "-b", shown(&file), "dave", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "scram-sha-256", "-b", shown(&file), "dave", "a\tb"], ""), 1, "a control character");
    let (_mosquitto, port) = mosquitto(&folder, &file);
    for (user, password, is_let_in) in
        [("alice", "secret", true), ("bob", "se cret", true), ("alice", "se cret", false), ("dave", "secret", false)]
    {
        assert_eq!(may_publish(port, user, password, "t"), is_let_in, "{user} {password}");
    }
}

#[test]
fn ringmq_reads_what_mosquitto_passwd_has_written() {
    let folder = Folder::new("from-mosquitto");
    let file = folder.file("pw");
    fs::write(&file, "dave:plain\n").unwrap();
    let theirs = |arguments: &[&str]| assert_eq!(code("mosquitto_passwd", arguments, ""), 0);
    theirs(&["-U", shown(&file)]);
    theirs(&["-b", shown(&file), "alice", "secret"]);
    theirs(&["-H", "sha512", "-b", shown(&file), "bob", "p\u{e4}ss"]);
    assert_eq!(passwd(&["-b", shown(&file), "carol", "argon"], ""), 0);
    theirs(&["-D", shown(&file), "dave"]);
    let passwords = Passwords::parse(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(passwords.verify("alice", b"secret") && passwords.verify("bob", "p\u{e4}ss".as_bytes()));
    assert!(passwords.verify("carol", b"argon") && !passwords.has("dave") && !passwords.verify("alice", b"p"));
}

/// As mosquitto_passwd 2.0.11 ends: 1 for what is wrong, 2 for two passwords that differ; and the file stays as it was.
#[test]
fn a_failed_change_leaves_the_file_and_says_so_by_its_exit_code() {
    let folder = Folder::new("failed");
    let file = folder.file("pw");
    let path = shown(&file);
    assert_eq!(passwd(&[path, "alice"], "a\na\n"), 1, "no file");
    assert!(!file.exists());
    assert_eq!(passwd(&["-H", "sha512", "-c", "-b", path, "alice", "secret"], ""), 0);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    fs::set_permissions(&file, fs::Permissions::from_mode(0o640)).unwrap();
    let before = fs::read(&file).unwrap();
    for (arguments, input, exit_code) in [
        (&["-D", path, "nobody"][..], "", 1),
        (&["-b", path, "a:b", "x"], "", 1),
        (&[path, "bob"], "one\nother\n", 2),
        (&[path, "bob"], "\n\n", 1),
        (&["-b", path, "bob"], "", 1),
        (&["-b", "/no/such/folder/pw", "bob", "x"], "", 1),
    ] {
        assert_eq!(passwd(arguments, input), exit_code, "{arguments:?}");
    }
    assert_eq!(fs::read(&file).unwrap(), before);
    assert_eq!(passwd(&["-H", "sha512", "-b", path, "alice", "other"], ""), 0);
    assert_ne!(fs::read(&file).unwrap(), before);
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640, "the mode stays");
    assert_eq!(passwd(&["-D", path, "alice"], ""), 0);
    assert_eq!(fs::read_to_string(&file).unwrap(), "");
    assert_eq!(fs::read_dir(&folder.0).unwrap().count(), 1, "nothing is left beside it");
}

/// Section 5 of the compatibility list: `$6$`, `$7$` and argon2id, and the entries for SCRAM, checked beside the shards; users and
/// rights follow the files when SIGHUP comes, and a file with a mistake changes nothing.
#[test]
fn a_broker_lets_in_whom_its_files_name_and_follows_them() {
    let folder = Folder::new("broker");
    let (pw, acl) = (folder.file("pw"), folder.file("acl"));
    fs::write(&acl, "user alice\ntopic a/#\nuser bob\ntopic b\nuser carol\ntopic c\nuser erin\ntopic e\n").unwrap();
    assert_eq!(passwd(&["-c", "-b", shown(&pw), "alice", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "sha512-pbkdf2", "-b", shown(&pw), "bob", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "sha512", "-b", shown(&pw), "carol", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "scram-sha-256", "-b", shown(&pw), "erin", "secret"], ""), 0);
    let conf = folder.file("m.conf");
    let text =
        format!("allow_anonymous false\npassword_file {}\nacl_file {}\nlog_timestamp false\n", shown(&pw), shown(&acl));
    fs::write(&conf, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.args(["-c", shown(&conf), "-p", "0", "--shards", "2"]);
    let mut process = Process(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    let mut log = BufReader::new(process.0.stderr.take().unwrap());
    let mut line_with = |words: &str| {
        let mut line = String::new();
        while !line.contains(words) {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the log ended without {words}");
        }
        line
    };
    let line = line_with("listening on 127.0.0.1:");
    let port = line.split("127.0.0.1:").nth(1).unwrap().split([';', ' ', ',']).next().unwrap().parse().unwrap();
    for (user, topic) in [("alice", "a/x"), ("bob", "b"), ("carol", "c"), ("erin", "e")] {
        assert!(may_publish(port, user, "secret", topic), "{user}");
        assert!(!may_publish(port, user, "wrong", topic), "{user}");
    }
    assert!(!may_publish(port, "dave", "secret", "a/x"));
    // Denied or not, mosquitto_pub may call it a success: the log says.
    may_publish(port, "alice", "secret", "b");
    let line = line_with("may not publish to b");
    assert!(line.contains("[127.0.0.1:") && line.contains("of alice") && line.contains("no line of "), "{line}");
    let kill = || assert_eq!(code("kill", &["-HUP", &process.0.id().to_string()], ""), 0);
    assert_eq!(passwd(&["-D", shown(&pw), "bob"], ""), 0);
    assert_eq!(passwd(&["-b", shown(&pw), "carol", "changed"], ""), 0);
    kill();
    line_with("Reloaded: users and rights read again");
    assert!(!may_publish(port, "bob", "secret", "b") && !may_publish(port, "carol", "secret", "c"));
    assert!(may_publish(port, "carol", "changed", "c"));
    fs::write(&acl, "nonsense\n").unwrap();
    kill();
    let line = line_with("Not reloaded, nothing has changed");
    assert!(line.contains("acl:1: 'nonsense'"), "{line}");
    assert!(may_publish(port, "alice", "secret", "a/x"));
}

/// A broker with users, and its log in a file.
struct Guarded {
    process: Process,
    folder: Folder,
    port: u16,
}

impl Guarded {
    fn start(name: &str, password: &str) -> Self {
        let folder = Folder::new(name);
        let (pw, conf, log) = (folder.file("pw"), folder.file("m.conf"), folder.file("log"));
        assert_eq!(passwd(&["-H", "sha512", "-c", "-b", shown(&pw), "alice", password], ""), 0);
        let text = format!("password_file {}\nlog_dest file {}\nlog_type all\n", shown(&pw), shown(&log));
        fs::write(&conf, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
        command.args(["-c", shown(&conf), "-p", "0", "--shards", "2"]).stdout(Stdio::null()).stderr(Stdio::null());
        let mut guarded = Self { process: Process(command.spawn().unwrap()), folder, port: 0 };
        let line = guarded.line_with("listening on 127.0.0.1:");
        let port = line.split("127.0.0.1:").nth(1).unwrap().split([';', ' ', ',']).next().unwrap();
        guarded.port = port.parse().unwrap();
        guarded
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.file("log")).unwrap_or_default()
    }

    fn line_with(&mut self, words: &str) -> String {
        loop {
            if let Some(line) = self.log().lines().find(|line| line.contains(words)) {
                return line.to_owned();
            }
            assert!(self.process.0.try_wait().unwrap().is_none(), "the broker ended without {words}: {}", self.log());
            std::thread::yield_now();
        }
    }

    fn run(&self, program: &str, arguments: &[&str]) {
        let pid = self.process.0.id().to_string();
        let arguments: Vec<_> = arguments.iter().map(|word| if *word == "PID" { &*pid } else { *word }).collect();
        assert_eq!(code(program, &arguments, ""), 0, "{program} {arguments:?}");
    }
}

/// Case O02: whatever is logged, no password, right or wrong, no hash and no will of a client.
#[test]
fn no_secret_stands_in_the_log() {
    let mut broker = Guarded::start("secrets", "rightsecret");
    let port = broker.port.to_string();
    for (user, password) in [("alice", "rightsecret"), ("alice", "wrongsecret"), ("nobody", "othersecret")] {
        let will = ["--will-topic", "w", "--will-payload", "willsecret", "-u", user, "-P", password];
        code("mosquitto_pub", &[&["-p", &port, "-t", "t", "-m", "payloadsecret"][..], &will].concat(), "");
    }
    broker.line_with("as auto-");
    broker.run("kill", &["-HUP", "PID"]);
    broker.line_with("Reloaded");
    broker.run("kill", &["PID"]);
    assert!(broker.process.0.wait().unwrap().success());
    let log = broker.log();
    assert!(log.contains("alice") && !log.contains("secret") && !log.contains("$6$"), "{log}");
}

/// Case A25: a reload that cannot open its files changes nothing, and says so.
#[test]
fn a_reload_without_a_free_descriptor_keeps_what_is_in_force() {
    let mut broker = Guarded::start("descriptors", "secret");
    let pid = broker.process.0.id().to_string();
    assert!(may_publish(broker.port, "alice", "secret", "t"));
    broker.run("prlimit", &["--pid", &pid, "--nofile=3:4096"]);
    broker.run("kill", &["-HUP", "PID"]);
    let line = broker.line_with("Not reloaded, nothing has changed");
    assert!(line.contains("Too many open files"), "{line}");
    broker.run("prlimit", &["--pid", &pid, "--nofile=4096:4096"]);
    assert!(may_publish(broker.port, "alice", "secret", "t") && !may_publish(broker.port, "alice", "wrong", "t"));
    broker.run("kill", &["-HUP", "PID"]);
    broker.line_with("Reloaded");
}
