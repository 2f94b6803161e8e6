//! Toml: ringmq's own configuration file.
//!
//! Duty: read it, say each mistake with line and what would be right. Must not: know what a key means. Neighbours: `key` is the
//! table of keys, `print` writes files, `load` calls `read`.

mod key;
mod print;
#[cfg(test)]
mod tests;
mod value;

use std::ops::Range;
use std::path::{Path, PathBuf};

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue};

pub(super) use self::print::converted_text;
pub use self::print::default_text;
pub use self::value::quoted;

use self::key::{Key, Root, Station};
use super::access::Words;
use super::mistake::near;
use super::setting::{HELD_BYTES, QUEUE_FULL, SETTINGS};
use super::store::Wanted;
use super::{
    Authenticator, Config, Identity, ListenAddress, Listener, Mistake, Place, Security, Tls, Tokens, Transport,
};
use crate::limits::{Limits, QueueFull};

/// Sections, each a table.
const SECTIONS: [&str; 5] = ["limits", "security", "log", "offer", "store"];
/// The section that is a list of tables.
const LISTENER: &str = "listener";
/// Tables of a security.
const OF_SECURITY: [&str; 2] = ["token", "http"];
/// How long an authenticator may take, milliseconds.
const TIMEOUT_MILLIS: std::ops::RangeInclusive<u32> = 1..=60_000;
/// Tables of a listener.
const OF_LISTENER: [&str; 2] = ["tls", "security"];

/// Keys of who may reach a listener.
const ACCESS: Words = Words {
    proxy: "proxy_protocol",
    proxies: "proxy_trusted",
    allow: "allow",
    deny: "deny",
    proxied_tls: "'proxy_require_tls', 'proxy_require_certificate' and 'proxy_common_name_as_user'",
};

/// What a file says: the configuration, and which cpus were asked for.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) config: Config,
    pub(super) shards: Option<usize>,
    pub(super) cpus: Option<Vec<usize>>,
    pub(super) store: Wanted,
}

/// Reads `file` over `base`; what is wrong is added to `mistakes`. `has_binds`: the command line names addresses, so that the
/// broker is not for this machine only.
pub(super) fn read(file: &Path, base: Config, has_binds: bool, mistakes: &mut Vec<Mistake>) -> Told {
    let text = std::fs::read_to_string(file).unwrap_or_else(|error| {
        mistakes.push(Mistake::unusable(format!("cannot read {}: {error}", file.display())));
        String::new()
    });
    let (table, errors) = DeTable::parse_recoverable(&text);
    let mut walk = Walk { file, text: &text, mistakes: Vec::new() };
    for error in errors {
        walk.say(error.span().unwrap_or(0..0), error.message().replace('\n', "; "));
    }
    let told = walk.root(table.get_ref(), base, has_binds);
    walk.mistakes.sort_by_key(|mistake| mistake.place.as_ref().map(|place| place.line));
    mistakes.append(&mut walk.mistakes);
    told
}

/// The security of a section that says nothing.
fn security(allow_anonymous: bool) -> Security {
    Security { allow_anonymous, refuses_useless_subscriptions: true, ..Security::default() }
}

struct Walk<'a> {
    file: &'a Path,
    text: &'a str,
    mistakes: Vec<Mistake>,
}

impl Walk<'_> {
    fn say(&mut self, span: Range<usize>, text: String) {
        let before = self.text.as_bytes().get(..span.start).unwrap_or_default();
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        self.mistakes.push(Mistake::at(&Place { file: self.file.to_owned(), line }, text));
    }

    fn root(&mut self, table: &DeTable<'_>, base: Config, has_binds: bool) -> Told {
        let mut root = Root { config: base, shards: None, cpus: None };
        let mut store = Wanted::default();
        self.keys(table, "", key::ROOT, &[&SECTIONS[..], &[LISTENER]].concat(), &mut root);
        let listeners = table.get(LISTENER);
        let config = &mut root.config;
        config.securities = vec![security(listeners.is_none() && !has_binds)];
        for (name, value) in table.iter() {
            match name.get_ref().as_ref() {
                "limits" => self.limits(value, config),
                "security" => self.security(value, "security", &mut config.securities[0]),
                "log" => self.section(value, "log", key::LOG, &mut config.logging),
                "offer" => self.section(value, "offer", key::OFFER, &mut config.offer),
                "store" => self.store(value, &mut store),
                _ => {}
            }
        }
        if let Some(value) = listeners {
            config.listeners.clear();
            self.listeners(value, config);
        }
        Told { config: root.config, shards: root.shards, cpus: root.cpus, store }
    }

    fn table<'t>(&mut self, value: &'t Spanned<DeValue<'_>>, name: &str) -> Option<&'t DeTable<'t>> {
        let table = value.get_ref().as_table();
        if table.is_none() {
            self.say(value.span(), format!("'{name}' must be a section, [{name}]"));
        }
        table
    }

    fn section<T>(&mut self, value: &Spanned<DeValue<'_>>, name: &str, keys: &[Key<T>], target: &mut T) {
        if let Some(table) = self.table(value, name) {
            self.keys(table, &format!("{name}."), keys, &[], target);
        }
    }

    /// Reads all keys of a table but the `sections` below it.
    fn keys<T>(&mut self, table: &DeTable<'_>, path: &str, keys: &[Key<T>], sections: &[&str], target: &mut T) {
        for (name, value) in table.iter() {
            let word: &str = name.get_ref().as_ref();
            if sections.contains(&word) {
                continue;
            }
            match keys.iter().find(|key| key.name == word) {
                Some(key) => {
                    if let Err(wanted) = (key.read)(target, value.get_ref()) {
                        self.say(value.span(), format!("'{path}{word}': {wanted}"));
                    }
                }
                None => self.unknown(
                    name.span(),
                    path,
                    word,
                    keys.iter().map(|key| key.name).chain(sections.iter().copied()),
                ),
            }
        }
    }

    fn unknown<'n>(&mut self, span: Range<usize>, path: &str, word: &str, names: impl Iterator<Item = &'n str>) {
        let near = near(word, names);
        let near =
            if near.is_empty() { "`ringmq config default` shows all".into() } else { format!("near it: {near}") };
        self.say(span, format!("unknown key '{path}{word}'; {near}"));
    }

    fn limits(&mut self, value: &Spanned<DeValue<'_>>, config: &mut Config) {
        let Some(table) = self.table(value, "limits") else { return };
        for (name, value) in table.iter() {
            let word: &str = name.get_ref().as_ref();
            if word == QUEUE_FULL {
                match value.get_ref().as_str().map(str::parse::<QueueFull>) {
                    Some(Ok(policy)) => config.limits.queue_full = policy,
                    _ => self.say(
                        value.span(),
                        "'limits.queue_full': one of reject, drop-newest, drop-oldest is wanted".into(),
                    ),
                }
                continue;
            }
            let Some(setting) = SETTINGS.iter().find(|setting| setting.name == word) else {
                let names = SETTINGS.iter().map(|setting| setting.name).chain([QUEUE_FULL]);
                self.unknown(name.span(), "limits.", word, names);
                continue;
            };
            match value::number(value.get_ref(), setting.min, setting.max) {
                Ok(number) => (setting.set)(&mut config.limits, number),
                Err(wanted) => self.say(value.span(), format!("'limits.{word}': {wanted} ({})", setting.unit)),
            }
            config.is_held_bytes_set |= word == HELD_BYTES;
        }
    }

    fn listeners(&mut self, value: &Spanned<DeValue<'_>>, config: &mut Config) {
        let tables = value.get_ref().as_array().filter(|array| array.iter().all(|item| item.get_ref().is_table()));
        let Some(tables) = tables else {
            return self.say(value.span(), "'listener' must be a list of sections, [[listener]]".into());
        };
        for item in tables.iter() {
            if let Some(table) = item.get_ref().as_table() {
                let listener = self.listener(item.span(), table, config);
                config.listeners.push(listener);
            }
        }
    }

    fn listener(&mut self, span: Range<usize>, table: &DeTable<'_>, config: &mut Config) -> Listener {
        let nowhere = ListenAddress::Unix(PathBuf::new());
        let mut station = Station { listener: Listener::plain(nowhere), is_websocket: false, origins: Vec::new() };
        self.keys(table, "listener.", key::LISTENER, &OF_LISTENER, &mut station);
        let mut listener = station.listener;
        if !table.contains_key("address") {
            self.say(span.clone(), "a listener needs an 'address', such as \"0.0.0.0:1883\"".into());
        }
        if listener.proxy_protocol.is_some_and(|version| !(1..=2).contains(&version)) {
            self.say(span.clone(), "'listener.proxy_protocol': 1 or 2 is wanted".into());
        }
        let has_address = listener.address != ListenAddress::Unix(PathBuf::new());
        if let Some(text) = ACCESS.mistake_of(&listener).filter(|_| has_address) {
            self.say(span.clone(), text);
        }
        if station.is_websocket {
            listener.transport = Transport::WebSocket { origins: station.origins };
        } else if !station.origins.is_empty() {
            self.say(span.clone(), "'listener.origins' is of listeners with websocket = true only".into());
        }
        if let Some(value) = table.get("tls") {
            listener.tls = Some(self.tls(value));
        }
        if let Some(value) = table.get("security") {
            let mut own = security(false);
            self.security(value, "listener.security", &mut own);
            let known = config.securities.iter().position(|security| *security == own);
            listener.security = known.unwrap_or_else(|| {
                config.securities.push(own);
                config.securities.len() - 1
            });
        }
        listener
    }

    fn store(&mut self, value: &Spanned<DeValue<'_>>, store: &mut Wanted) {
        self.section(value, "store", key::STORE, store);
        let path = value.get_ref().as_table().and_then(|table| table.get("path"));
        if let Some(path) = path.filter(|path| path.get_ref().as_str() == Some("")) {
            self.say(path.span(), "'store.path': a directory, or \"none\", is wanted".into());
        }
    }

    fn security(&mut self, value: &Spanned<DeValue<'_>>, name: &str, security: &mut Security) {
        let Some(table) = self.table(value, name) else { return };
        self.keys(table, &format!("{name}."), key::SECURITY, &OF_SECURITY, security);
        if let Some(value) = table.get("token") {
            security.tokens = Some(self.tokens(value, &format!("{name}.token")));
        }
        if let Some(value) = table.get("http") {
            security.authenticator = Some(self.authenticator(value, &format!("{name}.http")));
        }
    }

    fn authenticator(&mut self, value: &Spanned<DeValue<'_>>, name: &str) -> Authenticator {
        let mut authenticator = Authenticator::default();
        self.section(value, name, key::HTTP, &mut authenticator);
        if !["http://", "https://"].iter().any(|scheme| authenticator.url.starts_with(scheme)) {
            self.say(value.span(), format!("'{name}' needs 'url', which begins with http:// or https://"));
        }
        if !TIMEOUT_MILLIS.contains(&authenticator.timeout_millis) {
            let (min, max) = (TIMEOUT_MILLIS.start(), TIMEOUT_MILLIS.end());
            self.say(value.span(), format!("'{name}.timeout_millis': a number from {min} to {max} is wanted"));
        }
        authenticator
    }

    fn tokens(&mut self, value: &Spanned<DeValue<'_>>, name: &str) -> Tokens {
        let mut tokens = Tokens::default();
        self.section(value, name, key::TOKEN, &mut tokens);
        if tokens.secret_file.is_none() && tokens.key_file.is_none() && tokens.jwks_file.is_none() {
            self.say(value.span(), format!("'{name}' needs a key: 'secret_file', 'key_file' or 'jwks_file'"));
        }
        if tokens.user_claim.is_empty() {
            self.say(value.span(), format!("'{name}.user_claim' is empty; \"sub\" is the usual one"));
        }
        tokens
    }

    fn tls(&mut self, value: &Spanned<DeValue<'_>>) -> Tls {
        let mut tls = Tls {
            certificate: PathBuf::new(),
            key: PathBuf::new(),
            client_authority: None,
            revoked: None,
            requires_certificate: false,
            identity: Identity::None,
            is_tls13_only: false,
        };
        self.section(value, "listener.tls", key::TLS, &mut tls);
        let is_missing = tls.certificate.as_os_str().is_empty() || tls.key.as_os_str().is_empty();
        if is_missing {
            self.say(value.span(), "'listener.tls' needs 'certificate' and 'key'".into());
        }
        if tls.requires_certificate && tls.client_authority.is_none() {
            self.say(value.span(), "'listener.tls.require_certificate' needs 'client_authority'".into());
        }
        tls
    }
}

/// The limits that a file without `[limits]` gets.
fn limits() -> Limits {
    Limits::default()
}
