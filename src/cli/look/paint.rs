//! Paint: colour for people.
//!
//! Duty: know whether there is any, and which mood has which. Must not: be seen where a program reads, or somebody wants none (`NO_COLOR`).
//! Neighbours: `table` paints its cells.

use std::io::{self, IsTerminal};

/// How something is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mood {
    #[default]
    Plain,
    /// A heading.
    Head,
    /// Of less weight.
    Faint,
    /// To be watched.
    Warning,
    /// Wrong.
    Bad,
}

/// Whether colours are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Paint(bool);

impl Paint {
    #[cfg(test)]
    pub(super) const NONE: Self = Self(false);

    /// As standard output has it.
    pub(super) fn of_output() -> Self {
        let is_unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self(io::stdout().is_terminal() && !is_unwanted)
    }

    /// The text in the colour of a mood.
    pub(super) fn brush(self, mood: Mood, text: &str) -> String {
        let code = match mood {
            _ if !self.0 || text.is_empty() => return text.to_owned(),
            Mood::Plain => return text.to_owned(),
            Mood::Head => "1",
            Mood::Faint => "2",
            Mood::Warning => "33",
            Mood::Bad => "31",
        };
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_there_or_not() {
        assert_eq!(Paint(true).brush(Mood::Bad, "x"), "\u{1b}[31mx\u{1b}[0m");
        assert_eq!(Paint(true).brush(Mood::Plain, "x"), "x");
        assert_eq!(Paint::NONE.brush(Mood::Bad, "x"), "x");
    }
}
