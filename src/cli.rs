//! Cli: from the command line to the configuration of a broker.
//!
//! Duty: parse, check, choose defaults; say in one line what is wrong and what would be right. Must not: open or start
//! anything. Neighbours: `main` runs what comes out; `cli::setting` names the limits.

mod bind;
mod setting;

use clap::Parser;

use self::bind::Bind;
use crate::config::{Config, Logging, Security};
use crate::limits::{Limits, SHARDS_MAX};
use crate::runtime::{Failure, allowed_cpus};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Serve.
    Serve(Box<Config>),
    /// Print this text on standard output.
    Print(String),
}

/// A thread-per-core io_uring MQTT 3.1, 3.1.1 and 5.0 broker.
#[derive(Debug, Parser)]
#[command(name = "ringmq", version, after_help = AFTER_HELP)]
struct Arguments {
    #[command(flatten)]
    bind: Bind,

    /// Number of shards [default: one per cpu]
    #[arg(long, value_name = "N", conflicts_with = "cpus")]
    shards: Option<usize>,

    /// One shard on each of these cpus, such as 0,2-3
    #[arg(long, value_name = "LIST")]
    cpus: Option<String>,

    /// Set a limit; `--set help` lists them; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// Log each connect and disconnect
    #[arg(short, long)]
    verbose: bool,

    /// Seed of the hash that places clients on shards
    #[arg(long, hide = true)]
    hash_seed: Option<u64>,
}

/// The limit that depends on the system unless it is set.
const HELD_BYTES: &str = "held_bytes_per_shard_max=";

/// Set to 1, it lets clients cause faults on purpose, for tests.
const FAULTS: &str = "RINGMQ_FAULTS";

const AFTER_HELP: &str = "Anybody who reaches an address may connect: there is no authentication yet but --tls-ca.\n\
    Exit codes: 0 stopped by a signal, 1 wrong setting, address or file, 2 wrong usage,\n\
    3 bad certificate or key, 70 internal error, 78 system not suitable.";

/// Reads the command line of this process. Prints help, version and errors of usage itself, and ends the process then.
///
/// # Errors
/// A value that cannot be: exit code 1.
pub fn parse_command_line() -> Result<Command, Failure> {
    command_of(Arguments::parse())
}

fn command_of(arguments: Arguments) -> Result<Command, Failure> {
    let mut limits = Limits::default();
    for assignment in &arguments.set {
        if assignment == "help" {
            return Ok(Command::Print(setting::list()));
        }
        setting::assign(&mut limits, assignment).map_err(Failure::usage)?;
    }
    Ok(Command::Serve(Box::new(Config {
        listeners: arguments.bind.listeners()?,
        securities: vec![Security::default()],
        cpus: cpus_of(&arguments, &allowed_cpus())?,
        limits,
        is_held_bytes_set: arguments.set.iter().any(|set| set.starts_with(HELD_BYTES)),
        logging: Logging { tells_connections: arguments.verbose, ..Logging::default() },
        sys_interval_secs: 0,
        pid_file: None,
        user: None,
        is_daemon: false,
        hash_seed: arguments.hash_seed,
        is_faulty: std::env::var_os(FAULTS).is_some_and(|value| value == "1"),
    })))
}

/// The cpu of each shard.
fn cpus_of(arguments: &Arguments, allowed: &[usize]) -> Result<Vec<usize>, Failure> {
    let cpus: Vec<usize> = match (&arguments.cpus, arguments.shards) {
        (Some(list), _) => parse_cpus(list, allowed)?,
        (None, Some(shards)) => allowed.iter().copied().cycle().take(shards.min(SHARDS_MAX + 1)).collect(),
        (None, None) => allowed.iter().copied().take(SHARDS_MAX).collect(),
    };
    if cpus.is_empty() {
        return Err(Failure::usage("no shard to start: give --shards 1 or more"));
    }
    if cpus.len() > SHARDS_MAX {
        return Err(Failure::usage(format!("too many shards: {SHARDS_MAX} at most")));
    }
    Ok(cpus)
}

fn parse_cpus(list: &str, allowed: &[usize]) -> Result<Vec<usize>, Failure> {
    let malformed = || Failure::usage(format!("--cpus {list}: write numbers and ranges, such as 0,2-3"));
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let first: usize = first.trim().parse().map_err(|_| malformed())?;
        let last: usize = last.trim().parse().map_err(|_| malformed())?;
        if first > last {
            return Err(malformed());
        }
        for cpu in first..=last {
            if !allowed.contains(&cpu) {
                return Err(Failure::usage(format!(
                    "--cpus {list}: this process may not run on cpu {cpu}; it may on {allowed:?}"
                )));
            }
            if cpus.contains(&cpu) {
                return Err(Failure::usage(format!("--cpus {list}: cpu {cpu} stands there twice")));
            }
            cpus.push(cpu);
        }
    }
    Ok(cpus)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Identity, ListenAddress, Listener, Transport};

    fn config(line: &str) -> Result<Config, Failure> {
        let arguments =
            Arguments::try_parse_from(line.split_whitespace()).map_err(|error| Failure::usage(error.to_string()))?;
        match command_of(arguments)? {
            Command::Serve(config) => Ok(*config),
            Command::Print(text) => Err(Failure::usage(text)),
        }
    }

    fn addresses(line: &str) -> Vec<String> {
        let address = |listener: &Listener| match &listener.address {
            ListenAddress::Tcp(address) => address.to_string(),
            ListenAddress::Unix(path) => path.display().to_string(),
        };
        config(line).unwrap().listeners.iter().map(address).collect()
    }

    #[test]
    fn without_options_the_broker_listens_on_both_loopbacks_and_takes_every_cpu() {
        let config = config("ringmq").unwrap();
        assert_eq!(addresses("ringmq"), ["127.0.0.1:1883", "[::1]:1883"]);
        assert_eq!(config.listeners.iter().map(|listener| listener.is_optional).collect::<Vec<_>>(), [false, true]);
        assert_eq!(config.cpus, allowed_cpus());
        assert_eq!(config.limits, Limits::default());
    }

    #[test]
    fn addresses_take_the_port_of_the_line_unless_they_name_their_own() {
        let line = "ringmq -p 2000 --bind 0.0.0.0 --bind [::1]:2001 --bind ::1 --bind [::] --bind 10.0.0.1:7";
        assert_eq!(addresses(line), ["0.0.0.0:2000", "[::1]:2001", "[::1]:2000", "[::]:2000", "10.0.0.1:7"]);
        assert_eq!(addresses("ringmq --bind 10.0.0.1 --bind 10.0.0.1").len(), 1);
        for bad in ["127.0.0.1:x", "127.0.0.1:99999", "no.such.host.invalid"] {
            let failure = config(&format!("ringmq --bind {bad}")).unwrap_err();
            assert_eq!(failure.exit_code, 1);
            assert!(failure.text.contains(bad) && !failure.text.contains('\n'), "{failure}");
        }
    }

    #[test]
    fn an_address_says_what_is_spoken_there() {
        let line = "ringmq --tls-cert c.pem --tls-key k.pem --bind mqtts://127.0.0.1:8883 --bind ws://[::1]:8080 \
                    --bind wss://127.0.0.1:8443 --bind unix:/run/x.sock --bind mqtt://127.0.0.1";
        assert_eq!(
            addresses(line),
            ["127.0.0.1:8883", "[::1]:8080", "127.0.0.1:8443", "/run/x.sock", "127.0.0.1:1883"]
        );
        let listeners = config(line).unwrap().listeners;
        let is_web = |listener: &Listener| matches!(listener.transport, Transport::WebSocket { .. });
        assert_eq!(listeners.iter().map(is_web).collect::<Vec<_>>(), [false, true, true, false, false]);
        let is_encrypted = listeners.iter().map(|listener| listener.tls.is_some()).collect::<Vec<_>>();
        assert_eq!(is_encrypted, [true, false, true, false, false]);
        let with_clients = config("ringmq --tls-cert c --tls-key k --tls-ca a --bind mqtts://127.0.0.1:1").unwrap();
        let tls = with_clients.listeners[0].tls.as_ref().unwrap();
        assert!(tls.requires_certificate && tls.identity == Identity::CommonName);
        for bad in [
            "--bind mqtts://127.0.0.1:8883",
            "--bind ws://127.0.0.1",
            "--bind http://127.0.0.1:80",
            "--bind unix:",
            "--bind 127.0.0.1?proxy=3",
            "--bind 127.0.0.1?connections=0",
            "--bind 127.0.0.1?origin=https://x",
            "--bind 127.0.0.1?colour=red",
            "--tls-cert c --tls-key k",
        ] {
            let failure = config(&format!("ringmq {bad}")).unwrap_err();
            assert!(failure.exit_code == 1 && !failure.text.contains('\n'), "{failure}");
        }
    }

    #[test]
    fn an_address_has_options_of_its_own() {
        let line = "ringmq --bind ws://127.0.0.1:80?connections=7&origin=https://a&origin=https://b --bind ::1?proxy=2";
        let listeners = config(line).unwrap().listeners;
        let origins = ["https://a", "https://b"].map(ToOwned::to_owned).to_vec();
        assert_eq!(listeners[0].transport, Transport::WebSocket { origins });
        assert_eq!((listeners[0].connections_max, listeners[0].proxy_protocol), (Some(7), None));
        assert_eq!((listeners[1].connections_max, listeners[1].proxy_protocol), (None, Some(2)));
    }

    #[test]
    fn shards_go_round_the_cpus_and_lists_name_them() {
        let allowed = [0, 1, 2, 3];
        let cpus = |line: &str| cpus_of(&Arguments::try_parse_from(line.split_whitespace()).unwrap(), &allowed);
        assert_eq!(cpus("ringmq --shards 6").unwrap(), [0, 1, 2, 3, 0, 1]);
        assert_eq!(cpus("ringmq --cpus 0,2-3").unwrap(), [0, 2, 3]);
        for bad in
            ["--shards 0", "--shards 1000000000", "--cpus 3-1", "--cpus 0,,1", "--cpus 0,0", "--cpus 9", "--cpus x"]
        {
            assert_eq!(cpus(&format!("ringmq {bad}")).unwrap_err().exit_code, 1, "{bad}");
        }
    }

    #[test]
    fn limits_are_set_by_name() {
        let limits = config("ringmq --set topic_alias_max=7 --set packet_bytes_max=1000").unwrap().limits;
        assert_eq!((limits.topic_alias_max, limits.packet_bytes_max), (7, 1000));
        assert!(!config("ringmq").unwrap().is_held_bytes_set);
        assert!(config("ringmq --set held_bytes_per_shard_max=5000000").unwrap().is_held_bytes_set);
        assert_eq!(config("ringmq --set nonsense=1").unwrap_err().exit_code, 1);
    }
}
