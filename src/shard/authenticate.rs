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
use crate::auth::{Passwords, Rules};
use crate::id::ConnectionId;
use crate::wire::{Connect, ReasonCode};

/// A password to be checked. Answered by `Input::Verified`, or never.
pub struct CredentialCheck {
    /// Number of the question on its shard.
    pub ticket: u64,
    /// Who asks, to know the address.
    pub connection: ConnectionId,
    /// The file to check it against, as it was when CONNECT came.
    pub passwords: Arc<Passwords>,
    /// User name.
    pub user: Box<str>,
    /// Password.
    pub password: Box<[u8]>,
    /// Whether the client's proof by SCRAM was right, which is judged like a password; `None`: the password is to be checked.
    pub proof: Option<bool>,
}

impl CredentialCheck {
    /// Whether it is the user's password, or was the proof of it.
    pub fn is_right(&self) -> bool {
        self.proof.unwrap_or_else(|| self.passwords.verify(&self.user, &self.password))
    }
}

impl fmt::Debug for CredentialCheck {
    /// Not the password (case O02).
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CredentialCheck({} of {})", self.ticket, self.user)
    }
}

/// The answer to a [`CredentialCheck`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The user exists and has this password.
    Right,
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

    /// Connections that wait.
    pub(super) fn len(&self) -> usize {
        // Who has sent its proof stands among both.
        let others = self.waiting.keys().filter(|slot| !self.exchanges.has_slot(**slot));
        others.count() + self.exchanges.len()
    }
}

/// How far the check of a CONNECT has come.
pub(super) enum Identity {
    /// The user name is what it says, or there is none. Whether it was proved.
    Known { is_proven: bool },
    /// Ask again when the connection stands in `Outbox::resumes`.
    Awaited,
    /// The client was asked for a proof; AUTH is to bring it.
    Asked,
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
        rules: &Rules,
        connect: &Connect<'_>,
        frame_bytes: usize,
        outbox: &mut Outbox,
    ) -> Result<Identity, Fault> {
        if self.logins.certified(id).is_some() {
            return Ok(Identity::Known { is_proven: true });
        }
        let Some(user) = connect.user_name else {
            if rules.allow_anonymous {
                return Ok(Identity::Known { is_proven: false });
            }
            // Case A27.
            return Err((ReasonCode::BadUserNameOrPassword, "no user name, and none but users may connect"));
        };
        let Some(passwords) = &rules.passwords else {
            if rules.allow_anonymous {
                return Ok(Identity::Known { is_proven: false });
            }
            return Err((ReasonCode::NotAuthorized, "no password_file says who may connect"));
        };
        let password = connect.password.unwrap_or_default();
        if password.len() > self.config.limits.password_bytes_max {
            // Case A31: before anything is computed.
            return Err((ReasonCode::BadUserNameOrPassword, "a password longer than password_bytes_max"));
        }
        match self.verdict(id) {
            Some(Some(verdict)) => return self.judge(verdict),
            Some(None) => return Ok(Identity::Awaited),
            None => {}
        }
        // Its bytes stay where they are until the answer comes: they count as announced.
        let bytes = u32::try_from(frame_bytes).unwrap_or(u32::MAX);
        if !self.connections.announce(id, bytes, self.preauth_bytes_max()) {
            self.counters.refused_preauth_bytes += 1;
            return Err((ReasonCode::ServerBusy, "preauth_bytes_total_max is reached"));
        }
        self.ask(id, passwords, user, password, None, outbox);
        Ok(Identity::Awaited)
    }

    /// The answer to what was asked about a connection, which is forgotten then; `Some(None)` as long as there is none.
    pub(super) fn verdict(&mut self, id: ConnectionId) -> Option<Option<Verdict>> {
        let verdict = self.logins.waiting.get(&id.slot)?.verdict;
        if verdict.is_some() {
            self.logins.waiting.remove(&id.slot);
        }
        Some(verdict)
    }

    /// Asks about a connection.
    pub(super) fn ask(
        &mut self,
        id: ConnectionId,
        passwords: &Arc<Passwords>,
        user: &str,
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
            passwords: Arc::clone(passwords),
            user: user.into(),
            password: password.into(),
            proof,
        });
    }

    pub(super) fn judge(&mut self, verdict: Verdict) -> Result<Identity, Fault> {
        match verdict {
            Verdict::Right => Ok(Identity::Known { is_proven: true }),
            Verdict::Wrong => {
                self.counters.refused_passwords += 1;
                Err((ReasonCode::BadUserNameOrPassword, "wrong user name or password"))
            }
            Verdict::Busy => {
                self.counters.refused_checks += 1;
                Err((ReasonCode::ServerBusy, "password_checks_waiting_max is reached"))
            }
            Verdict::TooManyWrong => {
                self.counters.refused_guesses += 1;
                Err((ReasonCode::ServerBusy, "wrong_passwords_per_address_max is reached"))
            }
        }
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
            passwords: Arc::new(Passwords::parse("").expect("nobody")),
            user: "alice".into(),
            password: Box::from(*b"secret"),
            proof: None,
        };
        let shown = format!("{check:?} {check:#?}");
        assert!(shown.contains("7 of alice") && !shown.contains("secret") && !shown.contains("115"), "{shown}");
    }
}
