//! Server: connections to the room, and their bounds.
//!
//! Duty: accept, encrypt, and give each request so much time and so many bytes; count whom that hits, and tell it in the log, not often.
//! Must not: answer, or go on when it was told to stop. Neighbours: `api` answers; `limits` has the bounds (`admin_...`).

use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;

use super::api::{Room, router};
use super::entry::Caller;
use super::export::Spans;
use super::stream::Impatient;
use super::trace::Watchers;
use crate::limits::Limits;
use crate::runtime::{Door, Window};

/// Who comes when there are too many hears this.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/// When the system has no descriptor left, it is asked again after this.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bytes of a request that are taken of who is sent away, so that the answer arrives.
const TAKEN_BYTES: usize = 4096;

/// Serves until `stopped`. Whoever is being answered then is cut off.
pub(super) fn serve(door: Door, window: Window, spans: Option<Arc<Spans>>, stopped: oneshot::Receiver<()>) {
    let refused = Arc::new(Refused::new(window.clone()));
    let executor = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let executor = match executor {
        Ok(executor) => executor,
        Err(error) => return window.warn(format!("No admin: {error}")),
    };
    let accepting = Arc::clone(&refused);
    executor.block_on(async move {
        tokio::spawn(async move {
            if let Err(error) = accept(door, &window, spans, &accepting).await {
                window.warn(format!("No admin: {error}"));
            }
        });
        // Sent or dropped, it says the same.
        let _ = stopped.await;
    });
    drop(executor);
    refused.tell_rest();
}

async fn accept(door: Door, window: &Window, spans: Option<Arc<Spans>>, refused: &Arc<Refused>) -> io::Result<()> {
    let is_unix = matches!(door, Door::Unix(_));
    let (samples, watchers, pace) = (Arc::default(), Watchers::default(), Arc::default());
    let room = Room { window: window.clone(), is_unix, refused: Arc::clone(refused), samples, spans, watchers, pace };
    let router = router(room);
    let places = Places { window: window.clone(), taken: Arc::new(()), refused: Arc::clone(refused) };
    let socket = Socket::of(door)?;
    loop {
        let Ok(stream) = socket.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        match (places.take(), stream) {
            (None, stream) => stream.send_away(),
            (Some(place), Stream::Tcp(stream)) => {
                // Answers are small, and somebody waits for each.
                let _ = stream.set_nodelay(true);
                let address = stream.peer_addr().ok().map(|address| address.ip());
                tokio::spawn(place.hold_tcp(stream, address, router.clone()));
            }
            (Some(place), Stream::Unix(stream)) => drop(tokio::spawn(place.hold(stream, None, router.clone()))),
        }
    }
}

/// What is listened on.
enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Socket {
    fn of(door: Door) -> io::Result<Self> {
        match door {
            Door::Tcp(socket) => {
                socket.set_nonblocking(true)?;
                TcpListener::from_std(socket).map(Self::Tcp)
            }
            Door::Unix(socket) => {
                socket.set_nonblocking(true)?;
                UnixListener::from_std(socket).map(Self::Unix)
            }
        }
    }

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(socket) => socket.accept().await.map(|(stream, _)| Stream::Tcp(stream)),
            Self::Unix(socket) => socket.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// A connection.
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Never waits.
    fn send_away(self) {
        let mut taken = [0; TAKEN_BYTES];
        let _ = match self {
            Self::Tcp(stream) => stream.try_read(&mut taken).and(stream.try_write(FULL)),
            Self::Unix(stream) => stream.try_read(&mut taken).and(stream.try_write(FULL)),
        };
    }
}

/// The places of the room.
struct Places {
    window: Window,
    /// As often as there are connections, and once more.
    taken: Arc<()>,
    refused: Arc<Refused>,
}

/// The place of a connection, free again when dropped.
struct Place {
    limits: Limits,
    tls: Option<Arc<ServerConfig>>,
    refused: Arc<Refused>,
    _taken: Arc<()>,
}

impl Places {
    fn take(&self) -> Option<Place> {
        let shown = self.window.shown();
        let (limits, tls) = (shown.limits.clone(), shown.tls.clone());
        if Arc::strong_count(&self.taken) > limits.admin_connections_max {
            self.refused.note(Why::Full);
            return None;
        }
        Some(Place { limits, tls, refused: Arc::clone(&self.refused), _taken: Arc::clone(&self.taken) })
    }
}

impl Place {
    /// Requests and their answers, encrypted if that is wanted.
    async fn hold_tcp(self, stream: TcpStream, address: Option<IpAddr>, router: Router) {
        let Some(tls) = self.tls.clone() else { return self.hold(stream, address, router).await };
        match timeout(self.patience(), TlsAcceptor::from(tls).accept(stream)).await {
            Err(_) => self.refused.note(Why::Slow),
            Ok(Ok(stream)) => self.hold(stream, address, router).await,
            // Who speaks something else is nothing to tell.
            Ok(Err(_)) => {}
        }
    }

    /// Requests and their answers, one after the other, until nothing comes or nothing is read for so long.
    async fn hold(self, stream: impl AsyncRead + AsyncWrite + Unpin, address: Option<IpAddr>, router: Router) {
        let caller = Caller { address, ..Caller::default() };
        let has_asked = Arc::clone(&caller.has_asked);
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(self.patience());
        http.max_buf_size(self.limits.admin_request_bytes_max);
        let stream = Impatient::new(stream, self.patience());
        let service = TowerToHyperService::new(router.layer(Extension(caller)));
        match http.serve_connection(TokioIo::new(stream), service).await {
            Err(error) if error.is_parse_too_large() => self.refused.note(Why::Large),
            Err(error) if error.is_timeout() && !has_asked.load(Ordering::Relaxed) => self.refused.note(Why::Slow),
            // Who goes away, says nothing more, or speaks something else, is nothing to tell.
            Err(_) | Ok(()) => {}
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.limits.admin_request_ms_max)
    }
}

/// Why somebody was sent away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Full,
    Slow,
    Large,
    Token,
    Watching,
}

/// What stands in the log for each.
const WORDS: [(Why, &str); 5] = [
    (Why::Full, "when all places were taken (admin_connections_max)"),
    (Why::Slow, "that took too long (admin_request_ms_max)"),
    (Why::Large, "that were too large (admin_request_bytes_max)"),
    (Why::Watching, "as enough watch packets already (admin_traces_max)"),
    (Why::Token, "without the token or a user's password"),
];

/// Who was sent away, by reason, and when that was told.
#[derive(Debug)]
pub(super) struct Refused {
    window: Window,
    counts: [AtomicU64; WORDS.len()],
    told_at: Mutex<Option<Instant>>,
}

/// A line in this time at most.
const TELL_PAUSE: Duration = Duration::from_secs(10);

impl Refused {
    fn new(window: Window) -> Self {
        Self { window, counts: Default::default(), told_at: Mutex::new(None) }
    }

    pub(super) fn note(&self, why: Why) {
        let index = WORDS.iter().position(|(known, _)| *known == why).unwrap_or_default();
        self.counts[index].fetch_add(1, Ordering::Relaxed);
        let mut told_at = self.told_at.lock().unwrap_or_else(PoisonError::into_inner);
        if told_at.is_none_or(|told_at| told_at.elapsed() >= TELL_PAUSE) {
            *told_at = Some(Instant::now());
            self.tell_rest();
        }
    }

    /// Tells what was not told yet.
    fn tell_rest(&self) {
        let counted =
            WORDS.iter().zip(&self.counts).map(|((_, words), count)| (count.swap(0, Ordering::Relaxed), words));
        let parts: Vec<_> =
            counted.filter(|(count, _)| *count > 0).map(|(count, words)| format!("{count} {words}")).collect();
        if !parts.is_empty() {
            self.window.warn(format!("Admin requests refused: {}", parts.join(", ")));
        }
    }
}
