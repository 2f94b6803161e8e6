//! Reloading: from a new configuration to a broker that does what it says, all of it or nothing.
//!
//! Duty: make everything that can fail, then tell shards and log; say what needs a new start. Must not: wait, or read the
//! configuration. Neighbours: `changing` has the listeners, `policy_files` the rules, `journal` the log; `serving` calls.

use std::path::Path;
use std::sync::Arc;

use super::changing::Changing;
use super::copying::CopyDesk;
use super::failure::Failure;
use super::journal::{Journal, Writing};
use super::judges::Bench;
use super::news::{News, NewsDesk};
use super::policy_files;
use super::report::Tone;
use super::watch::{Watch, Watched};
use super::window::{LogWish, Shown, Window};
use crate::auth::Policy;
use crate::config::{Config, LogType, MosquittoFile, Store, change_limits};

/// A running broker, as far as it can change.
#[derive(Debug)]
pub(super) struct Reloading {
    /// What it does now.
    pub(super) config: Config,
    pub(super) policy: Arc<Policy>,
    pub(super) changing: Changing,
    pub(super) desk: NewsDesk,
    pub(super) bench: Bench,
    pub(super) journal: Journal,
    /// Who says when files have changed; `None` if the kernel does not tell.
    pub(super) watch: Option<Watch>,
    /// Who writes Mosquitto's file beside the store, if somebody does.
    pub(super) copies: Option<CopyDesk>,
    /// What others see of it.
    pub(super) window: Window,
}

impl Reloading {
    /// Does as `wanted` says; what it has done, for the log.
    ///
    /// # Errors
    /// A file or an address that it names cannot be had; nothing was changed.
    pub(super) fn apply(&mut self, mut wanted: Config) -> Result<String, Failure> {
        let mut fixed = fixed_parts(&self.config, &wanted);
        if wanted.admin.address != self.config.admin.address {
            // The token belongs to the address that stays.
            wanted.admin = self.config.admin.clone();
        }
        wanted.store = store_of(&self.config, wanted.store);
        // What is written from here on is noticed.
        let watched = Watched::of(&wanted);
        let (fresh, judges) = policy_files::load(&wanted)?;
        let (token, tls) = (policy_files::load_token(&wanted.admin)?, policy_files::load_admin_tls(&wanted.admin)?);
        let is_logged_otherwise = wanted.logging != self.config.logging;
        let writing = is_logged_otherwise.then(|| Writing::prepare(&wanted.logging)).transpose()?;
        let changed = self.changing.apply(&wanted)?;
        // From here on nothing fails.
        if let Some(watch) = &mut self.watch {
            watch.follow(watched);
        }
        self.policy = Arc::new(fresh.at(&changed.places, &self.policy));
        self.bench.seat(judges);
        self.desk.tell_all(|| News::Rules(Arc::clone(&self.policy)));
        let (limits, fixed_limits) = change_limits(&self.config.limits, &wanted.limits, wanted.is_held_bytes_set);
        let is_bounded_otherwise = limits != self.config.limits;
        if is_bounded_otherwise || is_logged_otherwise {
            let (limits, tone) = (Arc::new(limits.clone()), Tone::from(&wanted.logging));
            self.desk.tell_all(|| News::Bounds(Arc::clone(&limits), tone));
        }
        if let Some(writing) = writing {
            self.journal.change(writing);
        }
        let file = wanted.store.as_ref().and_then(|store| store.mosquitto.as_ref());
        if let (Some(copies), Some(file)) = (&self.copies, file) {
            copies.follow(file);
        }
        for warning in &wanted.warnings {
            self.journal.tell(LogType::Warning, warning.clone());
        }
        fixed.splice(0..0, fixed_limits);
        let (policy, ports) = (Arc::clone(&self.policy), self.changing.ports());
        // What is as it was at the start stays so, to be named again until the broker is started again.
        let Config { cpus, sys_interval_secs, pid_file, user, .. } = self.config.clone();
        self.config = Config { limits, cpus, sys_interval_secs, pid_file, user, ..wanted };
        self.window.show(Shown {
            policy,
            ports,
            token,
            limits: self.config.limits.clone(),
            listeners: self.changing.listeners(),
            config: Arc::new(self.config.clone()),
            tls,
        });
        let limits = if is_bounded_otherwise { ", limits changed" } else { "" };
        let log = if is_logged_otherwise { ", log changed" } else { "" };
        let start = match &fixed[..] {
            [] => String::new(),
            names => format!("; a new start is needed for {}", names.join(", ")),
        };
        Ok(format!("users and rights read again, {changed}{limits}{log}{start}"))
    }

    /// Logs this until the next reload; says so.
    pub(super) fn log(&mut self, LogWish { tells_connections, types }: LogWish) -> String {
        let words: Vec<_> = types.iter().map(|kind| kind.word()).collect();
        let told = format!("{}, connections {}", words.join(" "), if tells_connections { "told" } else { "not told" });
        self.journal.choose(types.clone());
        (self.config.logging.tells_connections, self.config.logging.types) = (tells_connections, types);
        let (limits, tone) = (Arc::new(self.config.limits.clone()), Tone::from(&self.config.logging));
        self.desk.tell_all(|| News::Bounds(Arc::clone(&limits), tone));
        let shown = self.window.shown();
        self.window.show(Shown { config: Arc::new(self.config.clone()), ..(*shown).clone() });
        told
    }

    /// Reads the files again that the configuration names.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub(super) fn read_files(&mut self) -> Result<String, Failure> {
        self.apply(Config { warnings: Vec::new(), ..self.config.clone() })
    }
}

/// What `wanted` says otherwise and cannot change while the broker runs.
fn fixed_parts(running: &Config, wanted: &Config) -> Vec<&'static str> {
    let parts = [
        ("cpus", running.cpus != wanted.cpus),
        ("sys_interval", running.sys_interval_secs != wanted.sys_interval_secs),
        ("pid_file", running.pid_file != wanted.pid_file),
        ("admin", running.admin.address != wanted.admin.address),
        ("user", running.user != wanted.user),
        ("store", places_of(running) != places_of(wanted)),
    ];
    parts.into_iter().filter(|(_, differs)| *differs).map(|(name, _)| name).collect()
}

/// Where the store is, and Mosquitto's file.
fn places_of(config: &Config) -> Option<(&Path, Option<&Path>)> {
    let store = config.store.as_ref()?;
    Some((&store.directory, store.mosquitto.as_ref().map(|file| &*file.path)))
}

/// The store stays where it is, and so does Mosquitto's file beside it; levels, and how often the file is written, are those of another.
fn store_of(running: &Config, wanted: Option<Store>) -> Option<Store> {
    let store = running.store.clone()?;
    let Some(wanted) = wanted else { return Some(store) };
    let mosquitto = match (store.mosquitto, wanted.mosquitto) {
        (Some(running), Some(wanted)) => Some(MosquittoFile { path: running.path, ..wanted }),
        (running, _) => running,
    };
    Some(Store { directory: store.directory, durability: wanted.durability, mosquitto })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Level;

    #[test]
    fn a_store_stays_where_it_is_and_takes_other_levels() {
        let store = |directory: &str, level| Store {
            directory: directory.into(),
            durability: vec![("#".into(), level)],
            mosquitto: None,
        };
        let with = |store: Option<Store>| Config { store, ..Config::of_cpus(vec![0]) };
        let running = with(Some(store("/a", Level::Memory)));
        let elsewhere = with(Some(store("/b", Level::Write)));
        assert_eq!(store_of(&running, elsewhere.store.clone()), Some(store("/a", Level::Write)));
        assert_eq!(fixed_parts(&running, &elsewhere), ["store"]);
        assert_eq!(store_of(&running, None), running.store);
        assert_eq!(fixed_parts(&running, &with(None)), ["store"]);
        assert_eq!(store_of(&with(None), elsewhere.store.clone()), None);
        assert_eq!(fixed_parts(&with(None), &elsewhere), ["store"]);
        assert_eq!(fixed_parts(&running, &with(Some(store("/a", Level::Write)))), [""; 0]);
    }
}
