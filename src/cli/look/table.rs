//! Table: columns that stand under each other.
//!
//! Duty: width as a terminal shows it, numbers to the right, text to the left. Must not: know what stands in it. Neighbours: `units` writes
//! numbers, `paint` colours; the commands fill it.

use unicode_width::UnicodeWidthStr;

use super::paint::{Mood, Paint};
use crate::runtime::harmless;

/// Columns between two columns.
const GAP: usize = 2;

/// What stands at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    text: String,
    mood: Mood,
}

impl Cell {
    /// A number or a word of ours.
    pub(super) fn of(text: impl Into<String>) -> Self {
        Self { text: text.into(), mood: Mood::Plain }
    }

    /// Text of a client: nothing in it moves the cursor.
    pub(super) fn foreign(text: &str) -> Self {
        Self::of(harmless(text, usize::MAX))
    }

    /// The same, or a dash.
    pub(super) fn maybe(text: Option<&str>) -> Self {
        text.map_or_else(|| Self::of("-").mood(Mood::Faint), Self::foreign)
    }

    /// A line of its own.
    pub(super) fn line(&self, paint: Paint) -> String {
        paint.brush(self.mood, &self.text) + "\n"
    }

    pub(super) fn mood(mut self, mood: Mood) -> Self {
        self.mood = mood;
        self
    }
}

/// A table.
#[derive(Clone, Debug)]
pub(super) struct Table {
    /// A head that begins with `>` has numbers below it.
    heads: &'static [&'static str],
    rows: Vec<Vec<Cell>>,
}

impl Table {
    pub(super) fn new(heads: &'static [&'static str]) -> Self {
        Self { heads, rows: Vec::new() }
    }

    pub(super) fn push(&mut self, row: impl Into<Vec<Cell>>) {
        self.rows.push(row.into());
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    pub(super) fn text(&self, paint: Paint) -> String {
        let heads: Vec<_> =
            self.heads.iter().map(|head| Cell::of(head.trim_start_matches('>')).mood(Mood::Head)).collect();
        let has_heads = heads.iter().any(|head| !head.text.is_empty());
        let mut widths: Vec<_> = heads.iter().map(|head| head.text.width()).collect();
        for row in &self.rows {
            widths.iter_mut().zip(row).for_each(|(width, cell)| *width = (*width).max(cell.text.width()));
        }
        let lines = has_heads.then_some(&heads).into_iter().chain(&self.rows);
        lines.map(|row| self.line(row, &widths, paint)).collect()
    }

    fn line(&self, row: &[Cell], widths: &[usize], paint: Paint) -> String {
        let (mut line, mut owed) = (String::new(), 0);
        for (index, cell) in row.iter().enumerate() {
            let free = widths[index].saturating_sub(cell.text.width());
            let is_number = self.heads[index].starts_with('>');
            let (before, after) = if is_number { (free, 0) } else { (0, free) };
            // Blanks are written when something follows.
            if !cell.text.is_empty() {
                line += &" ".repeat(owed + before);
                line += &paint.brush(cell.mood, &cell.text);
                owed = after + GAP;
            } else {
                owed += free + GAP;
            }
        }
        line.push('\n');
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other_by_what_a_terminal_shows() {
        let mut table = Table::new(&["NAME", ">COUNT", "WHY"]);
        table.push([Cell::of("abc"), Cell::of("1,234"), Cell::of("x")]);
        table.push([Cell::of("温度"), Cell::of("5"), Cell::of("")]);
        table.push([Cell::of(""), Cell::of("7"), Cell::foreign("a\u{1b}[2J")]);
        let expected = "NAME  COUNT  WHY\nabc   1,234  x\n温度      5\n          7  a\\u{1b}[2J\n";
        assert_eq!(table.text(Paint::NONE), expected);
    }

    #[test]
    fn a_table_without_heads_has_rows_only() {
        let mut table = Table::new(&["", ">"]);
        table.push([Cell::of("a"), Cell::of("10")]);
        table.push([Cell::of("bcd"), Cell::of("9")]);
        assert_eq!(table.text(Paint::NONE), "a    10\nbcd   9\n");
    }
}
