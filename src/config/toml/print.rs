//! Print: a `Config` as a file of ringmq's own, and the file of all defaults.
//!
//! Duty: text that is read back as the same value. Must not: leave out what differs from the default. Neighbours: `key` and
//! `config::setting` name what is written.

use std::fmt::Write;

use super::key::{self, Key, Root, Station};
use super::{limits, security};
use crate::config::setting::{HELD_BYTES, QUEUE_FULL, SETTINGS, Setting};
use crate::config::store::Wanted;
use crate::config::{Authenticator, Config, ListenAddress, Listener, PORT, Security, Tokens, Transport};
use crate::limits::{Limits, QueueFull};

const OF_TOKENS: &str =
    "\n# JSON Web Tokens in the place of passwords. Also [listener.security.token].\n#[security.token]\n";

const OF_HTTP: &str = "\n# A web server that says who may come. Also [listener.security.http].\n#[security.http]\n";

/// A file with every key, commented; its values are the defaults.
pub fn default_text() -> String {
    let mut text = String::from(
        "# Configuration of ringmq: every key with its default. What is commented out is not set.\n\
         # Start with it: ringmq --config FILE. Look for mistakes: ringmq check --config FILE.\n\n",
    );
    let root = Root { config: Config::of_cpus(Vec::new()), shards: None, cpus: None };
    explain(&mut text, key::ROOT, &root, "");
    text.push_str("\n# Who may do what, on every listener that has no [listener.security].\n[security]\n");
    let is_of_listeners = |key: &&Key<_>| key.name == "allow_anonymous";
    let (depends, own): (Vec<_>, Vec<_>) = key::SECURITY.iter().partition(is_of_listeners);
    depends.iter().for_each(|key| comment(&mut text, key, ""));
    own.iter().for_each(|key| explain(&mut text, std::slice::from_ref(*key), &root.config.securities[0], ""));
    text.push_str(OF_TOKENS);
    key::TOKEN.iter().for_each(|key| comment(&mut text, key, ""));
    text.push_str(OF_HTTP);
    key::HTTP.iter().for_each(|key| comment(&mut text, key, ""));
    text.push_str("\n# What is told to whom.\n[log]\n");
    explain(&mut text, key::LOG, &root.config.logging, "");
    text.push_str("\n# What clients get.\n[offer]\n");
    explain(&mut text, key::OFFER, &root.config.offer, "");
    text.push_str("\n# What is kept on disk, to outlive the process.\n[store]\n");
    key::STORE.iter().for_each(|key| comment(&mut text, key, ""));
    text.push_str("\n# Bounds: each has its unit in its name or in brackets.\n[limits]\n");
    SETTINGS.iter().for_each(|setting| explain_limit(&mut text, setting, &root.config.limits));
    let words = QueueFull::WORDS.map(|(word, _)| word).join(", ");
    put(&mut text, format_args!("# What happens at a full queue: {words}.\n"));
    put(&mut text, format_args!("{QUEUE_FULL} = \"{}\"\n", word_of(root.config.limits.queue_full)));
    text.push_str(
        "\n# Where to listen, a section for each address. Without any the broker listens on port 1883 of 127.0.0.1 and ::1, and\n\
         # everybody on this machine may come; with one, nobody may who is not told so in [security].\n#[[listener]]\n",
    );
    key::LISTENER.iter().for_each(|key| comment(&mut text, key, ""));
    text.push_str("\n# Encryption of the listener above.\n#[listener.tls]\n");
    key::TLS.iter().for_each(|key| comment(&mut text, key, ""));
    text.push_str("\n# Who may do what on the listener above, instead of [security].\n#[listener.security]\n");
    key::SECURITY.iter().for_each(|key| comment(&mut text, key, ""));
    text
}

/// A file that gives `config`, with `notes` for what it cannot say.
pub(in crate::config) fn converted_text(config: &Config, notes: &[String]) -> String {
    let mut text = String::from("# Configuration of ringmq; `ringmq config default` explains the keys.\n");
    notes.iter().for_each(|note| put(&mut text, format_args!("# {note}\n")));
    let plain = Config::of_cpus(Vec::new());
    text.push('\n');
    let of_root = |config: &Config| Root { config: config.clone(), shards: None, cpus: None };
    differing(&mut text, key::ROOT, &of_root(config), &of_root(&plain));
    let is_local = config.listeners == Listener::loopbacks(PORT);
    if let Some(first) = config.securities.first() {
        text.push_str("\n[security]\n");
        // Said in any case: its default depends on the listeners.
        put(&mut text, format_args!("allow_anonymous = {}\n", first.allow_anonymous));
        differing(&mut text, key::SECURITY, first, &security(first.allow_anonymous));
        put_judges(&mut text, first, "security");
    }
    text.push_str("\n[log]\n");
    differing(&mut text, key::LOG, &config.logging, &plain.logging);
    text.push_str("\n[offer]\n");
    differing(&mut text, key::OFFER, &config.offer, &plain.offer);
    text.push_str("\n[store]\n");
    // The path is said in any case: without it systemd may name one.
    differing(&mut text, key::STORE, &Wanted::of(config.store.as_ref()), &Wanted::default());
    text.push_str("\n[limits]\n");
    differing_limits(&mut text, config);
    if !is_local {
        config.listeners.iter().for_each(|listener| put_listener(&mut text, listener, config));
    }
    text
}

fn put(text: &mut String, what: std::fmt::Arguments<'_>) {
    // Writing to a string does not fail.
    let _ = text.write_fmt(what);
}

fn explain<T>(text: &mut String, keys: &[Key<T>], target: &T, before: &str) {
    for key in keys {
        match (key.write)(target) {
            Some(value) => put(text, format_args!("# {}\n{before}{} = {value}\n", key.about, key.name)),
            None => comment(text, key, before),
        }
    }
}

fn comment<T>(text: &mut String, key: &Key<T>, before: &str) {
    put(text, format_args!("# {}\n#{before}{} = {}\n", key.about, key.name, key.example));
}

fn explain_limit(text: &mut String, setting: &Setting, limits: &Limits) {
    let Setting { name, unit, min, max, get, .. } = setting;
    let value = get(limits);
    if *name == HELD_BYTES {
        let about = "lowered to its part of half of the memory there is, unless set";
        return put(text, format_args!("# {unit}, from {min}; {about}\n#{name} = {value}\n"));
    }
    put(text, format_args!("# {unit}, from {min} to {max}\n{name} = {value}\n"));
}

fn word_of(policy: QueueFull) -> &'static str {
    QueueFull::WORDS.iter().find(|(_, known)| *known == policy).map_or("", |(word, _)| word)
}

fn differing<T>(text: &mut String, keys: &[Key<T>], target: &T, default: &T) {
    for key in keys {
        let value = (key.write)(target);
        if let Some(value) = value.filter(|value| (key.write)(default).as_ref() != Some(value)) {
            put(text, format_args!("{} = {value}\n", key.name));
        }
    }
}

fn differing_limits(text: &mut String, config: &Config) {
    let plain = limits();
    for setting in SETTINGS {
        let value = (setting.get)(&config.limits);
        let is_told = value != (setting.get)(&plain) || setting.name == HELD_BYTES && config.is_held_bytes_set;
        if is_told {
            put(text, format_args!("{} = {value}\n", setting.name));
        }
    }
    if config.limits.queue_full != plain.queue_full {
        put(text, format_args!("{QUEUE_FULL} = \"{}\"\n", word_of(config.limits.queue_full)));
    }
}

fn put_listener(text: &mut String, listener: &Listener, config: &Config) {
    text.push_str("\n[[listener]]\n");
    let nowhere = Listener::plain(ListenAddress::Unix(std::path::PathBuf::new()));
    let (is_websocket, origins) = match &listener.transport {
        Transport::Mqtt => (false, Vec::new()),
        Transport::WebSocket { origins } => (true, origins.clone()),
    };
    let station = Station { listener: listener.clone(), is_websocket, origins };
    let plain = Station { listener: nowhere, is_websocket: false, origins: Vec::new() };
    differing(text, key::LISTENER, &station, &plain);
    if let Some(tls) = &listener.tls {
        text.push_str("[listener.tls]\n");
        for key in key::TLS {
            if let Some(value) = (key.write)(tls) {
                put(text, format_args!("{} = {value}\n", key.name));
            }
        }
    }
    if let Some(own) = config.securities.get(listener.security).filter(|_| listener.security > 0) {
        text.push_str("[listener.security]\n");
        differing(text, key::SECURITY, own, &security(false));
        put_judges(text, own, "listener.security");
    }
}

/// Who says what no file of the broker's says.
fn put_judges(text: &mut String, security: &Security, name: &str) {
    if let Some(tokens) = &security.tokens {
        put(text, format_args!("[{name}.token]\n"));
        differing(text, key::TOKEN, tokens, &Tokens::default());
    }
    if let Some(authenticator) = &security.authenticator {
        put(text, format_args!("[{name}.http]\n"));
        differing(text, key::HTTP, authenticator, &Authenticator::default());
    }
}
