//! Broker: the running broker that a command asks.
//!
//! Duty: find it, ask it for a document or for all pieces of a list, print. Must not: know what the answers mean. Neighbours: `admin`
//! has the way to it; each command reads the answers.

use std::io::{self, BufRead, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;

use axum::http::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Place;
use crate::admin::answer::List;
use crate::admin::{self, Answered, Asking, path_part};
use crate::config::AdminAddress;
use crate::runtime::Failure;

/// Items of one piece of a list.
const PIECE_MAX: usize = 1000;

/// The broker of a command. Not to be printed: it may have a password.
#[derive(Clone)]
pub(super) struct Broker {
    address: AdminAddress,
    token_file: Option<PathBuf>,
    account: Option<(String, String)>,
    authority: Option<PathBuf>,
    /// Whether a program reads what is printed.
    pub(super) prints_json: bool,
}

/// An answer, and its text.
pub(super) struct Got<T> {
    pub(super) text: String,
    pub(super) it: T,
}

/// What is handed on as it came.
pub(super) type Raw = Box<RawValue>;

/// All of a list, or as much of it as was wanted.
pub(super) struct Listed<T> {
    /// As they came.
    pub(super) raw: List<Raw>,
    pub(super) items: Vec<T>,
}

impl<T> Listed<T> {
    /// As one document.
    pub(super) fn document(&self) -> Result<String, Failure> {
        document(&self.raw)
    }

    /// Whether there is more of it.
    pub(super) fn goes_on(&self) -> bool {
        self.raw.next.is_some()
    }
}

/// A line for programs.
pub(super) fn document(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(text + "\n")
}

impl Broker {
    pub(super) fn find(command: &str, place: &Place) -> Result<Self, Failure> {
        let wrong = |wanted| Failure::usage(format!("{command}: --admin {wanted}"));
        let address = AdminAddress::parse(place.admin.as_deref().unwrap_or("default")).map_err(wrong)?;
        let password = |error: io::Error| Failure::usage(format!("{command}: the password: {error}"));
        let account = match &place.admin_user {
            Some(user) => Some((user.clone(), ask_password(user).map_err(password)?)),
            None => None,
        };
        let (token_file, authority) = (place.admin_token_file.clone(), place.admin_ca.clone());
        Ok(Self { address, token_file, account, authority, prints_json: place.json })
    }

    pub(super) fn asking(&self) -> Asking<'_> {
        Asking {
            address: &self.address,
            token_file: self.token_file.as_deref(),
            account: self.account.as_ref().map(|(user, password)| (&**user, &**password)),
            authority: self.authority.as_deref(),
        }
    }

    /// Asks for `/api/v1/` and this.
    pub(super) fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Got<T>, Failure> {
        let answered = admin::ask(self.asking(), Method::GET, &format!("/api/v1/{path}"), None)?;
        Ok(Got { it: answered.read()?, text: answered.text() })
    }

    /// Has something changed; what was answered.
    pub(super) fn change(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Answered, Failure> {
        let body = body.map(serde_json::to_vec).transpose().map_err(|error| Failure::usage(error.to_string()))?;
        admin::ask(self.asking(), method, &format!("/api/v1/{path}"), body.as_deref())
    }

    /// Asks for a list, piece by piece, until there is no more or so many are there. `question`: what stands behind the `?`, for so
    /// many items from a cursor on.
    pub(super) fn list<T: DeserializeOwned, Q: Serialize>(
        &self,
        path: &str,
        most: usize,
        question: impl Fn(u32, Option<String>) -> Q,
    ) -> Result<Listed<T>, Failure> {
        let mut raw = List { items: Vec::<Raw>::new(), next: None };
        loop {
            let piece = (most - raw.items.len()).min(PIECE_MAX);
            let query = query(&question(piece as u32, raw.next.take()))?;
            let got = self.get::<List<Raw>>(&format!("{path}?{query}"))?.it;
            raw.items.extend(got.items);
            raw.next = got.next;
            if raw.next.is_none() || raw.items.len() >= most {
                break;
            }
        }
        let read = |value: &Raw| {
            serde_json::from_str(value.get())
                .map_err(|error| Failure::usage(format!("what answers is no broker: {error}")))
        };
        Ok(Listed { items: raw.items.iter().map(read).collect::<Result<_, _>>()?, raw })
    }
}

/// A password of the terminal, or the next line where there is none.
fn ask_password(user: &str) -> io::Result<String> {
    if io::stdin().is_terminal() {
        return rpassword::prompt_password(format!("Password of {user}: "));
    }
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}

/// What stands behind the question mark.
pub(super) fn query(question: &impl Serialize) -> Result<String, Failure> {
    serde_urlencoded::to_string(question).map_err(|error| Failure::usage(error.to_string()))
}

/// A path that ends with a name, whatever is in it.
pub(super) fn path_of(folder: &str, name: &str) -> String {
    format!("{folder}/{}", path_part(name))
}

/// Prints; whether somebody reads on.
pub(super) fn print(text: &str) -> Result<bool, Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(Failure::usage(format!("standard output: {error}"))),
    }
}
