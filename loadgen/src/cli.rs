//! The command line: flags to a plan, a report to text and exit code.
//! Must not measure or judge. Neighbours: `main` above, `plan`, `engine` and `report` below.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};

use crate::engine;
use crate::plan::{Overrides, Plan};
use crate::report::Report;
use crate::scenario::{Scenario, parse_duration};
use crate::wire::Version;

/// The run's integrity check failed.
const EXIT_FAILED: u8 = 1;

/// Bad arguments, or the run could not be set up.
const EXIT_UNUSABLE: u8 = 2;

/// Loads an MQTT broker and checks that every message arrives once, in order and unaltered.
///
/// Exit codes: 0 pass, 1 the integrity check failed, 2 bad arguments, broker unreachable or connection refused.
#[derive(Parser, Debug)]
#[command(name = "ringmq-loadgen", version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// List the scenarios.
    List,
    /// Run a scenario.
    Run(Box<Run>),
}

#[derive(Args, Debug)]
struct Run {
    /// Name of a shipped scenario, or path of a .toml file.
    scenario: String,
    /// Host name or address of the broker.
    #[arg(long, default_value = "127.0.0.1")]
    host: String,
    /// Port of the broker.
    #[arg(long, short, default_value_t = 1883)]
    port: u16,
    /// MQTT protocol level: 4 is 3.1.1, 5 is 5.0.
    #[arg(long, default_value = "4", value_parser = parse_version)]
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
    /// Worker threads.
    #[arg(long, default_value_t = 1)]
    threads: usize,
    /// One CPU per thread, such as 1 or 2,3.
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    cpus: Vec<usize>,
    /// Block while nothing is to do instead of polling; paced latencies then include up to 1 ms of the generator's own.
    #[arg(long)]
    idle: bool,
    /// Give up when nothing arrives for this long, in setup and at the end.
    #[arg(long, default_value = "5s", value_parser = parse_duration)]
    patience: Duration,
    /// Process of the broker: measures its CPU time, memory, descriptors and threads.
    #[arg(long, value_name = "PID")]
    broker_pid: Option<u32>,
    /// Write the report as JSON as well; - writes it instead of the table.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn parse_version(text: &str) -> Result<Version, String> {
    text.parse().ok().and_then(Version::from_level).ok_or_else(|| "the protocol is 4 or 5".to_owned())
}

impl From<&Run> for Overrides {
    fn from(run: &Run) -> Self {
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
            threads: run.threads,
            cpus: run.cpus.clone(),
            idle: run.idle,
            patience: run.patience,
            broker_pid: run.broker_pid,
        }
    }
}

/// Does what the arguments say, the first of which is the program's name.
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let outcome = match Arguments::try_parse_from(arguments) {
        Ok(Arguments { command: Command::List }) => {
            Scenario::shipped().for_each(|scenario| println!("{:<10} {}", scenario.name, scenario.about));
            return ExitCode::SUCCESS;
        }
        Ok(Arguments { command: Command::Run(run) }) => execute(&run),
        Err(error) if error.exit_code() == 0 => {
            print!("{error}");
            return ExitCode::SUCCESS;
        }
        Err(error) => Err(first_paragraph(&error.to_string())),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(EXIT_FAILED),
        Err(error) => {
            eprintln!("ringmq-loadgen: {error}");
            ExitCode::from(EXIT_UNUSABLE)
        }
    }
}

fn execute(run: &Run) -> Result<bool, String> {
    let plan = Plan::resolve(Scenario::find(&run.scenario)?, Overrides::from(run))?;
    let report = Report::new(&plan, engine::run(&plan)?);
    publish(&report, run)?;
    Ok(report.passed)
}

fn publish(report: &Report, run: &Run) -> Result<(), String> {
    // Strings, numbers and structs only, so nothing can fail to become JSON.
    let json = || serde_json::to_string_pretty(report).expect("a report is plain data");
    match &run.json {
        Some(path) if path.as_os_str() == "-" => println!("{}", json()),
        Some(path) => {
            print!("{report}");
            fs::write(path, json() + "\n").map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        }
        None => print!("{report}"),
    }
    Ok(())
}

/// An error message on one line, without the usage that follows it.
fn first_paragraph(text: &str) -> String {
    let lines: Vec<_> = text.lines().map(str::trim).take_while(|line| !line.is_empty()).collect();
    lines.join(" ").trim_start_matches("error: ").to_owned()
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

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
}
