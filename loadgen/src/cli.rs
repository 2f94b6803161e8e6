//! The command line: flags to a plan, a report to text and exit code.
//! Must not measure or judge. Neighbours: `main` above, `plan`, `engine` and `report` below.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::{CommandFactory, Parser};

use crate::engine;
use crate::plan::{Overrides, Plan};
use crate::progress_bar::Bar;
use crate::report::{Report, Verdict};
use crate::scenario::{Scenario, parse_duration};
use crate::wire::Version;

/// The run's integrity check failed.
const EXIT_FAILED: u8 = 1;

/// Bad arguments, or the run could not be set up.
const EXIT_UNUSABLE: u8 = 2;

/// All arrived, but messages were due that the broker did not take in time.
const EXIT_RATE_MISSED: u8 = 3;

const EXAMPLES: &str = "\
Examples:
  ringmq-loadgen list
  ringmq-loadgen stream
  ringmq-loadgen stream --port 1884 --duration 10s --report stream.html
  ringmq-loadgen fanin --qos 1 --rate 20000 --json fanin.json
  ringmq-loadgen pairs --protocol 5.0 --payload 1024 --threads 2
  ringmq-loadgen stream --broker-pid $(pidof mosquitto) --cpus 1
  ringmq-loadgen stream --port 8883 --tls-ca ca.pem
  ringmq-loadgen fanout --port 8083 --websocket
  ringmq-loadgen my-own.toml --host broker.example

Exit codes:
  0  every message arrived exactly once, in order and unaltered, and at the rate asked for
  1  the integrity check failed: messages were lost, duplicated, reordered, altered, ...
  2  bad arguments, broker unreachable, CONNECT refused, or the report could not be written
  3  integrity passed, but the rate was not reached: messages were due and never left";

/// Loads an MQTT broker and checks that every message arrives once, in order and unaltered.
#[derive(Parser, Debug)]
#[command(name = "ringmq-loadgen", version, after_help = EXAMPLES)]
#[command(override_usage = "ringmq-loadgen <SCENARIO> [OPTIONS]\n       ringmq-loadgen list")]
struct Arguments {
    /// Name of a shipped scenario, path of a .toml file, or `list` to see what is shipped.
    scenario: String,
    /// Host name or address of the broker.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of the broker.
    #[arg(long, short, default_value_t = 1883)]
    port: u16,
    /// MQTT version: 3.1.1 (or 4, mqttv311) or 5.0 (or 5, mqttv5).
    #[arg(long, value_name = "VERSION", default_value = "3.1.1", value_parser = parse_version)]
    protocol: Version,
    /// QoS of publishing and subscribing: 0, 1 or 2.
    #[arg(long)]
    qos: Option<u8>,
    /// Payload, bytes, at least 24.
    #[arg(long, value_name = "BYTES")]
    payload: Option<usize>,
    /// Messages outstanding, per publisher or in total as the scenario says.
    #[arg(long, value_name = "MESSAGES")]
    window: Option<u32>,
    /// Messages published per second by all publishers; 0 publishes as fast as the window allows.
    #[arg(long, value_name = "PER_SECOND")]
    rate: Option<u64>,
    /// Measured time, such as 3s.
    #[arg(long, value_parser = parse_duration)]
    duration: Option<Duration>,
    /// Time before it, such as 500ms.
    #[arg(long, value_parser = parse_duration)]
    warmup: Option<Duration>,
    /// Number of publishers.
    #[arg(long)]
    publishers: Option<u32>,
    /// Number of subscribers.
    #[arg(long)]
    subscribers: Option<u32>,
    /// Number of idle connections.
    #[arg(long)]
    connections: Option<u32>,
    /// Number of topics of all publishers together.
    #[arg(long)]
    topics: Option<u32>,
    /// Number of clients that both publish and subscribe.
    #[arg(long)]
    devices: Option<u32>,
    /// Devices that disconnect and resume their sessions.
    #[arg(long, value_name = "PER_SECOND")]
    reconnects: Option<u64>,
    /// Number of messages that a staged scenario stores.
    #[arg(long)]
    messages: Option<u64>,
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// One CPU per thread, such as 1 or 2,3.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Block while nothing is to do instead of polling; paced latencies then include the generator's own wakeups.
    #[arg(long)]
    idle: bool,
    /// Give up when nothing arrives for this long, in setup and at the end.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    patience: Duration,
    /// Process of the broker: measures its CPU time, memory, descriptors and threads.
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// Speak TLS with a broker whose certificate leads to one of this PEM file.
    #[arg(long, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Certificate of every client, a PEM file.
    #[arg(long, value_name = "FILE", requires_all = ["tls_ca", "tls_key"])]
    tls_cert: Option<PathBuf>,
    /// Key of this certificate.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// Speak WebSocket (path /mqtt); with --tls-ca over TLS.
    #[arg(long)]
    websocket: bool,
    /// Write the report as JSON as well; - writes it instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write the report as a page with charts as well.
    #[arg(long, value_name = "FILE.html")]
    report: Option<PathBuf>,
    /// No progress bar. There is none either when stderr is no terminal.
    #[arg(long)]
    quiet: bool,
}

fn parse_version(text: &str) -> Result<Version, String> {
    match text {
        "4" | "3.1.1" | "mqttv311" => Ok(Version::V311),
        "5" | "5.0" | "mqttv5" => Ok(Version::V5),
        _ => Err("the protocol is 3.1.1 or 5.0".to_owned()),
    }
}

impl From<&Arguments> for Overrides {
    fn from(run: &Arguments) -> Self {
        Self {
            host: run.host.clone(),
            port: run.port,
            protocol: run.protocol,
            qos: run.qos,
            payload_bytes: run.payload,
            window: run.window,
            rate: run.rate,
            warmup: run.warmup,
            duration: run.duration,
            publishers: run.publishers,
            subscribers: run.subscribers,
            connections: run.connections,
            topics: run.topics,
            devices: run.devices,
            reconnects_per_sec: run.reconnects,
            messages: run.messages,
            threads: run.threads,
            cpus: run.cpus.clone(),
            idle: run.idle,
            patience: run.patience,
            broker_pid: run.broker_pid,
            tls_ca: run.tls_ca.clone(),
            tls_identity: run.tls_cert.clone().zip(run.tls_key.clone()),
            websocket: run.websocket,
        }
    }
}

/// Does what the arguments say, the first of which is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<_> = arguments.into_iter().collect();
    if arguments.len() < 2 {
        // Not a success: in a script, no argument is a variable that was empty.
        eprint!("{}", Arguments::command().render_help());
        return ExitCode::from(EXIT_UNUSABLE);
    }
    let outcome = match Arguments::try_parse_from(&arguments) {
        Ok(run) if run.scenario == "list" => {
            Scenario::shipped().for_each(|scenario| println!("{:<12} {}", scenario.name, scenario.about));
            return ExitCode::SUCCESS;
        }
        Ok(run) => execute(&run, &arguments),
        Err(error) if error.exit_code() == 0 => {
            print!("{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(first_paragraph(&error.to_string()) + "; see --help"),
    };
    match outcome {
        Ok(verdict) => ExitCode::from(exit_code(verdict)),
        Err(error) => {
            eprintln!("ringmq-loadgen: {error}");
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

fn exit_code(verdict: Verdict) -> u8 {
    match verdict {
        Verdict::Pass => 0,
        Verdict::Fail => EXIT_FAILED,
        Verdict::RateMissed => EXIT_RATE_MISSED,
    }
}

fn execute(run: &Arguments, arguments: &[OsString]) -> Result<Verdict, String> {
    let plan = Plan::resolve(Scenario::find(&run.scenario)?, Overrides::from(run))?;
    [&run.json, &run.report].into_iter().flatten().try_for_each(|path| check_folder(path))?;
    let outcome = if run.quiet {
        engine::run(&plan)
    } else {
        let mut bar = Bar::default();
        engine::run_watched(&plan, &mut |progress| bar.show(progress))
    };
    let mut report = Report::new(&plan, outcome?);
    report.conditions.command_line = command_line(arguments);
    publish(&report, run)?;
    Ok(report.verdict)
}

/// Finds out before the run, not after it, that a report has no place to go.
fn check_folder(path: &Path) -> Result<(), String> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder {
        Some(folder) if !folder.is_dir() => Err(format!("cannot write {}: no such folder", path.display())),
        _ if path.is_dir() => Err(format!("cannot write {}: it is a folder", path.display())),
        _ => Ok(()),
    }
}

/// The arguments as they can be typed again; the program by its name alone.
fn command_line(arguments: &[OsString]) -> String {
    let plain = |text: &str| text.chars().all(|letter| letter.is_ascii_alphanumeric() || "-_./,:=".contains(letter));
    let quoted = |argument: &OsString| {
        let text = argument.to_string_lossy();
        if plain(&text) && !text.is_empty() { text.into_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) }
    };
    let rest = arguments.iter().skip(1).map(quoted);
    ["ringmq-loadgen".to_owned()].into_iter().chain(rest).collect::<Vec<_>>().join(" ")
}

fn publish(report: &Report, run: &Arguments) -> Result<(), String> {
    // Strings, numbers and structs only, so nothing can fail to become JSON.
    let json = || serde_json::to_string_pretty(report).expect("a report is plain data");
    match &run.json {
        Some(path) if path.as_os_str() == "-" => println!("{}", json()),
        _ => print!("{report}"),
    }
    if let Some(path) = run.json.as_ref().filter(|path| path.as_os_str() != "-") {
        write(path, &(json() + "\n"))?;
    }
    run.report.as_ref().map_or(Ok(()), |path| write(path, &report.to_html()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// An error message on one line, without the usage that follows it.
fn first_paragraph(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn errors_of_several_lines_become_one() {
        let text = "error: missing:\n  <SCENARIO>\n\nUsage: ...";
        assert_eq!(first_paragraph(text), "missing: <SCENARIO>");
    }

    #[test]
    fn protocols_are_known_by_level_version_and_name() {
        for (texts, version) in [(["4", "3.1.1", "mqttv311"], Version::V311), (["5", "5.0", "mqttv5"], Version::V5)] {
            assert!(texts.iter().all(|text| parse_version(text) == Ok(version)));
        }
        assert!(["3", "6", "", "3.1"].iter().all(|text| parse_version(text).is_err()));
    }

    #[test]
    fn a_command_line_can_be_typed_again() {
        let arguments = ["/bin/ringmq-loadgen", "my scenario.toml", "--host", "it's", ""].map(OsString::from);
        assert_eq!(command_line(&arguments), r"ringmq-loadgen 'my scenario.toml' --host 'it'\''s' ''");
    }

    #[test]
    fn every_verdict_has_its_exit_code() {
        assert_eq!([Verdict::Pass, Verdict::Fail, Verdict::RateMissed].map(exit_code), [0, 1, 3]);
    }
}
