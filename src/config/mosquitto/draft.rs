//! Draft: what the options of a file have said so far.
//!
//! Duty: gather values, each where its scope says; say what is wrong with one. Must not: know names of options or lines.
//! Neighbours: `option` calls it for each line, `finish` makes a `Config` of it.

use std::collections::HashSet;
use std::path::PathBuf;

use super::option::{Put, family, version};
use crate::config::{Admin, AdminAddress, Config, Identity, ListenAddress, Listener, LogDestination, Place, Security};
use crate::limits::{Limits, QueueFull};

/// Why a value is refused.
#[derive(Debug)]
pub(super) enum Wrong {
    /// The value; what is wanted instead.
    Value(String),
    /// Something else, as a sentence.
    Whole(String),
}

/// The family of addresses that `socket_domain` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

/// Who may do what, as far as it was said.
#[derive(Debug)]
pub(super) struct Rights {
    /// `allow_anonymous`; its default depends on the listeners.
    pub(super) anonymous: Option<bool>,
    pub(super) id_prefix: Option<String>,
    pub(super) rest: Security,
}

/// Files of certificates and what goes with them.
#[derive(Debug, Default)]
pub(super) struct TlsDraft {
    pub(super) certificate: Option<PathBuf>,
    pub(super) key: Option<PathBuf>,
    pub(super) authority_file: Option<PathBuf>,
    pub(super) authority_folder: Option<PathBuf>,
    pub(super) revoked: Option<PathBuf>,
    pub(super) requires_certificate: bool,
    pub(super) common_name: bool,
    pub(super) subject: bool,
    pub(super) is_tls13_only: bool,
}

/// A listener of the file; it may become several listeners, one for each address.
#[derive(Debug)]
pub(super) struct Station {
    /// Where it begins; `None` for the default listener.
    pub(super) place: Option<Place>,
    pub(super) port: Option<u16>,
    pub(super) host: Option<String>,
    pub(super) family: Option<Family>,
    pub(super) is_websocket: bool,
    pub(super) origins: Vec<String>,
    pub(super) tls: TlsDraft,
    pub(super) anonymous: Option<bool>,
    pub(super) rights: Rights,
    /// All else; its address means nothing.
    pub(super) listener: Listener,
    /// Whether any of its options was given.
    pub(super) is_touched: bool,
}

/// A plugin of Mosquitto's that the broker has built in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugin {
    PasswordFile,
    AclFile,
    Persistence,
}

/// What outlives the process, and where.
#[derive(Debug)]
pub(super) struct Persistence {
    pub(super) is_on: bool,
    pub(super) folder: PathBuf,
    pub(super) file: String,
    /// Whether Mosquitto would keep a file of its own format there: a plugin has another one.
    pub(super) has_file: bool,
    pub(super) every: u32,
    /// Whether that counts changes, not seconds.
    pub(super) counts_changes: bool,
}

/// Mosquitto's pause between two savings, seconds.
const SAVING_SECS: u32 = 1800;

/// What the lines have said so far.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) config: Config,
    pub(super) is_per_listener: bool,
    pub(super) rights: Rights,
    pub(super) checks_retain_source: bool,
    pub(super) client_id_prefix: Option<String>,
    /// The first is the default listener: what is said before any `listener`.
    pub(super) stations: Vec<Station>,
    /// The listener that options belong to now.
    pub(super) current: usize,
    pub(super) persistence: Persistence,
    pub(super) plugin: Option<Plugin>,
    pub(super) has_bridge: bool,
    /// Options given once, with their listener.
    pub(super) given: HashSet<(usize, &'static str)>,
    pub(super) place: Option<Place>,
    pub(super) queued_messages: Option<i64>,
    pub(super) queued_bytes: Option<i64>,
    pub(super) log_facility: Option<i64>,
    pub(super) has_timestamp: bool,
    pub(super) timestamp_format: Option<String>,
    log_destinations: Option<Vec<LogDestination>>,
    log_types: Option<Vec<String>>,
}

impl Rights {
    fn none_said() -> Self {
        Self { anonymous: None, id_prefix: None, rest: Security::default() }
    }
}

impl Station {
    fn new(place: Option<Place>, port: Option<u16>, host: Option<String>) -> Self {
        Self {
            place,
            port,
            host,
            family: None,
            is_websocket: false,
            origins: Vec::new(),
            tls: TlsDraft::default(),
            anonymous: None,
            rights: Rights::none_said(),
            listener: Listener::plain(ListenAddress::Unix(PathBuf::new())),
            is_touched: false,
        }
    }
}

/// The bounds of a broker that is told nothing: what clients are told of them is what Mosquitto tells them.
pub(in crate::config) fn limits() -> Limits {
    Limits {
        packet_bytes_max: 2_000_000,
        receive_maximum: 20,
        topic_alias_max: 10,
        topic_alias_out_max: 10,
        queued_messages_max: 1_000_000,
        queued_bytes_max: 256 << 20,
        ..Limits::default()
    }
}

impl Draft {
    pub(super) fn new(mut config: Config) -> Self {
        config.limits = Limits { inflight_messages_max: 20, queue_full: QueueFull::DropNewest, ..limits() };
        config.offer.refuses_long_keep_alive = true;
        config.logging.tells_connections = true;
        config.admin = Admin::OFF;
        Self {
            config,
            is_per_listener: false,
            rights: Rights::none_said(),
            checks_retain_source: true,
            client_id_prefix: None,
            stations: vec![Station::new(None, None, None)],
            current: 0,
            persistence: Persistence {
                is_on: false,
                folder: ".".into(),
                file: "mosquitto.db".into(),
                has_file: true,
                every: SAVING_SECS,
                counts_changes: false,
            },
            plugin: None,
            has_bridge: false,
            given: HashSet::new(),
            place: None,
            queued_messages: None,
            queued_bytes: None,
            log_facility: None,
            has_timestamp: true,
            timestamp_format: None,
            log_destinations: None,
            log_types: None,
        }
    }

    /// The listener that options belong to now.
    pub(super) fn listener(&mut self) -> &mut Station {
        let station = &mut self.stations[self.current];
        station.is_touched = true;
        station
    }

    /// The rights that options belong to now.
    pub(super) fn security(&mut self) -> &mut Rights {
        if self.is_per_listener { &mut self.stations[self.current].rights } else { &mut self.rights }
    }

    /// The destinations of the log that were named, if any.
    pub(super) fn log_destinations(&mut self) -> Option<Vec<LogDestination>> {
        self.log_destinations.take()
    }

    /// Whether one of these types of log lines is asked for; `None` if no type was named.
    pub(super) fn logs_any(&self, types: &[&str]) -> Option<bool> {
        let is_any = |word: &String| word == "all" || types.contains(&word.as_str());
        self.log_types.as_ref().map(|words| words.iter().any(is_any))
    }

    pub(super) fn add_listener(&mut self, value: &str) -> Result<(), Wrong> {
        let (port, host) = value.split_once(' ').unwrap_or((value, ""));
        let host = Some(host.trim()).filter(|host| !host.is_empty()).map(str::to_owned);
        let port = port.parse().map_err(|_| Wrong::Value("a port, then an address or the path of a socket".into()))?;
        if port == 0 && host.is_none() {
            return Err(Wrong::Whole("A listener with port 0 must provide a Unix socket path.".into()));
        }
        self.current = self.stations.len();
        self.stations.push(Station::new(self.place.clone(), Some(port), host));
        Ok(())
    }

    pub(super) fn set_default_port(&mut self, port: i64) {
        self.stations[0].port = u16::try_from(port).ok();
    }

    pub(super) fn set_default_host(&mut self, host: &str) -> Result<(), Wrong> {
        self.stations[0].host.put(host)
    }

    pub(super) fn set_family(&mut self, value: &str) -> Result<(), Wrong> {
        self.listener().family = Some(family(value).ok_or_else(|| Wrong::Value("ipv4 or ipv6".into()))?);
        Ok(())
    }

    pub(super) fn set_protocol(&mut self, value: &str) -> Result<(), Wrong> {
        self.listener().is_websocket = match value {
            "mqtt" => false,
            "websockets" => true,
            "http_api" => return Err(Wrong::Whole("'protocol http_api' is not supported; remove the listener".into())),
            _ => return Err(Wrong::Value("mqtt or websockets".into())),
        };
        Ok(())
    }

    pub(super) fn add_origin(&mut self, value: &str) -> Result<(), Wrong> {
        self.listener().origins.push(value.to_owned());
        Ok(())
    }

    /// -1 for any number.
    pub(super) fn set_connections_max(&mut self, count: i64) {
        self.listener().listener.connections_max = usize::try_from(count).ok();
    }

    pub(super) fn set_mount_point(&mut self, value: &str) -> Result<(), Wrong> {
        if value.contains(['+', '#']) {
            return Err(Wrong::Value("a beginning of topics without + and #".into()));
        }
        self.listener().listener.mount_point.put(value)
    }

    pub(super) fn set_versions(&mut self, value: &str) -> Result<(), Wrong> {
        let words = value.split([',', ' ']).filter(|word| !word.is_empty());
        let versions: Option<Vec<_>> = words.map(version).collect();
        self.listener().listener.versions =
            versions.ok_or_else(|| Wrong::Value("a list of 3, 4 and 5, such as 4,5".into()))?;
        Ok(())
    }

    pub(super) fn set_identity(&mut self, is_on: bool, what: Identity) {
        let tls = &mut self.listener().tls;
        if what == Identity::Subject { tls.subject = is_on } else { tls.common_name = is_on }
    }

    pub(super) fn set_tls_version(&mut self, value: &str) -> Result<(), Wrong> {
        self.listener().tls.is_tls13_only = match value {
            "tlsv1.3" => true,
            "tlsv1.2" => false,
            _ => return Err(Wrong::Value("tlsv1.2 or tlsv1.3; older versions are not safe".into())),
        };
        Ok(())
    }

    /// 0 for as many as the protocol has.
    pub(super) fn set_inflight(&mut self, count: i64) {
        let count = u16::try_from(count).ok().filter(|count| *count > 0).unwrap_or(u16::MAX);
        self.config.limits.inflight_messages_max = count;
        self.config.limits.receive_maximum = count;
    }

    /// 0 for any.
    pub(super) fn set_payload_bytes(&mut self, bytes: i64) {
        self.config.offer.payload_bytes_max = u32::try_from(bytes).ok().filter(|bytes| *bytes > 0);
    }

    pub(super) fn set_persistence_file(&mut self, value: &str) -> Result<(), Wrong> {
        if value.contains('/') || value == "." || value == ".." {
            return Err(Wrong::Value("a name without folder; persistence_location names the folder".into()));
        }
        self.persistence.file = value.to_owned();
        Ok(())
    }

    pub(super) fn set_persistence_folder(&mut self, value: &str) -> Result<(), Wrong> {
        self.persistence.folder = value.into();
        Ok(())
    }

    /// A number and the letter of its unit: seconds to years.
    pub(super) fn set_session_expiry(&mut self, value: &str) -> Result<(), Wrong> {
        let wrong = || Wrong::Value("a number and one of h, d, w, m, y".into());
        let unit_at = value.len().saturating_sub(1);
        let (number, unit) = value.is_char_boundary(unit_at).then(|| value.split_at(unit_at)).ok_or_else(wrong)?;
        let secs: u64 = match unit {
            "s" => 1,
            "h" => 3600,
            "d" => 86_400,
            "w" => 7 * 86_400,
            "m" => 30 * 86_400,
            "y" => 365 * 86_400,
            _ => return Err(wrong()),
        };
        let secs = number.parse::<u64>().ok().and_then(|number| number.checked_mul(secs)).ok_or_else(wrong)?;
        // The greatest value means never.
        self.config.limits.session_expiry_secs_max = u32::try_from(secs).unwrap_or(u32::MAX);
        Ok(())
    }

    pub(super) fn add_log_destination(&mut self, value: &str) -> Result<(), Wrong> {
        let (kind, path) = value.split_once(' ').unwrap_or((value, ""));
        let destination = match (kind, path.trim()) {
            ("none", _) => {
                self.log_destinations = Some(Vec::new());
                return Ok(());
            }
            ("stdout", _) => LogDestination::Stdout,
            ("stderr", _) => LogDestination::Stderr,
            ("syslog", _) => LogDestination::Syslog("daemon".into()),
            ("topic", _) => LogDestination::Topic,
            ("file", "") => return Err(Wrong::Whole("Empty 'log_dest file' value in configuration.".into())),
            ("file", path) => LogDestination::File(path.into()),
            ("dlt" | "android", _) => return Err(Wrong::Whole(format!("'log_dest {kind}' is not supported"))),
            _ => return Err(Wrong::Value("none, stdout, stderr, syslog, topic, or file and its path".into())),
        };
        self.log_destinations.get_or_insert_default().push(destination);
        Ok(())
    }

    pub(super) fn set_admin(&mut self, value: &str) -> Result<(), Wrong> {
        self.config.admin.address = AdminAddress::parse(value).map_err(Wrong::Value)?;
        Ok(())
    }

    pub(super) fn add_admin_user(&mut self, value: &str) -> Result<(), Wrong> {
        self.config.admin.users.push(value.to_owned());
        Ok(())
    }

    pub(super) fn add_log_type(&mut self, value: &str) -> Result<(), Wrong> {
        const TYPES: &[&str] = &[
            "none",
            "all",
            "error",
            "warning",
            "notice",
            "information",
            "debug",
            "subscribe",
            "unsubscribe",
            "websockets",
            "internal",
        ];
        if !TYPES.contains(&value) {
            return Err(Wrong::Value(format!("one of {}", TYPES.join(", "))));
        }
        let types = self.log_types.get_or_insert_default();
        if value == "none" {
            types.clear();
        }
        types.push(value.to_owned());
        Ok(())
    }

    /// The plugins that come with Mosquitto are known by the names of their files.
    pub(super) fn load_plugin(&mut self, path: &str) -> Result<(), Wrong> {
        let file = path.rsplit('/').next().unwrap_or(path);
        let name = file.strip_suffix(".so").unwrap_or(file);
        self.plugin = Some(match name {
            "mosquitto_password_file" => Plugin::PasswordFile,
            "mosquitto_acl_file" => Plugin::AclFile,
            "mosquitto_persist_sqlite" => {
                (self.persistence.is_on, self.persistence.has_file) = (true, false);
                Plugin::Persistence
            }
            "mosquitto_dynamic_security" => {
                let text = "The plugin mosquitto_dynamic_security is not supported yet; use password_file and acl_file";
                return Err(Wrong::Whole(text.into()));
            }
            _ => {
                let remedy = "the broker loads no plugins; it has password_file and acl_file built in";
                return Err(Wrong::Whole(format!("Unable to load plugin '{path}': {remedy}")));
            }
        });
        Ok(())
    }

    /// A name that `plugin_use` knows, then the path.
    pub(super) fn load_named_plugin(&mut self, value: &str) -> Result<(), Wrong> {
        let (_, path) = value.split_once(' ').ok_or_else(|| Wrong::Value("a name and a path".into()))?;
        self.load_plugin(path.trim())
    }

    /// An option of the last plugin; `key` is its name without `plugin_opt_`. False if it does nothing.
    pub(super) fn set_plugin_option(&mut self, key: &str, value: &str) -> bool {
        match (self.plugin, key) {
            (Some(Plugin::PasswordFile), "password_file") => self.security().rest.password_file = Some(value.into()),
            (Some(Plugin::AclFile), "acl_file") => self.security().rest.acl_file = Some(value.into()),
            _ => return false,
        }
        true
    }
}
