//! Password files between ringmq and Mosquitto, and a broker that asks for passwords.
//!
//! Duty: real programs read what the other has written, and real clients are let in or not. Must not: look into hashes (`auth`
//! does). Neighbours: `mosquitto`, `mosquitto_passwd`, `mosquitto_pub`.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Stdio};

use ringmq::auth::Passwords;

use crate::folder::Folder;
use crate::mosquitto;
use crate::program::{Process, ended_after, ringmq};

/// Runs a program, with lines on its standard input; its exit code.
fn code(program: &str, arguments: &[&str], input: &str) -> i32 {
    ended_after(Command::new(program).args(arguments), input).0.unwrap()
}

fn passwd(arguments: &[&str], input: &str) -> i32 {
    code(env!("CARGO_BIN_EXE_ringmq"), &[&["passwd"], arguments].concat(), input)
}

/// Whether a client is let in and may publish.
fn may_publish(broker: SocketAddr, user: &str, password: &str, topic: &str) -> bool {
    let (host, port) = (broker.ip().to_string(), broker.port().to_string());
    let arguments =
        ["-V", "5", "-h", &host, "-p", &port, "-q", "1", "-t", topic, "-m", "x", "-u", user, "-P", password];
    code("mosquitto_pub", &arguments, "") == 0
}

#[test]
fn mosquitto_lets_in_whom_ringmq_passwd_has_written() {
    let folder = Folder::new();
    let file = folder.path("pw");
    assert_eq!(passwd(&["-H", "sha512-pbkdf2", "-c", "-b", &file, "alice", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "sha512", &file, "bob"], "se cret\nse cret\n"), 0);
    // What Mosquitto does not know keeps out that user alone.
    assert_eq!(passwd(&["-H", "scram-sha-256", "-b", &file, "dave", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "scram-sha-256", "-b", &file, "dave", "a\tb"], ""), 1, "a control character");
    let lines = format!("allow_anonymous false\npassword_file {file}\n");
    let (_mosquitto, address) = mosquitto::start(&folder, &lines);
    for (user, password, is_let_in) in
        [("alice", "secret", true), ("bob", "se cret", true), ("alice", "se cret", false), ("dave", "secret", false)]
    {
        assert_eq!(may_publish(address, user, password, "t"), is_let_in, "{user} {password}");
    }
}

#[test]
fn ringmq_reads_what_mosquitto_passwd_has_written() {
    let folder = Folder::new();
    let file = folder.path("pw");
    folder.write("pw", "dave:plain\n");
    let theirs = |arguments: &[&str]| assert_eq!(code("mosquitto_passwd", arguments, ""), 0);
    theirs(&["-U", &file]);
    theirs(&["-b", &file, "alice", "secret"]);
    theirs(&["-H", "sha512", "-b", &file, "bob", "p\u{e4}ss"]);
    assert_eq!(passwd(&["-b", &file, "carol", "argon"], ""), 0);
    theirs(&["-D", &file, "dave"]);
    let passwords = Passwords::parse(&fs::read_to_string(&file).unwrap()).unwrap();
    assert!(passwords.verify("alice", b"secret") && passwords.verify("bob", "p\u{e4}ss".as_bytes()));
    assert!(passwords.verify("carol", b"argon") && !passwords.has("dave") && !passwords.verify("alice", b"p"));
}

/// As mosquitto_passwd 2.0.11 ends: 1 for what is wrong, 2 for two passwords that differ; and the file stays as it was.
#[test]
fn a_failed_change_leaves_the_file_and_says_so_by_its_exit_code() {
    let folder = Folder::new();
    let file = folder.path("pw");
    let path = &*file;
    assert_eq!(passwd(&[path, "alice"], "a\na\n"), 1, "no file");
    assert!(!folder.has("pw"));
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
    assert_eq!(fs::read_dir(folder.root()).unwrap().count(), 1, "nothing is left beside it");
}

/// Section 5 of the compatibility list: `$6$`, `$7$` and argon2id, and the entries for SCRAM, checked beside the shards; users and
/// rights follow the files when SIGHUP comes, and a file with a mistake changes nothing.
#[test]
fn a_broker_lets_in_whom_its_files_name_and_follows_them() {
    let folder = Folder::new();
    let (pw, acl) = (folder.path("pw"), folder.path("acl"));
    fs::write(&acl, "user alice\ntopic a/#\nuser bob\ntopic b\nuser carol\ntopic c\nuser erin\ntopic e\n").unwrap();
    assert_eq!(passwd(&["-c", "-b", &pw, "alice", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "sha512-pbkdf2", "-b", &pw, "bob", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "sha512", "-b", &pw, "carol", "secret"], ""), 0);
    assert_eq!(passwd(&["-H", "scram-sha-256", "-b", &pw, "erin", "secret"], ""), 0);
    let text = format!("allow_anonymous false\npassword_file {pw}\nacl_file {acl}\nlog_timestamp false\n");
    let mut command = ringmq(&["-c", &folder.write("m.conf", &text), "-p", "0", "--shards", "2"]);
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
    let address = address_in(&line);
    for (user, topic) in [("alice", "a/x"), ("bob", "b"), ("carol", "c"), ("erin", "e")] {
        assert!(may_publish(address, user, "secret", topic), "{user}");
        assert!(!may_publish(address, user, "wrong", topic), "{user}");
    }
    assert!(!may_publish(address, "dave", "secret", "a/x"));
    // Denied or not, mosquitto_pub may call it a success: the log says.
    may_publish(address, "alice", "secret", "b");
    let line = line_with("may not publish to b");
    assert!(line.contains("[127.0.0.1:") && line.contains("of alice") && line.contains("no line of "), "{line}");
    assert_eq!(passwd(&["-D", &pw, "bob"], ""), 0);
    assert_eq!(passwd(&["-b", &pw, "carol", "changed"], ""), 0);
    process.signal("HUP");
    line_with("Reloaded: users and rights read again");
    assert!(!may_publish(address, "bob", "secret", "b") && !may_publish(address, "carol", "secret", "c"));
    assert!(may_publish(address, "carol", "changed", "c"));
    fs::write(&acl, "nonsense\n").unwrap();
    process.signal("HUP");
    let line = line_with("Not reloaded, nothing has changed");
    assert!(line.contains("acl:1: 'nonsense'"), "{line}");
    assert!(may_publish(address, "alice", "secret", "a/x"));
}

fn address_in(line: &str) -> SocketAddr {
    line.split([';', ' ', ',']).find(|word| word.starts_with("127.0.0.1:")).unwrap().parse().unwrap()
}

/// A broker with users, and its log in a file.
struct Guarded {
    process: Process,
    folder: Folder,
    address: SocketAddr,
}

impl Guarded {
    fn start(password: &str) -> Self {
        let folder = Folder::new();
        let (pw, log) = (folder.path("pw"), folder.path("log"));
        assert_eq!(passwd(&["-H", "sha512", "-c", "-b", &pw, "alice", password], ""), 0);
        let text = format!("password_file {pw}\nlog_dest file {log}\nlog_type all\n");
        let mut command = ringmq(&["-c", &folder.write("m.conf", &text), "-p", "0", "--shards", "2"]);
        let process = Process(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
        let mut guarded = Self { process, folder, address: (Ipv4Addr::UNSPECIFIED, 0).into() };
        guarded.address = address_in(&guarded.line_with("listening on 127.0.0.1:"));
        guarded
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path("log")).unwrap_or_default()
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
}

/// Case O02: whatever is logged, no password, right or wrong, no hash and no will of a client.
#[test]
fn no_secret_stands_in_the_log() {
    let mut broker = Guarded::start("rightsecret");
    let port = broker.address.port().to_string();
    for (user, password) in [("alice", "rightsecret"), ("alice", "wrongsecret"), ("nobody", "othersecret")] {
        let will = ["--will-topic", "w", "--will-payload", "willsecret", "-u", user, "-P", password];
        code("mosquitto_pub", &[&["-p", &port, "-t", "t", "-m", "payloadsecret"][..], &will].concat(), "");
    }
    broker.line_with("as auto-");
    broker.process.signal("HUP");
    broker.line_with("Reloaded");
    broker.process.signal("TERM");
    assert!(broker.process.0.wait().unwrap().success());
    let log = broker.log();
    assert!(log.contains("alice") && !log.contains("secret") && !log.contains("$6$"), "{log}");
}

/// Case A25: a reload that cannot open its files changes nothing, and says so.
#[test]
fn a_reload_without_a_free_descriptor_keeps_what_is_in_force() {
    let mut broker = Guarded::start("secret");
    let pid = broker.process.0.id().to_string();
    let limit = |files: &str| assert_eq!(code("prlimit", &["--pid", &pid, &format!("--nofile={files}")], ""), 0);
    assert!(may_publish(broker.address, "alice", "secret", "t"));
    limit("3:4096");
    broker.process.signal("HUP");
    let line = broker.line_with("Not reloaded, nothing has changed");
    assert!(line.contains("Too many open files"), "{line}");
    limit("4096:4096");
    assert!(may_publish(broker.address, "alice", "secret", "t") && !may_publish(broker.address, "alice", "wrong", "t"));
    broker.process.signal("HUP");
    broker.line_with("Reloaded");
}
