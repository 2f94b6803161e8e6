//! Store: where a broker keeps what is to outlive it, and from when on that is safe.
//!
//! Duty: the directory, the level of each topic, which of the places that are named counts. Must not: make or open a directory, or
//! tell people of it. Neighbours: `mosquitto` and `toml` read it from files, `load` from the command line and systemd; `runtime`
//! opens it and tells.

use std::path::{Path, PathBuf};

use super::Mistake;
use crate::limits::Limits;
use crate::store::Level;
use crate::topic::{TopicFilter, TopicLimits};

/// The word for no store, in the place of a directory.
pub(super) const NOWHERE: &str = "none";

/// What the directory is called that stands beside a file of Mosquitto's.
const SUFFIX: &str = ".ringmq";

/// What to do about a place that cannot be.
const REMEDY: &str = "name another by persistence_location, store.path or --store";

/// What is kept on disk, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Store {
    /// The directory; made if it is not there, in one that is.
    pub directory: PathBuf,
    /// From when on a message is safe, by topic filter: the first that matches counts; what none matches is `commit`. No filter is a
    /// shared one, and all are valid.
    pub durability: Vec<(Box<str>, Level)>,
    /// The file of Mosquitto's that is kept beside it, to go back with.
    pub mosquitto: Option<MosquittoFile>,
}

/// A file of Mosquitto's: what it has is where a new store begins, and then it is written again with what the store has, at SIGUSR1 and
/// at the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MosquittoFile {
    /// The file.
    pub path: PathBuf,
    /// How often it is written besides, seconds; 0 for never.
    pub every_secs: u32,
    /// After how many changed records it is written besides; 0 for none.
    pub every_changes: u32,
}

/// What a file of ringmq's own says of the store.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The directory, or `none`; `None`: the file says nothing.
    pub(super) path: Option<PathBuf>,
    pub(super) durability: Vec<(Box<str>, Level)>,
    /// The file of Mosquitto's, how often it is written, and after how many changes.
    pub(super) mosquitto_file: Option<PathBuf>,
    pub(super) mosquitto_every_secs: u32,
    pub(super) mosquitto_every_changes: u32,
}

impl Wanted {
    /// What says this of a store, or that there is none.
    pub(super) fn of(store: Option<&Store>) -> Self {
        let Some(store) = store else { return Self { path: Some(NOWHERE.into()), ..Self::default() } };
        let file = store.mosquitto.as_ref();
        Self {
            path: Some(store.directory.clone()),
            durability: store.durability.clone(),
            mosquitto_file: file.map(|file| file.path.clone()),
            mosquitto_every_secs: file.map_or(0, |file| file.every_secs),
            mosquitto_every_changes: file.map_or(0, |file| file.every_changes),
        }
    }
}

/// Places that count if no file names one, or whatever it names.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Places<'a> {
    /// Of the command line; `none` for no store.
    pub(super) of_line: Option<&'a Path>,
    /// Of systemd, for a broker whose file says nothing.
    pub(super) of_system: Option<&'a Path>,
}

impl Store {
    /// All of it at `commit`.
    pub(super) fn at(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into(), durability: Vec::new(), mosquitto: None }
    }

    /// Where a broker that takes Mosquitto's place keeps what Mosquitto kept in `file` of `folder`: beside that.
    pub(super) fn beside(folder: &Path, file: &str) -> Self {
        let name = file.strip_suffix(".db").filter(|name| !name.is_empty()).unwrap_or(file);
        Self::at(folder.join(format!("{name}{SUFFIX}")))
    }

    /// The files of Mosquitto's that this store may have come in the place of; none of them need be there.
    pub fn predecessors(&self) -> Vec<PathBuf> {
        let name = self.directory.file_name().and_then(|name| name.to_str());
        let stem = name.and_then(|name| name.strip_suffix(SUFFIX)).filter(|stem| !stem.is_empty());
        let names = stem.into_iter().flat_map(|stem| [format!("{stem}.db"), stem.to_owned()]);
        names.map(|name| self.directory.with_file_name(name)).collect()
    }

    /// What is wrong with the place, as far as it can be seen without writing.
    pub fn mistake(&self) -> Option<Mistake> {
        let shown = self.directory.display();
        if self.directory.exists() {
            let is_wrong = !self.directory.is_dir();
            return is_wrong.then(|| Mistake::unusable(format!("store {shown}: this is no directory; {REMEDY}")));
        }
        let parent = self.directory.parent().filter(|parent| !parent.as_os_str().is_empty())?;
        let text = format!("store {shown}: {} is no directory; make it, or {REMEDY}", parent.display());
        (!parent.is_dir()).then(|| Mistake::unusable(text))
    }
}

/// Which store a broker has: what the command line names counts more than what a file says, and that more than what systemd has.
/// `of_file`: what the file says, with `None` as path if it says nothing.
pub(super) fn choose(
    of_file: Wanted,
    places: Places<'_>,
    warnings: &mut Vec<String>,
) -> Result<Option<Store>, Mistake> {
    if places.of_line.is_some_and(|path| path.as_os_str().is_empty()) {
        return Err(Mistake::unusable("--store: a directory, or none, is wanted"));
    }
    let path = places.of_line.or(of_file.path.as_deref()).or(places.of_system);
    let directory = path.filter(|path| path.as_os_str() != NOWHERE).map(Path::to_owned);
    if directory.is_none() && !of_file.durability.is_empty() {
        warnings
            .push("Warning: 'store.durability' does nothing without a store; 'store.path' names its directory".into());
    }
    // The file of Mosquitto's belongs to the store that the file means.
    let file = of_file.mosquitto_file.filter(|_| places.of_line.is_none());
    let (every_secs, every_changes) = (of_file.mosquitto_every_secs, of_file.mosquitto_every_changes);
    let mosquitto = file.map(|path| MosquittoFile { path, every_secs, every_changes });
    Ok(directory.map(|directory| Store { directory, durability: of_file.durability, mosquitto }))
}

/// A filter of the list of levels.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_filter(filter: &str) -> Result<(), String> {
    if filter == "$share" || filter.starts_with("$share/") {
        return Err(format!(
            "'{filter}': levels are of topics, whoever shares them; write the filter behind the group"
        ));
    }
    TopicFilter::new(filter, TopicLimits::from(&Limits::default()))
        .map(drop)
        .map_err(|error| format!("'{filter}' is no topic filter: {error}"))
}

/// The words of all levels, for people.
pub(super) fn level_words() -> String {
    [Level::Memory, Level::Write, Level::Commit].map(Level::name).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(path: Option<&str>, line: Option<&str>, system: Option<&str>) -> Option<PathBuf> {
        let wanted = Wanted { path: path.map(PathBuf::from), ..Wanted::default() };
        let places = Places { of_line: line.map(Path::new), of_system: system.map(Path::new) };
        choose(wanted, places, &mut Vec::new()).unwrap().map(|store| store.directory)
    }

    #[test]
    fn the_command_line_counts_more_than_the_file_and_that_more_than_systemd() {
        let dir = |name: &str| Some(PathBuf::from(name));
        assert_eq!(chosen(None, None, None), None);
        assert_eq!(chosen(None, None, Some("/s")), dir("/s"));
        assert_eq!(chosen(Some("/f"), None, Some("/s")), dir("/f"));
        assert_eq!(chosen(Some("/f"), Some("/l"), Some("/s")), dir("/l"));
        assert_eq!(chosen(Some("none"), None, Some("/s")), None);
        assert_eq!(chosen(Some("/f"), Some("none"), Some("/s")), None);
        assert_eq!(chosen(Some("none"), Some("/l"), None), dir("/l"));
        let empty = Places { of_line: Some(Path::new("")), of_system: None };
        let mistake = choose(Wanted::default(), empty, &mut Vec::new()).unwrap_err();
        assert!(mistake.exit_code == 1 && mistake.text.starts_with("--store: "), "{mistake}");
    }

    #[test]
    fn levels_without_a_store_are_warned_of_and_stay_with_one_from_elsewhere() {
        let wanted = || Wanted { durability: vec![("#".into(), Level::Memory)], ..Wanted::default() };
        let mut warnings = Vec::new();
        assert_eq!(choose(wanted(), Places::default(), &mut warnings), Ok(None));
        assert!(warnings.len() == 1 && warnings[0].contains("'store.durability' does nothing"), "{warnings:?}");
        let places = Places { of_line: Some(Path::new("/l")), of_system: None };
        let store = choose(wanted(), places, &mut warnings).unwrap().unwrap();
        assert_eq!((store.durability, warnings.len()), (wanted().durability, 1));
    }

    /// Who names a store on the command line means another one than that of the file.
    #[test]
    fn mosquittos_file_belongs_to_the_store_that_the_file_names() {
        let wanted = || Wanted { path: Some("/f".into()), mosquitto_file: Some("/m.db".into()), ..Wanted::default() };
        let store = |places| choose(wanted(), places, &mut Vec::new()).unwrap().unwrap();
        let own = store(Places::default());
        assert_eq!(own.mosquitto.as_ref().map(|file| &*file.path), Some(Path::new("/m.db")));
        assert_eq!(Wanted::of(Some(&own)), wanted());
        assert_eq!(store(Places { of_line: Some(Path::new("/l")), of_system: None }).mosquitto, None);
    }

    #[test]
    fn a_store_beside_mosquittos_file_does_not_touch_it() {
        for (file, name) in [("mosquitto.db", "mosquitto.ringmq"), ("m", "m.ringmq"), (".db", ".db.ringmq")] {
            let store = Store::beside(Path::new("/var/lib/mosquitto/"), file);
            assert_eq!(store.directory, Path::new("/var/lib/mosquitto").join(name));
            assert!(store.predecessors().contains(&Path::new("/var/lib/mosquitto").join(file)), "{file}");
        }
        assert_eq!(Store::at("/var/lib/ringmq").predecessors(), [""; 0].map(PathBuf::from));
    }

    #[test]
    fn a_place_that_cannot_be_is_said_with_the_remedy() {
        for good in ["/", "/tmp", "/tmp/ringmq-not-there", "ringmq-not-there", "./ringmq-not-there"] {
            assert_eq!(Store::at(good).mistake(), None, "{good}");
        }
        for (bad, words) in [
            ("/proc/version", "this is no directory"),
            ("/proc/version/m.ringmq", "/proc/version is no directory; make it, or name another by"),
            ("/ringmq-not-there/m.ringmq", "/ringmq-not-there is no directory"),
        ] {
            let mistake = Store::at(bad).mistake().unwrap();
            assert!(mistake.exit_code == 1 && mistake.text.contains(words), "{mistake}");
        }
    }

    #[test]
    fn a_filter_of_levels_is_a_topic_filter_and_not_a_shared_one() {
        for good in ["#", "a/+/b", "$SYS/#", "$shared"] {
            assert_eq!(check_filter(good), Ok(()), "{good}");
        }
        for (bad, words) in [("", "empty"), ("a/#/b", "misplaced wildcard"), ("$share/g/a", "behind the group")] {
            let text = check_filter(bad).unwrap_err();
            assert!(text.contains(words), "{text}");
        }
        assert_eq!(level_words(), "memory, write, commit");
    }
}
