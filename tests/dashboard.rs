//! Dashboard: the page of a running broker, in a real headless Chromium.
//!
//! Duty: a broker and real clients for each walk, so that there is something to see. Must not: look at the page: `dashboard/walks.mjs`
//! does, by `dashboard/walk.mjs`. Neighbours: `scripts/soak dashboard` runs it, as it needs Chromium; `live` asks the same room;
//! `scripts/screenshots` takes pictures.
#![cfg(feature = "runtime")]
#![allow(clippy::disallowed_methods, reason = "tests of a process need threads and clocks")]

#[allow(dead_code, reason = "only some of it is used here")]
#[path = "live/broker.rs"]
mod broker;
#[allow(dead_code, reason = "only some of it is used here")]
#[path = "live/client.rs"]
mod client;
#[allow(dead_code, reason = "only some of it is used here")]
#[path = "live/folder.rs"]
mod folder;
#[allow(dead_code, reason = "only some of it is used here")]
#[path = "conformance/packets.rs"]
mod packets;

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use ringmq::wire::{Connect, ProtocolVersion, QoS};

use self::broker::Broker;
use self::client::Client;
use self::folder::Folder;
use self::packets::subscribe;

/// A user whose name would be HTML.
const FRAME: &str = "<iframe src=//evil.example>";

/// Anonymous clients may everything but one thing, users some things or nothing.
const RIGHTS: &str = "topic readwrite #\ntopic deny secret/#\n\
    user ann\ntopic readwrite try/#\ntopic readwrite needle/#\n\
    user <iframe src=//evil.example>\ntopic read #\n";

/// A program that runs until the end of the test.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A broker that is looked at, and its clients.
struct Scene {
    programs: Vec<Program>,
    clients: Vec<Client>,
    broker: Broker,
    _folder: Folder,
}

impl Scene {
    /// Two shards, a listener for MQTT and one for WebSocket, an admin room, and these lines in its file.
    fn new(lines: &str) -> Self {
        let folder = Folder::new();
        let acl = folder.write("acl", RIGHTS);
        let listeners = "listener 0 127.0.0.1\nlistener 0 127.0.0.1\nprotocol websockets\n";
        let common = format!("allow_anonymous true\nacl_file {acl}\nsys_interval 0\nadmin 127.0.0.1:0\n");
        let conf = folder.write("m.conf", &format!("{common}{lines}{listeners}"));
        let broker = Broker::of_arguments(&["-c", &conf], 2);
        Self { programs: Vec::new(), clients: Vec::new(), broker, _folder: folder }
    }

    /// The same, and what is changed by the page is changed.
    fn open() -> Self {
        Self::new("admin_allow_changes true\n")
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(["-h", "127.0.0.1", "-p", &self.broker.port.to_string()]).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }

    /// A program that goes on.
    fn run(&mut self, program: &str, arguments: &[&str]) {
        self.programs
            .push(Program(self.command(program, arguments).spawn().expect("`scripts/test setup` installs it")));
    }

    /// A program that comes to its end.
    fn run_once(&self, program: &str, arguments: &[&str]) {
        let status = self.command(program, arguments).status().expect("`scripts/test setup` installs it");
        assert!(status.success(), "{program} {arguments:?}");
    }

    /// A client that subscribes with QoS 1, and from then on says nothing: it acknowledges nothing either.
    fn join_silent(&mut self, connect: &Connect<'_>, filter: &str) -> &mut Client {
        let mut client = self.broker.join(connect);
        client.send(subscribe(1).to(filter, QoS::AtLeastOnce));
        client.hear();
        self.clients.push(client);
        self.clients.last_mut().unwrap()
    }

    /// Somebody is slow, somebody is denied something, and one topic is hot.
    fn with_trouble(mut self) -> Self {
        self.join_silent(&Connect::new(ProtocolVersion::V311, "slow-reader"), "flood/slow");
        let flood = ["-q", "1", "-t", "flood/slow", "-m", "wait", "--repeat", "100"];
        self.run_once("mosquitto_pub", &flood);
        self.run_once("mosquitto_pub", &["-i", "denied-device", "-t", "secret/door", "-m", "open"]);
        self.run("mosquitto_sub", &["-i", "hot-reader", "-t", "flood/hot"]);
        let hot = ["-i", "hot-publisher", "-t", "flood/hot", "-m", "x"];
        self.run("mosquitto_pub", &[&hot[..], &["--repeat", "10000000", "--repeat-delay", "0.01"]].concat());
        self
    }

    fn with_victim(mut self) -> Self {
        self.clients.push(self.broker.connect("victim"));
        self
    }

    fn port_of(&self, scheme: &str) -> String {
        self.broker.port_of(scheme).to_string()
    }

    /// This walk, which wants to know some words.
    #[track_caller]
    fn walk(&self, name: &str, wanted: &[(&str, &str)]) {
        // A browser alone is more than enough for the machine.
        static ONE: Mutex<()> = Mutex::new(());
        let _alone = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let playwright = target.join("dashboard/node_modules/playwright-core");
        assert!(playwright.exists(), "{} is missing: run `scripts/soak dashboard`", playwright.display());
        let mut command = Command::new("node");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/dashboard/walk.mjs")).arg(playwright).arg(name);
        command.arg(format!("http://127.0.0.1:{}/", self.port_of("http://")));
        command.args(wanted.iter().map(|(name, value)| format!("{name}={value}")));
        let output = command.stdin(Stdio::null()).output().expect("`scripts/test setup` installs node");
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success() && said.contains("# done"), "the walk {name} says:\n{said}");
    }
}

#[test]
fn every_part_shows_what_the_broker_says() {
    let mut scene = Scene::open();
    for number in 0..52 {
        scene.clients.push(scene.broker.connect(&format!("hay-{number}")));
    }
    let will = ["--will-topic", "needle/will", "--will-payload", "gone"];
    let needle = ["-i", "needle-in-the-hay", "-u", "ann", "-t", "needle/+/in"];
    scene.run("mosquitto_sub", &[&needle[..], &will].concat());
    scene.run_once("mosquitto_sub", &["-i", "away", "-c", "-q", "1", "-t", "for/away", "-E"]);
    let kept = [("kept/one", "one"), ("kept/x/two", "two"), ("needle/kept/in", "what is kept <b>here</b>")];
    for (topic, payload) in kept {
        scene.run_once("mosquitto_pub", &["-r", "-q", "1", "-t", topic, "-m", payload]);
    }
    let listener = format!("mqtt 127.0.0.1:{}", scene.broker.port);
    let wanted = [
        ("version", env!("CARGO_PKG_VERSION")),
        ("shards", "2"),
        ("listener", &listener),
        ("connected", "53"),
        ("retained", "3"),
    ];
    scene.walk("parts", &wanted);
}

#[test]
fn the_cause_of_each_symptom_is_three_clicks_away() {
    Scene::open().with_trouble().walk("incident", &[]);
}

#[test]
fn a_client_is_disconnected_by_who_is_sure() {
    Scene::open().with_victim().walk("kick", &[]);
}

#[test]
fn nothing_is_changed_where_changes_are_off() {
    let scene = Scene::new("").with_victim();
    scene.run_once("mosquitto_pub", &["-r", "-q", "1", "-t", "kept/one", "-m", "one"]);
    scene.walk("readOnly", &[]);
}

/// A password file with ann, whose password is "secret".
fn passwords(folder: &Folder) -> String {
    let path = folder.path("passwords");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmq"));
    command.args(["passwd", "-c", "-b", &path, "ann", "secret"]);
    assert!(command.status().unwrap().success());
    path
}

#[test]
fn who_asks_is_asked_and_kept_by_the_tab_alone() {
    let folder = Folder::new();
    let (token, passwords) = ("0123456789-the-token", passwords(&folder));
    let file = folder.write("token", token);
    let scene = Scene::new(&format!("admin_token_file {file}\npassword_file {passwords}\nadmin_users ann\n"));
    scene.walk("entry", &[("token", token), ("password", "secret")]);
}

/// Client ids, users, topics and payloads that would be HTML.
fn hostile() -> Scene {
    let mut scene = Scene::open();
    let (id, topic) = ("<img src=x onerror=\"window.hostile=1\">", "<script>window.hostile=2</script>/a");
    let connect = Connect { user_name: Some(FRAME), ..Connect::new(ProtocolVersion::V311, id) };
    scene.join_silent(&connect, topic).publish("<b>secret</b>", QoS::AtMostOnce, 0, b"");
    scene.clients.push(scene.broker.connect("\u{202e}esrever"));
    scene.run_once("mosquitto_pub", &["-r", "-q", "1", "-t", topic, "-m", "<svg onload=window.hostile=3>"]);
    let hot = ["-q", "1", "-t", topic, "-m", "<img src=x onerror=window.hostile=4>"];
    scene.run("mosquitto_pub", &[&hot[..], &["--repeat", "10000000", "--repeat-delay", "0.02"]].concat());
    scene
}

#[test]
fn what_clients_write_is_never_more_than_text() {
    hostile().walk("hostile", &[]);
}

#[test]
fn all_of_it_is_done_by_keyboard() {
    Scene::open().with_victim().walk("keyboard", &[]);
}

#[test]
fn it_fits_a_phone_by_day_and_in_the_dark() {
    Scene::open().with_trouble().walk("narrow", &[]);
}

#[test]
fn a_page_is_a_client_itself() {
    let folder = Folder::new();
    let scene = Scene::new(&format!("password_file {}\n", passwords(&folder)));
    scene.walk("tryout", &[("ws", &scene.port_of("ws://")), ("password", "secret")]);
}

#[test]
fn packets_are_seen_as_they_pass() {
    hostile().with_trouble().walk("trace", &[]);
}

#[test]
fn a_broker_that_has_ended_is_missed() {
    let scene = Scene::open();
    scene.walk("silence", &[("process", &scene.broker.process.id().to_string())]);
}
