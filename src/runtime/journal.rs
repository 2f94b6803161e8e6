//! Journal: the log of the broker, written by a thread of its own.
//!
//! Duty: take lines without ever making a shard wait for a slow terminal, disk or pipe; stamp them and write them wherever the
//! operator wants them; say how many did not fit. Must not: decide what is worth a line. Neighbours: `report` and `start` write to
//! it; `board` carries those that clients may read.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};

use super::board::{Board, Order};
use super::failure::Failure;
use super::line::{Facts, Line};
use super::mesh::Caller;
use crate::config::{LogDestination, LogForm, LogType, Logging, Timestamp};
use crate::message::{Message, MessageView};
use crate::wire::QoS;

/// Lines that wait for the writer; what comes on top is counted and lost.
const LINES_MAX: usize = 4096;

/// How long the end of the broker waits for the last lines to be written.
const CLOSE_SECS: u64 = 1;

/// Where the system takes lines for its log (RFC 3164).
const SYSLOG_SOCKET: &str = "/dev/log";

/// Longest time stamp, bytes.
const STAMP_BYTES_MAX: usize = 256;

/// What the writer is told.
#[derive(Debug)]
enum Entry {
    Line(Line),
    /// From now on lines are written so, and there.
    Change(Box<Writing>),
    /// From now on lines of these kinds are written.
    Choose(Vec<LogType>),
    /// From now on clients may read it, if that is wanted.
    PublishOn(Arc<Board>, Caller),
    /// Files are to be opened again: somebody has renamed them.
    Reopen,
    End,
}

/// Where lines go.
#[derive(Clone, Debug)]
pub(super) struct Journal {
    entries: Sender<Entry>,
    lost: Arc<AtomicU64>,
}

/// The writer's end, to be closed when everybody has written.
#[derive(Debug)]
pub(super) struct JournalEnd {
    entries: Sender<Entry>,
    is_done: Receiver<()>,
}

impl Journal {
    /// Starts the writer.
    ///
    /// # Errors
    /// No thread, or a destination that cannot be had.
    pub(super) fn start(logging: &Logging) -> Result<(Self, JournalEnd), Failure> {
        let mut writer = Writer { writing: Writing::prepare(logging)?, readers: None };
        let (entries, waiting) = bounded(LINES_MAX);
        let (done, is_done) = bounded(1);
        let lost = Arc::new(AtomicU64::new(0));
        let journal = Self { entries: entries.clone(), lost: Arc::clone(&lost) };
        let builder = thread::Builder::new().name("ringmq-journal".into());
        let started = builder.spawn(move || {
            writer.write_all(&waiting, &lost);
            let _ = done.send(());
        });
        started.map_err(|error| Failure::system(format!("cannot start the log: {error}")))?;
        Ok((journal, JournalEnd { entries, is_done }))
    }

    /// Writes a line soon that says what the broker does.
    pub(super) fn line(&self, text: String) {
        self.tell(LogType::Information, text);
    }

    /// Writes a line soon.
    pub(super) fn tell(&self, kind: LogType, text: String) {
        self.write(Line { kind, text, facts: Facts::default() });
    }

    /// Writes a line soon.
    pub(super) fn write(&self, line: Line) {
        if self.entries.try_send(Entry::Line(line)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// From now on lines are written as was prepared.
    pub(super) fn change(&self, writing: Writing) {
        let _ = self.entries.send(Entry::Change(Box::new(writing)));
    }

    /// From now on lines of these kinds are written.
    pub(super) fn choose(&self, types: Vec<LogType>) {
        let _ = self.entries.send(Entry::Choose(types));
    }

    /// From now on lines are published as well, if the operator wants that.
    pub(super) fn publish_on(&self, board: Arc<Board>, caller: Caller) {
        let _ = self.entries.send(Entry::PublishOn(board, caller));
    }

    /// Opens files again.
    pub(super) fn reopen(&self) {
        let _ = self.entries.try_send(Entry::Reopen);
    }
}

impl JournalEnd {
    /// Waits until what was told so far is written, for a second at most.
    pub(super) fn close(self) {
        let limit = Duration::from_secs(CLOSE_SECS);
        if self.entries.send_timeout(Entry::End, limit).is_ok() {
            let _ = self.is_done.recv_timeout(limit);
        }
    }
}

/// One destination.
#[derive(Debug)]
enum Sink {
    Stderr,
    Stdout,
    File(PathBuf, File),
    /// The facility's number. The socket connects again when the system's log was restarted.
    Syslog(u8, UnixDatagram),
    Topic,
}

impl Sink {
    fn open(destination: &LogDestination) -> Result<Self, Failure> {
        Ok(match destination {
            LogDestination::Stderr => Self::Stderr,
            LogDestination::Stdout => Self::Stdout,
            LogDestination::Topic => Self::Topic,
            LogDestination::File(path) => {
                let file = open_file(path).map_err(|error| {
                    Failure::usage(format!(
                        "cannot write the log file {}: {error}; create its directory and let this user write there",
                        path.display()
                    ))
                })?;
                Self::File(path.clone(), file)
            }
            LogDestination::Syslog(facility) => {
                let number = facility_number(facility).ok_or_else(|| {
                    Failure::usage(format!("log facility {facility}: one of daemon, user, local0 to local7 is wanted"))
                })?;
                let socket = UnixDatagram::unbound()
                    .map_err(|error| Failure::system(format!("cannot reach the system's log: {error}")))?;
                // The writer must not wait for it.
                let _ = socket.set_nonblocking(true);
                Self::Syslog(number, socket)
            }
        })
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).append(true).open(path)
}

/// RFC 3164, section 4.1.1.
fn facility_number(name: &str) -> Option<u8> {
    match name {
        "user" => Some(1),
        "daemon" => Some(3),
        _ => {
            let local: u8 = name.strip_prefix("local")?.parse().ok()?;
            (local < 8).then_some(16 + local)
        }
    }
}

/// How lines are written, and where.
#[derive(Debug)]
pub(super) struct Writing {
    sinks: Vec<Sink>,
    logging: Logging,
}

impl Writing {
    /// Opens all destinations.
    ///
    /// # Errors
    /// One cannot be had.
    pub(super) fn prepare(logging: &Logging) -> Result<Self, Failure> {
        let sinks = logging.destinations.iter().map(Sink::open).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { sinks, logging: logging.clone() })
    }
}

/// What the thread has.
#[derive(Debug)]
struct Writer {
    writing: Writing,
    /// The way to clients.
    readers: Option<(Arc<Board>, Caller)>,
}

impl Writer {
    fn write_all(&mut self, waiting: &Receiver<Entry>, lost: &AtomicU64) {
        for entry in waiting {
            match entry {
                Entry::End => return,
                Entry::PublishOn(board, caller) => self.readers = Some((board, caller)),
                Entry::Reopen => self.reopen(),
                Entry::Change(writing) => self.writing = *writing,
                Entry::Choose(types) => self.writing.logging.types = types,
                Entry::Line(line) => {
                    self.write(&line);
                    let lost = lost.swap(0, Ordering::Relaxed);
                    if lost > 0 {
                        let text = format!("{lost} log lines lost: the log is too slow");
                        self.write(&Line { kind: LogType::Error, text, facts: Facts::default() });
                    }
                }
            }
        }
    }

    /// What cannot be written is no reason to stop a broker.
    fn write(&mut self, line: &Line) {
        let Writing { sinks, logging } = &mut self.writing;
        if !logging.is_told(line.kind) {
            return;
        }
        let (kind, now) = (line.kind, SystemTime::now());
        let (stamp, line) = match logging.form {
            LogForm::Json => (String::new(), line.json(now)),
            LogForm::Plain | LogForm::Mosquitto => (stamp_of(&logging.timestamp, now), line.text.clone()),
        };
        for sink in sinks {
            let _ = match sink {
                Sink::Stderr => writeln!(io::stderr().lock(), "{stamp}{line}"),
                Sink::Stdout => writeln!(io::stdout().lock(), "{stamp}{line}"),
                Sink::File(_, file) => writeln!(file, "{stamp}{line}"),
                Sink::Syslog(facility, socket) => {
                    let priority = *facility * 8 + severity_of(kind);
                    let text = format!("<{priority}>ringmq[{}]: {line}", std::process::id());
                    socket.send_to(text.as_bytes(), SYSLOG_SOCKET).map(drop)
                }
                Sink::Topic => {
                    if let Some((board, caller)) = &self.readers {
                        board.tell(0, [Order::Announce(message_of(kind, &line))]);
                        caller.call_all();
                    }
                    Ok(())
                }
            };
        }
    }

    fn reopen(&mut self) {
        for sink in &mut self.writing.sinks {
            if let Sink::File(path, file) = sink
                && let Ok(opened) = open_file(path)
            {
                *file = opened;
            }
        }
    }
}

/// RFC 3164, section 4.1.1.
fn severity_of(kind: LogType) -> u8 {
    match kind {
        LogType::Error => 3,
        LogType::Warning => 4,
        LogType::Notice | LogType::Subscribe | LogType::Unsubscribe => 5,
        LogType::Information => 6,
        LogType::Debug => 7,
    }
}

/// The end of a kind's topic, as Mosquitto has it.
fn topic_end(kind: LogType) -> &'static str {
    match kind {
        LogType::Error => "E",
        LogType::Warning => "W",
        LogType::Notice => "N",
        LogType::Information => "I",
        LogType::Subscribe => "M/subscribe",
        LogType::Unsubscribe => "M/unsubscribe",
        LogType::Debug => "D",
    }
}

fn message_of(kind: LogType, line: &str) -> Message {
    Message::new(&MessageView {
        topic: &format!("$SYS/broker/log/{}", topic_end(kind)),
        properties: &[],
        payload: line.as_bytes(),
        shared_payload: None,
        qos: QoS::AtMostOnce,
        retain: false,
        expires_at: None,
        publisher: None,
    })
}

/// What stands before a line written now.
fn stamp_of(timestamp: &Timestamp, now: SystemTime) -> String {
    let secs = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    match timestamp {
        Timestamp::None => String::new(),
        Timestamp::EpochSeconds => format!("{secs}: "),
        Timestamp::Format(format) => format!("{}: ", local_time(format, secs)),
    }
}

/// A moment, seconds since 1970, in local time, as `strftime` writes it.
pub fn local_time(format: &str, secs: u64) -> String {
    let Ok(format) = std::ffi::CString::new(format) else { return String::new() };
    let mut text = [0_u8; STAMP_BYTES_MAX];
    let time = libc::time_t::try_from(secs).unwrap_or(0);
    // SAFETY: zeroes are a valid `tm`; both functions write within what they are given, and `format` ends with a zero.
    let written = unsafe {
        let mut parts: libc::tm = std::mem::zeroed();
        libc::localtime_r(&raw const time, &raw mut parts);
        libc::strftime(text.as_mut_ptr().cast(), text.len(), format.as_ptr(), &raw const parts)
    };
    String::from_utf8_lossy(&text[..written]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logging(destination: LogDestination) -> Logging {
        Logging { destinations: vec![destination], timestamp: Timestamp::EpochSeconds, ..Logging::default() }
    }

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("ringmq-journal-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        folder
    }

    /// A log that was renamed goes on under its own name once it is told to.
    #[test]
    fn a_log_file_is_stamped_and_opened_again_when_it_was_renamed() {
        let folder = folder("file");
        let path = folder.join("log");
        let (journal, end) = Journal::start(&logging(LogDestination::File(path.clone()))).unwrap();
        journal.line("one".into());
        let (journal_again, end_again) = (journal.clone(), end);
        while std::fs::read_to_string(&path).unwrap_or_default().is_empty() {
            thread::yield_now();
        }
        std::fs::rename(&path, folder.join("old")).unwrap();
        journal_again.reopen();
        journal.line("two".into());
        end_again.close();
        let (old, new) =
            (std::fs::read_to_string(folder.join("old")).unwrap(), std::fs::read_to_string(&path).unwrap());
        assert!(old.ends_with(": one\n") && old.starts_with(|first: char| first.is_ascii_digit()), "{old}");
        assert!(new.ends_with(": two\n"), "{new}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn a_log_file_that_cannot_be_had_is_named_with_its_remedy() {
        let failure = Journal::start(&logging(LogDestination::File("/no/such/folder/log".into()))).unwrap_err();
        assert_eq!(failure.exit_code, 1);
        assert!(failure.text.contains("/no/such/folder/log") && failure.text.contains("directory"), "{failure}");
    }

    #[test]
    fn a_quiet_log_has_errors_alone() {
        let folder = folder("quiet");
        let path = folder.join("log");
        let logging = Logging { is_quiet: true, ..logging(LogDestination::File(path.clone())) };
        let (journal, end) = Journal::start(&logging).unwrap();
        journal.line("a notice".into());
        journal.tell(LogType::Error, "an error".into());
        end.close();
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with(": an error\n") && !text.contains("a notice"), "{text}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    /// `log_type` chooses; what was prepared takes the place of what was, from the next line on.
    #[test]
    fn a_log_has_the_kinds_and_the_form_that_are_asked_for_until_others_are() {
        let folder = folder("kinds");
        let (path, second) = (folder.join("log"), folder.join("second"));
        let types = vec![LogType::Warning, LogType::Subscribe];
        let logging = Logging { types, ..logging(LogDestination::File(path.clone())) };
        let (journal, end) = Journal::start(&logging).unwrap();
        let tell_all = || LogType::ALL.into_iter().for_each(|kind| journal.tell(kind, kind.word().into()));
        tell_all();
        let destinations = vec![LogDestination::File(second.clone())];
        let json = Logging { destinations, form: LogForm::Json, types: vec![LogType::Debug], ..logging };
        journal.change(Writing::prepare(&json).unwrap());
        tell_all();
        end.close();
        let words = |path: &Path| std::fs::read_to_string(path).unwrap();
        let first: Vec<_> = words(&path).lines().map(|line| line.split_once(": ").unwrap().1.to_owned()).collect();
        assert_eq!(first, ["warning", "subscribe"]);
        let second = words(&second);
        assert!(second.starts_with("{\"time\": ") && second.lines().count() == 1, "{second}");
        assert!(second.ends_with("\"level\": \"debug\", \"text\": \"debug\"}\n"), "{second}");
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn kinds_have_the_topics_of_mosquitto() {
        let topics = LogType::ALL.map(|kind| message_of(kind, "text").topic().to_owned());
        let ends = ["E", "W", "N", "I", "M/subscribe", "M/unsubscribe", "D"];
        assert_eq!(topics, ends.map(|end| format!("$SYS/broker/log/{end}")));
    }

    #[test]
    fn a_stamp_is_what_strftime_makes_of_it() {
        let moment = UNIX_EPOCH + Duration::from_secs(86_400);
        assert_eq!(stamp_of(&Timestamp::None, moment), "");
        assert_eq!(stamp_of(&Timestamp::EpochSeconds, moment), "86400: ");
        assert!(stamp_of(&Timestamp::Format("%Y".into()), moment).starts_with("1970: "));
        assert_eq!(stamp_of(&Timestamp::Format("%%".into()), moment), "%: ");
    }

    #[test]
    fn facilities_have_the_numbers_of_the_rfc() {
        assert_eq!(["daemon", "local0", "local7", "user"].map(facility_number), [Some(3), Some(16), Some(23), Some(1)]);
        assert_eq!(["local8", "cron", ""].map(facility_number), [None; 3]);
    }
}
