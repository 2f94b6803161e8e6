//! Authenticator: a web server that says who may come (`[security.http]`).
//!
//! Duty: ask it, within a time, and understand its answer; remember answers for a while. It fails closed: who is not let in in so many
//! words is not let in. Must not: run on a shard, or keep or tell a password. Neighbours: `policy_files` loads, `verifier` asks.

use std::collections::HashMap;
use std::fmt;
use std::fs;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use ureq::Agent;
use ureq::http::Uri;

use super::calling::{AUTHORITY, agent, certificates};
use super::failure::Failure;
use super::tokens::{filters, user_name};
use crate::auth::{Grants, JudgeId, Warrant};
use crate::config;
use crate::id::Millis;
use crate::shard::{Applicant, CredentialCheck, Verdict};
use crate::wire::ProtocolVersion;

/// Longest answer that is read, bytes.
const ANSWER_BYTES_MAX: u64 = 65_536;

/// What is asked: all that is sent, so that what is remembered holds for the same alone.
pub(super) type Key = [u8; 32];

/// A web server, and what it has answered.
pub(super) struct Authenticator {
    id: JudgeId,
    asked: config::Authenticator,
    agent: Agent,
    remembered: Mutex<Remembered>,
}

/// Answers, those that let in and those that do not apart: who guesses drives out nobody who knows.
#[derive(Default)]
struct Remembered {
    admitted: HashMap<Key, (Millis, Verdict)>,
    refused: HashMap<Key, (Millis, Verdict)>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Authenticator({:?})", self.id)
    }
}

impl Authenticator {
    /// Makes ready to ask.
    ///
    /// # Errors
    /// The address is none (exit code 3), or the certificates cannot be read (exit code 1).
    pub(super) fn load(asked: &config::Authenticator) -> Result<Self, Failure> {
        let mut digest = Sha256::new();
        digest.update(format!("{asked:?}"));
        let uri: Result<Uri, _> = asked.url.parse();
        let uri = uri.ok().filter(|uri| uri.host().is_some_and(|host| !host.is_empty()));
        let uri = uri.ok_or_else(|| Failure::config("http url: not an address such as https://host/path"))?;
        let authority = match uri.scheme_str() {
            Some("https") => {
                let path = asked.authority.as_deref().unwrap_or(Path::new(AUTHORITY));
                let bytes = fs::read(path).map_err(|error| {
                    Failure::usage(format!("http authority {}: cannot be read: {error}", path.display()))
                })?;
                digest.update(&bytes);
                let found = certificates(&bytes);
                let none = || Failure::config(format!("http authority {}: no certificate in PEM", path.display()));
                found.ok_or_else(none)?
            }
            _ => Vec::new(),
        };
        let agent = agent(Duration::from_millis(asked.timeout_millis.into()), authority);
        let mut id = [0; 8];
        id.copy_from_slice(&digest.finalize()[..8]);
        let id = JudgeId(u64::from_le_bytes(id));
        Ok(Self { id, asked: asked.clone(), agent, remembered: Mutex::default() })
    }

    pub(super) fn id(&self) -> JudgeId {
        self.id
    }

    /// For how long a question may wait to be asked, milliseconds.
    pub(super) fn patience_millis(&self) -> u64 {
        self.asked.timeout_millis.into()
    }

    /// Asks about a client, however long it takes: at most the time that is set.
    pub(super) fn ask(&self, check: &CredentialCheck, applicant: &Applicant, address: Option<IpAddr>) -> Verdict {
        let body = body_of(check, applicant, address).to_string();
        let request = self.agent.post(&self.asked.url).content_type("application/json");
        let mut response = match request.send(body.as_str()) {
            Ok(response) => response,
            Err(error) => return unanswered(&error),
        };
        match response.status().as_u16() {
            200 => {}
            400..500 => return Verdict::Refused,
            500.. => return Verdict::Unanswered("the authenticator answers with a fault of its own"),
            _ => return Verdict::Unanswered("the authenticator answers with another status than 200"),
        }
        match response.body_mut().with_config().limit(ANSWER_BYTES_MAX).read_to_vec() {
            Ok(answer) => self.understand(&answer),
            Err(error) => unanswered(&error),
        }
    }

    fn understand(&self, answer: &[u8]) -> Verdict {
        let parsed: Option<Map<String, Value>> = serde_json::from_slice(answer).ok();
        let allow = parsed.as_ref().and_then(|answer| answer.get("allow")).and_then(Value::as_bool);
        let (Some(answer), Some(allow)) = (parsed, allow) else {
            return Verdict::Unanswered("the authenticator's answer is no JSON object with \"allow\"");
        };
        if !allow {
            return Verdict::Refused;
        }
        match self.warrant(&answer) {
            Ok(warrant) => Verdict::Warranted(Arc::new(warrant)),
            Err(what) => Verdict::Unanswered(what),
        }
    }

    fn warrant(&self, answer: &Map<String, Value>) -> Result<Warrant, &'static str> {
        // What is null is not there.
        let get = |name: &str| answer.get(name).filter(|value| !value.is_null());
        let wrong = "the authenticator's answer names no user, though it has \"user\"";
        let user = get("user").map(|user| user_name(user).ok_or(wrong)).transpose()?;
        let list = |name: &str| match get(name) {
            None => Ok(Vec::new()),
            Some(value) => filters(value).ok_or("the authenticator's rights are no lists of topic filters"),
        };
        let has_rights = get("publish").is_some() || get("subscribe").is_some();
        let grants = has_rights.then(|| Grants::new(list("publish")?, list("subscribe")?)).transpose()?;
        Ok(Warrant { judge: self.id, user: user.map(Box::from), grants, expires_at: Millis::NEVER })
    }

    /// What was answered to the same, if that is not too long ago.
    pub(super) fn remembered(&self, now: Millis, key: &Key) -> Option<Verdict> {
        let remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let found = remembered.admitted.get(key).or_else(|| remembered.refused.get(key));
        found.filter(|(until, _)| now < *until).map(|(_, verdict)| verdict.clone())
    }

    /// Remembers an answer; that there was none is asked anew.
    pub(super) fn remember(&self, now: Millis, key: Key, verdict: &Verdict) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        let Remembered { admitted, refused } = &mut *remembered;
        let (answers, others, secs) = match verdict {
            Verdict::Warranted(_) => (admitted, refused, self.asked.cache_secs),
            Verdict::Refused => (refused, admitted, self.asked.refusal_cache_secs),
            _ => return,
        };
        others.remove(&key);
        let entries_max = self.asked.cache_entries_max as usize;
        if secs == 0 || entries_max == 0 {
            return;
        }
        if answers.len() >= entries_max {
            answers.retain(|_, (until, _)| now < *until);
        }
        if answers.len() >= entries_max {
            answers.clear();
        }
        answers.insert(key, (now.after_secs(secs.into()), verdict.clone()));
    }
}

/// What a question is remembered by; nothing that leads back to a password without the secret.
pub(super) fn key_of(
    secret: &[u64; 4],
    check: &CredentialCheck,
    applicant: &Applicant,
    address: Option<IpAddr>,
) -> Key {
    let mut digest = Sha256::new();
    secret.iter().for_each(|part| digest.update(part.to_le_bytes()));
    // As text with its quotation marks, so that no two questions look the same.
    digest.update(body_of(check, applicant, address).to_string());
    digest.finalize().into()
}

/// What the server is told.
fn body_of(check: &CredentialCheck, applicant: &Applicant, address: Option<IpAddr>) -> Value {
    let protocol = match applicant.version {
        ProtocolVersion::V31 => "3.1",
        ProtocolVersion::V311 => "3.1.1",
        ProtocolVersion::V5 => "5.0",
    };
    let mut body = json!({
        "user": check.user,
        "client_id": applicant.client_id,
        "address": address.map(|address| address.to_string()),
        "listener": applicant.listener,
        "protocol": protocol,
    });
    // JSON has no bytes: what is no text has another name.
    let (name, password) = match std::str::from_utf8(&check.password) {
        Ok(text) => ("password", text.to_owned()),
        Err(_) => ("password_hex", check.password.iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    body[name] = password.into();
    body
}

fn unanswered(error: &ureq::Error) -> Verdict {
    let is_of_tls = |error: &io::Error| error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>());
    Verdict::Unanswered(match error {
        ureq::Error::Timeout(_) => "the authenticator did not answer in time",
        ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
            "the authenticator's certificate is not trusted, or it speaks no TLS"
        }
        ureq::Error::Io(error) if is_of_tls(error) => "the authenticator's certificate is not trusted",
        ureq::Error::BodyExceedsLimit(_) => "the authenticator's answer is too long",
        ureq::Error::HostNotFound => "the authenticator's host is not known",
        _ => "the authenticator cannot be reached",
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::ConnectionId;
    use crate::shard::Court;

    fn authenticator(cache_entries_max: u32) -> Authenticator {
        let url = "http://127.0.0.1:1/".into();
        let asked = config::Authenticator { url, cache_entries_max, ..config::Authenticator::default() };
        Authenticator::load(&asked).expect("an address")
    }

    fn question(user: &str, password: &[u8]) -> (CredentialCheck, Applicant) {
        let applicant = Applicant { client_id: "c".into(), version: ProtocolVersion::V5, listener: 1 };
        let court = Court::Authenticator(JudgeId(1), applicant.clone());
        let connection = ConnectionId { slot: 0, generation: 0 };
        let check = CredentialCheck {
            ticket: 1,
            connection,
            court,
            user: Some(user.into()),
            password: password.into(),
            proof: None,
        };
        (check, applicant)
    }

    /// Case A26: whatever is not "allow" in so many words lets nobody in.
    #[test]
    fn only_what_is_understood_lets_in() {
        let judge = authenticator(10);
        for (answer, verdict) in [
            (r#"{"allow": false}"#, Some(Verdict::Refused)),
            (r#"{"allow": false, "user": 3}"#, Some(Verdict::Refused)),
            (r#"{"allow": "true"}"#, None),
            (r#"{"allow": 1}"#, None),
            (r#"{}"#, None),
            ("[true]", None),
            ("true", None),
            ("", None),
            (r#"{"allow": true, "user": ""}"#, None),
            (r#"{"allow": true, "user": 3}"#, None),
            (r#"{"allow": true, "publish": "a"}"#, None),
            (r#"{"allow": true, "subscribe": ["a/#/b"]}"#, None),
            (r#"{"allow": true} x"#, None),
        ] {
            let got = judge.understand(answer.as_bytes());
            match verdict {
                Some(verdict) => assert_eq!(got, verdict, "{answer}"),
                None => assert!(matches!(got, Verdict::Unanswered(_)), "{answer}: {got:?}"),
            }
        }
    }

    #[test]
    fn an_answer_may_name_the_user_and_give_rights() {
        let judge = authenticator(10);
        let warrant = |answer: &str| match judge.understand(answer.as_bytes()) {
            Verdict::Warranted(warrant) => warrant,
            other => panic!("{answer}: {other:?}"),
        };
        let plain = warrant(r#"{"allow": true, "user": null}"#);
        assert_eq!((plain.judge, &plain.user, &plain.grants), (judge.id, &None, &None));
        let full = warrant(r#"{"allow": true, "user": "bob", "publish": ["a/%u"]}"#);
        let grants = Grants::new(vec!["a/%u".into()], Vec::new()).expect("a filter");
        assert_eq!((full.user.as_deref(), &full.grants), (Some("bob"), &Some(grants)));
    }

    #[test]
    fn answers_are_remembered_for_a_while_and_up_to_a_bound() {
        let judge = authenticator(2);
        let (yes, no) = (judge.understand(b"{\"allow\": true}"), Verdict::Refused);
        judge.remember(Millis(0), [1; 32], &yes);
        judge.remember(Millis(0), [2; 32], &no);
        judge.remember(Millis(0), [3; 32], &Verdict::Unanswered("nothing"));
        let at = |now, key| judge.remembered(Millis(now), &[key; 32]);
        assert_eq!((at(59_999, 1), at(60_000, 1)), (Some(yes.clone()), None));
        assert_eq!((at(4_999, 2), at(5_000, 2), at(0, 3)), (Some(no.clone()), None, None));
        // Many that are refused drive out none that are let in.
        for key in 4..20 {
            judge.remember(Millis(1), [key; 32], &no);
            assert!(judge.remembered.lock().unwrap().refused.len() <= 2);
        }
        assert!(at(1, 1).is_some());
        // The last answer counts.
        judge.remember(Millis(2), [1; 32], &no);
        assert_eq!(at(3, 1), Some(no));
    }

    /// Case O02, and what is the same but for where it ends.
    #[test]
    fn what_is_sent_is_what_is_remembered_by() {
        let address = Some("192.0.2.1".parse().expect("an address"));
        let key = |user: &str, password: &[u8], secret| {
            let (check, applicant) = question(user, password);
            key_of(&[secret; 4], &check, &applicant, address)
        };
        assert_eq!(key("ab", b"c", 1), key("ab", b"c", 1));
        let others = [key("a", b"bc", 1), key("ab", b"c", 2), key("ab", b"C", 1), key("ab", b"", 1)];
        assert!(others.iter().all(|other| *other != key("ab", b"c", 1)));
        let (check, applicant) = question("bob", b"\xff\x01");
        let body = body_of(&check, &applicant, address).to_string();
        for words in [r#""password_hex":"ff01""#, r#""user":"bob""#, r#""address":"192.0.2.1""#, r#""protocol":"5.0""#]
        {
            assert!(body.contains(words), "{body}");
        }
        assert!(!format!("{check:?}").contains("ff01"));
    }
}
