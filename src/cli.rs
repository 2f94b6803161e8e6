//! Cli: from the command line to the configuration of a broker.
//!
//! Duty: parse, and say in one line what is wrong and what would be right. Must not: open or start anything but the files that
//! `config` reads. Neighbours: `main` runs what comes out; `config::load` puts the arguments and a file together.

pub mod import;
pub mod look;
pub mod passwd;
pub mod why;

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::config::{
    Arguments, Binds, Config, File, Loudness, Mistake, Mistakes, convert, default_text, list_limits, load,
    missing_files,
};
use crate::runtime::{Failure, allowed_cpus, check_files};

/// What the command line asks for.
#[derive(Clone, Debug)]
pub enum Command {
    /// Serve. The arguments say the same again when the configuration is loaded anew.
    Serve(Box<Config>, Box<Arguments>),
    /// Print this text on standard output.
    Print(String),
    /// Change a password file.
    Passwd(Box<passwd::Order>),
    /// Look at a running broker.
    Look(Box<look::Order>),
    /// Say what a client may do.
    Why(Box<why::Question>),
    /// Put records into a store.
    Import(Box<import::Import>),
    /// Print the records of a store.
    Export(Box<import::Export>),
}

/// A thread-per-core io_uring MQTT 3.1, 3.1.1 and 5.0 broker.
#[derive(Debug, Parser)]
#[command(name = "ringmq", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
struct CommandLine {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    serve: Serve,
    /// Check the configuration file and say its first mistake; exit code 0 if there is none
    #[arg(long)]
    test_config: bool,
}

/// What to do instead of serving.
#[derive(Debug, Subcommand)]
enum Action {
    /// Say all mistakes of a configuration at once
    Check(Box<Serve>),
    /// Print configuration files
    #[command(subcommand)]
    Config(Print),
}

/// Which file to print.
#[derive(Debug, Subcommand)]
enum Print {
    /// A file for --config with every key, its meaning and its default
    Default,
    /// A file for --config that says the same as this one of Mosquitto
    Convert {
        /// Mosquitto's configuration file
        file: PathBuf,
    },
}

/// What a broker is told.
#[derive(Debug, Args)]
struct Serve {
    /// Configuration file in Mosquitto's format
    #[arg(short, long, value_name = "FILE", conflicts_with = "config")]
    config_file: Option<PathBuf>,

    /// Configuration file in ringmq's own format; `ringmq config default` prints one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Port to listen on if the file names no listener; up to 10 times [default: 1883]
    #[arg(short, long)]
    port: Vec<u16>,

    /// Address to listen on, whatever the file says: IP, IP:PORT or host name, or one of mqtts://IP:PORT, ws://IP:PORT,
    /// wss://IP:PORT, unix:/PATH; repeatable [default: 127.0.0.1 and ::1]. Behind it may stand ?connections=N for the most
    /// connections at once, ?allow=NETWORK and ?deny=NETWORK for who may connect, ?proxy=1 or ?proxy=2 if a proxy names the client by
    /// the PROXY protocol, then ?trusted=NETWORK for each proxy, ?origin=URL for pages that may use a WebSocket; joined by &
    #[arg(long, value_name = "ADDR")]
    bind: Vec<String>,

    /// Certificate chain for mqtts:// and wss://, PEM
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    tls_cert: Option<PathBuf>,

    /// Private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,

    /// Certificates that sign those of clients, PEM: each client must have one, and its common name is the user name
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_ca: Option<PathBuf>,

    /// Number of shards [default: one per cpu]
    #[arg(long, value_name = "N", conflicts_with = "cpus")]
    shards: Option<usize>,

    /// One shard on each of these cpus, such as 0,2-3
    #[arg(long, value_name = "LIST")]
    cpus: Option<String>,

    /// Set a limit; `--set help` lists them; repeatable
    #[arg(long, value_name = "NAME=VALUE")]
    set: Vec<String>,

    /// Pause between two publications of $SYS, seconds, whatever the file says; 0 for none [default: 10]
    #[arg(long, value_name = "SECS")]
    sys_interval: Option<u16>,

    /// Where the broker is asked about itself (`ringmq why`, health), whatever the file says: IP:PORT, unix:/PATH, default
    /// (a Unix socket in /run/ringmq, or in the user's own folder) or none [default: default with --config, else none]
    #[arg(long, value_name = "ADDR")]
    admin: Option<String>,

    /// A file with the token that is wanted there; an address that other machines reach needs one
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,

    /// Let clients be disconnected there, messages be published and deleted, and files be read again
    #[arg(long)]
    admin_allow_changes: bool,

    /// A collector of OpenTelemetry, such as http://127.0.0.1:4318, that gets a span for each message whose publisher traces it
    #[arg(long, value_name = "URL")]
    otlp_endpoint: Option<String>,

    /// Directory of the store, which keeps on disk what is to survive a restart, whatever the file says; none for no store [default:
    /// what the file says, else systemd's StateDirectory=, else none; with -c, what persistence says]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,

    /// Go to the background
    #[arg(short, long)]
    daemon: bool,

    /// Log each connect and disconnect, whatever the file says
    #[arg(short, long)]
    verbose: bool,

    /// Log only errors, whatever the file says
    #[arg(short, long, conflicts_with = "verbose")]
    quiet: bool,

    /// Seed of the hash that places clients on shards
    #[arg(long, hide = true)]
    hash_seed: Option<u64>,
}

/// For tests. Set to 1, it lets clients cause faults on purpose; set to `nosync`, the store answers before it has written.
const FAULTS: &str = "RINGMQ_FAULTS";

/// Where systemd names the directories that it has made for a service (systemd.exec(5)), with colons between them.
const STATE_DIRECTORY: &str = "STATE_DIRECTORY";

/// Ports that `-p` may name.
const PORTS_MAX: usize = 10;

const AFTER_HELP: &str = "Tools: `ringmq passwd --help` (password files), `ringmq why --help` (what a client may do, and why),\n\
    `ringmq import --help` (sessions and messages of Mosquitto, or of a file of JSON lines), `ringmq export --help`.\n\
    A running broker is looked at and steered by `ringmq stats|shards|clients|client|topics|topic|retained|drops|denials|trace|top|\n\
    kick|publish|reload`, in its admin room (--admin), each with --json; `ringmq clients --help` and so on.\n\
    Without a file, anybody who reaches an address may connect.\n\
    Exit codes: 0 stopped by a signal, 1 a file or an address that cannot be had, 2 wrong usage, 3 wrong configuration, \
    70 internal error, 78 system not suitable.";

/// Reads the command line of this process and the file that it names. Prints help, version and errors of usage itself, and ends
/// the process then.
///
/// # Errors
/// A value or a file that cannot be: the exit code says which.
pub fn parse_command_line() -> Result<Command, Failure> {
    // The tools have command lines of their own, without the name of the program.
    let rest = || std::env::args_os().skip(1);
    match rest().next().as_deref().and_then(OsStr::to_str) {
        Some("passwd") => Ok(Command::Passwd(Box::new(passwd::Order::parse_from(rest())))),
        Some("import") => Ok(Command::Import(Box::new(import::Import::parse_from(rest())))),
        Some("export") => Ok(Command::Export(Box::new(import::Export::parse_from(rest())))),
        Some("why") => Ok(Command::Why(Box::new(why::Question::parse_from(rest())))),
        // These have the name of the program before them, as the word is part of their command line.
        Some(word) if look::is_word(word) => Ok(Command::Look(Box::new(look::Order::parse()))),
        _ => command_of(CommandLine::parse()),
    }
}

fn command_of(line: CommandLine) -> Result<Command, Failure> {
    match line.action {
        Some(Action::Check(serve)) => check(&arguments_of(&serve)?),
        Some(Action::Config(Print::Default)) => Ok(Command::Print(default_text())),
        Some(Action::Config(Print::Convert { file })) => {
            convert(&file).map(Command::Print).map_err(|found| all(&found))
        }
        None if line.serve.set.iter().any(|set| set == "help") => Ok(Command::Print(list_limits())),
        None => {
            let arguments = arguments_of(&line.serve)?;
            if line.test_config && arguments.file.is_none() {
                return Err(failure(3, "--test-config needs -c FILE or --config FILE"));
            }
            let config = load(&arguments).map_err(|mistakes| first(&mistakes))?;
            if line.test_config {
                return Ok(Command::Print(with_warnings(&config, "Configuration file is OK.\n")));
            }
            Ok(Command::Serve(Box::new(config), Box::new(arguments)))
        }
    }
}

/// The configuration as the same command line makes it now.
///
/// # Errors
/// The first mistake.
pub fn load_again(arguments: &Arguments) -> Result<Config, Failure> {
    load(arguments).map_err(|mistakes| first(&mistakes))
}

fn arguments_of(serve: &Serve) -> Result<Arguments, Failure> {
    if serve.port.len() > PORTS_MAX {
        return Err(failure(1, format!("-p: {PORTS_MAX} ports at most")));
    }
    let mosquitto = serve.config_file.clone().map(File::Mosquitto);
    Ok(Arguments {
        file: mosquitto.or_else(|| serve.config.clone().map(File::Toml)),
        ports: serve.port.clone(),
        binds: Binds {
            names: serve.bind.clone(),
            certificate: serve.tls_cert.clone(),
            key: serve.tls_key.clone(),
            client_authority: serve.tls_ca.clone(),
        },
        shards: serve.shards,
        cpus: serve.cpus.clone(),
        sets: serve.set.clone(),
        loudness: match (serve.verbose, serve.quiet) {
            (true, _) => Loudness::Verbose,
            (_, true) => Loudness::Quiet,
            _ => Loudness::Unchanged,
        },
        admin: serve.admin.clone(),
        admin_token_file: serve.admin_token_file.clone(),
        admin_allows_changes: serve.admin_allow_changes,
        otlp_endpoint: serve.otlp_endpoint.clone(),
        store: serve.store.clone(),
        state_directory: state_directory(),
        sys_interval_secs: serve.sys_interval,
        is_daemon: serve.daemon,
        hash_seed: serve.hash_seed,
        is_faulty: std::env::var_os(FAULTS).is_some_and(|value| value == "1"),
        is_hasty: std::env::var_os(FAULTS).is_some_and(|value| value == "nosync"),
        allowed_cpus: allowed_cpus(),
    })
}

/// The first of the directories that systemd has made, if this is a service of its.
fn state_directory() -> Option<PathBuf> {
    let all = std::env::var_os(STATE_DIRECTORY)?;
    all.to_str()?.split(':').next().filter(|first| !first.is_empty()).map(PathBuf::from)
}

fn check(arguments: &Arguments) -> Result<Command, Failure> {
    let config = load(arguments).map_err(|mistakes| all(&mistakes))?;
    Mistakes::of(missing_files(&config)).map_err(|mistakes| all(&mistakes))?;
    check_files(&config)?;
    let listeners = config.listeners.len();
    let plural = if listeners == 1 { "" } else { "es" };
    Ok(Command::Print(with_warnings(&config, &format!("No mistakes; {listeners} address{plural}\n"))))
}

fn with_warnings(config: &Config, text: &str) -> String {
    let warnings = config.warnings.iter().map(|warning| format!("{warning}\n"));
    warnings.chain([text.to_owned()]).collect()
}

fn failure(exit_code: u8, text: impl Into<String>) -> Failure {
    Failure { exit_code, text: text.into() }
}

fn first(mistakes: &Mistakes) -> Failure {
    let mistake = mistakes.first();
    failure(mistake.exit_code, mistake.to_string())
}

fn all(mistakes: &Mistakes) -> Failure {
    let lines: Vec<_> = mistakes.iter().map(Mistake::to_string).collect();
    failure(mistakes.first().exit_code, lines.join("\nringmq: "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Access, Identity, ListenAddress, Listener, Transport};

    fn command(line: &str) -> Result<Command, Failure> {
        let words = line.split_whitespace();
        command_of(CommandLine::try_parse_from(words).map_err(|error| failure(2, error.to_string()))?)
    }

    fn addresses(line: &str) -> Vec<String> {
        let address = |listener: &Listener| match &listener.address {
            ListenAddress::Tcp(address) => address.to_string(),
            ListenAddress::Unix(path) => path.display().to_string(),
        };
        config(line).listeners.iter().map(address).collect()
    }

    fn config(line: &str) -> Config {
        match command(line).unwrap() {
            Command::Serve(config, _) => *config,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn without_options_the_broker_takes_the_port_of_mqtt_and_every_cpu() {
        let config = config("ringmq");
        assert_eq!(config.listeners, Listener::loopbacks(crate::config::PORT));
        assert_eq!(config.cpus, allowed_cpus());
    }

    #[test]
    fn addresses_take_the_port_of_the_line_unless_they_name_their_own() {
        let addresses = |line: &str| -> Vec<String> {
            let address = |listener: &Listener| match &listener.address {
                ListenAddress::Tcp(address) => address.to_string(),
                ListenAddress::Unix(path) => path.display().to_string(),
            };
            config(line).listeners.iter().map(address).collect()
        };
        let line = "ringmq -p 2000 --bind 0.0.0.0 --bind [::1]:2001 --bind ::1 --bind [::] --bind 10.0.0.1:7";
        assert_eq!(addresses(line), ["0.0.0.0:2000", "[::1]:2001", "[::1]:2000", "[::]:2000", "10.0.0.1:7"]);
        assert_eq!(addresses("ringmq --bind 10.0.0.1 --bind 10.0.0.1"), ["10.0.0.1:1883"]);
        for bad in ["127.0.0.1:x", "127.0.0.1:99999", "no.such.host.invalid"] {
            let failure = command(&format!("ringmq --bind {bad}")).unwrap_err();
            assert_eq!(failure.exit_code, 1);
            assert!(failure.text.contains(bad) && !failure.text.contains('\n'), "{failure}");
        }
    }

    #[test]
    fn the_long_and_the_short_words_of_mosquitto_are_known() {
        assert!(config("ringmq -v").logging.tells_connections);
        assert!(config("ringmq --verbose").logging.tells_subscriptions);
        assert!(config("ringmq -q").logging.is_quiet && config("ringmq --quiet").logging.is_quiet);
        let ports = (1..=10).map(|port| format!(" -p {port}")).collect::<String>();
        assert_eq!(config(&format!("ringmq{ports}")).listeners.len(), 20);
        assert!(command(&format!("ringmq{ports} -p 11")).unwrap_err().text.contains("10 ports"));
        for both in ["ringmq -v -q", "ringmq -c a --config b", "ringmq --nonsense"] {
            assert_eq!(command(both).unwrap_err().exit_code, 2, "{both}");
        }
        assert!(config("ringmq -d").is_daemon);
    }

    #[test]
    fn an_address_says_what_is_spoken_there() {
        let line = "ringmq --tls-cert c.pem --tls-key k.pem --bind mqtts://127.0.0.1:8883 --bind ws://[::1]:8080 \
                    --bind wss://127.0.0.1:8443 --bind unix:/run/x.sock --bind mqtt://127.0.0.1";
        assert_eq!(
            addresses(line),
            ["127.0.0.1:8883", "[::1]:8080", "127.0.0.1:8443", "/run/x.sock", "127.0.0.1:1883"]
        );
        let listeners = config(line).listeners;
        let is_web = |listener: &Listener| matches!(listener.transport, Transport::WebSocket { .. });
        assert_eq!(listeners.iter().map(is_web).collect::<Vec<_>>(), [false, true, true, false, false]);
        let is_encrypted = listeners.iter().map(|listener| listener.tls.is_some()).collect::<Vec<_>>();
        assert_eq!(is_encrypted, [true, false, true, false, false]);
        let with_clients = config("ringmq --tls-cert c --tls-key k --tls-ca a --bind mqtts://127.0.0.1:1");
        let tls = with_clients.listeners[0].tls.as_ref().unwrap();
        assert!(tls.requires_certificate && tls.identity == Identity::CommonName);
        for bad in [
            "--bind mqtts://127.0.0.1:8883",
            "--bind ws://127.0.0.1",
            "--bind http://127.0.0.1:80",
            "--bind unix:",
            "--bind 127.0.0.1?proxy=3&trusted=::/0",
            "--bind 127.0.0.1?proxy=2",
            "--bind 127.0.0.1?trusted=::/0",
            "--bind 127.0.0.1?allow=10.1.2.3/8",
            "--bind unix:/s?deny=::/0",
            "--bind 127.0.0.1?connections=0",
            "--bind 127.0.0.1?origin=https://x",
            "--bind 127.0.0.1?colour=red",
            "--tls-cert c --tls-key k",
        ] {
            let failure = command(&format!("ringmq {bad}")).unwrap_err();
            assert!(failure.exit_code == 1 && !failure.text.contains('\n'), "{failure}");
        }
    }

    #[test]
    fn an_address_has_options_of_its_own() {
        let line = "ringmq --bind ws://127.0.0.1:80?connections=7&origin=https://a&origin=https://b \
                    --bind ::1?proxy=2&trusted=::1&trusted=10.0.0.0/8&allow=192.0.2.7&deny=::/0";
        let listeners = config(line).listeners;
        let origins = ["https://a", "https://b"].map(ToOwned::to_owned).to_vec();
        assert_eq!(listeners[0].transport, Transport::WebSocket { origins });
        assert_eq!((listeners[0].connections_max, listeners[0].proxy_protocol), (Some(7), None));
        assert_eq!((listeners[1].connections_max, listeners[1].proxy_protocol), (None, Some(2)));
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect::<Vec<_>>();
        let (proxies, allow, deny) = (networks(&["::1", "10.0.0.0/8"]), networks(&["192.0.2.7"]), networks(&["::/0"]));
        assert_eq!(listeners[1].access, Access { proxies, allow, deny });
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        for line in [
            "ringmq -c /no/file",
            "ringmq --config-file /no/file",
            "ringmq --config /no/file",
            "ringmq check -c /no/file",
        ] {
            let failure = command(line).unwrap_err();
            assert_eq!(failure.exit_code, 1);
            assert!(failure.text.contains("/no/file"), "{failure}");
        }
        assert_eq!(command("ringmq --test-config").unwrap_err().exit_code, 3);
    }
}
