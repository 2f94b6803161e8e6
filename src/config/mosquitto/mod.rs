//! Mosquitto: its configuration file, read as Mosquitto 2 reads it.
//!
//! Duty: files, lines, scopes and texts of mistakes. Must not: know what an option does. Neighbours: `option` is the table of
//! options, `draft` gathers, `finish` makes a `Config`; `load` calls `read`.

mod draft;
mod finish;
mod option;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

pub(super) use draft::limits;

use self::draft::{Draft, Wrong};
use self::option::{Act, Row, Scope, Verdict};
use super::mistake::near;
use super::{Config, Mistake, Place};

/// Reads `file` over `base`. Without a listener in it the broker listens on `ports` of the loopback addresses; `has_binds`:
/// the command line names addresses instead. What is wrong is added to `mistakes`.
pub(super) fn read(file: &Path, base: Config, ports: &[u16], has_binds: bool, mistakes: &mut Vec<Mistake>) -> Config {
    let mut reader = Reader { draft: Draft::new(base), mistakes };
    reader.read_file(file, None);
    let Reader { draft, mistakes } = reader;
    finish::finish(draft, ports, has_binds, mistakes)
}

struct Reader<'a> {
    draft: Draft,
    mistakes: &'a mut Vec<Mistake>,
}

impl Reader<'_> {
    /// `from`: the line that includes it.
    fn read_file(&mut self, file: &Path, from: Option<&Place>) {
        let bytes = match std::fs::read(file) {
            Ok(bytes) => bytes,
            Err(error) => {
                let text = format!("Error: Unable to open config file '{}'. ({error})", file.display());
                self.mistakes.push(Mistake { place: from.cloned(), ..Mistake::unusable(text) });
                return;
            }
        };
        // Each file begins with the default listener, no plugin and no bridge.
        let outer = (self.draft.current, self.draft.plugin, self.draft.has_bridge);
        (self.draft.current, self.draft.plugin, self.draft.has_bridge) = (0, None, false);
        for (index, line) in bytes.split(|byte| *byte == b'\n').enumerate() {
            let place = Place { file: file.to_owned(), line: index + 1 };
            self.draft.place = Some(place.clone());
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            match std::str::from_utf8(line) {
                Ok(line) if line.starts_with('#') => {}
                Ok(line) => self.read_line(line, &place, from.is_some()),
                Err(_) => self.error(&place, "Malformed UTF-8 in configuration.".into()),
            }
        }
        (self.draft.current, self.draft.plugin, self.draft.has_bridge) = outer;
    }

    fn read_line(&mut self, line: &str, place: &Place, is_included: bool) {
        let line = line.trim_start_matches(' ');
        let (name, value) = line.split_once(' ').unwrap_or((line, ""));
        let value = value.trim();
        if name.is_empty() {
            return;
        }
        let Some(row) = option::find(name) else {
            let near = near(name, option::names());
            let remedy = match near.as_str() {
                _ if place.file.extension().is_some_and(|end| end == "toml") => {
                    "; --config reads ringmq's own files".into()
                }
                "" => String::new(),
                names => format!("; near it: {names}"),
            };
            return self.error(place, format!("Unknown configuration variable '{name}'{remedy}"));
        };
        if let Err(text) = self.check_scope(row, name, value) {
            return self.error(place, text);
        }
        match row.name {
            "include_dir" if is_included => self.warn(place, "'include_dir' in an included file is ignored"),
            "include_dir" => self.include(value, place),
            "connection" => self.draft.has_bridge = true,
            _ => {}
        }
        let result = match row.scope {
            Scope::Plugin => {
                let key = name.strip_prefix(row.name).unwrap_or(name);
                if !self.draft.set_plugin_option(key, value) {
                    self.warn(place, &format!("'{name}' does nothing"));
                }
                Ok(())
            }
            _ => self.act(row, name, value, place),
        };
        match result {
            Err(Wrong::Value(wanted)) => self.error(place, format!("Invalid '{name}' value ({value}): {wanted}")),
            Err(Wrong::Whole(text)) => self.error(place, text),
            Ok(()) => self.tell_verdict(row, name, place),
        }
    }

    /// What must stand before the option, and that there is a value.
    fn check_scope(&self, row: &Row, name: &str, value: &str) -> Result<(), String> {
        let draft = &self.draft;
        if row.scope == Scope::Bridge && !draft.has_bridge {
            return Err(format!("The '{name}' option requires a bridge to be defined first."));
        }
        if row.scope == Scope::Plugin && draft.plugin.is_none() {
            return Err(format!("The '{name}' option requires a plugin to be defined first."));
        }
        if row.name.starts_with("listener_") && draft.current == 0 {
            return Err(format!("The '{name}' option requires a listener to be defined first."));
        }
        if value.is_empty() && row.scope != Scope::Bridge {
            return Err(format!("Empty '{name}' value in configuration."));
        }
        let is_late =
            draft.given.iter().any(|(_, given)| option::find(given).is_some_and(|row| row.scope == Scope::Security));
        if row.name == "per_listener_settings" && is_late {
            return Err("per_listener_settings must be set before any other security settings.".into());
        }
        Ok(())
    }

    fn act(&mut self, row: &'static Row, name: &str, value: &str, place: &Place) -> Result<(), Wrong> {
        let first_word = value.split(' ').next().unwrap_or(value);
        let is_of_listener = row.scope == Scope::Listener || row.scope == Scope::Security && self.draft.is_per_listener;
        let owner = if is_of_listener { self.draft.current } else { 0 };
        if is_of_listener && owner == 0 && row.scope == Scope::Listener {
            self.draft.listener();
        }
        let is_again = !self.draft.given.insert((owner, row.name));
        let draft = &mut self.draft;
        match row.act {
            Act::Nothing => return Ok(()),
            Act::Often(set) => return set(draft, value),
            Act::Once(_) if is_again => {
                return Err(Wrong::Whole(format!("Duplicate '{name}' value in configuration.")));
            }
            Act::Once(set) => return set(draft, value),
            Act::Flag(set) => match first_word {
                "true" | "1" => set(draft, true),
                "false" | "0" => set(draft, false),
                _ => return Err(Wrong::Value("true or false".into())),
            },
            Act::Number(min, max, set) => {
                let number = first_word.parse().ok().filter(|number| (min..=max).contains(number));
                let wanted = if max == i64::MAX { format!("{min} or more") } else { format!("{min} to {max}") };
                set(draft, number.ok_or_else(|| Wrong::Value(format!("a number, {wanted}")))?);
            }
        }
        if first_word != value {
            self.warn(place, &format!("what stands behind '{name} {first_word}' is ignored"));
        }
        Ok(())
    }

    fn tell_verdict(&mut self, row: &Row, name: &str, place: &Place) {
        match row.verdict {
            Verdict::Works => {}
            Verdict::Unsupported(instead) => self.warn(place, &format!("'{name}' is not supported: {instead}")),
            Verdict::Accepted(why) => self.warn(place, &format!("'{name}' has no effect: {why}")),
            Verdict::Refused(why) => self.error(place, format!("'{name}' cannot be had: {why}")),
        }
    }

    /// Reads the files of a folder whose names end in `.conf`, in byte order.
    fn include(&mut self, folder: &str, place: &Place) {
        let list = || -> std::io::Result<Vec<PathBuf>> {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(folder)? {
                let name = entry?.file_name();
                let bytes = name.as_encoded_bytes();
                if bytes.len() > ".conf".len() && bytes.ends_with(b".conf") {
                    files.push(Path::new(folder).join(name));
                }
            }
            files.sort_by(|one, other| one.as_os_str().as_encoded_bytes().cmp(other.as_os_str().as_encoded_bytes()));
            Ok(files)
        };
        match list() {
            Ok(files) => files.iter().for_each(|file| self.read_file(file, Some(place))),
            Err(error) => self.error(place, format!("Unable to open include_dir '{folder}'. ({error})")),
        }
    }

    fn error(&mut self, place: &Place, text: String) {
        self.mistakes.push(Mistake::at(place, format!("Error: {text}")));
    }

    fn warn(&mut self, place: &Place, text: &str) {
        self.draft.config.warnings.push(format!("{place}: Warning: {text}"));
    }
}
