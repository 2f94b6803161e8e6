//! Admin: a running broker that is asked about itself.
//!
//! Duty: what is answered before and after a reload, who is let in, what hostile requests get, that a stop does not wait for anybody.
//! Must not: speak MQTT beyond a CONNECT. Neighbours: `process` has `ringmq why` with files; `room` asks for the rest.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::net::UnixStream;

use ringmq::wire::{Connect, ProtocolVersion};

use crate::broker::{Broker, TIMEOUT};
use crate::folder::Folder;
use crate::program::{self, ended};

/// Exit code and output of a ringmq that ends by itself, with these variables.
fn ringmq_with(variables: &[(&str, &str)], arguments: &[&str]) -> (Option<i32>, String) {
    let (code, out, err) = ended(program::ringmq(arguments).envs(variables.iter().copied()));
    (code, out + &err)
}

fn ringmq(arguments: &[&str]) -> (Option<i32>, String) {
    ringmq_with(&[], arguments)
}

/// What `ringmq why` says of the broker.
fn why(broker: &Broker, words: &[&str]) -> (Option<i32>, String) {
    let admin = format!("127.0.0.1:{}", broker.port_of("http://"));
    ringmq(&[&["why", "--admin", &admin], words].concat())
}

/// A broker with an admin room on a free port and these lines in its file of Mosquitto's.
fn start(folder: &Folder, lines: &str, options: &[&str]) -> Broker {
    let text = format!("listener 0 127.0.0.1\nallow_anonymous true\nlog_timestamp false\nadmin 127.0.0.1:0\n{lines}");
    let conf = folder.write("m.conf", &text);
    Broker::of_arguments(&[&["-c", &conf], options].concat(), 2)
}

fn dial(broker: &Broker) -> TcpStream {
    let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, broker.port_of("http://"))).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream
}

/// All that comes until the end.
fn rest(stream: &mut impl Read) -> String {
    let mut bytes = Vec::new();
    // A connection that is cut off has an error for an end.
    let _ = stream.read_to_end(&mut bytes);
    String::from_utf8(bytes).unwrap()
}

/// Status and the whole text of the answer to a request of these lines.
fn request(broker: &Broker, lines: &str) -> (u16, String) {
    let mut stream = dial(broker);
    stream.write_all(format!("{lines}\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    let text = rest(&mut stream);
    let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{text}")), text)
}

fn get(broker: &Broker, path: &str) -> (u16, String) {
    request(broker, &format!("GET {path} HTTP/1.1\r\nHost: localhost"))
}

/// The rules that hold now, with the file and the line, and in the same words as of the files; what cannot be used changes nothing.
#[test]
fn a_running_broker_says_why_by_the_rules_that_it_has_now() {
    let folder = Folder::new();
    let acl = folder.write("acl", "user ann\ntopic read a/#\n");
    let other = folder.write("other", "user ann\ntopic read b\n\ntopic write a/#\n");
    let mut broker = start(&folder, &format!("acl_file {acl}\n"), &[]);
    let conf = folder.path("m.conf");
    let questions = [
        &["--user", "ann", "publish", "a/b"][..],
        &["--user", "ann", "receive", "a/b"],
        &["--user", "ann", "subscribe", "$share/g/a/+"],
        &["--user", "ann", "subscribe", "x"],
        &["--client", "c", "publish", "$SYS/a"],
        &["publish", "a/#"],
        &["--listener", "9", "publish", "a"],
    ];
    let agree = |broker: &Broker| {
        for words in questions {
            assert_eq!(why(broker, words), ringmq(&[&["why", "-c", &conf], words].concat()), "{words:?}");
        }
    };
    assert_eq!(why(&broker, questions[0]), (Some(0), format!("denied: no line of {acl} allows it\n")));
    assert_eq!(why(&broker, questions[1]), (Some(0), format!("allowed by {acl}:2\n")));
    agree(&broker);
    let text = fs::read_to_string(&conf).unwrap();
    folder.write("m.conf", &text.replace(&acl, &other));
    broker.signal("HUP");
    broker.line_with(&["Reloaded: "]);
    assert_eq!(why(&broker, questions[0]), (Some(0), format!("allowed by {other}:4\n")));
    agree(&broker);
    folder.write("m.conf", &text.replace(&acl, "/no/such/file"));
    broker.signal("HUP");
    broker.line_with(&["Not reloaded, nothing has changed", "/no/such/file"]);
    assert_eq!(why(&broker, questions[0]), (Some(0), format!("allowed by {other}:4\n")));
    assert_eq!(broker.stop(), Some(0));
}

/// Listeners that a reload adds and removes, each with its rights.
#[test]
fn the_listener_that_the_client_comes_by_is_named_by_its_port() {
    let folder = Folder::new();
    let acl = folder.write("acl", "topic read m/a\n");
    let socket = folder.path("mqtt.sock");
    let lines = format!("listener 0 127.0.0.1\nlistener 0 {socket}\nmount_point m/\n");
    let broker = start(&folder, &format!("acl_file {acl}\n{lines}"), &[]);
    let (code, text) = why(&broker, &["receive", "a"]);
    assert!(code == Some(1) && text.contains("choose one by --listener PORT"), "{text}");
    let port = broker.port.to_string();
    assert_eq!(why(&broker, &["--listener", "0", "receive", "a"]).1, format!("allowed by {acl}:1\n"));
    assert!(why(&broker, &["--listener", &port, "receive", "a"]).1.starts_with("denied: "));
    let text = folder.read("m.conf");
    folder.write("m.conf", &text.replace(&format!("listener 0 {socket}\nmount_point m/\n"), ""));
    broker.signal("HUP");
    broker.line_with(&["Reloaded: ", "1 removed"]);
    assert!(why(&broker, &["--listener", "0", "receive", "a"]).1.contains("no listener on that port"));
    assert!(why(&broker, &["receive", "a"]).1.starts_with("denied: "), "the others have the same rights");
}

/// The shard that has the session is asked for its user, whichever it is.
#[test]
fn the_user_of_a_session_is_found_by_its_client_id() {
    let folder = Folder::new();
    let acl = folder.write("acl", "user ann\ntopic a\n");
    let broker = start(&folder, &format!("acl_file {acl}\n"), &[]);
    for shard in 0..2 {
        let id = broker.client_id("client", shard);
        let connect = Connect { user_name: Some("ann"), ..Connect::new(ProtocolVersion::V311, &id) };
        let _client = broker.join(&connect);
        let (code, text) = why(&broker, &["--client", &id, "publish", "a"]);
        assert_eq!((code, text), (Some(0), format!("allowed by {acl}:2\nfor user ann, whose session {id} is\n")));
        let (_, text) = why(&broker, &["--client", &id, "--user", "bob", "publish", "a"]);
        assert_eq!(text, format!("denied: no line of {acl} allows it\n"), "who is named counts");
        let (status, text) = get(&broker, &format!("/api/v1/why?client={id}&action=publish&topic=a"));
        assert!(status == 200 && text.contains("content-type: application/json"), "{text}");
        let body = text.split("\r\n\r\n").nth(1).unwrap();
        let expected = format!(
            "{{\"allowed\":true,\"text\":\"allowed by {acl}:2\",\"file\":\"{acl}\",\"line\":2,\"user\":\"ann\",\
             \"user_is_of_session\":true}}\n"
        );
        assert_eq!(body, expected);
    }
    assert!(why(&broker, &["--client", "nobody", "publish", "a"]).1.starts_with("denied: "));
}

#[test]
fn the_token_is_wanted_by_who_asks_and_changes_with_its_file() {
    let folder = Folder::new();
    let token = folder.write("token", "first-token-0123456789\n");
    let broker = start(&folder, &format!("admin_token_file {token}\n"), &[]);
    let ask = |header: &str| {
        let path = "/api/v1/why?action=publish&topic=a";
        request(&broker, &format!("GET {path} HTTP/1.1\r\nHost: broker.example.org{header}"))
    };
    for wrong in [
        "",
        "\r\nAuthorization: Bearer",
        "\r\nAuthorization: Bearer first-token-012345678",
        "\r\nAuthorization: Basic Zmlyc3Q=",
    ] {
        let (status, text) = ask(wrong);
        assert!(status == 401 && text.contains("www-authenticate: Bearer"), "{wrong}: {text}");
        assert!(text.contains("application/problem+json") && text.contains("\"status\":401"), "{text}");
    }
    broker.line_with(&["Admin requests refused: 1 without the token"]);
    assert_eq!(ask("\r\nAuthorization: Bearer first-token-0123456789").0, 200);
    assert_eq!((get(&broker, "/healthz").0, get(&broker, "/readyz").0), (200, 200), "probes need none");
    let (code, text) = why(&broker, &["publish", "a"]);
    assert!(code == Some(1) && text.contains("--admin-token-file"), "{text}");
    assert_eq!(why(&broker, &["--admin-token-file", &token, "publish", "a"]).0, Some(0));
    folder.write("token", "second-token-0123456789\n");
    broker.signal("HUP");
    broker.line_with(&["Reloaded: "]);
    assert_eq!(ask("\r\nAuthorization: Bearer first-token-0123456789").0, 401);
    assert_eq!(why(&broker, &["--admin-token-file", &token, "publish", "a"]).0, Some(0));
    folder.write("token", "short\n");
    broker.signal("HUP");
    let line = broker.line_with(&["Not reloaded, nothing has changed", "token:1"]);
    assert!(!line.contains("short"), "{line}");
    assert_eq!(ask("\r\nAuthorization: Bearer second-token-0123456789").0, 200);
}

#[test]
fn an_address_that_others_reach_needs_a_token_from_the_start() {
    let folder = Folder::new();
    for (lines, options, code) in
        [("", &["--admin", "0.0.0.0:0"][..], 1), ("admin 0.0.0.0:0\n", &[], 3), ("admin nonsense\n", &[], 3)]
    {
        let conf = folder.write("m.conf", &format!("listener 0 127.0.0.1\n{lines}"));
        let (got, text) = ringmq(&[&["-c", &conf], options].concat());
        assert!(got == Some(code) && text.contains("admin") && text.lines().count() == 1, "{got:?} {text}");
    }
    let token = folder.path("token");
    let (code, text) = ringmq(&["-p", "0", "--admin", "0.0.0.0:0", "--admin-token-file", &token]);
    assert!(code == Some(1) && text.contains("admin_token_file") && text.contains("cannot be read"), "{text}");
    folder.write("token", "0123456789abcdef\n");
    let broker = start(&folder, "", &["--admin", "0.0.0.0:0", "--admin-token-file", &token]);
    broker.line_with(&["; admin on http://0.0.0.0:"]);
    assert_eq!(get(&broker, "/api/v1/why?action=publish&topic=a").0, 401);
    let taken = format!("127.0.0.1:{}", broker.port_of("http://"));
    let (code, text) = ringmq(&["-p", "0", "--admin", &taken]);
    assert!(code == Some(1) && text.contains("in use") && text.contains("admin"), "{text}");
}

#[test]
fn what_is_no_question_is_a_problem_with_its_remedy() {
    let folder = Folder::new();
    let broker = start(&folder, "", &[]);
    assert_eq!(get(&broker, "/healthz").1.split("\r\n\r\n").nth(1), Some("ok\n"));
    assert_eq!(get(&broker, "/readyz").1.split("\r\n\r\n").nth(1), Some("ready\n"));
    for (path, words) in [
        ("/api/v1/why", "missing field"),
        ("/api/v1/why?action=eat&topic=a", "publish, receive or subscribe"),
        ("/api/v1/why?action=publish&topic=a%2f%23", "'a/#'"),
        ("/api/v1/why?action=publish&topic=a&listener=x", "invalid digit"),
        ("/api/v1/why?action=publish&topic=a&colour=red", "unknown field"),
        ("/api/v1/why?action=publish&topic=a&listener=9", "no listener on that port"),
    ] {
        let (status, text) = get(&broker, path);
        assert!(status == 400 && text.contains(words) && text.contains("application/problem+json"), "{path}: {text}");
    }
    assert_eq!(get(&broker, "/nothing").0, 404);
    assert_eq!(request(&broker, "POST /healthz HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0").0, 405);
    let (status, text) = request(&broker, "GET /api/v1/why?action=publish&topic=a HTTP/1.1\r\nHost: evil.example.org");
    assert!(status == 421 && text.contains("IP address"), "a page of another name: {text}");
}

/// Who is slow, or speaks something else, is cut off, and counted in the log.
#[test]
fn slow_requests_end_at_their_bound_and_the_broker_serves_on() {
    let folder = Folder::new();
    let broker = start(&folder, "admin_allow_changes true\n", &["--set", "admin_request_ms_max=50"]);
    let mut client = broker.connect("beside");
    let mut slow = dial(&broker);
    slow.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
    assert_eq!(rest(&mut slow), "", "cut off without an answer");
    broker.line_with(&["Admin requests refused: 1 that took too long (admin_request_ms_max)"]);
    let mut nonsense = dial(&broker);
    let _ = nonsense.write_all(&[0x16, 3, 1, 0, 0xff, 0, 0xff]);
    rest(&mut nonsense);
    let head = "POST /api/v1/publish HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\
        Connection: close\r\n\r\n";
    // Its time begins when the connection is accepted; its head is there by then, however busy the machine is.
    let mut without_body = broker.at_once(|| {
        let mut stream = dial(&broker);
        stream.write_all(head.as_bytes()).unwrap();
        stream
    });
    let text = rest(&mut without_body);
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("admin_request_ms_max"), "no body comes: {text}");
    client.expect_alive();
}

/// Too large, too many: each hears it at once, is counted in the log, and nobody else is kept waiting.
#[test]
fn requests_beyond_the_bounds_are_refused_and_the_broker_serves_on() {
    let folder = Folder::new();
    let sets = ["--set", "admin_request_ms_max=600000", "--set", "admin_connections_max=2"];
    let mut broker = start(&folder, "", &sets);
    let mut client = broker.connect("beside");
    let large = format!("GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: {}", "x".repeat(20_000));
    assert_eq!(request(&broker, &large).0, 431);
    broker.line_with(&["Admin requests refused: 1 that were too large (admin_request_bytes_max)"]);
    // The place is free again when its connection is seen to have ended.
    while !rest_of_get(&broker).starts_with("HTTP/1.1 200 ") {}
    let held = hold_all_places(&broker);
    assert!(rest(&mut dial(&broker)).starts_with("HTTP/1.1 503 "), "there are two places");
    client.expect_alive();
    drop(held);
    while !rest_of_get(&broker).starts_with("HTTP/1.1 200 ") {}
    client.expect_alive();
    assert_eq!(broker.stop(), Some(0));
    broker.line_with(&["Admin requests refused: ", "when all places were taken (admin_connections_max)"]);
}

/// Connections that say nothing, until there is no place left.
fn hold_all_places(broker: &Broker) -> Vec<TcpStream> {
    let mut held = Vec::new();
    loop {
        let mut stream = dial(broker);
        // Who has no place hears it; who has one hears nothing for longer than this.
        stream.set_read_timeout(Some(std::time::Duration::from_millis(300))).unwrap();
        if stream.read(&mut [0; 12]).is_ok() {
            return held;
        }
        held.push(stream);
    }
}

fn rest_of_get(broker: &Broker) -> String {
    let mut stream = dial(broker);
    let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    rest(&mut stream)
}

/// Nobody in the room keeps the broker from its end, and the file of its socket goes with it.
#[test]
fn a_stop_cuts_off_who_is_in_the_room() {
    let folder = Folder::new();
    let socket = folder.path("admin.sock");
    let mut broker =
        start(&folder, "", &["--admin", &format!("unix:{socket}"), "--set", "admin_request_ms_max=600000"]);
    broker.line_with(&[&format!("; admin on unix:{socket};")]);
    let mut inside: Vec<_> = (0..10).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    for stream in &mut inside[5..] {
        stream.write_all(b"GET /readyz HTTP/1.1\r\n").unwrap();
    }
    let (code, text) = ringmq(&["why", "--admin", &format!("unix:{socket}"), "publish", "a"]);
    assert_eq!((code, &*text), (Some(0), "allowed: no acl_file, so everybody may do everything\n"));
    assert_eq!(broker.stop(), Some(0));
    inside.iter_mut().for_each(|stream| assert_eq!(rest(stream), ""));
    assert!(!fs::exists(&socket).unwrap());
}

/// With a file of ringmq's own there is a socket in the folder of the service, and `ringmq why` finds it; a second broker does without.
#[test]
fn the_usual_place_needs_no_name_and_is_one_brokers() {
    let folder = Folder::new();
    let variables = [("RUNTIME_DIRECTORY", folder.root().to_str().unwrap()), ("XDG_RUNTIME_DIR", "/no/such/folder")];
    let toml = folder.write("r.toml", "[[listener]]\naddress = \"127.0.0.1:0\"\n");
    let start = |options: &[&str]| {
        let mut command = program::ringmq(&["--config", &toml, "--shards", "1"]);
        command.args(options).envs(variables);
        Broker::of_command(command, 1)
    };
    let (code, text) = ringmq_with(&variables, &["why", "publish", "a"]);
    assert!(code == Some(1) && text.contains("no broker answers at unix:") && text.contains("--admin ADDR"), "{text}");
    let mut first = start(&[]);
    first.line_with(&[&format!("; admin on unix:{};", folder.path("admin.sock"))]);
    assert_eq!(ringmq_with(&variables, &["why", "publish", "a"]).0, Some(0));
    let mut none = start(&["--admin", "none"]);
    assert!(!none.line_with(&["listening on"]).contains("admin"));
    assert_eq!(none.stop(), Some(0));
    assert_eq!(ringmq_with(&variables, &["why", "publish", "a"]).0, Some(0), "the room of the first");
    let mut second = start(&[]);
    second.line_with(&["; no admin (", "somebody listens there"]);
    assert_eq!(second.stop(), Some(0));
    assert_eq!(ringmq_with(&variables, &["why", "publish", "a"]).0, Some(0), "the room of the first");
    assert_eq!(first.stop(), Some(0));
    assert!(!folder.has("admin.sock"));
}

/// What was refused at the start is refused by a reload too, and an address stays until a new start.
#[test]
fn a_reload_keeps_the_address_and_its_token() {
    let folder = Folder::new();
    let token = folder.write("token", "0123456789abcdef\n");
    let broker = start(&folder, &format!("admin_token_file {token}\n"), &[]);
    let text = folder.read("m.conf");
    folder.write("m.conf", &text.replace("admin 127.0.0.1:0", "admin none").replace("admin_token_file", "#"));
    broker.signal("HUP");
    broker.line_with(&["Reloaded: ", "a new start is needed for admin"]);
    assert_eq!(get(&broker, "/api/v1/why?action=publish&topic=a").0, 401, "nobody is let in by that");
    folder.write("m.conf", "listener 0 127.0.0.1\nadmin 0.0.0.0:1\n");
    broker.signal("HUP");
    broker.line_with(&["Not reloaded, nothing has changed", "other machines reach it"]);
}
