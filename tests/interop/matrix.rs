//! The matrix: every feature through every client library, at 1, 2 and 4 shards.
//!
//! Duty: set the libraries to work, run each cell, and compare the table that comes of it with docs/interop.md. Must not:
//! know how a feature is played (`features`) or a library is spoken to (the stations).
//!
//! `RINGMQ_INTEROP_WRITE=1 cargo test --test interop matrix` writes the table into docs/interop.md.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use crate::broker::{Broker, SHARD_COUNT_MAX, on_each_shard_count_with};
use crate::client::publish_lines;
use crate::features::{Column, FEATURES, Feature, Room};
use crate::libraries::libraries;
use crate::station::{Answers, Guest, Station};
use crate::{mosquitto, rumqttc_v4, rumqttc_v5};

const LIBRARIES: [&str; 4] = ["Paho", "MQTT.js", "rumqttc", "Mosquitto"];
const VERSIONS: [u8; 2] = [4, 5];
const IN_FLIGHT: &str = "65,535 messages in flight";
const IN_FLIGHT_MAX: usize = 65_535;
const TABLE_BEGIN: &str = "<!-- table -->\n";

/// What a library cannot do (the cell is not run), and what it leaves to others (the cell is run).
const REMARKS: [(&str, &str, bool, &str); 5] = [
    ("Mosquitto", "No Local", false, "mosquitto_sub does not publish, so it has nothing of its own to hear"),
    ("Mosquitto", "topic alias, broker to client", false, "mosquitto_sub does not follow an alias"),
    ("Mosquitto", IN_FLIGHT, true, "acknowledges each message at once, so the window is open but never full"),
    ("MQTT.js", IN_FLIGHT, true, "acknowledges each message before it reads the next, so the window is never full"),
    ("Paho and rumqttc", "topic alias, broker to client", true, "hand the alias on; the application follows it"),
];

/// Which library and version got through which feature: `true` when every shard count was good.
#[derive(Default)]
struct Results(Mutex<BTreeMap<(&'static str, String), bool>>);

impl Results {
    fn note(&self, feature: &'static str, column: &Column<'_>, is_good: bool) {
        let mut cells = self.0.lock().expect("nobody panics with the lock");
        let cell = cells.entry((feature, column.name.clone())).or_insert(true);
        *cell &= is_good;
    }

    fn run(&self, feature: &'static str, column: &Column<'_>, check: impl FnOnce()) {
        self.note(feature, column, std::panic::catch_unwind(AssertUnwindSafe(check)).is_ok());
    }
}

/// A library's own program, fed by lines; it ends with the station.
struct Program(Mutex<Child>);

impl Program {
    fn station(mut command: Command, port: u16) -> Station {
        command.arg(port.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child =
            command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}; run `scripts/test setup`"));
        let stdout = child.stdout.take().expect("stdout is piped");
        let answers = Arc::<Answers>::default();
        let noted = Arc::clone(&answers);
        std::thread::spawn(move || {
            let lines = std::io::BufRead::lines(std::io::BufReader::new(stdout)).map_while(Result::ok);
            lines.for_each(|line| noted.note(&line));
        });
        let program = Self(Mutex::new(child));
        Station { tell: Box::new(move |line| program.write(line)), answers }
    }

    fn write(&self, line: &str) {
        let mut child = self.0.lock().expect("nobody panics with the lock");
        let stdin = child.stdin.as_mut().expect("stdin is piped");
        std::io::Write::write_all(stdin, format!("{line}\n").as_bytes()).expect("the program runs");
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let child = self.0.get_mut().expect("nobody panics with the lock");
        let _ = child.kill();
        let _ = child.wait();
    }
}

fn needed(path: PathBuf) -> PathBuf {
    assert!(path.exists(), "{} is missing: run `scripts/test setup`", path.display());
    path
}

/// The stations of a library for MQTT 3.1.1 and 5.0.
fn stations(library: &str, port: u16) -> [Station; 2] {
    let script = |name: &str| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(name);
    VERSIONS.map(|version| match (library, version) {
        ("Paho", _) => {
            let mut command = Command::new(needed(libraries().join("venv/bin/python")));
            command.arg(script("paho_station.py"));
            Program::station(command, port)
        }
        ("MQTT.js", _) => {
            let mut command = Command::new("node");
            command.arg(script("mqttjs_station.mjs")).arg(needed(libraries().join("node_modules/mqtt")));
            Program::station(command, port)
        }
        ("rumqttc", 4) => rumqttc_v4::station(port),
        ("rumqttc", _) => rumqttc_v5::station(port),
        _ => mosquitto::station(port),
    })
}

fn remark(library: &str, feature: &str) -> Option<(usize, bool)> {
    let is_meant = |(who, what, ..): &(&str, &str, bool, &str)| who.contains(library) && *what == feature;
    REMARKS.iter().position(is_meant).map(|at| (at + 1, REMARKS[at].2))
}

fn is_run(library: &str, feature: &str, since: u8, version: u8) -> bool {
    version >= since && remark(library, feature).is_none_or(|(_, can)| can)
}

/// Runs `visit` for each library and version, side by side.
fn in_each_column(broker: &Broker, visit: impl Fn(&'static str, &Column<'_>) + Sync) {
    std::thread::scope(|scope| {
        for library in LIBRARIES {
            for (station, version) in stations(library, broker.port).into_iter().zip(VERSIONS) {
                let visit = &visit;
                scope.spawn(move || {
                    let name = format!("{library} {}", if version == 5 { "5.0" } else { "3.1.1" });
                    visit(library, &Column { station: &station, name, version });
                });
            }
        }
    });
}

fn run_cell(results: &Results, feature: &Feature, column: &Column<'_>) {
    let row = FEATURES.iter().position(|each| each.name == feature.name).unwrap_or_default();
    let prefix = format!("{}-{row}", column.name.replace([' ', '.'], "")).to_lowercase();
    let room = Room { column, prefix };
    results.run(feature.name, column, || (feature.check)(&room));
}

fn run_features(results: &Results, broker: &Broker) {
    in_each_column(broker, |library, column| {
        let is_run = |feature: &&Feature| is_run(library, feature.name, feature.since, column.version);
        let (slow, quick): (Vec<_>, Vec<_>) = FEATURES.iter().filter(is_run).partition(|feature| feature.is_slow);
        std::thread::scope(|scope| {
            slow.into_iter().for_each(|feature| _ = scope.spawn(move || run_cell(results, feature, column)));
            quick.into_iter().for_each(|feature| run_cell(results, feature, column));
        });
    });
}

/// [MQTT-3.3.4-7]: a client that announced 65,535 gets so many without one acknowledgement, and the next after the first.
fn run_in_flight(results: &Results, broker: &Broker) {
    let barrier = std::sync::Barrier::new(LIBRARIES.len() * VERSIONS.len() + 1);
    let lines: String = (0..IN_FLIGHT_MAX).map(|number| format!("{number}\n")).collect();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            barrier.wait();
            publish_lines(broker, &["-q", "1", "-l", "-t", "flight", "-V", "mqttv5"], &lines);
            publish_lines(broker, &["-q", "1", "-t", "flight", "-m", "next"], "");
            publish_lines(broker, &["-q", "0", "-t", "flight", "-m", "free"], "");
        });
        in_each_column(broker, |library, column| {
            let id = format!("flight-{}", column.name.replace(' ', "-"));
            let limit = format!("version={} receive_max={IN_FLIGHT_MAX} count={IN_FLIGHT_MAX}", column.version);
            let holds = remark(library, IN_FLIGHT).is_none();
            let hold = if holds { "hold=1" } else { "" };
            let guest = std::panic::catch_unwind(AssertUnwindSafe(|| {
                let guest = Guest::connect(column.station, &id, &format!("{limit} {hold}"));
                guest.subscribe("flight", "qos=1");
                guest
            }));
            barrier.wait();
            results.run(IN_FLIGHT, column, || {
                let guest = guest.expect("it is connected and subscribed");
                guest.wait_for("counted");
                guest.expect(if holds { &["free"] } else { &["next", "free"] });
                guest.acknowledge();
                guest.expect(if holds { &["next"] } else { &[] });
            });
        });
    });
}

fn table(results: &Results) -> String {
    let cells = results.0.lock().expect("nobody panics with the lock");
    let columns = LIBRARIES.map(|library| ["3.1.1", "5.0"].map(|version| (library, format!("{library} {version}"))));
    let columns: Vec<_> = columns.as_flattened().to_vec();
    let names: Vec<&str> = columns.iter().map(|(_, name)| &name[..]).collect();
    let mut text = format!("| feature | {} |\n|---|{}\n", names.join(" | "), ":-:|".repeat(columns.len()));
    for feature in FEATURES.iter().map(|feature| feature.name).chain([IN_FLIGHT]) {
        let cell =
            |(library, name): &(&str, String)| match (cells.get(&(feature, name.clone())), remark(library, feature)) {
                (Some(true), None) => "yes".to_owned(),
                (Some(true), Some((number, _))) if name.ends_with("5.0") || feature == IN_FLIGHT => {
                    format!("yes ({number})")
                }
                (Some(true), _) => "yes".to_owned(),
                (Some(false), _) => "**FAILED**".to_owned(),
                (None, Some((number, false))) if name.ends_with("5.0") => format!("no ({number})"),
                (None, _) => "–".to_owned(),
            };
        text += &format!("| {feature} | {} |\n", columns.iter().map(cell).collect::<Vec<_>>().join(" | "));
    }
    for (number, (library, feature, can, why)) in REMARKS.iter().enumerate() {
        let verdict = if *can { "" } else { "cannot: " };
        text += &format!("\n{}. {library}, {feature}: {verdict}{why}.", number + 1);
    }
    text + "\n"
}

/// Issue of interoperability: Paho for Python, MQTT.js, rumqttc and Mosquitto, each in 3.1.1 and 5.0, at 1, 2 and 4 shards.
#[test]
fn the_matrix_of_libraries_and_features_is_as_documented() {
    let results = Results::default();
    // Mosquitto's largest packet, which is the default, has no room for the largest of the payloads.
    let large = ["--set", "packet_bytes_max=16777216"];
    on_each_shard_count_with(&large, |broker| run_features(&results, broker));
    let set = ["--set", "inflight_messages_max=65535", "--set", "receive_maximum=65535"];
    let is_written = std::env::var_os("RINGMQ_INTEROP_WRITE").is_some();
    if is_written {
        on_each_shard_count_with(&set, |broker| run_in_flight(&results, broker));
    } else {
        // Decoding so many messages takes Python half a minute of the gate at each count.
        run_in_flight(&results, &Broker::start(SHARD_COUNT_MAX, &set));
    }
    let table = table(&results);
    println!("{table}");
    assert!(!table.contains("FAILED"), "\n{table}");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/interop.md");
    let page = std::fs::read_to_string(&path).expect("docs/interop.md is there");
    let (head, written) = page.split_once(TABLE_BEGIN).expect("docs/interop.md says where the table begins");
    if is_written {
        std::fs::write(&path, format!("{head}{TABLE_BEGIN}{table}")).expect("docs/interop.md can be written");
    } else {
        assert_eq!(written, table, "RINGMQ_INTEROP_WRITE=1 cargo test --test interop matrix writes it anew");
    }
}
