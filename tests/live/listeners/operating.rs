//! What an operator does while clients are connected: reading the log, changing files.

use std::fs;
use std::net::TcpStream;
use std::process::Command;

use ringmq::wire::{Connect, ProtocolVersion};

use super::{Subscriber, run};
use crate::broker::{Broker, TIMEOUT};
use crate::client::Client;
use crate::folder::Folder;

fn publish(broker: &Broker, arguments: &[&str]) -> bool {
    let port = broker.port.to_string();
    run("mosquitto_pub", &[&["-p", &port, "-t", "t", "-m", "m"], arguments].concat()).0
}

fn is_refused(address: &str) -> bool {
    TcpStream::connect(address).is_err()
}

fn port_on(line: &str, host: &str) -> String {
    let place = line.split([' ', ',', ';']).find(|word| word.starts_with(host));
    place.unwrap_or_else(|| panic!("{line}")).to_owned()
}

/// The texts are those of mosquitto 2.0.11 -v.
#[test]
fn the_log_has_the_words_of_mosquitto() {
    let folder = Folder::new();
    let conf = "listener 0 127.0.0.1\nallow_anonymous true\nlog_type all\nlog_timestamp false\n";
    let broker = Broker::of_arguments(&["-c", &folder.write("m.conf", conf)], 2);
    assert!(publish(&broker, &["-i", "one", "-u", "ann", "-P", "x", "-k", "7"]));
    let words = [&*format!(" on port {}.", broker.port), "New connection from 127.0.0.1:"];
    broker.line_with(&words);
    let line = broker.line_with(&["New client connected from 127.0.0.1:"]);
    assert!(line.ends_with(" as one (p2, c1, k7, u'ann')."), "{line}");
    broker.line_with(&["Client one disconnected. ["]);
    let port = broker.port.to_string();
    let (is_good, printed) = run("mosquitto_sub", &["-p", &port, "-i", "two", "-t", "x/y", "-U", "z", "-q", "1", "-E"]);
    assert!(is_good, "{printed}");
    assert_eq!(broker.line_with(&["two 1 x/y"]), "two 1 x/y");
    let mut three = broker.connect("three");
    for packet in [&b"\x82\x08\0\x01\0\x03a/b\0"[..], b"\xa2\x07\0\x02\0\x03a/b"] {
        three.say(|out| out.extend(packet));
        three.hear();
    }
    assert_eq!(broker.line_with(&["three 0 "]), "three 0 a/b");
    assert_eq!(broker.line_with(&["three a/b"]), "three a/b");
    broker.dial().stream.shutdown(std::net::Shutdown::Both).unwrap();
    broker.line_with(&["Client <unknown> closed its connection. [from 127.0.0.1:"]);
}

/// What a signal changes is all or nothing, and nobody who is connected notices it.
#[test]
fn a_reload_under_a_thousand_clients_drops_none() {
    // There must be room for them in this process, beside what other tests have open.
    let raise = "prlimit --pid \"$0\" --nofile=\"$(ulimit -H -n):\"";
    assert!(run("sh", &["-c", raise, &std::process::id().to_string()]).0);
    let folder = Folder::new();
    let listeners = |hosts: &[&str], more: &str| {
        let hosts = hosts.iter().map(|host| format!("listener 0 {host}\n")).collect::<String>();
        folder.write("m.conf", &format!("{hosts}allow_anonymous true\nlog_timestamp false\n{more}"))
    };
    let conf = listeners(&["127.0.0.1", "127.0.0.2"], "");
    let mut broker = Broker::of_arguments(&["-c", &conf], 2);
    let first = broker.log.lock().unwrap()[0].clone();
    let removed = port_on(&first, "127.0.0.2:");
    let mut clients: Vec<Client> = (0..1000).map(|number| broker.connect(&format!("client-{number}"))).collect();
    let mut of_removed = broker.dial();
    of_removed.stream = TcpStream::connect(&removed).unwrap();
    of_removed.stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    of_removed.say(|out| Connect::new(ProtocolVersion::V311, "of-removed").encode(out));
    assert_eq!(of_removed.hear()[3], 0);
    listeners(&["127.0.0.1", "127.0.0.2"], "foo 1\n");
    broker.signal("HUP");
    broker.line_with(&["Not reloaded, nothing has changed", "m.conf:5", "foo"]);
    assert!(!is_refused(&removed));
    let log = folder.path("log");
    let more = format!(
        "max_queued_messages 7\nmax_inflight_messages 3\nlog_dest stderr\nlog_dest file {log}\nmemory_limit 1\n"
    );
    listeners(&["127.0.0.1", "127.0.0.3"], &more);
    broker.signal("HUP");
    let line = broker.line_with(&["Reloaded: "]);
    assert!(line.contains("1 listeners added, 1 removed, limits changed, log changed"), "{line}");
    assert!(line.contains("a new start is needed for receive_maximum"), "{line}");
    broker.line_with(&["m.conf:9", "memory_limit"]);
    clients.iter_mut().for_each(Client::expect_alive);
    broker.connect("afterwards").expect_alive();
    of_removed.expect_alive();
    // Each shard closes its own socket in its next turn.
    assert!((0..10_000).any(|_| is_refused(&removed)));
    assert_eq!(broker.stop(), Some(0));
    // The log is complete now.
    assert!(fs::read_to_string(&log).unwrap().contains("New client connected from"));
}

/// No signal comes: the file is seen to change. One that is half-written changes nothing, until it is whole.
#[test]
fn a_new_password_file_holds_without_a_signal() {
    let folder = Folder::new();
    let passwords = folder.write("passwords", "");
    let passwd = |arguments: &[&str]| {
        let words = [&["passwd", "-b", &passwords], arguments].concat();
        let (is_good, printed) = run(env!("CARGO_BIN_EXE_ringmq"), &words);
        assert!(is_good, "{printed}");
    };
    passwd(&["ann", "first"]);
    let conf = format!("listener 0 127.0.0.1\npassword_file {passwords}\nlog_timestamp false\n");
    let broker = Broker::of_arguments(&["-c", &folder.write("m.conf", &conf)], 2);
    assert!(publish(&broker, &["-u", "ann", "-P", "first"]));
    fs::write(&passwords, "ann:$7$half").unwrap();
    broker.line_with(&["Files were written that cannot be used; the old ones hold", "passwords:1"]);
    assert!(publish(&broker, &["-u", "ann", "-P", "first"]));
    fs::write(&passwords, "").unwrap();
    passwd(&["bob", "second"]);
    while !publish(&broker, &["-u", "bob", "-P", "second"]) {}
    broker.line_with(&["Files were written and are used"]);
    assert!(!publish(&broker, &["-u", "ann", "-P", "first"]));
}

/// The same by a Unix socket: its file is systemd's, which finds it again when the broker has ended.
#[test]
fn an_inherited_unix_socket_is_listened_on_and_its_file_stays() {
    let folder = Folder::new();
    let starter = "import os, socket, sys\n\
        bound = socket.socket(socket.AF_UNIX); bound.bind(sys.argv[2]); bound.listen(100)\n\
        copy = os.dup(bound.fileno()); os.dup2(copy, 3)\n\
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n\
        os.execv(sys.argv[1], [sys.argv[1], '--bind', '127.0.0.1:0', '--bind', 'unix:' + sys.argv[3],\n\
                               '--shards', '2', '--hash-seed', '1', '-v'])\n";
    let starter = folder.write("starter.py", starter);
    let command = |bound: &str, named: &str| {
        let mut command = Command::new("python3");
        command.args([&starter, env!("CARGO_BIN_EXE_ringmq"), bound, named]);
        command
    };
    let path = folder.path("mqtt.sock");
    let mut broker = Broker::of_command(command(&path, &path), 2);
    let subscriber = Subscriber::start(&["--unix", &path, "-i", "here"], "by/unix");
    broker.line_with(&["New client connected from unix socket (pid ", "as here"]);
    for shard in 0..2 {
        let id = broker.client_id("client", shard);
        let (is_good, printed) = run("mosquitto_pub", &["--unix", &path, "-i", &id, "-t", "other", "-m", "x"]);
        assert!(is_good, "{printed}");
    }
    assert!(run("mosquitto_pub", &["--unix", &path, "-t", "by/unix", "-m", "hello"]).0);
    subscriber.expect("hello");
    assert_eq!(broker.stop(), Some(0));
    assert!(fs::exists(&path).unwrap());
    let output = command(&folder.path("bound.sock"), &folder.path("other.sock")).output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    let bound = format!("LISTEN_FDS: no listener has the address unix:{}", folder.path("bound.sock"));
    assert!(text.contains(&bound), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}

/// systemd binds, the broker accepts: on a socket that all shards share.
#[test]
fn an_inherited_socket_is_listened_on() {
    let folder = Folder::new();
    let starter = "import os, socket, sys\n\
        bound = socket.socket(); bound.bind(('127.0.0.1', 0)); bound.listen(100)\n\
        port = str(bound.getsockname()[1]); copy = os.dup(bound.fileno()); os.dup2(copy, 3)\n\
        os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1')\n\
        name = '127.0.0.1:' + (port if sys.argv[2] == 'same' else '1')\n\
        os.execv(sys.argv[1], [sys.argv[1], '--bind', name, '--shards', '2', '--hash-seed', '1', '-v'])\n";
    let starter = folder.write("starter.py", starter);
    let command = |which: &str| {
        let mut command = Command::new("python3");
        command.args([&starter, env!("CARGO_BIN_EXE_ringmq"), which]);
        command
    };
    let mut broker = Broker::of_command(command("same"), 2);
    for shard in 0..2 {
        broker.connect(&broker.client_id("client", shard)).expect_alive();
    }
    assert_eq!(broker.stop(), Some(0));
    let output = command("other").output().unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.contains("LISTEN_FDS: no listener has the address 127.0.0.1:"), "{text}");
    assert_eq!(output.status.code(), Some(1), "{text}");
}
