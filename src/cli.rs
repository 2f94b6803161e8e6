//! Cli: from the command line to the configuration of a broker.
//!
//! Duty: parse, check, choose defaults; say in one line what is wrong and what would be right. Must not: open or start
//! anything. Neighbours: `main` runs what comes out; `cli::setting` names the limits.

pub mod passwd;
mod setting;
pub mod why;

use std::ffi::OsStr;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs};

use clap::Parser;

use crate::config::{Config, ListenAddress, Listener, Logging, Security};
use crate::limits::{Limits, SHARDS_MAX};
use crate::runtime::{Failure, allowed_cpus};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Serve.
    Serve(Box<Config>),
    /// Print this text on standard output.
    Print(String),
    /// Change a password file.
    Passwd(Box<passwd::Order>),
    /// Say what a client may do.
    Why(Box<why::Question>),
}

/// A thread-per-core io_uring MQTT 3.1, 3.1.1 and 5.0 broker.
#[derive(Debug, Parser)]
#[command(name = "ringmq", version, after_help = AFTER_HELP)]
struct Arguments {
    /// Port of every address that does not name its own
    #[arg(short, long, default_value_t = 1883)]
    port: u16,

    /// Address to listen on: IP, IP:PORT or host name; repeatable [default: 127.0.0.1 and ::1]
    #[arg(long, value_name = "ADDR")]
    bind: Vec<String>,

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

const AFTER_HELP: &str = "Tools: `ringmq passwd --help` (password files), `ringmq why --help` (what an ACL file allows).\n\
    Anybody who reaches an address may connect: there is no authentication yet.\n\
    Exit codes: 0 stopped by a signal, 1 wrong setting or address, 2 wrong usage, 70 internal error, 78 system not suitable.";

/// Reads the command line of this process. Prints help, version and errors of usage itself, and ends the process then.
///
/// # Errors
/// A value that cannot be: exit code 1.
pub fn parse_command_line() -> Result<Command, Failure> {
    // The tools have command lines of their own, without the name of the program.
    let rest = || std::env::args_os().skip(1);
    match rest().next().as_deref().and_then(OsStr::to_str) {
        Some("passwd") => Ok(Command::Passwd(Box::new(passwd::Order::parse_from(rest())))),
        Some("why") => Ok(Command::Why(Box::new(why::Question::parse_from(rest())))),
        _ => command_of(Arguments::parse()),
    }
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
        listeners: listeners_of(&arguments.bind, arguments.port)?,
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

fn listeners_of(names: &[String], port: u16) -> Result<Vec<Listener>, Failure> {
    if names.is_empty() {
        let local: [IpAddr; 2] = [Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()];
        let plain = |ip| Listener::plain(ListenAddress::Tcp((ip, port).into()));
        return Ok(local.map(|ip| Listener { is_optional: ip.is_ipv6(), ..plain(ip) }).to_vec());
    }
    let mut listeners: Vec<Listener> = Vec::new();
    for name in names {
        for address in addresses_of(name, port)? {
            let listener = Listener::plain(ListenAddress::Tcp(address));
            if !listeners.contains(&listener) {
                listeners.push(listener);
            }
        }
    }
    Ok(listeners)
}

fn addresses_of(name: &str, port: u16) -> Result<Vec<SocketAddr>, Failure> {
    let unbracketed = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
    if let Ok(ip) = unbracketed.parse::<IpAddr>() {
        return Ok(vec![(ip, port).into()]);
    }
    if let Ok(address) = name.parse::<SocketAddr>() {
        return Ok(vec![address]);
    }
    let (host, port) = match name.rsplit_once(':') {
        Some((host, own_port)) => (host, own_port.parse().map_err(|_| bad_address(name, "its port is no number"))?),
        None => (name, port),
    };
    let found = (host, port).to_socket_addrs().map_err(|error| bad_address(name, &error.to_string()))?;
    let addresses: Vec<_> = found.collect();
    if addresses.is_empty() { Err(bad_address(name, "no address has that name")) } else { Ok(addresses) }
}

fn bad_address(name: &str, why: &str) -> Failure {
    Failure::usage(format!("--bind {name}: {why}; write an address such as 127.0.0.1, [::1]:1884 or a host name"))
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

    fn config(line: &str) -> Result<Config, Failure> {
        let arguments =
            Arguments::try_parse_from(line.split_whitespace()).map_err(|error| Failure::usage(error.to_string()))?;
        match command_of(arguments)? {
            Command::Serve(config) => Ok(*config),
            other => Err(Failure::usage(format!("{other:?}"))),
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
