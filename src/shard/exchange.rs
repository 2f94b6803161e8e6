//! Extended authentication: AUTH packets between CONNECT and CONNACK, and again while the client is connected (section 4.12).
//!
//! Duty: keep the CONNECT of a client that was asked for a proof, take AUTH and nothing else from it, give messages to SCRAM
//! and their answers to the client. Must not: compute. Neighbours: `connect` asks and admits; `auth::scram` computes.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::authenticate::{Court, Identity, Verdict};
use super::connect::Fault;
use super::grant::packet_bytes_max;
use super::receive::Step;
use super::{Cause, Next, Outbox, Shard};
use crate::auth::scram::{self, ClientFirst};
use crate::auth::{Passwords, Rules};
use crate::id::{ConnectionId, Millis};
use crate::session::Account;
use crate::wire::{self, Auth, Connect, Framed, Packet, ProtocolVersion, ReasonCode, Sender};

/// The exchanges that wait for the client, by slot.
#[derive(Debug, Default)]
pub(super) struct Exchanges {
    waiting: BTreeMap<u32, Exchange>,
    /// Exchanges so far: no two have the same nonce.
    begun: u64,
}

#[derive(Debug)]
struct Exchange {
    connection: ConnectionId,
    scram: scram::Exchange,
    /// The CONNECT, whole; empty if the client is connected already.
    connect: Box<[u8]>,
    /// Charged for all of it.
    _account: Account,
}

impl Exchanges {
    /// Whether a proof is expected from a connection.
    pub(super) fn has(&self, id: ConnectionId) -> bool {
        self.waiting.get(&id.slot).is_some_and(|exchange| exchange.connection == id)
    }

    /// Whether a proof is expected from whoever has a slot.
    pub(super) fn has_slot(&self, slot: u32) -> bool {
        self.waiting.contains_key(&slot)
    }

    /// Forgets a connection.
    pub(super) fn forget(&mut self, id: ConnectionId) {
        self.waiting.remove(&id.slot);
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn take(&mut self, id: ConnectionId) -> Option<Exchange> {
        if self.has(id) { self.waiting.remove(&id.slot) } else { None }
    }

    /// Who it is that a connection has to prove to be.
    fn user(&self, id: ConnectionId) -> &str {
        self.waiting.get(&id.slot).map_or("", |exchange| exchange.scram.user())
    }

    /// Bytes of the CONNECT that a connection has sent.
    fn connect_bytes(&self, id: ConnectionId) -> usize {
        self.waiting.get(&id.slot).map_or(0, |exchange| exchange.connect.len())
    }
}

impl Shard {
    /// Asks a client for the proof that it has the password: AUTH with our first message. CONNECT is kept.
    pub(super) fn ask_for_proof(
        &mut self,
        id: ConnectionId,
        rules: &Rules,
        first: &ClientFirst<'_>,
        (connect, bytes): (&Connect<'_>, &[u8]),
        outbox: &mut Outbox,
    ) -> Result<Identity, Fault> {
        if !self.connections.announce(id, bytes.len() as u32, self.preauth_bytes_max()) {
            self.counters.refused_preauth_bytes += 1;
            return Err((ReasonCode::ServerBusy, "preauth_bytes_total_max is reached"));
        }
        self.begin_exchange(id, rules.passwords.as_ref(), first, bytes, packet_bytes_max(connect), outbox)?;
        Ok(Identity::Asked)
    }

    fn begin_exchange(
        &mut self,
        id: ConnectionId,
        passwords: Option<&Arc<Passwords>>,
        first: &ClientFirst<'_>,
        connect: &[u8],
        packet_bytes_max: usize,
        outbox: &mut Outbox,
    ) -> Result<(), Fault> {
        let reason = ReasonCode::BadAuthenticationMethod;
        let passwords = passwords.ok_or((reason, "no password_file has keys for SCRAM"))?;
        let nonce = self.config.secret.nonce(self.config.shard.0, self.logins.exchanges.begun);
        let begun = scram::Exchange::begin(first, passwords, &self.config.secret, &nonce);
        let (scram, server_first) = begun.map_err(|what| (reason, what))?;
        let mut account = self.budget.open();
        let cost = connect.len() + scram.cost();
        if !account.admits(cost) {
            self.counters.refused_over_budget += 1;
            return Err((
                ReasonCode::QuotaExceeded,
                "an exchange larger than what is left of held_bytes_per_shard_max",
            ));
        }
        account.charge(cost);
        // [MQTT-4.12.0-2]
        put_auth(id, ReasonCode::ContinueAuthentication, &server_first, packet_bytes_max, outbox)?;
        self.logins.exchanges.begun += 1;
        let exchange = Exchange { connection: id, scram, connect: connect.into(), _account: account };
        self.logins.exchanges.waiting.insert(id.slot, exchange);
        Ok(())
    }

    /// What a client sends that was asked for a proof at CONNECT: AUTH, or DISCONNECT [MQTT-3.1.2-30].
    pub(super) fn receive_proof(
        &mut self,
        now: Millis,
        id: ConnectionId,
        bytes: &[u8],
        outbox: &mut Outbox,
    ) -> Result<usize, Next> {
        // Anything else is not buffered.
        if bytes.first().is_some_and(|first| !matches!(first >> 4, 14 | 15)) {
            let fault = (ReasonCode::ProtocolError, "a packet other than AUTH before CONNACK");
            return Err(self.refuse_proof(id, fault, outbox));
        }
        let frame = match wire::frame(bytes, self.config.limits.preauth_bytes_max) {
            Ok(Framed::Whole(frame)) => frame,
            Ok(Framed::Partial { needed }) => return Err(self.await_proof(id, needed, outbox)?),
            Err(error) => return Err(self.refuse_proof(id, (error.reason, error.what), outbox)),
        };
        match wire::decode(&frame, ProtocolVersion::V5, Sender::Client) {
            Ok(Packet::Auth(auth)) => self.take_proof(now, id, &auth, frame.len, outbox)?,
            Ok(_) => {
                outbox.closes.push(id);
                self.forget_connection(now, id, Cause::ClientDisconnected, outbox);
                return Err(Next::Closed);
            }
            Err(error) => return Err(self.refuse_proof(id, (error.reason, error.what), outbox)),
        }
        Ok(frame.len)
    }

    /// Counts an AUTH that is not there, or not taken, beside the CONNECT.
    fn await_proof(&mut self, id: ConnectionId, needed: Option<usize>, outbox: &mut Outbox) -> Result<Next, Next> {
        let bytes = self.logins.exchanges.connect_bytes(id) + needed.unwrap_or(0);
        if self.connections.announce(id, bytes as u32, self.preauth_bytes_max()) {
            return Ok(Next::Read { needed });
        }
        self.counters.refused_preauth_bytes += 1;
        Err(self.refuse_proof(id, (ReasonCode::ServerBusy, "preauth_bytes_total_max is reached"), outbox))
    }

    /// A proof is judged as passwords are, so that guesses are counted with those of plain passwords: it stays unread until
    /// the verdict is there, and is read again then.
    fn take_proof(
        &mut self,
        now: Millis,
        id: ConnectionId,
        auth: &Auth<'_>,
        frame_bytes: usize,
        outbox: &mut Outbox,
    ) -> Result<(), Next> {
        if auth.reason != ReasonCode::ContinueAuthentication || auth.authentication_method != Some(scram::METHOD) {
            // [MQTT-4.12.0-3] [MQTT-4.12.0-5]
            let fault = (ReasonCode::ProtocolError, "an AUTH that does not continue the authentication");
            return Err(self.refuse_proof(id, fault, outbox));
        }
        let listener = self.listener_of(id);
        let passwords = self.policy.rules_of(listener).passwords.clone();
        let Some(exchange) = self.logins.exchanges.waiting.get(&id.slot) else { return Err(Next::Closed) };
        let finished = exchange.scram.finish(auth.authentication_data.unwrap_or_default(), passwords.as_deref());
        let verdict = match (self.verdict(id), passwords) {
            (Some(Some(verdict)), _) => verdict,
            (Some(None), _) => return Err(Next::AwaitDrain),
            (None, None) => Verdict::Wrong,
            (None, Some(passwords)) => {
                self.await_proof(id, Some(frame_bytes), outbox)?;
                let user: Box<str> = self.logins.exchanges.user(id).into();
                self.ask(id, Court::Passwords(passwords), Some(&user), &[], Some(finished.is_ok()), outbox);
                return Err(Next::AwaitDrain);
            }
        };
        let fault = match (verdict, finished) {
            (Verdict::Right, Ok(server_final)) => return self.admit_proven(now, id, &server_final, outbox),
            (Verdict::Right | Verdict::Wrong, finished) => {
                self.counters.refused_passwords += 1;
                (ReasonCode::NotAuthorized, finished.err().unwrap_or("the proof is not that of the user's password"))
            }
            (verdict, _) => self.fault_of_verdict(verdict),
        };
        Err(self.refuse_proof(id, fault, outbox))
    }

    fn admit_proven(
        &mut self,
        now: Millis,
        id: ConnectionId,
        server_final: &str,
        outbox: &mut Outbox,
    ) -> Result<(), Next> {
        let Some(exchange) = self.logins.exchanges.take(id) else { return Err(Next::Closed) };
        self.counters.packets_received += 1;
        if let Ok(Framed::Whole(frame)) = wire::frame(&exchange.connect, self.config.limits.preauth_bytes_max)
            && let Ok(connect) = Connect::decode(&frame)
        {
            return self.consider(now, id, (connect, &exchange.connect), Some(server_final), outbox);
        }
        // It was taken with the same bounds.
        Err(self.refuse_proof(id, (ReasonCode::UnspecifiedError, "no CONNECT is kept"), outbox))
    }

    /// Refuses a client before CONNACK [MQTT-4.12.0-4].
    fn refuse_proof(&mut self, id: ConnectionId, (reason, what): Fault, outbox: &mut Outbox) -> Next {
        let exchange = self.logins.exchanges.take(id);
        let kept = exchange.as_ref().map_or(&[][..], |exchange| &exchange.connect);
        let bytes_max = match wire::frame(kept, self.config.limits.preauth_bytes_max) {
            Ok(Framed::Whole(frame)) => Connect::size_to_refuse_within(&frame),
            _ => None,
        };
        let bytes_max = bytes_max.map_or(usize::MAX, |bytes| bytes as usize);
        self.refuse_connect(id, Some((ProtocolVersion::V5, bytes_max)), reason, what, outbox)
    }

    /// AUTH of a connected client, which goes on with all else meanwhile (section 4.12.1).
    pub(super) fn reauthenticate(
        &mut self,
        now: Millis,
        id: ConnectionId,
        auth: &Auth<'_>,
        outbox: &mut Outbox,
    ) -> Step {
        match self.prove_again(id, auth, outbox) {
            Ok(()) => Step::Done,
            // [MQTT-4.12.1-2]
            Err((reason, what)) => self.close(now, id, reason, what, outbox),
        }
    }

    fn prove_again(&mut self, id: ConnectionId, auth: &Auth<'_>, outbox: &mut Outbox) -> Result<(), Fault> {
        let Some(connection) = self.connections.get_mut(id) else { return Ok(()) };
        let (listener, packet_bytes_max) = (connection.listener, connection.packet_bytes_max);
        if !connection.is_by_scram {
            return Err((ReasonCode::ProtocolError, "AUTH without an authentication method at CONNECT"));
        }
        if auth.authentication_method != Some(scram::METHOD) {
            // [MQTT-4.12.1-1]
            return Err((ReasonCode::ProtocolError, "AUTH with another authentication method than CONNECT"));
        }
        let user = connection.session.and_then(|session| self.sessions.get(session.slot)?.user_name.clone());
        let passwords = self.policy.rules_of(listener).passwords.clone();
        let data = auth.authentication_data.unwrap_or_default();
        let denied = |what| (ReasonCode::NotAuthorized, what);
        match (auth.reason, self.logins.exchanges.take(id)) {
            (ReasonCode::Reauthenticate, None) => {
                let first = ClientFirst::parse(data).map_err(denied)?;
                if user.as_deref() != Some(&*first.user) {
                    return Err(denied("another user than the one that is connected"));
                }
                self.begin_exchange(id, passwords.as_ref(), &first, &[], packet_bytes_max, outbox)
            }
            (ReasonCode::ContinueAuthentication, Some(exchange)) => {
                let finished = exchange.scram.finish(data, passwords.as_deref());
                let server_final = finished.inspect_err(|_| self.counters.refused_passwords += 1).map_err(denied)?;
                put_auth(id, ReasonCode::Success, &server_final, packet_bytes_max, outbox)
            }
            _ => Err((ReasonCode::ProtocolError, "an AUTH that neither begins nor continues an authentication")),
        }
    }
}

/// AUTH with a message of ours. It has no words and no user properties [MQTT-3.15.2-2] [MQTT-3.15.2-3].
fn put_auth(
    id: ConnectionId,
    reason: ReasonCode,
    message: &str,
    bytes_max: usize,
    outbox: &mut Outbox,
) -> Result<(), Fault> {
    let auth = Auth {
        reason,
        authentication_method: Some(scram::METHOD),
        authentication_data: Some(message.as_bytes()),
        ..Auth::default()
    };
    let mut bytes = Vec::new();
    auth.encode(ProtocolVersion::V5, &mut bytes);
    if bytes.len() > bytes_max {
        return Err((ReasonCode::PacketTooLarge, "AUTH would be larger than the client's Maximum Packet Size"));
    }
    outbox.egress.control(id.slot, |out| out.extend_from_slice(&bytes));
    Ok(())
}
