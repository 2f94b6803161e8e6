//! Client: asks a running broker.
//!
//! Duty: find it, ask once, say in one line why there is no answer and what to do. Must not: print. Neighbours: `api` answers at the other
//! end; `cli` asks for people.

use std::fs;
use std::future::poll_fn;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, HttpBody, to_bytes};
use axum::http::{Method, Request, Response, StatusCode, header};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::runtime::Runtime;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::answer::{Explained, ProblemText, WhyQuestion};
use super::place::usual_sockets;
use crate::auth::Question;
use crate::config::{AdminAddress, ListenAddress};
use crate::runtime::{EXIT_USAGE, Failure};

/// Longest wait for a broker.
const WAIT: Duration = Duration::from_secs(10);
/// Longest silence of a broker that shows events: it sends a sign of life more often.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// Longest answer, bytes: a list of a thousand retained messages with their payloads.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// How to reach a broker. Not to be printed: it may have a password.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "it may have a password")]
pub struct Asking<'a> {
    /// Where.
    pub address: &'a AdminAddress,
    /// A file with the token that it wants.
    pub token_file: Option<&'a Path>,
    /// A user and the password of that, instead.
    pub account: Option<(&'a str, &'a str)>,
    /// A file with certificates (PEM) that vouch for it: what is asked over TCP is encrypted.
    pub authority: Option<&'a Path>,
}

/// What a client may do, as the running broker has it.
///
/// # Errors
/// No broker answers, it wants a token, or it does not understand.
pub fn why(asking: Asking<'_>, question: Question<'_>) -> Result<Explained, Failure> {
    let question = WhyQuestion {
        user: question.asked.user.map(str::to_owned),
        client: question.asked.client_id.to_owned(),
        action: question.wish.word().to_owned(),
        topic: question.topic.to_owned(),
        listener: question.port,
    };
    let query = serde_urlencoded::to_string(&question).map_err(|error| failure(error.to_string()))?;
    ask(asking, Method::GET, &format!("/api/v1/why?{query}"), None)?.read()
}

/// What the broker has answered.
#[derive(Clone, Debug)]
pub struct Answered {
    /// The body, empty where there is nothing to say.
    pub body: Vec<u8>,
}

impl Answered {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as what it is.
    ///
    /// # Errors
    /// It is something else.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| failure(format!("what answers is no broker: {error}")))
    }
}

/// Asks for `path` (with what follows a question mark), or has something changed there. `body`: JSON.
///
/// # Errors
/// No broker answers, it wants a token, or it does not do it, with its words.
pub fn ask(asking: Asking<'_>, method: Method, path: &str, body: Option<&[u8]>) -> Result<Answered, Failure> {
    let request = request_of(asking, method, path, body)?;
    let (status, body) = in_time(async {
        let response = first_of(asking, request).await?;
        Ok((response.status(), rest_of(response).await?))
    })?;
    if status.is_success() { Ok(Answered { body }) } else { Err(refusal(asking, status, &body)) }
}

/// Asks for events (`text/event-stream`) and shows each as soon as it comes, until `show` has seen enough or there are no more. `begun`:
/// from then on all is shown.
///
/// # Errors
/// No broker answers, it wants a token, it does not do it, with its words, or it goes away. Those of `show`.
pub fn watch(
    asking: Asking<'_>,
    path: &str,
    begun: impl FnOnce(),
    mut show: impl FnMut(&str) -> Result<bool, Failure>,
) -> Result<(), Failure> {
    let request = request_of(asking, Method::GET, path, None)?;
    executor()?.block_on(async {
        let slow = |_| failure(format!("the broker does not answer in {} seconds", WAIT.as_secs()));
        let response = timeout(WAIT, first_of(asking, request)).await.map_err(slow)??;
        let status = response.status();
        if !status.is_success() {
            return Err(refusal(asking, status, &timeout(WAIT, rest_of(response)).await.map_err(slow)??));
        }
        begun();
        let (mut body, mut events) = (response.into_body(), Events::default());
        loop {
            let next = timeout(SILENCE_MAX, poll_fn(|context| Pin::new(&mut body).poll_frame(context))).await;
            let silent = |_| failure(format!("the broker has been silent for {} seconds", SILENCE_MAX.as_secs()));
            let Some(frame) = next.map_err(silent)? else { return Ok(()) };
            let frame = frame.map_err(|error| failure(format!("the broker has gone: {error}")))?;
            for event in events.take(frame.data_ref().map_or(&[], |data| data)) {
                if !show(&event)? {
                    return Ok(());
                }
            }
        }
    })
}

/// Why the broker does not do it.
fn refusal(asking: Asking<'_>, status: StatusCode, body: &[u8]) -> Failure {
    if status == StatusCode::UNAUTHORIZED {
        return failure(match (asking.token_file, asking.account) {
            (_, Some((user, _))) => format!("the broker knows no user {user} with this password"),
            (Some(file), _) => format!("the broker has another token (admin_token_file) than {}", file.display()),
            (None, None) => {
                "the broker wants its token; name the file of it by --admin-token-file, or a user of admin_users by \
                 --admin-user"
                    .into()
            }
        });
    }
    let problem: Result<ProblemText, _> = serde_json::from_slice(body);
    failure(problem.map_or_else(|_| format!("the broker answers {status}"), |problem| problem.detail))
}

/// Events out of a stream of bytes: those with one line of data, as the broker sends them.
#[derive(Debug, Default)]
struct Events {
    /// The beginning of a line.
    rest: Vec<u8>,
}

impl Events {
    /// The events that are whole with these bytes.
    fn take(&mut self, bytes: &[u8]) -> Vec<String> {
        self.rest.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=end).collect();
            if let Some(data) = line.strip_prefix(b"data: ") {
                events.push(String::from_utf8_lossy(data.trim_ascii_end()).into_owned());
            }
        }
        events
    }
}

/// A part of a path, so that nothing in it is taken for more than a name.
pub fn path_part(text: &str) -> String {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_~".contains(&byte);
    let escaped = |byte: u8| if is_plain(byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") };
    text.bytes().map(escaped).collect()
}

fn failure(text: impl Into<String>) -> Failure {
    Failure { exit_code: EXIT_USAGE, text: text.into() }
}

fn request_of(asking: Asking<'_>, method: Method, path: &str, body: Option<&[u8]>) -> Result<Request<Body>, Failure> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(file) = asking.token_file {
        let cannot = |error: io::Error| failure(format!("--admin-token-file {}: {error}", file.display()));
        let token = fs::read_to_string(file).map_err(cannot)?;
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim_end_matches(['\r', '\n'])));
    }
    if let Some((user, password)) = asking.account {
        let account = STANDARD.encode(format!("{user}:{password}"));
        request = request.header(header::AUTHORIZATION, format!("Basic {account}"));
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_vec()));
    request.body(body).map_err(|error| failure(format!("this cannot be asked: {error}")))
}

fn executor() -> Result<Runtime, Failure> {
    let executor = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    executor.map_err(|error| failure(error.to_string()))
}

fn in_time<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    // The time runs from within the executor.
    let answer = executor()?.block_on(async { timeout(WAIT, work).await });
    answer.unwrap_or_else(|_| Err(failure(format!("the broker does not answer in {} seconds", WAIT.as_secs()))))
}

/// Asks the first broker that is there.
async fn first_of(asking: Asking<'_>, request: Request<Body>) -> Result<Response<Incoming>, Failure> {
    let tls = asking.authority.map(trusting).transpose()?;
    let places = match asking.address {
        AdminAddress::At(address) => vec![address.clone()],
        AdminAddress::Usual | AdminAddress::Nowhere => usual_sockets().into_iter().map(ListenAddress::Unix).collect(),
    };
    let mut tried = Vec::new();
    for place in places {
        let name = AdminAddress::At(place.clone());
        match connect(&place, tls.clone()).await {
            Ok(stream) => {
                let exchanged = exchange(stream, request).await;
                let remedy =
                    if tls.is_none() { " (if it is encrypted, --admin-ca FILE says whom to trust)" } else { "" };
                let silent = |error| failure(format!("the broker at {name} does not answer: {error}{remedy}"));
                return exchanged.map_err(silent);
            }
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                tried.push(format!("{name} ({error}: its own user and root may ask there)"));
            }
            Err(error) => tried.push(format!("{name} ({error})")),
        }
    }
    let remedy = "start it, or say where its admin room is by --admin ADDR";
    Err(failure(format!("no broker answers at {}; {remedy}", tried.join(" or "))))
}

/// Both directions of a connection.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

/// Whom these certificates vouch for.
fn trusting(file: &Path) -> Result<TlsConnector, Failure> {
    let wrong = |error: &dyn std::fmt::Display| failure(format!("--admin-ca {}: {error}", file.display()));
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| wrong(&error))? {
        roots.add(certificate.map_err(|error| wrong(&error))?).map_err(|error| wrong(&error))?;
    }
    let builder =
        ClientConfig::builder_with_provider(Arc::new(default_provider())).with_safe_default_protocol_versions();
    let config = builder.map_err(|error| wrong(&error))?.with_root_certificates(roots).with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}

async fn connect(place: &ListenAddress, tls: Option<TlsConnector>) -> io::Result<Box<dyn Duplex>> {
    Ok(match (place, tls) {
        (ListenAddress::Tcp(address), None) => Box::new(TcpStream::connect(address).await?),
        (ListenAddress::Tcp(address), Some(tls)) => {
            let stream = TcpStream::connect(address).await?;
            Box::new(tls.connect(ServerName::IpAddress(address.ip().into()), stream).await?)
        }
        // Nobody listens there but the machine itself.
        (ListenAddress::Unix(path), _) => Box::new(UnixStream::connect(path).await?),
    })
}

async fn exchange(stream: Box<dyn Duplex>, request: Request<Body>) -> Result<Response<Incoming>, hyper::Error> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer; what goes wrong there is told here.
    tokio::spawn(connection);
    sender.send_request(request).await
}

async fn rest_of(response: Response<Incoming>) -> Result<Vec<u8>, Failure> {
    let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await;
    body.map(Vec::from).map_err(|error| failure(format!("the broker does not answer to the end: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_whole_however_their_bytes_are_cut() {
        let stream = b": watching\n\ndata: {\"a\":1}\n\n:\n\ndata: {\"b\":\"data: \"}\n\n";
        for cut in 0..stream.len() {
            let mut events = Events::default();
            let mut got = events.take(&stream[..cut]);
            got.extend(events.take(&stream[cut..]));
            assert_eq!(got, ["{\"a\":1}", "{\"b\":\"data: \"}"], "{cut}");
        }
    }
}
