//! Top: `ringmq top`, the broker on one screen.
//!
//! Duty: ask every few seconds, show, take keys; leave the terminal as it was. Must not: need a terminal: into a pipe it prints one
//! picture. Neighbours: the tables are those of the other commands.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::Args;
use crossterm::event::{Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers, poll, read};
use crossterm::{cursor, execute, queue, terminal};
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGTERM};
use signal_hook::{flag, low_level};

use super::broker::{Broker, Raw, document, print, query};
use super::clients::{self, Order, ranking};
use super::overview::{bytes_rate, clients_text, headline, latency_text, problems_text, shards_table, waiting_text};
use super::paint::{Mood, Paint};
use super::table::{Cell, Table};
use super::topics::topics_table;
use super::units::{rate, time_of_day};
use crate::admin::answer::{Client, Items, Overview, Shard, TopicRate, TopicsQuestion};
use crate::runtime::{Failure, wall_millis};

/// Rows of each list where there is no screen.
const ROWS: usize = 10;
/// Rows of a list that a small screen still has.
const ROWS_MIN: usize = 3;
/// Rows of a usual terminal.
const ROWS_USUAL: usize = 24;
/// Rows of a list that are asked for.
const ROWS_MAX: usize = 100;
/// Lines of a picture that are no rows: the head of it, heads and gaps of three tables, the keys.
const LINES: usize = 15;
/// So long a signal goes unnoticed.
const SIGNAL_PAUSE: Duration = Duration::from_millis(100);

/// What `ringmq top` is told.
#[derive(Clone, Debug, Args)]
pub(super) struct Top {
    /// Ask every so many seconds
    #[arg(long, value_name = "SECS", default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,

    /// Which clients: those that keep the most waiting, or those that send the most
    #[arg(long, value_name = "ORDER", default_value = "slowest")]
    order: Order,
}

/// What is seen.
struct Picture {
    overview: Overview,
    shards: Vec<Shard>,
    topics: Vec<TopicRate>,
    clients: Vec<Client>,
    at_unix_ms: u64,
}

/// What `ringmq top --json` prints.
#[derive(Serialize)]
struct Whole {
    overview: Raw,
    shards: Vec<Raw>,
    topics: Vec<Raw>,
    clients: Vec<Raw>,
}

/// How it is wanted.
#[derive(Clone, Copy, Debug)]
struct View {
    order: Order,
    /// The busiest shard first.
    by_load: bool,
    is_halted: bool,
    /// Rows of the terminal; none for no bound.
    rows: Option<usize>,
}

pub(super) fn top(broker: &Broker, top: &Top) -> Result<(), Failure> {
    if broker.prints_json {
        return print(&document(&whole(broker, top.order)?)?).map(drop);
    }
    let picture = take(broker, top.order)?;
    let mut view = View { order: top.order, by_load: false, is_halted: false, rows: None };
    if !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
        return print(&text_of(&picture, view, Paint::of_output())).map(drop);
    }
    let told = Told::listen().map_err(of_terminal)?;
    let screen = Screen::open().map_err(of_terminal)?;
    let shown = show(broker, Duration::from_secs(top.every), picture, &mut view, &told);
    drop(screen);
    told.end_by_signal().map_err(of_terminal)?;
    shown
}

fn whole(broker: &Broker, order: Order) -> Result<Whole, Failure> {
    Ok(Whole {
        overview: broker.get("overview")?.it,
        shards: broker.get::<Items<Raw>>("shards")?.it.items,
        topics: broker.get::<Items<Raw>>(&topics_path()?)?.it.items,
        clients: clients::first(broker, order, ROWS_MAX)?.raw.items,
    })
}

fn take(broker: &Broker, order: Order) -> Result<Picture, Failure> {
    Ok(Picture {
        overview: broker.get("overview")?.it,
        shards: broker.get::<Items<Shard>>("shards")?.it.items,
        topics: broker.get::<Items<TopicRate>>(&topics_path()?)?.it.items,
        clients: clients::first(broker, order, ROWS_MAX)?.items,
        at_unix_ms: wall_millis(),
    })
}

fn topics_path() -> Result<String, Failure> {
    Ok(format!("topics?{}", query(&TopicsQuestion { limit: Some(ROWS_MAX as u32) })?))
}

/// Shows until somebody quits. A broker that does not answer any more is said to, and asked again.
fn show(broker: &Broker, pause: Duration, mut picture: Picture, view: &mut View, told: &Told) -> Result<(), Failure> {
    let mut trouble = None;
    loop {
        // A terminal that does not know its size is taken for a usual one.
        view.rows =
            terminal::size().ok().map(|(_, rows)| usize::from(rows)).filter(|rows| *rows > 0).or(Some(ROWS_USUAL));
        let paint = Paint::of_output();
        let head: Option<String> =
            trouble.as_ref().map(|text: &String| Cell::foreign(text).mood(Mood::Bad).line(paint));
        draw(&(head.unwrap_or_default() + &text_of(&picture, *view, paint)), view.rows).map_err(of_terminal)?;
        match wait(pause, view, told).map_err(of_terminal)? {
            Waited::Quit => return Ok(()),
            Waited::Drawn => continue,
            Waited::Over => {}
        }
        match take(broker, view.order) {
            Ok(taken) => (picture, trouble) = (taken, None),
            Err(failure) => trouble = Some(format!("{} (as of {})", failure.text, time_of_day(picture.at_unix_ms))),
        }
    }
}

/// What has ended a pause.
enum Waited {
    Quit,
    /// The same picture is to be drawn anew.
    Drawn,
    /// Another picture is wanted.
    Over,
}

fn wait(pause: Duration, view: &mut View, told: &Told) -> io::Result<Waited> {
    let until = Instant::now() + pause;
    loop {
        if told.signal().is_some() {
            return Ok(Waited::Quit);
        }
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() && !view.is_halted {
            return Ok(Waited::Over);
        }
        if !poll(if view.is_halted { SIGNAL_PAUSE } else { left.min(SIGNAL_PAUSE) })? {
            continue;
        }
        match read()? {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if let Some(waited) = pressed(key, view) {
                    return Ok(waited);
                }
            }
            Event::Resize(..) => return Ok(Waited::Drawn),
            _ => {}
        }
    }
}

/// What a key does.
fn pressed(key: KeyEvent, view: &mut View) -> Option<Waited> {
    let is_interrupt = key.modifiers.contains(KeyModifiers::CONTROL) && key.code == KeyCode::Char('c');
    match key.code {
        _ if is_interrupt => return Some(Waited::Quit),
        KeyCode::Char('q') | KeyCode::Esc => return Some(Waited::Quit),
        KeyCode::Char('s') => view.order = Order::Slowest,
        KeyCode::Char('t') => view.order = Order::Talkers,
        KeyCode::Char('b') => {
            view.by_load = !view.by_load;
            return Some(Waited::Drawn);
        }
        KeyCode::Char('p') => {
            view.is_halted = !view.is_halted;
            return Some(if view.is_halted { Waited::Drawn } else { Waited::Over });
        }
        KeyCode::Char(' ') | KeyCode::Enter => {}
        _ => return None,
    }
    Some(Waited::Over)
}

fn text_of(picture: &Picture, view: View, paint: Paint) -> String {
    let Picture { overview, topics, clients, at_unix_ms, .. } = picture;
    let rates = &overview.rates;
    let in_all = |rates: &[f64; 3]| rate(rates.iter().sum());
    let problems = problems_text(overview, paint);
    let (of_shards, of_lists) = shares(view.rows, picture.shards.len(), problems.lines().count());
    let mut shards: Vec<_> = picture.shards.clone();
    if view.by_load {
        shards.sort_by(|a, b| b.busy_share.total_cmp(&a.busy_share));
    }
    let mut text = format!("{}   {}\n", paint.brush(Mood::Head, &headline(overview)), time_of_day(*at_unix_ms));
    text += &format!("{}; {}\n", clients_text(overview), waiting_text(overview));
    text += &format!(
        "messages {}/s in, {}/s out; bytes {}/s in, {}/s out; {}/s dropped, {}/s denied\n",
        in_all(&rates.messages_received_per_sec),
        in_all(&rates.messages_sent_per_sec),
        bytes_rate(rates.bytes_received_per_sec),
        bytes_rate(rates.bytes_sent_per_sec),
        rate(rates.drops_per_sec),
        rate(rates.denials_per_sec),
    );
    text += &format!("latency {}\n{problems}", latency_text(&overview.latency_us));
    text += &format!("\n{}", shards_table(&shards[..shards.len().min(of_shards)]).text(paint));
    if shards.len() > of_shards {
        text += &format!("and {} more\n", shards.len() - of_shards);
    }
    text += &section("Hottest topics", &topics_table(&topics[..topics.len().min(of_lists)]), paint);
    let title = if view.order == Order::Slowest { "Slowest clients" } else { "Loudest clients" };
    text += &section(title, &ranking(view.order, &clients[..clients.len().min(of_lists)]), paint);
    if view.rows.is_some() {
        let halted = if view.is_halted { "HALTED  " } else { "" };
        text +=
            &format!("{halted}q quit  s slowest clients  t loudest clients  b busiest shard first  p halt  space now");
    }
    text
}

/// A table below its title.
fn section(title: &str, table: &Table, paint: Paint) -> String {
    let title = Cell::of(title).mood(Mood::Head).line(paint);
    let rows = if table.is_empty() { "none\n".into() } else { table.text(paint) };
    format!("\n{title}{rows}")
}

/// Rows of the table of shards and of each of the two lists.
fn shares(rows: Option<usize>, shards: usize, problem_lines: usize) -> (usize, usize) {
    let Some(rows) = rows else { return (shards, ROWS) };
    let free = rows.saturating_sub(LINES + problem_lines);
    let of_shards = shards.min((free / 3).max(ROWS_MIN));
    (of_shards, ((free.saturating_sub(of_shards)) / 2).max(ROWS_MIN))
}

/// Writes a picture over the last one.
fn draw(text: &str, rows: Option<usize>) -> io::Result<()> {
    let mut out = io::stdout().lock();
    queue!(out, terminal::BeginSynchronizedUpdate, cursor::MoveTo(0, 0))?;
    for (index, line) in fitting(text, rows.unwrap_or(usize::MAX)).into_iter().enumerate() {
        if index > 0 {
            out.write_all(b"\r\n")?;
        }
        out.write_all(line.as_bytes())?;
        queue!(out, terminal::Clear(terminal::ClearType::UntilNewLine))?;
    }
    queue!(out, terminal::Clear(terminal::ClearType::FromCursorDown), terminal::EndSynchronizedUpdate)?;
    out.flush()
}

/// The lines that so many rows have room for: the last one says what keys do.
fn fitting(text: &str, rows: usize) -> Vec<&str> {
    let mut lines: Vec<_> = text.lines().collect();
    if let Some(surplus) = lines.len().checked_sub(rows).filter(|surplus| *surplus > 0) {
        let last = lines.len() - 1;
        lines.drain(last.saturating_sub(surplus)..last);
    }
    lines
}

/// The terminal while it is a screen; dropped, it is as it was.
struct Screen;

impl Screen {
    fn open() -> io::Result<Self> {
        terminal::enable_raw_mode()?;
        let screen = Self;
        execute!(io::stdout(), terminal::EnterAlternateScreen, terminal::DisableLineWrap, cursor::Hide)?;
        Ok(screen)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // What cannot be put right here cannot be put right at all.
        let _ = execute!(io::stdout(), cursor::Show, terminal::EnableLineWrap, terminal::LeaveAlternateScreen);
        let _ = terminal::disable_raw_mode();
    }
}

/// The signals that end it. It ends by them, but leaves the terminal as it was.
struct Told(Arc<AtomicUsize>);

impl Told {
    fn listen() -> io::Result<Self> {
        let told = Arc::default();
        for signal in [SIGTERM, SIGHUP] {
            flag::register_usize(signal, Arc::clone(&told), signal as usize)?;
        }
        Ok(Self(told))
    }

    fn signal(&self) -> Option<i32> {
        Some(self.0.load(Ordering::Relaxed) as i32).filter(|signal| *signal != 0)
    }

    /// Does not come back if there was one.
    fn end_by_signal(&self) -> io::Result<()> {
        self.signal().map_or(Ok(()), low_level::emulate_default_handler)
    }
}

fn of_terminal(error: io::Error) -> Failure {
    Failure::usage(format!("the terminal: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_screen_is_shared_by_the_tables_and_a_pipe_has_no_bound() {
        assert_eq!(shares(None, 64, 0), (64, ROWS));
        assert_eq!(shares(Some(24), 2, 0), (2, 3));
        assert_eq!(shares(Some(51), 64, 2), (11, 11));
        assert_eq!(shares(Some(5), 8, 0), (3, 3), "a small one shows what fits");
    }

    #[test]
    fn a_small_screen_still_says_what_keys_do() {
        assert_eq!(fitting("a\nb\nc\nkeys", 4), ["a", "b", "c", "keys"]);
        assert_eq!(fitting("a\nb\nc\nkeys", 2), ["a", "keys"]);
        assert_eq!(fitting("a\nb\nc\nkeys", 1), ["keys"]);
    }

    #[test]
    fn keys_choose_halt_and_quit() {
        let mut view = View { order: Order::Slowest, by_load: false, is_halted: false, rows: None };
        let key = |letter| KeyEvent::from(KeyCode::Char(letter));
        assert!(matches!(pressed(key('t'), &mut view), Some(Waited::Over)) && view.order == Order::Talkers);
        assert!(matches!(pressed(key('s'), &mut view), Some(Waited::Over)) && view.order == Order::Slowest);
        assert!(matches!(pressed(key('b'), &mut view), Some(Waited::Drawn)) && view.by_load);
        assert!(matches!(pressed(key('p'), &mut view), Some(Waited::Drawn)) && view.is_halted);
        assert!(matches!(pressed(key('p'), &mut view), Some(Waited::Over)) && !view.is_halted);
        assert!(pressed(key('x'), &mut view).is_none());
        let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
        for quits in [key('q'), KeyEvent::from(KeyCode::Esc), interrupt] {
            assert!(matches!(pressed(quits, &mut view), Some(Waited::Quit)));
        }
    }
}
