//! Mistake: what is wrong with what a broker is told, where it stands, and what would be right.
//!
//! Duty: place, text and exit code of each mistake; names that resemble a wrong one. Must not: print. Neighbours: every reader
//! of a configuration makes mistakes, `cli` shows them.

use std::fmt;
use std::path::PathBuf;

/// Names that resemble a wrong one are shown up to this many.
const NEAR_NAMES_MAX: usize = 3;

/// Letters of a wrong name that are compared.
const NAME_LETTERS_MAX: usize = 64;

/// A line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named.
    pub file: PathBuf,
    /// The line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}:{}", self.file.display(), self.line)
    }
}

/// Something that is wrong with what a broker is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it stands; `None` for the command line and for a whole file.
    pub place: Option<Place>,
    /// One line: what is wrong and what would be right.
    pub text: String,
    /// Exit code of a start that it prevents.
    pub exit_code: u8,
}

impl Mistake {
    /// A file that cannot be read, or a value of the command line that cannot be.
    pub(super) fn unusable(text: impl Into<String>) -> Self {
        Self { place: None, text: text.into(), exit_code: 1 }
    }

    /// A line of a file that is wrong.
    pub(super) fn at(place: &Place, text: impl Into<String>) -> Self {
        Self { place: Some(place.clone()), text: text.into(), exit_code: 3 }
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(formatter, "{place}: ")?;
        }
        formatter.write_str(&self.text)
    }
}

/// One mistake or more, in the order in which they were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes {
    first: Mistake,
    others: Vec<Mistake>,
}

impl Mistakes {
    /// All that were found.
    ///
    /// # Errors
    /// There are some.
    pub fn of(found: Vec<Mistake>) -> Result<(), Self> {
        let mut found = found.into_iter();
        found.next().map_or(Ok(()), |first| Err(Self { first, others: found.collect() }))
    }

    /// The one that ends a start.
    pub fn first(&self) -> &Mistake {
        &self.first
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        std::iter::once(&self.first).chain(&self.others)
    }
}

impl From<Mistake> for Mistakes {
    fn from(first: Mistake) -> Self {
        Self { first, others: Vec::new() }
    }
}

/// The names that resemble `wrong`, nearest first, with commas; empty if none does.
pub(super) fn near<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> String {
    let mut ranked: Vec<_> = names.map(|name| (distance(wrong, name), name)).collect();
    ranked.sort_unstable();
    ranked.dedup();
    let resembles = |(distance, name): &&(usize, &str)| *distance <= name.len() / 2 || name.contains(wrong);
    let nearest: Vec<_> = ranked.iter().filter(resembles).take(NEAR_NAMES_MAX).map(|(_, name)| *name).collect();
    nearest.join(", ")
}

/// Edits of one letter between two names.
fn distance(one: &str, other: &str) -> usize {
    let other: Vec<char> = other.chars().collect();
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (at, letter) in one.chars().take(NAME_LETTERS_MAX).enumerate() {
        let mut diagonal = row[0];
        row[0] = at + 1;
        for column in 1..row.len() {
            let replaced = diagonal + usize::from(other[column - 1] != letter);
            diagonal = row[column];
            row[column] = replaced.min(row[column - 1] + 1).min(diagonal + 1);
        }
    }
    row[other.len()]
}
