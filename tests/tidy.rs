//! The house is tidy: rules that the compiler does not know, each with its remedy.
//!
//! Duty: read the sources as text and say file, line and remedy where a rule is broken. Must not: need a parser or a
//! dependency, or take a second. Neighbours: `docs/design.md` section 2 says why the floors stand so; `clippy.toml` fences
//! off clocks, sleeps and threads by name. Each rule is also shown a bad snippet, so that it cannot fall silent.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const LINE_COLUMNS_MAX: usize = 140;
const FILE_LINES_MAX: usize = 700;
const FUNCTION_LINES_MAX: usize = 70;

/// Rooms from the ground up. A room uses only rooms of lower floors; rooms of one floor do not know each other.
const FLOORS: [&[&str]; 10] = [
    &["wire"],
    &["topic"],
    &["session", "auth", "store"],
    &["shard", "cluster"],
    &["config", "moving"],
    &["transport"],
    &["runtime"],
    &["admin"],
    &["cli"],
    &["main"],
];

/// What every room may use, and what these in turn may use.
const EVERYWHERE: [(&str, &[&str]); 4] =
    [("id", &[]), ("seldom", &[]), ("limits", &["id"]), ("message", &["id", "limits", "wire"])];

/// The first floor that may know clocks, sockets, threads and locks.
const FLOOR_ABOVE_CORE: usize = 4;

/// Where `unsafe` is allowed.
const UNSAFE_ROOM: &str = "runtime";

/// The rooms that know the runtime's crates, and those crates.
const RUNTIME_ROOMS: [&str; 2] = ["runtime", "transport"];
const RUNTIME_CRATES: [&str; 4] = ["glommio", "io_uring", "libc", "socket2"];

/// Names that mean a clock or a lock, and parts of `std` that mean a thread, a socket or a file.
const CORE_FORBIDDEN_NAMES: [&str; 4] = ["Instant", "SystemTime", "Mutex", "RwLock"];
const CORE_FORBIDDEN_STD: [&str; 3] = ["thread", "net", "fs"];

/// One file: as it is, its code without comments and literals, and its comments alone. Lines and columns agree in all three.
struct Source {
    path: PathBuf,
    text: String,
    code: String,
    comments: String,
}

/// A broken rule.
#[derive(Debug)]
struct Finding {
    path: PathBuf,
    line: usize,
    what: String,
    remedy: &'static str,
}

impl Source {
    fn new(path: impl Into<PathBuf>, text: &str) -> Self {
        let (code, comments) = split_code_from_comments(text);
        Self { path: path.into(), text: text.to_owned(), code, comments }
    }

    /// The room under `src/` that the file belongs to.
    fn room(&self) -> Option<&str> {
        let first = self.path.strip_prefix("src").ok()?.components().next()?;
        let name = first.as_os_str().to_str()?;
        Some(name.strip_suffix(".rs").unwrap_or(name))
    }

    /// How many modules lie between the crate's root and this file's module, the file's included.
    fn module_depth(&self) -> usize {
        let parts = self.path.components().count().saturating_sub(1);
        let is_root_of_its_folder = self.path.file_name().is_some_and(|name| name == "mod.rs");
        parts - usize::from(is_root_of_its_folder)
    }

    fn is_core(&self) -> bool {
        let Some(room) = self.room() else { return false };
        EVERYWHERE.iter().any(|(name, _)| *name == room) || floor_of(room).is_some_and(|floor| floor < FLOOR_ABOVE_CORE)
    }

    fn finding(&self, line: usize, what: impl Into<String>, remedy: &'static str) -> Finding {
        Finding { path: self.path.clone(), line, what: what.into(), remedy }
    }
}

fn floor_of(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// Blanks comments and literals in the first copy and everything but comments in the second.
fn split_code_from_comments(text: &str) -> (String, String) {
    let (mut code, mut comments) = (String::new(), String::new());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let (bytes, is_comment) = skipped_bytes(rest, code.chars().next_back());
        let taken = if bytes == 0 { first.len_utf8() } else { bytes };
        for letter in rest[..taken].chars() {
            let blank = if letter == '\n' { '\n' } else { ' ' };
            code.push(if bytes == 0 { letter } else { blank });
            comments.push(if is_comment { letter } else { blank });
        }
        rest = &rest[taken..];
    }
    (code, comments)
}

/// Length of the comment or literal at the start of `rest`, 0 if there is none, and whether it is a comment.
fn skipped_bytes(rest: &str, before: Option<char>) -> (usize, bool) {
    if rest.starts_with("//") {
        return (rest.find('\n').unwrap_or(rest.len()), true);
    }
    if rest.starts_with("/*") {
        return (block_comment_bytes(rest), true);
    }
    let in_word = before.is_some_and(is_word);
    let prefix = if in_word { 0 } else { literal_prefix_bytes(rest) };
    let hashes = rest[prefix..].bytes().take_while(|byte| *byte == b'#').count();
    let is_raw = rest[..prefix].ends_with('r');
    if is_raw && rest[prefix + hashes..].starts_with('"') {
        let end = format!("\"{}", "#".repeat(hashes));
        let start = prefix + hashes + 1;
        let length = rest[start..].find(&end).map_or(rest.len(), |at| start + at + end.len());
        return (length, false);
    }
    match rest[prefix..].chars().next() {
        Some('"') => (prefix + quoted_bytes(&rest[prefix..], b'"'), false),
        Some('\'') if is_char_literal(&rest[prefix..]) => (prefix + quoted_bytes(&rest[prefix..], b'\''), false),
        _ => (0, false),
    }
}

fn literal_prefix_bytes(rest: &str) -> usize {
    ["br", "cr", "b", "c", "r"].iter().find(|prefix| rest.starts_with(**prefix)).map_or(0, |prefix| prefix.len())
}

fn block_comment_bytes(rest: &str) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < rest.len() {
        let step = &rest.as_bytes()[at..];
        if step.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if step.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += 1;
        }
    }
    rest.len()
}

fn quoted_bytes(rest: &str, quote: u8) -> usize {
    let mut escaped = false;
    for (at, byte) in rest.bytes().enumerate().skip(1) {
        if !escaped && byte == quote {
            return at + 1;
        }
        escaped = !escaped && byte == b'\\';
    }
    rest.len()
}

/// Tells `'a'` and `'\n'` from the lifetime `'a`.
fn is_char_literal(rest: &str) -> bool {
    let mut letters = rest.chars().skip(1);
    let first = letters.next();
    first == Some('\\') || letters.next() == Some('\'')
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// A word or a mark of the code, with the line it stands on, counted from 1.
struct Token<'a> {
    line: usize,
    text: &'a str,
}

fn tokens(code: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    for (index, line) in code.lines().enumerate() {
        let mut rest = line.trim_start();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                _ if is_word(first) => rest.find(|letter| !is_word(letter)).unwrap_or(rest.len()),
                ':' if rest.starts_with("::") => 2,
                _ => first.len_utf8(),
            };
            found.push(Token { line: index + 1, text: &rest[..length] });
            rest = rest[length..].trim_start();
        }
    }
    found
}

/// All paths of the code, groups unfolded: `a::{b, c::d}` gives `a::b` and `a::c::d`, each with its line.
fn paths(code: &str) -> Vec<(usize, Vec<&str>)> {
    let (mut found, mut prefixes): (Vec<_>, Vec<Vec<&str>>) = (Vec::new(), Vec::new());
    let mut path: Vec<&str> = Vec::new();
    let mut after_separator = false;
    for token in tokens(code) {
        match token.text {
            "::" => after_separator = true,
            "{" if after_separator => {
                prefixes.push(std::mem::take(&mut path));
                after_separator = false;
            }
            word if after_separator || word.starts_with(is_word) || word == "*" => {
                let goes_on = after_separator && !path.is_empty();
                if !goes_on {
                    path = prefixes.last().cloned().unwrap_or_default();
                }
                path.push(word);
                found.push((token.line, path.clone()));
                after_separator = false;
            }
            mark => {
                path.clear();
                after_separator = false;
                if mark == "}" {
                    prefixes.pop();
                }
                if mark == "{" && !prefixes.is_empty() {
                    prefixes.push(Vec::new());
                }
            }
        }
    }
    found
}

/// The room named by `path` when it starts at the crate's root; `super` counts `depth` modules up to the root.
fn room_named<'a>(path: &[&'a str], depth: usize) -> Option<&'a str> {
    let supers = path.iter().take_while(|part| **part == "super").count();
    let starts_at_root = matches!(path.first(), Some(&"crate" | &"ringmq")) || (supers > 0 && supers == depth);
    let room = *path.get(supers.max(1))?;
    let is_last = path.len() == supers.max(1) + 1;
    (starts_at_root && is_last && room.starts_with(|letter: char| letter.is_ascii_lowercase())).then_some(room)
}

fn may_use(user: &str, used: &str) -> bool {
    if let Some((_, allowed)) = EVERYWHERE.iter().find(|(room, _)| *room == user) {
        return user == used || allowed.contains(&used);
    }
    let is_everywhere = EVERYWHERE.iter().any(|(room, _)| *room == used);
    user == used || is_everywhere || floor_of(used) < floor_of(user)
}

// ---- The rules ----

fn duty_not_said(source: &Source) -> Vec<Finding> {
    let is_said = source.text.starts_with("//!");
    let remedy = "begin the file with `//!` lines: its duty, what it must not do, its neighbours";
    if is_said { Vec::new() } else { vec![source.finding(1, "the file does not say its duty", remedy)] }
}

fn upward_uses(source: &Source) -> Vec<Finding> {
    let Some(user) = source.room().filter(|room| *room != "lib") else { return Vec::new() };
    let is_known = EVERYWHERE.iter().any(|(room, _)| *room == user) || floor_of(user).is_some();
    if !is_known {
        return vec![source.finding(
            1,
            format!("room `{user}` stands on no floor"),
            "give it a floor in tests/tidy.rs FLOORS",
        )];
    }
    let mut found = Vec::new();
    for (line, path) in paths(&source.code) {
        let Some(used) = room_named(&path, source.module_depth()) else { continue };
        let is_room = EVERYWHERE.iter().any(|(room, _)| *room == used) || floor_of(used).is_some();
        if is_room && !may_use(user, used) {
            let what = format!("`{user}` uses `{used}`, which is not below it");
            found.push(source.finding(line, what, "let the lower room say it as data (docs/design.md section 2)"));
        }
    }
    found
}

fn runtime_crates_in_other_rooms(source: &Source) -> Vec<Finding> {
    let Some(room) = source.room().filter(|room| !RUNTIME_ROOMS.contains(room)) else { return Vec::new() };
    let remedy = "only src/runtime/ and src/transport/ know it: ask them through their own names";
    let is_named = |token: &Token<'_>| RUNTIME_CRATES.contains(&token.text);
    let named = tokens(&source.code).into_iter().filter(is_named);
    named.map(|token| source.finding(token.line, format!("`{}` in `{room}`", token.text), remedy)).collect()
}

fn world_in_the_core(source: &Source) -> Vec<Finding> {
    if !source.is_core() {
        return Vec::new();
    }
    let remedy = "the core is pure: take `now` as a value, leave an event or a wish in the outbox";
    let mut found = Vec::new();
    for (line, path) in paths(&source.code) {
        let last = path.last().copied().unwrap_or_default();
        let in_std = path.len() == 2 && path[0] == "std" && CORE_FORBIDDEN_STD.contains(&last);
        if in_std || CORE_FORBIDDEN_NAMES.contains(&last) {
            found.push(source.finding(line, format!("`{}` in a core room", path.join("::")), remedy));
        }
    }
    for name in ["print", "println", "eprint", "eprintln"] {
        let lines = macro_lines(&source.code, name);
        found.extend(lines.into_iter().map(|line| source.finding(line, format!("`{name}!` in a core room"), remedy)));
    }
    found
}

fn macro_lines(code: &str, name: &str) -> Vec<usize> {
    let tokens = tokens(code);
    let is_called = |pair: &&[Token<'_>]| pair[0].text == name && pair[1].text == "!";
    tokens.windows(2).filter(is_called).map(|pair| pair[0].line).collect()
}

fn unfinished_work(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for name in ["todo", "unimplemented", "dbg"] {
        let lines = macro_lines(&source.code, name);
        let remedy = "finish it, or return an error that says what is missing";
        found.extend(lines.into_iter().map(|line| source.finding(line, format!("`{name}!`"), remedy)));
    }
    let tokens = tokens(&source.code);
    for words in
        tokens.windows(3).filter(|words| words[0].text == "#" && words[1].text == "[" && words[2].text == "ignore")
    {
        found.push(source.finding(words[0].line, "an ignored test", "make it pass, or remove it"));
    }
    for (index, _) in source.comments.lines().enumerate().filter(|(_, comment)| comment.contains("FIXME")) {
        found.push(source.finding(index + 1, "a note to come back", "do it now, or write down why it stays so"));
    }
    found
}

fn wide_lines_and_long_files(source: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (index, line) in source.text.lines().enumerate() {
        let columns = line.chars().count();
        if columns > LINE_COLUMNS_MAX {
            let what = format!("{columns} columns, {LINE_COLUMNS_MAX} are allowed");
            found.push(source.finding(index + 1, what, "break the line"));
        }
    }
    let lines = source.text.lines().count();
    if lines > FILE_LINES_MAX {
        let what = format!("{lines} lines, {FILE_LINES_MAX} are allowed");
        found.push(source.finding(lines, what, "split the file by duty, or move its tests to a sibling tests.rs"));
    }
    found
}

fn long_functions(source: &Source) -> Vec<Finding> {
    if source.room().is_none() {
        return Vec::new();
    }
    let tokens = tokens(&source.code);
    let mut found = Vec::new();
    for (index, pair) in tokens.windows(2).enumerate() {
        if pair[0].text != "fn" || !pair[1].text.starts_with(is_word) {
            continue;
        }
        let Some(last_line) = body_end_line(&tokens[index + 2..]) else { continue };
        let lines = last_line - pair[0].line + 1;
        if lines > FUNCTION_LINES_MAX {
            let what = format!("function `{}` has {lines} lines, {FUNCTION_LINES_MAX} are allowed", pair[1].text);
            found.push(source.finding(pair[0].line, what, "give each step a name of its own"));
        }
    }
    found
}

/// The line of the brace that closes a function's body; `None` for a declaration without one.
fn body_end_line(after_name: &[Token<'_>]) -> Option<usize> {
    let (mut round, mut braces) = (0_usize, 0_usize);
    for token in after_name {
        match token.text {
            "(" | "[" => round += 1,
            ")" | "]" => round = round.saturating_sub(1),
            ";" if round == 0 && braces == 0 => return None,
            "{" => braces += 1,
            "}" => {
                braces = braces.saturating_sub(1);
                if braces == 0 && round == 0 {
                    return Some(token.line);
                }
            }
            _ => {}
        }
    }
    None
}

fn unsafe_outside_runtime(source: &Source) -> Vec<Finding> {
    if source.room().is_none_or(|room| room == UNSAFE_ROOM) {
        return Vec::new();
    }
    let unsafes = tokens(&source.code).into_iter().filter(|token| token.text == "unsafe");
    let remedy = "write it safely, or let src/runtime/ do it and say why it is sound";
    unsafes.map(|token| source.finding(token.line, "`unsafe` outside src/runtime/", remedy)).collect()
}

// ---- The tree ----

/// Every Rust file that is ours.
fn tree() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut folders: Vec<PathBuf> = ["src", "tests", "benches", "loadgen", "fuzz"].map(|name| root.join(name)).into();
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = std::fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.expect("a folder that opens can be read").path()) {
            if path.is_dir() && !path.ends_with("target") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).expect("sources are UTF-8");
                sources.push(Source::new(path.strip_prefix(root).expect("it lies below the root"), &text));
            }
        }
    }
    sources.sort_by(|left, right| left.path.cmp(&right.path));
    sources
}

fn assert_tidy(rule: fn(&Source) -> Vec<Finding>) {
    let sources = tree();
    assert!(sources.len() > 5, "the sources were not found");
    let findings: Vec<Finding> = sources.iter().flat_map(rule).collect();
    let mut report = String::new();
    for Finding { path, line, what, remedy } in &findings {
        writeln!(report, "{}:{line}: {what}; {remedy}", path.display()).expect("a string takes all text");
    }
    assert!(findings.is_empty(), "\n{report}");
}

fn lines_found(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> Vec<usize> {
    rule(&Source::new(path, text)).iter().map(|finding| finding.line).collect()
}

#[test]
fn every_file_says_its_duty_first() {
    assert_tidy(duty_not_said);
}

#[test]
fn a_file_without_its_duty_is_seen() {
    assert_eq!(lines_found(duty_not_said, "src/id.rs", "use std::fmt;\n//! late\n"), [1]);
    assert_eq!(lines_found(duty_not_said, "src/id.rs", "//! Ids.\n"), []);
}

#[test]
fn rooms_use_only_what_is_below_them() {
    assert_tidy(upward_uses);
}

#[test]
fn a_use_of_an_upper_room_or_a_neighbour_is_seen() {
    let found = |path, text| lines_found(upward_uses, path, text);
    assert_eq!(found("src/wire/ack.rs", "\nuse crate::topic::TopicName;\n"), [2]);
    assert_eq!(
        found("src/topic/trie.rs", "use crate::{\n    wire::QoS,\n    shard::{Shard, input::Input},\n};\n"),
        [3]
    );
    assert_eq!(found("src/session/mod.rs", "fn f() -> crate::store::Record {}"), [1]);
    assert_eq!(found("src/shard/mod.rs", "fn f() { super::runtime::run() }"), [1]);
    assert_eq!(found("src/shard/deliver.rs", "use super::super::runtime::run;"), [1]);
    assert_eq!(found("src/message.rs", "use crate::session::Session;"), [1]);
    assert_eq!(found("src/admin/api.rs", "use crate::cli;"), [1]);
    assert_eq!(found("src/kitchen/mod.rs", "//! new"), [1]);
}

#[test]
fn a_use_of_a_lower_room_is_welcome() {
    let found = |path, text| lines_found(upward_uses, path, text);
    assert_eq!(found("src/shard/mod.rs", "use crate::{session::Session, topic, wire::{Packet, QoS}};"), []);
    assert_eq!(found("src/shard/mod.rs", "use super::runtime_state; // crate::runtime\n"), []);
    assert_eq!(found("src/wire/publish.rs", "use crate::message::Message;\nuse super::ack::Ack;"), []);
    assert_eq!(found("src/main.rs", "use ringmq::cli;"), []);
    assert_eq!(found("src/message.rs", "use crate::wire::QoS;\nuse crate::id::Millis;"), []);
}

#[test]
fn only_the_runtime_knows_the_ring() {
    assert_tidy(runtime_crates_in_other_rooms);
}

#[test]
fn a_runtime_crate_in_another_room_is_seen() {
    let text = "//! No glommio.\nuse io_uring::IoUring;\nfn f() { libc::getpid(); }\n";
    assert_eq!(lines_found(runtime_crates_in_other_rooms, "src/shard/mod.rs", text), [2, 3]);
    assert_eq!(lines_found(runtime_crates_in_other_rooms, "src/cli.rs", "use {socket2::Socket, glommio};"), [1, 1]);
    assert_eq!(lines_found(runtime_crates_in_other_rooms, "src/runtime/ring.rs", text), []);
}

#[test]
fn the_core_knows_no_clock_socket_file_thread_lock_or_console() {
    assert_tidy(world_in_the_core);
}

#[test]
fn the_world_in_a_core_room_is_seen() {
    let found = |text| lines_found(world_in_the_core, "src/session/mod.rs", text);
    assert_eq!(found("use std::time::{Duration,\n Instant};"), [2]);
    assert_eq!(found("fn f() {\n std::time::SystemTime::now();\n}"), [2]);
    assert_eq!(found("use std::{collections::HashMap,\n net::TcpStream, fs};\nuse std::thread;"), [2, 2, 3]);
    assert_eq!(found("use std::sync::{Arc, Mutex, RwLock};"), [1, 1]);
    assert_eq!(found("fn f() { println!(); }\nfn g() { eprintln!(\"x\") }"), [1, 2]);
    assert_eq!(found("use std::time::Duration;\nconst TEXT: &str = \"println!(Instant)\"; // std::fs"), []);
    assert_eq!(lines_found(world_in_the_core, "src/runtime/clock.rs", "use std::time::Instant;"), []);
}

#[test]
fn no_work_is_left_for_later() {
    assert_tidy(unfinished_work);
}

#[test]
fn unfinished_work_is_seen() {
    let found = |text| lines_found(unfinished_work, "tests/x.rs", text);
    assert_eq!(found("fn f() { todo!() }"), [1]);
    assert_eq!(found("\nfn f() { unimplemented!(\"later\") }"), [2]);
    assert_eq!(found("fn f() { dbg!(1); }"), [1]);
    assert_eq!(found("#[test]\n#[ignore = \"slow\"]\nfn f() {}"), [2]);
    assert_eq!(found("fn f() {} // FIXME: later"), [1]);
    assert_eq!(found("const TEXT: &str = r#\"todo!() FIXME \"#; // a todo is a word"), []);
}

#[test]
fn lines_and_files_stay_readable() {
    assert_tidy(wide_lines_and_long_files);
}

#[test]
fn a_wide_line_and_a_long_file_are_seen() {
    let wide = format!("\n// {}\n", "x".repeat(LINE_COLUMNS_MAX));
    assert_eq!(lines_found(wide_lines_and_long_files, "src/id.rs", &wide), [2]);
    let long = "\n".repeat(FILE_LINES_MAX + 1);
    assert_eq!(lines_found(wide_lines_and_long_files, "src/id.rs", &long), [FILE_LINES_MAX + 1]);
    assert_eq!(lines_found(wide_lines_and_long_files, "src/id.rs", &"\n".repeat(FILE_LINES_MAX)), []);
}

#[test]
fn functions_stay_short() {
    assert_tidy(long_functions);
}

#[test]
fn a_long_function_is_seen() {
    let function = |lines: usize| {
        format!("trait T {{ fn g(&self, a: [u8; 4]); }}\nfn f<'a>(x: &'a [u8; 2]) {{{}}}\n", "\n".repeat(lines - 1))
    };
    assert_eq!(lines_found(long_functions, "src/shard/mod.rs", &function(FUNCTION_LINES_MAX + 1)), [2]);
    assert_eq!(lines_found(long_functions, "src/shard/mod.rs", &function(FUNCTION_LINES_MAX)), []);
    let with_braces_in_text = format!("fn f() {{ a(\"}}\", '}}', b'{{'); {}}}", "\n".repeat(FUNCTION_LINES_MAX));
    assert_eq!(lines_found(long_functions, "src/shard/mod.rs", &with_braces_in_text), [1]);
}

#[test]
fn only_the_runtime_is_unsafe() {
    assert_tidy(unsafe_outside_runtime);
}

#[test]
fn unsafe_code_in_another_room_is_seen() {
    let text = "#![deny(unsafe_code)]\nfn f() { unsafe { g() } }\n// unsafe\n";
    assert_eq!(lines_found(unsafe_outside_runtime, "src/topic/trie.rs", text), [2]);
    assert_eq!(lines_found(unsafe_outside_runtime, "src/runtime/mod.rs", text), []);
}
