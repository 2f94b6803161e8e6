//! Durability: what the operator reads of the store.
//!
//! Duty: what survives, for the line at the start; what is found beside a store that is new; the answer to SIGUSR1. Must not: write
//! records. Neighbours: `config` says where the store is; `start` tells.

use crate::config::Store;

/// What survives, and how to change that: half a line.
pub(super) fn told(store: Option<&Store>) -> String {
    const NOTHING: &str = "durability: memory (nothing survives a restart";
    match store {
        None => format!("{NOTHING}; --store DIR changes that)"),
        Some(store) => {
            let rules = store.durability.iter().map(|(filter, level)| format!("{filter}: {}", level.name()));
            let rest = match &store.durability[..] {
                [] => Some("commit".to_owned()),
                rules => (!rules.iter().any(|(filter, _)| &**filter == "#")).then(|| "all else: commit".to_owned()),
            };
            let levels = rules.chain(rest).collect::<Vec<_>>().join(", ");
            format!(
                "durability: {levels} (what outlives a connection is acknowledged when it is safe in {})",
                store.directory.display()
            )
        }
    }
}

/// What is to be done first where Mosquitto has left its file and this broker has nothing yet.
pub(super) fn notice(store: &Store) -> Option<String> {
    // Where the file is kept beside the store, it is taken over.
    if store.directory.exists() || store.mosquitto.is_some() {
        return None;
    }
    let file = store.predecessors().into_iter().find(|file| file.is_file())?;
    let (file, directory) = (file.display(), store.directory.display());
    Some(format!(
        "{file} of Mosquitto is not read: to begin with its sessions and messages, stop this broker, remove {directory} and say \
         `ringmq import {file} --store {directory}`"
    ))
}

/// What is to be said to who wants to save, where no file is kept for Mosquitto.
pub(super) fn save(store: Option<&Store>) -> String {
    match store {
        None => "Nothing to save: durability is memory (nothing survives a restart)".into(),
        Some(_) => "Nothing to save: everything is written already".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Level;

    #[test]
    fn the_promise_is_told_with_its_levels() {
        let levels = |durability: &[(&str, Level)]| {
            let durability = durability.iter().map(|(filter, level)| ((*filter).into(), *level)).collect();
            let told = told(Some(&Store { directory: "/d".into(), durability, mosquitto: None }));
            let (levels, words) = told.split_once(" (").expect("what that means");
            assert_eq!(words, "what outlives a connection is acknowledged when it is safe in /d)");
            levels.to_owned()
        };
        assert_eq!(levels(&[]), "durability: commit");
        assert_eq!(levels(&[("b", Level::Write)]), "durability: b: write, all else: commit");
        assert_eq!(levels(&[("a/#", Level::Commit), ("#", Level::Memory)]), "durability: a/#: commit, #: memory");
        assert_eq!(told(None), "durability: memory (nothing survives a restart; --store DIR changes that)");
    }
}
