//! Configuration: the broker as a process with files of Mosquitto's and of its own.
//!
//! Duty: exit codes, texts and where it listens, the same as Mosquitto's where that is what is promised. Must not: speak MQTT.
//! Neighbours: `process` starts it without files; `config` has the tests of every option.

use std::io::{BufRead, BufReader};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use crate::folder::Folder;
use crate::mosquitto;
use crate::program::{Process, ended, ringmq};

fn command(folder: &Folder, arguments: &[&str]) -> Command {
    let mut command = ringmq(arguments);
    command.current_dir(folder.root()).stdin(Stdio::null()).stderr(Stdio::piped()).stdout(Stdio::piped());
    command
}

/// Exit code, standard output and standard error of one that ends by itself.
fn run(folder: &Folder, arguments: &[&str]) -> (Option<i32>, String, String) {
    ended(&mut command(folder, arguments))
}

/// A broker, stopped when dropped.
struct Broker {
    _process: Process,
    /// What it said until it listened.
    lines: Vec<String>,
}

impl Broker {
    fn addresses(&self) -> Vec<&str> {
        let line = self.lines.last().unwrap().split_once(" listening on ").unwrap().1;
        line.split_once(';').unwrap().0.split(", ").collect()
    }
}

fn serve(folder: &Folder, arguments: &[&str]) -> Broker {
    let mut process = Process(command(folder, arguments).spawn().unwrap());
    let log = BufReader::new(process.0.stderr.take().unwrap()).lines();
    let mut lines = Vec::new();
    for line in log.map_while(Result::ok) {
        let is_last = line.contains(" listening on ");
        lines.push(line);
        if is_last {
            return Broker { _process: process, lines };
        }
    }
    panic!("{lines:?}");
}

#[test]
fn a_file_of_mosquittos_says_where_to_listen() {
    let folder = Folder::with(&[
        (
            "m.conf",
            "per_listener_settings false\r\nlistener 0 127.0.0.1\r\nallow_anonymous true\r\ninclude_dir conf.d\r\n",
        ),
        ("conf.d/more.conf", "listener 0 127.0.0.1\nmax_connections 10\n"),
    ]);
    let broker = serve(&folder, &["-c", "m.conf", "-p", "1"]);
    assert_eq!(broker.lines.len(), 1, "{:?}", broker.lines);
    let addresses = broker.addresses();
    assert_eq!(addresses.len(), 2, "{addresses:?}");
    addresses.iter().for_each(|address| drop(TcpStream::connect(address).unwrap()));
}

#[test]
fn without_a_listener_in_the_file_the_port_is_that_of_the_command_line() {
    let folder =
        Folder::with(&[("m.conf", "max_queued_messages 10\n"), ("r.toml", "[limits]\nqueued_messages_max = 10\n")]);
    for file in [["-c", "m.conf"], ["--config-file", "m.conf"], ["--config", "r.toml"]] {
        let broker = serve(&folder, &[file[0], file[1], "-p", "0"]);
        assert!(broker.addresses()[0].starts_with("127.0.0.1:"), "{:?}", broker.lines);
    }
}

#[test]
fn addresses_and_limits_of_the_command_line_count_more_than_the_file() {
    let folder =
        Folder::with(&[("m.conf", "listener 1 192.0.2.1\nmax_packet_size 5000\n"), ("r.toml", "shards = 1\n")]);
    let broker = serve(&folder, &["-c", "m.conf", "--bind", "127.0.0.1:0", "--set", "packet_bytes_max=6000"]);
    assert!(broker.addresses()[0].starts_with("127.0.0.1:"), "{:?}", broker.lines);
    let broker = serve(&folder, &["--config", "r.toml", "--bind", "127.0.0.1:0"]);
    assert!(broker.lines[0].contains("; 1 shard on cpu "), "{:?}", broker.lines);
}

/// The line names file, line and option.
#[test]
fn a_wrong_line_is_one_line_and_exit_code_3() {
    for (text, expected) in [
        ("\nfoo 1\n", "m.conf:2: Error: Unknown configuration variable 'foo'"),
        (
            "max_packet_sizes 1\n",
            "m.conf:1: Error: Unknown configuration variable 'max_packet_sizes'; near it: max_packet_size",
        ),
        ("allow_anonymous maybe\nfoo 1\n", "m.conf:1: Error: Invalid 'allow_anonymous' value (maybe)"),
        ("password_file\n", "m.conf:1: Error: Empty 'password_file' value in configuration."),
        ("pid_file a\npid_file b\n", "m.conf:2: Error: Duplicate 'pid_file' value in configuration."),
        ("address a\n", "m.conf:1: Error: The 'address' option requires a bridge to be defined first."),
        ("connection a\naddress b\n", "m.conf:1: Error: 'connection' cannot be had: bridges"),
        ("listener 1 127.0.0.1\npsk_hint a\n", "m.conf:2: Error: 'psk_hint' cannot be had: TLS with pre-shared keys"),
        ("plugin /l/mine.so\n", "m.conf:1: Error: Unable to load plugin '/l/mine.so'"),
    ] {
        let folder = Folder::with(&[("m.conf", text)]);
        for arguments in [&["-c", "m.conf"][..], &["-c", "m.conf", "--test-config"]] {
            let (code, _, error) = run(&folder, arguments);
            assert_eq!(code, Some(3), "{text}: {error}");
            assert!(error.strip_prefix("ringmq: ").is_some_and(|error| error.starts_with(expected)), "{error}");
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }
}

#[test]
fn a_file_that_cannot_be_opened_is_exit_code_1() {
    let folder = Folder::new();
    let (code, _, error) = run(&folder, &["-c", "none.conf"]);
    assert_eq!(code, Some(1));
    assert!(error.contains("Error: Unable to open config file 'none.conf'."), "{error}");
    let (code, _, error) = run(&folder, &["--config", "none.toml"]);
    assert_eq!((code, error.contains("none.toml")), (Some(1), true), "{error}");
}

#[test]
fn a_good_file_passes_the_test_without_a_start() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let text = format!("listener {port} 127.0.0.1\nmemory_limit 5\n");
    let folder = Folder::with(&[("m.conf", &text)]);
    let (code, told, error) = run(&folder, &["-c", "m.conf", "--test-config"]);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    assert!(told.starts_with("m.conf:2: Warning: 'memory_limit' is not supported: "), "{told}");
    assert!(told.ends_with("\nConfiguration file is OK.\n"), "{told}");
    let (code, _, error) = run(&folder, &["-c", "m.conf"]);
    assert_eq!(code, Some(1), "the port is in use: {error}");
    assert!(error.starts_with("ringmq: m.conf:2: Warning: 'memory_limit'"), "{error}");
}

#[test]
fn a_check_says_all_mistakes_of_all_files() {
    let folder = Folder::with(&[
        ("m.conf", "foo 1\ninclude_dir d\nmax_qos 3\n"),
        ("d/a.conf", "bar 1\n"),
        ("r.toml", "nonsense = 1\n[limits]\nreceive_maximum = 0\n[log]\nquite = true\n"),
    ]);
    let (code, _, error) = run(&folder, &["check", "-c", "m.conf"]);
    assert_eq!(code, Some(3));
    let places: Vec<_> =
        error.lines().map(|line| line.strip_prefix("ringmq: ").unwrap().split(": ").next().unwrap()).collect();
    assert_eq!(places, ["m.conf:1", "d/a.conf:1", "m.conf:3"], "{error}");
    let (code, _, error) = run(&folder, &["check", "--config", "r.toml"]);
    assert_eq!((code, error.lines().count()), (Some(3), 3), "{error}");
    assert!(error.contains("r.toml:3: 'limits.receive_maximum': a number from 1 to 65535"), "{error}");
    assert!(error.contains("r.toml:5: unknown key 'log.quite'; near it: quiet"), "{error}");
}

#[test]
fn a_check_names_files_that_are_not_there_and_cpus_that_are_not() {
    let text = "listener 1 127.0.0.1\npassword_file none.pw\ncertfile m.conf\nkeyfile none.key\n";
    let toml = "cpus = [100000]\n";
    let folder = Folder::with(&[("m.conf", text), ("r.toml", toml), ("own.toml", "[log]\n")]);
    let (code, _, error) = run(&folder, &["check", "-c", "m.conf"]);
    assert_eq!((code, error.lines().count()), (Some(1), 2), "{error}");
    assert!(error.contains("passwords none.pw: ") && error.contains("key none.key: "), "{error}");
    let (code, _, error) = run(&folder, &["check", "--config", "r.toml"]);
    assert!(code == Some(3) && error.starts_with("ringmq: r.toml: this process may not run on cpu 100000"), "{error}");
    let (code, _, error) = run(&folder, &["--cpus", "100000"]);
    assert!(code == Some(1) && error.starts_with("ringmq: --cpus 100000: this process may not"), "{error}");
    let (code, _, error) = run(&folder, &["-c", "own.toml"]);
    assert!(code == Some(3) && error.contains("; --config reads ringmq's own files"), "{error}");
}

#[test]
fn printed_files_are_files_to_start_from() {
    let folder = Folder::with(&[(
        "m.conf",
        "listener 0 127.0.0.1\nmax_inflight_messages 5\nmemory_limit 5\npersistence true\n",
    )]);
    for arguments in [&["config", "default"][..], &["config", "convert", "m.conf"]] {
        let (code, text, error) = run(&folder, arguments);
        assert_eq!((code, error.as_str()), (Some(0), ""));
        folder.write("r.toml", &text);
        let (code, told, error) = run(&folder, &["check", "--config", "r.toml"]);
        assert_eq!((code, error.as_str()), (Some(0), ""), "{told}");
    }
    let broker = serve(&folder, &["--config", "r.toml"]);
    assert!(broker.addresses()[0].starts_with("127.0.0.1:"), "{:?}", broker.lines);
    let text = folder.read("r.toml");
    assert!(text.contains("# m.conf:3: Warning: 'memory_limit' is not supported"), "{text}");
    assert!(text.contains("\n[store]\npath = \"./mosquitto.ringmq\"\n"), "{text}");
}

/// The files that Debian installs, as they are in its package of Mosquitto, but for where the folders are: the log and the name of
/// the process go where they say.
#[test]
fn files_as_debian_has_them_start_the_broker() {
    let main = "# Place your local configuration in conf.d\n\npid_file run/mosquitto.pid\n\npersistence true\n\
                persistence_location lib/\n\nlog_dest file log/mosquitto.log\n\ninclude_dir conf.d\n";
    let folder = Folder::with(&[
        ("mosquitto.conf", main),
        ("conf.d/README", "All files here that end in .conf are read.\n"),
        ("run/README", ""),
        ("lib/README", ""),
        ("log/README", ""),
    ]);
    let mut process = command(&folder, &["-c", "mosquitto.conf", "-p", "0"]).spawn().unwrap();
    let read = |file| std::fs::read_to_string(folder.path(file)).unwrap_or_default();
    while !read("log/mosquitto.log").contains(" listening on ") && process.try_wait().unwrap().is_none() {
        std::thread::yield_now();
    }
    let (log, pid) = (read("log/mosquitto.log"), read("run/mosquitto.pid"));
    assert_eq!(pid, format!("{}\n", process.id()), "{log}");
    let is_stamped = |line: &str| line.split(": ").next().is_some_and(|stamp| stamp.parse::<u64>().is_ok());
    assert!(log.lines().all(is_stamped), "{log}");
    assert!(Command::new("kill").arg(process.id().to_string()).status().unwrap().success());
    let output = process.wait_with_output().unwrap();
    assert!(output.status.success());
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "", "nothing is missing");
    assert!(read("log/mosquitto.log").contains("ringmq has stopped") && read("run/mosquitto.pid").is_empty());
    assert!(folder.has("lib/mosquitto.db"), "Mosquitto can go on with it");
}

/// Who names a store beside the file that Mosquitto has left is told how to begin with that; it is not touched.
#[test]
fn a_file_that_mosquitto_has_left_is_told_of_with_the_remedy() {
    let conf = "listener 0 127.0.0.1\npersistence true\npersistence_location lib\n";
    let folder = Folder::with(&[("m.conf", conf), ("lib/mosquitto.db", "theirs")]);
    let broker = serve(&folder, &["-c", "m.conf", "--store", "lib/mosquitto.ringmq"]);
    let remedy = "`ringmq import lib/mosquitto.db --store lib/mosquitto.ringmq`";
    assert!(broker.lines.iter().any(|line| line.contains(remedy)), "{:?}", broker.lines);
    drop(broker);
    assert_eq!(folder.read("lib/mosquitto.db"), "theirs");
    std::fs::create_dir_all(folder.path("lib/mosquitto.ringmq")).unwrap();
    let broker = serve(&folder, &["-c", "m.conf", "--store", "lib/mosquitto.ringmq"]);
    assert!(!broker.lines.iter().any(|line| line.contains("ringmq import")), "{:?}", broker.lines);
}

/// Mosquitto serves with such a place, and loses everything at its end.
#[test]
fn a_place_of_the_store_that_cannot_be_is_refused() {
    let folder = Folder::with(&[("m.conf", "listener 0 127.0.0.1\npersistence true\npersistence_location m.conf\n")]);
    for arguments in [&["-c", "m.conf"][..], &["check", "-c", "m.conf"], &["--store", "no/where", "-p", "0"]] {
        let (code, _, error) = run(&folder, arguments);
        assert!(code == Some(1) && error.contains(" is no directory; make it, or name another by"), "{error}");
        assert_eq!(error.lines().count(), 1, "{error}");
    }
}

/// With `-d` the command ends when the broker serves, or says why it cannot; the broker goes on by itself.
#[test]
fn in_the_background_a_start_is_told_like_any_other() {
    let folder = Folder::with(&[("m.conf", "pid_file pid\nlog_dest none\n")]);
    assert_eq!(run(&folder, &["-d", "-c", "m.conf", "-p", "0"]), (Some(0), String::new(), String::new()));
    let pid = folder.read("pid");
    assert!(Command::new("kill").arg(pid.trim()).status().unwrap().success(), "it runs");
    while folder.has("pid") {
        std::thread::yield_now();
    }
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let (code, _, error) = run(&folder, &["-d", "-c", "m.conf", "-p", &port]);
    assert!(code == Some(1) && error.contains("in use"), "{code:?} {error}");
}

/// What is promised to be as in Mosquitto is asked of Mosquitto.
#[test]
fn mosquitto_refuses_and_takes_the_same_files() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listener = format!("listener {} 127.0.0.1\n", taken.local_addr().unwrap().port());
    for (text, code) in [
        ("foo 1\n", 3),
        (" # no comment\n", 3),
        ("listener\t1884\n", 3),
        ("allow_anonymous maybe\n", 3),
        ("password_file\n", 3),
        ("pid_file a\npid_file b\n", 3),
        ("topic #\n", 3),
        ("listener 0\n", 3),
        ("max_packet_size 19\n", 3),
        ("max_qos 3\n", 3),
        ("log_dest nowhere\n", 3),
        ("log_type loud\n", 3),
        ("protocol mqtts\n", 3),
        ("socket_domain ipx\n", 3),
        ("persistent_client_expiration 3x\n", 3),
        ("allow_anonymous true\nper_listener_settings true\n", 3),
        ("plugin_opt_x y\n", 3),
        ("max_topic_alias 70000\n", 3),
        // What both take ends at the port that is in use.
        ("", 1),
        ("  max_connections 5\n", 1),
        ("#foo 1\n\n   \n", 1),
        ("allow_anonymous 1\r\nmax_keepalive 60\r\n", 1),
        ("allow_anonymous true # why\n", 1),
        ("persistent_client_expiration 2m\nsys_interval 0\nset_tcp_nodelay true\n", 1),
        ("max_topic_alias 0\nmount_point a/\nsocket_domain ipv4\n", 1),
    ] {
        // What is wrong in itself is without a listener, so that no other mistake can be the one that is found.
        let text = if code == 1 { format!("{listener}{text}") } else { text.to_owned() };
        let folder = Folder::with(&[("m.conf", &text)]);
        // Its port is in use, so that it ends by itself in any case.
        let (theirs, _, error) = ended(mosquitto::command("m.conf").current_dir(folder.root()));
        assert_eq!(theirs, Some(code), "Mosquitto: {text}: {error}");
        let (own, _, error) = run(&folder, &["-c", "m.conf"]);
        assert_eq!(own, Some(code), "{text}: {error}");
    }
}
