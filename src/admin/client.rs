//! Client: asks a running broker.
//!
//! Duty: find it, ask once, say in one line why there is no answer and what to do. Must not: print. Neighbours: `api` answers at the other
//! end; `cli` asks for people.

use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, StatusCode, header};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::answer::{Explained, ProblemText, WhyQuestion};
use super::place::usual_sockets;
use crate::auth::Question;
use crate::config::{AdminAddress, ListenAddress};
use crate::runtime::{EXIT_USAGE, Failure};

/// Longest wait for a broker.
const WAIT: Duration = Duration::from_secs(10);
/// Longest answer, bytes: a list of a thousand retained messages with their payloads.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// How to reach a broker.
#[derive(Clone, Copy, Debug)]
pub struct Asking<'a> {
    /// Where.
    pub address: &'a AdminAddress,
    /// A file with the token that it wants.
    pub token_file: Option<&'a Path>,
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
    let (status, body) = send(asking, method, path, body)?;
    if status.is_success() {
        return Ok(Answered { body });
    }
    if status == StatusCode::UNAUTHORIZED {
        return Err(failure("the broker wants its token; name the file of it by --admin-token-file"));
    }
    let problem: Result<ProblemText, _> = serde_json::from_slice(&body);
    Err(failure(problem.map_or_else(|_| format!("the broker answers {status}"), |problem| problem.detail)))
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

/// Status and body of the answer.
fn send(asking: Asking<'_>, method: Method, path: &str, body: Option<&[u8]>) -> Result<(StatusCode, Vec<u8>), Failure> {
    let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
    if body.is_some() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    if let Some(file) = asking.token_file {
        let cannot = |error: io::Error| failure(format!("--admin-token-file {}: {error}", file.display()));
        let token = fs::read_to_string(file).map_err(cannot)?;
        request = request.header(header::AUTHORIZATION, format!("Bearer {}", token.trim_end_matches(['\r', '\n'])));
    }
    let body = body.map_or_else(Body::empty, |body| Body::from(body.to_vec()));
    let request = request.body(body).map_err(|error| failure(format!("this cannot be asked: {error}")))?;
    let executor = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build();
    let executor = executor.map_err(|error| failure(error.to_string()))?;
    // The time runs from within the executor.
    let answer = executor.block_on(async { timeout(WAIT, first_of(asking.address, request)).await });
    answer.unwrap_or_else(|_| Err(failure(format!("the broker does not answer in {} seconds", WAIT.as_secs()))))
}

/// Asks the first broker that is there.
async fn first_of(address: &AdminAddress, request: Request<Body>) -> Result<(StatusCode, Vec<u8>), Failure> {
    let places = match address {
        AdminAddress::At(address) => vec![address.clone()],
        AdminAddress::Usual | AdminAddress::Nowhere => usual_sockets().into_iter().map(ListenAddress::Unix).collect(),
    };
    let mut tried = Vec::new();
    for place in places {
        let name = AdminAddress::At(place.clone());
        match connect(&place).await {
            Ok(stream) => {
                let exchanged = exchange(stream, request).await;
                return exchanged.map_err(|error| failure(format!("the broker at {name} does not answer: {error}")));
            }
            Err(error) => tried.push(format!("{name} ({error})")),
        }
    }
    let remedy = "name its address by --admin ADDR, or files by -c, --config or --acl";
    Err(failure(format!("no broker answers at {}; {remedy}", tried.join(" or "))))
}

/// Both directions of a connection.
trait Duplex: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Duplex for T {}

async fn connect(place: &ListenAddress) -> io::Result<Box<dyn Duplex>> {
    Ok(match place {
        ListenAddress::Tcp(address) => Box::new(TcpStream::connect(address).await?),
        ListenAddress::Unix(path) => Box::new(UnixStream::connect(path).await?),
    })
}

async fn exchange(
    stream: Box<dyn Duplex>,
    request: Request<Body>,
) -> Result<(StatusCode, Vec<u8>), Box<dyn std::error::Error>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // It ends with the answer; what goes wrong there is told here.
    tokio::spawn(connection);
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = to_bytes(Body::new(response.into_body()), ANSWER_BYTES_MAX).await?;
    Ok((status, body.to_vec()))
}
