//! Load: from the command line and a file to one checked `Config`.
//!
//! Duty: what counts more: the command line before the file before the defaults. Must not: do anything but read files and look
//! names up, so that it can be called again at any time. Neighbours: `cli` makes the `Arguments`; `mosquitto` and `toml` read.

use std::path::{Path, PathBuf};

use super::admin::{Admin, AdminAddress};
use super::bind::Binds;
use super::cpus::{Wish, cpus_of, parse_cpus};
use super::setting::{self, HELD_BYTES};
use super::store::{self, Places, Wanted};
use super::{Config, Listener, LogForm, LogType, Logging, Mistake, Mistakes, PORT, Security, Store, mosquitto, toml};

/// A configuration file and its format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum File {
    /// Mosquitto's.
    Mosquitto(PathBuf),
    /// ringmq's own.
    Toml(PathBuf),
}

/// How much is told, whatever a file says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Loudness {
    /// What the file says.
    #[default]
    Unchanged,
    /// Everything.
    Verbose,
    /// Only errors.
    Quiet,
}

/// The command line of a broker.
#[derive(Clone, Debug, Default)]
pub struct Arguments {
    /// The file to read.
    pub file: Option<File>,
    /// Ports of the loopback addresses to listen on if the file has no listener; that of MQTT if there is none.
    pub ports: Vec<u16>,
    /// Addresses to listen on, whatever the file says.
    pub binds: Binds,
    /// Number of shards.
    pub shards: Option<usize>,
    /// A list of cpus.
    pub cpus: Option<String>,
    /// Limits, `name=value`.
    pub sets: Vec<String>,
    /// How much is told.
    pub loudness: Loudness,
    /// Where it is asked about itself, whatever the file says.
    pub admin: Option<String>,
    /// The file of the token for that, whatever the file says.
    pub admin_token_file: Option<PathBuf>,
    /// Whether anything can be changed there, if the file does not say so already.
    pub admin_allows_changes: bool,
    /// `--otlp-endpoint`.
    pub otlp_endpoint: Option<String>,
    /// The directory of the store, whatever the file says; `none` for no store.
    pub store: Option<PathBuf>,
    /// The directory that systemd has made for it (`STATE_DIRECTORY`).
    pub state_directory: Option<PathBuf>,
    /// Pause between two publications of `$SYS`, seconds; 0 for none.
    pub sys_interval_secs: Option<u16>,
    /// Whether to go to the background.
    pub is_daemon: bool,
    /// Seed of every keyed hash.
    pub hash_seed: Option<u64>,
    /// Whether clients may cause faults on purpose.
    pub is_faulty: bool,
    /// Whether the store answers before it has written.
    pub is_hasty: bool,
    /// The cpus that this process may run on.
    pub allowed_cpus: Vec<usize>,
}

/// What a broker is told by its command line, and by the file that it names. Has no effects.
///
/// # Errors
/// All mistakes that were found.
pub fn load(arguments: &Arguments) -> Result<Config, Mistakes> {
    let mut mistakes = Vec::new();
    let mut shards = None;
    let mut file_cpus = None;
    let mut wanted = Wanted::default();
    let has_binds = !arguments.binds.names.is_empty();
    let ports = if arguments.ports.is_empty() { &[PORT][..] } else { &arguments.ports };
    let mut config = match &arguments.file {
        None => without_file(ports),
        Some(File::Mosquitto(file)) => {
            let config = mosquitto::read(file, Config::of_cpus(Vec::new()), ports, has_binds, &mut mistakes);
            // Its file says whether there is one, also by saying nothing.
            wanted = Wanted::of(config.store.as_ref());
            config
        }
        Some(File::Toml(file)) => {
            let base = Config { listeners: loopbacks(ports), ..Config::of_cpus(Vec::new()) };
            let told = toml::read(file, base, has_binds, &mut mistakes);
            (shards, file_cpus, wanted) = (told.shards, told.cpus, told.store);
            told.config
        }
    };
    let (listeners, wrong) = arguments.binds.listeners(ports[0]);
    mistakes.extend(wrong.into_iter().map(Mistake::unusable));
    if has_binds {
        config.listeners = listeners;
    }
    for assignment in &arguments.sets {
        if let Err(text) = setting::assign(&mut config.limits, assignment) {
            mistakes.push(Mistake::unusable(text));
        }
        let name = assignment.split('=').next().unwrap_or_default();
        config.is_held_bytes_set |= name.trim() == HELD_BYTES;
    }
    match chosen_cpus(arguments, Wish { list: file_cpus.as_deref(), shards }) {
        Ok(cpus) => config.cpus = cpus,
        Err(mistake) => mistakes.push(mistake),
    }
    mistakes.extend(set_admin(&mut config.admin, arguments));
    let places = Places { of_line: arguments.store.as_deref(), of_system: arguments.state_directory.as_deref() };
    match store::choose(wanted, places, &mut config.warnings) {
        Ok(store) => config.store = store,
        Err(mistake) => mistakes.push(mistake),
    }
    set_loudness(&mut config.logging, arguments.loudness);
    config.sys_interval_secs = arguments.sys_interval_secs.map_or(config.sys_interval_secs, u32::from);
    config.is_daemon = arguments.is_daemon;
    config.hash_seed = arguments.hash_seed;
    config.is_faulty = arguments.is_faulty;
    config.is_hasty = arguments.is_hasty;
    config.file = arguments.file.as_ref().map(|(File::Mosquitto(file) | File::Toml(file))| file.clone());
    Mistakes::of(mistakes)?;
    Ok(config)
}

/// The files that `config` names for users, rights, encryption and the admin room, each with what it is.
pub fn files_of(config: &Config) -> Vec<(&'static str, &Path)> {
    let mut files: Vec<(&'static str, &Path)> = Vec::new();
    for security in &config.securities {
        files.extend(security.password_file.as_deref().map(|file| ("passwords", file)));
        files.extend(security.acl_file.as_deref().map(|file| ("rights", file)));
        let authority = security.authenticator.as_ref().and_then(|server| server.authority.as_deref());
        files.extend(authority.map(|file| ("the authenticator's authority", file)));
        if let Some(tokens) = &security.tokens {
            files.extend(tokens.secret_file.as_deref().map(|file| ("the secret of tokens", file)));
            files.extend(tokens.key_file.as_deref().map(|file| ("the keys of tokens", file)));
            files.extend(tokens.jwks_file.as_deref().map(|file| ("the key set of tokens", file)));
        }
    }
    for tls in config.listeners.iter().filter_map(|listener| listener.tls.as_ref()) {
        files.extend([("certificate", tls.certificate.as_path()), ("key", tls.key.as_path())]);
        files.extend(tls.client_authority.as_deref().map(|file| ("client authority", file)));
        files.extend(tls.revoked.as_deref().map(|file| ("revoked certificates", file)));
    }
    files.extend(config.admin.token_file.as_deref().map(|file| ("the token", file)));
    files.extend(config.admin.certificate.as_deref().map(|file| ("certificate", file)));
    files.extend(config.admin.key.as_deref().map(|file| ("key", file)));
    files.sort_unstable();
    files.dedup();
    files
}

/// The files that `config` names and that cannot be opened, and what is wrong with the place of its store.
pub fn missing_files(config: &Config) -> Vec<Mistake> {
    let cannot_open = |(what, file): (&str, &Path)| {
        let error = std::fs::File::open(file).err()?;
        Some(Mistake::unusable(format!("cannot open the file of {what} {}: {error}", file.display())))
    };
    let store = config.store.as_ref().and_then(Store::mistake);
    files_of(config).into_iter().filter_map(cannot_open).chain(store).collect()
}

/// A configuration as a file of ringmq's own.
pub fn text_of(config: &Config) -> String {
    toml::converted_text(config, &[])
}

/// A file of Mosquitto's as one of ringmq's own, with a comment for each thing that has no equal.
///
/// # Errors
/// What is wrong with the file.
pub fn convert(file: &Path) -> Result<String, Mistakes> {
    let mut mistakes = Vec::new();
    let config = mosquitto::read(file, Config::of_cpus(Vec::new()), &[PORT], false, &mut mistakes);
    Mistakes::of(mistakes)?;
    Ok(toml::converted_text(&config, &config.warnings))
}

/// What a broker does that is told nothing: what Mosquitto would, for clients on this machine.
fn without_file(ports: &[u16]) -> Config {
    Config {
        listeners: loopbacks(ports),
        securities: vec![Security::default()],
        limits: mosquitto::limits(),
        logging: Logging { form: LogForm::Mosquitto, ..Logging::default() },
        admin: Admin::OFF,
        ..Config::of_cpus(Vec::new())
    }
}

/// The cpus that the command line asks for, else the file, else all.
fn chosen_cpus(arguments: &Arguments, of_file: Wish<'_>) -> Result<Vec<usize>, Mistake> {
    let list = arguments.cpus.as_deref().map(parse_cpus).transpose().map_err(Mistake::unusable)?;
    let of_line = Wish { list: list.as_deref(), shards: arguments.shards };
    let is_of_line = of_line.list.is_some() || of_line.shards.is_some();
    let is_of_file = !is_of_line && (of_file.list.is_some() || of_file.shards.is_some());
    let wish = if is_of_line { of_line } else { of_file };
    cpus_of(wish, &arguments.allowed_cpus).map_err(|text| match (&arguments.file, &arguments.cpus) {
        (Some(File::Toml(file)), _) if is_of_file => {
            Mistake { exit_code: 3, ..Mistake::unusable(format!("{}: {text}", file.display())) }
        }
        (_, Some(list)) => Mistake::unusable(format!("--cpus {list}: {text}")),
        _ => Mistake::unusable(text),
    })
}

fn loopbacks(ports: &[u16]) -> Vec<Listener> {
    ports.iter().flat_map(|port| Listener::loopbacks(*port)).collect()
}

/// Returns what is wrong.
fn set_admin(admin: &mut Admin, arguments: &Arguments) -> Option<Mistake> {
    match arguments.admin.as_deref().map(AdminAddress::parse) {
        Some(Ok(address)) => admin.address = address,
        Some(Err(wanted)) => return Some(Mistake::unusable(format!("--admin {wanted}"))),
        None => {}
    }
    if let Some(file) = &arguments.admin_token_file {
        admin.token_file = Some(file.clone());
    }
    admin.allows_changes |= arguments.admin_allows_changes;
    if let Some(endpoint) = &arguments.otlp_endpoint {
        admin.otlp_endpoint = Some(endpoint.clone());
    }
    let is_of_file = arguments.admin.is_none();
    let mistake = |text| match &arguments.file {
        Some(File::Mosquitto(file) | File::Toml(file)) if is_of_file => {
            Mistake { exit_code: 3, ..Mistake::unusable(format!("{}: {text}", file.display())) }
        }
        _ => Mistake::unusable(text),
    };
    admin.mistake().map(mistake)
}

fn set_loudness(logging: &mut Logging, loudness: Loudness) {
    match loudness {
        Loudness::Unchanged => {}
        Loudness::Verbose => {
            logging.tells_connections = true;
            logging.tells_subscriptions = true;
            logging.types = LogType::ALL.to_vec();
            logging.is_quiet = false;
        }
        Loudness::Quiet => {
            logging.tells_connections = false;
            logging.tells_subscriptions = false;
            logging.types = LogType::ALL.to_vec();
            logging.is_quiet = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ListenAddress;

    fn arguments() -> Arguments {
        Arguments { allowed_cpus: vec![0, 1], ..Arguments::default() }
    }

    fn addresses(arguments: &Arguments) -> Vec<String> {
        let address = |listener: &Listener| match &listener.address {
            ListenAddress::Tcp(address) => address.to_string(),
            ListenAddress::Unix(path) => path.display().to_string(),
        };
        load(arguments).unwrap().listeners.iter().map(address).collect()
    }

    #[test]
    fn without_arguments_the_broker_listens_on_both_loopbacks_and_takes_every_cpu() {
        let config = load(&arguments()).unwrap();
        assert_eq!(addresses(&arguments()), ["127.0.0.1:1883", "[::1]:1883"]);
        assert_eq!(config.listeners.iter().map(|listener| listener.is_optional).collect::<Vec<_>>(), [false, true]);
        assert_eq!(config.cpus, [0, 1]);
        assert!(config.securities[0].allow_anonymous && config.warnings.is_empty());
    }

    #[test]
    fn without_arguments_clients_are_told_what_mosquitto_tells_them() {
        let limits = load(&arguments()).unwrap().limits;
        assert_eq!((limits.topic_alias_max, limits.packet_bytes_max, limits.receive_maximum), (10, 2_000_000, 20));
        assert!(limits.queued_messages_max >= 1_000_000 && limits.queued_bytes_max >= 256 << 20);
    }

    #[test]
    fn every_port_is_one_of_both_loopbacks() {
        let arguments = Arguments { ports: vec![2000, 2001], ..arguments() };
        assert_eq!(addresses(&arguments), ["127.0.0.1:2000", "[::1]:2000", "127.0.0.1:2001", "[::1]:2001"]);
    }

    #[test]
    fn addresses_take_the_port_of_the_line_unless_they_name_their_own() {
        let bound = |names: &[&str]| Arguments {
            ports: vec![2000],
            binds: Binds { names: names.iter().map(|name| (*name).to_owned()).collect(), ..Binds::default() },
            ..arguments()
        };
        let names = ["0.0.0.0", "[::1]:2001", "::1", "[::]", "10.0.0.1:7"];
        assert_eq!(addresses(&bound(&names)), ["0.0.0.0:2000", "[::1]:2001", "[::1]:2000", "[::]:2000", "10.0.0.1:7"]);
        assert_eq!(addresses(&bound(&["10.0.0.1", "10.0.0.1"])).len(), 1);
        for bad in ["127.0.0.1:x", "127.0.0.1:99999", "no.such.host.invalid"] {
            let mistakes = load(&bound(&[bad])).unwrap_err();
            assert_eq!(mistakes.first().exit_code, 1);
            assert!(mistakes.first().text.contains(bad) && !mistakes.first().text.contains('\n'), "{mistakes:?}");
        }
    }

    /// Mosquitto has no such thing, so that a broker that takes its place has none either unless it is asked for.
    #[test]
    fn the_admin_room_is_off_without_a_file_and_opened_by_the_command_line() {
        let with = |admin: &str, token: Option<&str>| {
            let admin_token_file = token.map(PathBuf::from);
            load(&Arguments { admin: Some(admin.into()), admin_token_file, ..arguments() })
        };
        assert_eq!(load(&arguments()).unwrap().admin, Admin::OFF);
        assert_eq!(with("default", None).unwrap().admin, Admin::USUAL);
        assert_eq!(with("127.0.0.1:1", None).unwrap().admin.address.to_string(), "127.0.0.1:1");
        for (bad, words) in [("0.0.0.0:1", "admin_token_file"), ("x", "--admin x: none, default")] {
            let mistakes = with(bad, None).unwrap_err();
            assert!(mistakes.first().exit_code == 1 && mistakes.first().text.contains(words), "{mistakes:?}");
        }
        let config = with("0.0.0.0:1", Some("/t")).unwrap();
        assert!(files_of(&config).contains(&("the token", Path::new("/t"))));
    }

    /// Mosquitto knows nothing of systemd's directories: its file decides alone.
    #[test]
    fn systemds_directory_is_the_store_unless_a_file_says_otherwise() {
        let directory = |file: Option<File>, line: Option<&str>| {
            let (store, state_directory) = (line.map(PathBuf::from), Some("/state".into()));
            let store = load(&Arguments { file, store, state_directory, ..arguments() }).unwrap().store;
            store.map(|store| store.directory.display().to_string())
        };
        let path = std::env::temp_dir().join(format!("ringmq-load-{}", std::process::id()));
        let file = |text: &str| {
            std::fs::write(&path, text).unwrap();
            path.clone()
        };
        assert_eq!(load(&arguments()).unwrap().store, None);
        assert_eq!(directory(None, None).as_deref(), Some("/state"));
        assert_eq!(directory(None, Some("/line")).as_deref(), Some("/line"));
        assert_eq!(directory(None, Some("none")), None);
        assert_eq!(directory(Some(File::Toml(file(""))), None).as_deref(), Some("/state"));
        assert_eq!(directory(Some(File::Toml(file("store.path = \"/own\""))), None).as_deref(), Some("/own"));
        assert_eq!(directory(Some(File::Toml(file("store.path = \"none\""))), None), None);
        assert_eq!(directory(Some(File::Mosquitto(file(""))), None), None);
        let on = "persistence true\npersistence_location /l\n";
        assert_eq!(directory(Some(File::Mosquitto(file(on))), None).as_deref(), Some("/l/mosquitto.ringmq"));
        assert_eq!(directory(Some(File::Mosquitto(file(on))), Some("/line")).as_deref(), Some("/line"));
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn limits_are_set_by_name() {
        let with = |sets: &[&str]| {
            load(&Arguments { sets: sets.iter().map(|set| (*set).to_owned()).collect(), ..arguments() })
        };
        let limits = with(&["topic_alias_max=7", "packet_bytes_max=1000"]).unwrap().limits;
        assert_eq!((limits.topic_alias_max, limits.packet_bytes_max), (7, 1000));
        assert!(!with(&[]).unwrap().is_held_bytes_set);
        assert!(with(&["held_bytes_per_shard_max=5000000"]).unwrap().is_held_bytes_set);
        let mistakes = with(&["nonsense=1", "zzz=2"]).unwrap_err();
        assert_eq!((mistakes.first().exit_code, mistakes.iter().count()), (1, 2));
    }
}
