//! Who a client is: from CONNECT to the verdict on its password.
//!
//! Duty: ask for a check, keep the CONNECT waiting (unread, with its bytes where they are) until the answer comes, judge what
//! needs no check, and whose session it is. Must not: hash. Neighbours: `connect` asks; the driver carries checks and verdicts.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::connect::Fault;
use super::exchange::Exchanges;
use super::{Outbox, Shard};
use crate::auth::{Entrance, JudgeId, Passwords, Referee, Refusal, Warrant};
use crate::id::ConnectionId;
use crate::wire::{Connect, ProtocolVersion, ReasonCode};

/// A password to be checked. Answered by `Input::Verified`, or never.
pub struct CredentialCheck {
    /// Number of the question on its shard.
    pub ticket: u64,
    /// Who asks, to know the address.
    pub connection: ConnectionId,
    /// Who is to judge.
    pub court: Court,
    /// User name.
    pub user: Option<Box<str>>,
    /// Password.
    pub password: Box<[u8]>,
    /// Whether the client's proof by SCRAM was right, which is judged like a password; `None`: the password is to be checked.
    pub proof: Option<bool>,
}

/// Who judges a password.
#[derive(Debug)]
pub enum Court {
    /// The password file, as it was when CONNECT came.
    Passwords(Arc<Passwords>),
    /// The keys that tokens are signed with.
    Tokens(JudgeId),
    /// An authenticator outside the broker, and what it is told of the client besides.
    Authenticator(JudgeId, Applicant),
}

/// What an authenticator is told of a client besides name, password and address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applicant {
    /// Client id; empty if the broker is to make one.
    pub client_id: Box<str>,
    /// What it speaks.
    pub version: ProtocolVersion,
    /// By which listener it came: an index of `Policy::listeners`.
    pub listener: u16,
}

impl CredentialCheck {
    /// Whether it is the user's password, or was the proof of it. Of others than the password file, nothing is known here.
    pub fn is_right(&self) -> bool {
        let user = self.user.as_deref().unwrap_or_default();
        match (&self.court, self.proof) {
            (Court::Passwords(_), Some(is_right)) => is_right,
            (Court::Passwords(passwords), None) => passwords.verify(user, &self.password),
            (Court::Tokens(_) | Court::Authenticator(..), _) => false,
        }
    }
}

impl fmt::Debug for CredentialCheck {
    /// Not the password (case O02).
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CredentialCheck({} of {:?})", self.ticket, self.user)
    }
}

/// The answer to a [`CredentialCheck`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The user exists and has this password.
    Right,
    /// A token is good, or the authenticator says so.
    Warranted(Arc<Warrant>),
    /// A token is not good, and why.
    BadToken(&'static str),
    /// The authenticator refuses.
    Refused,
    /// The authenticator did not answer, or not so that it is understood, and why: nobody is let in (case A26).
    Unanswered(&'static str),
    /// No such user, or another password.
    Wrong,
    /// Not checked: too many wait (`password_checks_waiting_max`).
    Busy,
    /// Not checked: too many from this address were wrong (`wrong_passwords_per_address_max`).
    TooManyWrong,
}

/// Connections whose CONNECT waits, by slot, and those whose name a certificate has proved.
#[derive(Debug, Default)]
pub(super) struct Logins {
    last_ticket: u64,
    /// Whether any session may belong to a user: until one does, nobody is asked for.
    pub(super) has_owners: bool,
    waiting: BTreeMap<u32, Login>,
    certified: BTreeMap<u32, (ConnectionId, Arc<str>)>,
    pub(super) exchanges: Exchanges,
}

#[derive(Debug)]
struct Login {
    connection: ConnectionId,
    ticket: u64,
    verdict: Option<Verdict>,
}

impl Logins {
    /// Forgets a connection.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        if self.waiting.is_empty() && self.certified.is_empty() && self.exchanges.is_empty() {
            return;
        }
        self.waiting.remove(&id.slot);
        self.certified.remove(&id.slot);
        self.exchanges.forget(id);
    }

    /// Forgets all questions; who asked, asks again.
    pub(super) fn restart(&mut self) -> impl Iterator<Item = ConnectionId> {
        std::mem::take(&mut self.waiting).into_values().map(|login| login.connection)
    }

    /// Whether the password or the proof of a connection is being checked.
    pub(super) fn is_being_checked(&self, id: ConnectionId) -> bool {
        self.waiting.get(&id.slot).is_some_and(|login| login.connection == id)
    }

    /// The name that a certificate has proved.
    pub(super) fn certified(&self, id: ConnectionId) -> Option<Arc<str>> {
        let (certified, name) = self.certified.get(&id.slot)?;
        (*certified == id).then(|| Arc::clone(name))
    }

    /// What was said of a connection by the judge that it waits for.
    pub(super) fn warrant(&self, id: ConnectionId) -> Option<Arc<Warrant>> {
        let login = self.waiting.get(&id.slot).filter(|login| login.connection == id)?;
        match &login.verdict {
            Some(Verdict::Warranted(warrant)) => Some(Arc::clone(warrant)),
            _ => None,
        }
    }

    /// Connections that wait.
    pub(super) fn len(&self) -> usize {
        // Who has sent its proof stands among both.
        let others = self.waiting.keys().filter(|slot| !self.exchanges.has_slot(**slot));
        others.count() + self.exchanges.len()
    }
}

/// How far the check of a CONNECT has come.
pub(super) enum Identity {
    /// The user name is what it says, or there is none. Whether it was proved, and what it is besides.
    Known { is_proven: bool, warrant: Option<Arc<Warrant>> },
    /// Ask again when the connection stands in `Outbox::resumes`.
    Awaited,
    /// The client was asked for a proof; AUTH is to bring it.
    Asked,
}

/// Why nobody judges a client, to the client.
fn fault_of(refusal: Refusal) -> Fault {
    match refusal {
        // Case A27.
        Refusal::NoUserName => (ReasonCode::BadUserNameOrPassword, "no user name, and none but users may connect"),
        Refusal::NoToken => (ReasonCode::BadUserNameOrPassword, "the password is no token"),
        Refusal::NoReferee => (ReasonCode::NotAuthorized, "no password_file says who may connect"),
    }
}

impl Shard {
    /// A certificate has proved a user name, before CONNECT.
    pub(super) fn certify(&mut self, id: ConnectionId, user: Arc<str>) {
        if self.connections.get_mut(id).is_some_and(|connection| connection.session.is_none()) {
            self.logins.certified.insert(id.slot, (id, user));
        }
    }

    /// A verdict has come; the connection may have gone meanwhile, or have another question.
    pub(super) fn verified(&mut self, ticket: u64, connection: ConnectionId, verdict: Verdict, outbox: &mut Outbox) {
        let waiting = self.logins.waiting.get_mut(&connection.slot);
        if let Some(login) = waiting.filter(|login| login.ticket == ticket) {
            login.verdict = Some(verdict);
            outbox.resumes.push(connection);
        }
    }

    /// Whether the client may go on as who it says it is. Asks for the check of a password once.
    pub(super) fn authenticate(
        &mut self,
        id: ConnectionId,
        entrance: Entrance<'_>,
        connect: &Connect<'_>,
        frame_bytes: usize,
        outbox: &mut Outbox,
    ) -> Result<Identity, Fault> {
        match self.verdict(id) {
            Some(Some(verdict)) => return self.judge(verdict, connect),
            Some(None) => return Ok(Identity::Awaited),
            None => {}
        }
        let court = match entrance.rules.referee(connect.user_name, connect.password).map_err(fault_of)? {
            Referee::Nobody => return Ok(Identity::Known { is_proven: false, warrant: None }),
            Referee::Passwords(passwords) => Court::Passwords(passwords),
            Referee::Tokens(judge) => Court::Tokens(judge),
            Referee::Authenticator(judge) => {
                let (client_id, listener) = (connect.client_id.into(), entrance.listener);
                Court::Authenticator(judge, Applicant { client_id, version: connect.version, listener })
            }
        };
        let limits = &self.config.limits;
        let is_token = matches!(court, Court::Tokens(_));
        let bytes_max = if is_token { limits.token_bytes_max } else { limits.password_bytes_max };
        if connect.password.is_some_and(|password| password.len() > bytes_max) {
            // Case A31: before anything is computed.
            let what = "a password longer than password_bytes_max, or a token longer than token_bytes_max";
            return Err((ReasonCode::BadUserNameOrPassword, what));
        }
        // Its bytes stay where they are until the answer comes: they count as announced.
        let bytes = u32::try_from(frame_bytes).unwrap_or(u32::MAX);
        if !self.connections.announce(id, bytes, self.preauth_bytes_max()) {
            self.counters.refused_preauth_bytes += 1;
            return Err((ReasonCode::ServerBusy, "preauth_bytes_total_max is reached"));
        }
        self.ask(id, court, connect.user_name, connect.password.unwrap_or_default(), None, outbox);
        Ok(Identity::Awaited)
    }

    /// The answer to what was asked about a connection, which is forgotten then; `Some(None)` as long as there is none.
    pub(super) fn verdict(&mut self, id: ConnectionId) -> Option<Option<Verdict>> {
        let verdict = self.logins.waiting.get(&id.slot)?.verdict.clone();
        if verdict.is_some() {
            self.logins.waiting.remove(&id.slot);
        }
        Some(verdict)
    }

    /// Asks about a connection.
    pub(super) fn ask(
        &mut self,
        id: ConnectionId,
        court: Court,
        user: Option<&str>,
        password: &[u8],
        proof: Option<bool>,
        outbox: &mut Outbox,
    ) {
        self.logins.last_ticket += 1;
        let ticket = self.logins.last_ticket;
        self.logins.waiting.insert(id.slot, Login { connection: id, ticket, verdict: None });
        outbox.checks.push(CredentialCheck {
            ticket,
            connection: id,
            court,
            user: user.map(Box::from),
            password: password.into(),
            proof,
        });
    }

    /// What a verdict means. `connect`: with the names that hold.
    pub(super) fn judge(&mut self, verdict: Verdict, connect: &Connect<'_>) -> Result<Identity, Fault> {
        match verdict {
            Verdict::Right => Ok(Identity::Known { is_proven: true, warrant: None }),
            Verdict::Warranted(warrant) => {
                Ok(Identity::Known { is_proven: connect.user_name.is_some(), warrant: Some(warrant) })
            }
            verdict => Err(self.fault_of_verdict(verdict)),
        }
    }

    /// Why a verdict keeps a client out; counted.
    pub(super) fn fault_of_verdict(&mut self, verdict: Verdict) -> Fault {
        let wrong = ReasonCode::BadUserNameOrPassword;
        let (counter, fault) = match verdict {
            Verdict::BadToken(what) => (&mut self.counters.refused_tokens, (wrong, what)),
            Verdict::Refused => {
                (&mut self.counters.refused_by_authenticator, (wrong, "the authenticator refuses the client"))
            }
            Verdict::Unanswered(what) => (&mut self.counters.authenticator_failures, (ReasonCode::ServerBusy, what)),
            Verdict::Right | Verdict::Warranted(_) | Verdict::Wrong => {
                (&mut self.counters.refused_passwords, (wrong, "wrong user name or password"))
            }
            Verdict::Busy => {
                let what = "password_checks_waiting_max is reached";
                (&mut self.counters.refused_checks, (ReasonCode::ServerBusy, what))
            }
            Verdict::TooManyWrong => {
                let what = "wrong_passwords_per_address_max is reached";
                (&mut self.counters.refused_guesses, (ReasonCode::ServerBusy, what))
            }
        };
        *counter += 1;
        fault
    }

    /// Whether the session of a client id is another's (cases S01 and S02). Only a name that was proved owns one; who comes
    /// without proof does not get what was made with it.
    pub(super) fn check_session_owner(
        &mut self,
        client_id: &str,
        user: Option<&str>,
        is_proven: bool,
    ) -> Result<(), Fault> {
        if !self.logins.has_owners {
            return Ok(());
        }
        let existing = self.sessions.by_client_id(client_id).and_then(|id| self.sessions.get_mut(id));
        let Some(session) = existing.filter(|session| session.is_user_proven) else { return Ok(()) };
        if is_proven && session.user_name.as_deref() == user {
            return Ok(());
        }
        self.counters.refused_owners += 1;
        Err((ReasonCode::NotAuthorized, "the client id is that of another user's session"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Case O02: what goes to a log or a panic has no password.
    #[test]
    fn a_check_is_shown_without_its_password() {
        let check = CredentialCheck {
            ticket: 7,
            connection: ConnectionId { slot: 1, generation: 1 },
            court: Court::Passwords(Arc::new(Passwords::parse("").expect("nobody"))),
            user: Some("alice".into()),
            password: Box::from(*b"secret"),
            proof: None,
        };
        let shown = format!("{check:?} {check:#?}");
        assert!(shown.contains("alice") && !shown.contains("secret") && !shown.contains("115"), "{shown}");
    }
}
