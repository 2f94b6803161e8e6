//! Verifier: the one thread that checks passwords and tokens, so that no shard does (a check takes up to tens of milliseconds).
//!
//! Duty: take questions from a bounded queue, remember what was right, slow down who guesses, and tell the shard that asked.
//! Must not: hold a shard up, or keep or tell a password. Neighbours: `driver` asks; `news` brings the answer; `auth`
//! and `tokens` compute; `asking` has the threads that wait for an authenticator.

use std::collections::HashMap;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

use super::address_rates::network_of;
use super::asking::{Asking, Request};
use super::authenticator;
use super::clock::Clock;
use super::judges::Bench;
use super::news::{News, NewsDesk};
use crate::auth::{JudgeId, Passwords};
use crate::id::{ConnectionId, Millis, ShardId};
use crate::limits::Limits;
use crate::shard::{Applicant, Court, CredentialCheck, Verdict};

/// Right passwords that are remembered; then all are forgotten.
const REMEMBERED_MAX: usize = 4096;
/// Addresses of which wrong passwords are remembered. Those beyond are not slowed down: it would hit who has done nothing.
const ADDRESSES_MAX: usize = 16_384;
/// After so long, the wrong passwords of an address are forgotten.
const FORGET_MILLIS: u64 = 60_000;
/// Who has had too many wrong ones may have one checked in this time.
const PAUSE_MILLIS: u64 = 1_000;

/// What is asked.
struct Question {
    asked_by: AskedBy,
    check: CredentialCheck,
    address: Option<IpAddr>,
}

/// Who hears the answer.
enum AskedBy {
    Shard(ShardId),
    /// A room beside the shards.
    Room(oneshot::Sender<Verdict>),
}

/// The way of rooms beside the shards to the verifier.
#[derive(Clone, Debug)]
pub(super) struct RoomAsker(Sender<Question>);

impl RoomAsker {
    /// Whether `password` is that of `user`; `None` if that cannot be said now. `address`: where the question comes from.
    pub(super) async fn ask(
        &self,
        passwords: Arc<Passwords>,
        user: &str,
        password: &[u8],
        address: Option<IpAddr>,
    ) -> Option<Verdict> {
        let connection = ConnectionId { slot: 0, generation: 0 };
        let (user, password) = (Some(user.into()), password.into());
        let check =
            CredentialCheck { ticket: 0, connection, court: Court::Passwords(passwords), user, password, proof: None };
        let (answer, answered) = oneshot::channel();
        self.0.try_send(Question { asked_by: AskedBy::Room(answer), check, address }).ok()?;
        answered.await.ok()
    }
}

/// A shard's way to the verifier. The thread ends with the last of them.
#[derive(Clone, Debug)]
pub(super) struct Asker {
    shard: ShardId,
    questions: Sender<Question>,
}

impl Asker {
    /// Asks; false if too many questions wait already. `address`: of the client.
    pub(super) fn ask(&self, check: CredentialCheck, address: Option<IpAddr>) -> bool {
        let question = Question { asked_by: AskedBy::Shard(self.shard), check, address };
        // If the thread has ended, so does the process.
        !matches!(self.questions.try_send(question), Err(TrySendError::Full(_)))
    }
}

/// Starts the thread; one asker for each shard, and one for the rooms beside them. `secret`: never told, of this process alone.
///
/// # Errors
/// The system has no thread left.
pub(super) fn start(
    shards: usize,
    limits: &Limits,
    desk: NewsDesk,
    bench: Bench,
    clock: Clock,
    secret: [u64; 4],
) -> io::Result<(Vec<Asker>, RoomAsker)> {
    let (ask, questions) = bounded(limits.password_checks_waiting_max);
    let mut verifier = Verifier::new(limits.wrong_passwords_per_address_max, secret);
    let bounds = (limits.authenticator_requests_max, limits.password_checks_waiting_max);
    let mut asking = Asking::new(bounds, desk.clone(), clock, Arc::clone(&verifier.guesses));
    thread::Builder::new().name("ringmq-verifier".into()).spawn(move || {
        super::signal::block_here();
        verifier.serve(&questions, &desk, (&bench, &mut asking), clock);
    })?;
    let askers = (0..shards as u16).map(|shard| Asker { shard: ShardId(shard), questions: ask.clone() }).collect();
    Ok((askers, RoomAsker(ask)))
}

struct Verifier {
    secret: [u64; 4],
    /// Digests of user, password and entry, with the secret.
    remembered: HashMap<[u8; 32], ()>,
    guesses: Arc<Mutex<Guesses>>,
}

impl Verifier {
    fn new(wrong_max: u32, secret: [u64; 4]) -> Self {
        let guesses = Guesses { wrong_max, by_address: HashMap::new() };
        Self { secret, remembered: HashMap::new(), guesses: Arc::new(Mutex::new(guesses)) }
    }

    fn serve(
        &mut self,
        questions: &Receiver<Question>,
        desk: &NewsDesk,
        (bench, asking): (&Bench, &mut Asking),
        clock: Clock,
    ) {
        for Question { asked_by, check, address } in questions {
            let now = clock.now();
            let shard = match asked_by {
                AskedBy::Shard(shard) => shard,
                AskedBy::Room(answer) => {
                    let Court::Passwords(passwords) = &check.court else { continue };
                    // Whoever asked may have gone.
                    let _ = answer.send(self.judge(now, passwords, &check, address));
                    continue;
                }
            };
            let (ticket, connection) = (check.ticket, check.connection);
            let verdict = match &check.court {
                Court::Passwords(passwords) => self.judge(now, passwords, &check, address),
                Court::Tokens(judge) => judge_token(now, bench, *judge, &check.password),
                Court::Authenticator(judge, applicant) => {
                    let (judge, applicant) = (*judge, applicant.clone());
                    match self.ask_outside(now, (shard, check, address), (judge, applicant), (bench, asking)) {
                        Some(verdict) => verdict,
                        None => continue,
                    }
                }
            };
            desk.tell(shard, News::Verdict { ticket, connection, verdict });
        }
    }

    /// What an authenticator has said before of the same; `None`: it is asked, and answers later.
    fn ask_outside(
        &self,
        now: Millis,
        (shard, check, address): (ShardId, CredentialCheck, Option<IpAddr>),
        (judge, applicant): (JudgeId, Applicant),
        (bench, asking): (&Bench, &mut Asking),
    ) -> Option<Verdict> {
        // If it is another by now, so are the rules, and the shard asks again.
        let Some(server) = bench.seated().authenticators.get(&judge).cloned() else { return Some(Verdict::Busy) };
        let key = authenticator::key_of(&self.secret, &check, &applicant, address);
        let remembered = server.remembered(now, &key);
        if remembered.is_some() {
            return remembered;
        }
        if !self.guesses().may_check(now, address) {
            return Some(Verdict::TooManyWrong);
        }
        asking.ask(Request { shard, check, applicant, address, server, key, since: now }).err()
    }

    fn guesses(&self) -> MutexGuard<'_, Guesses> {
        self.guesses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn judge(
        &mut self,
        now: Millis,
        passwords: &Passwords,
        check: &CredentialCheck,
        address: Option<IpAddr>,
    ) -> Verdict {
        let user = check.user.as_deref().unwrap_or_default();
        let entry = passwords.entry(user).filter(|_| check.proof.is_none());
        let key = entry.map(|entry| self.key_of(check, &entry.to_string()));
        if key.is_some_and(|key| self.remembered.contains_key(&key)) {
            return Verdict::Right;
        }
        if !self.guesses().may_check(now, address) {
            return Verdict::TooManyWrong;
        }
        if !check.is_right() {
            self.guesses().note(now, address);
            return Verdict::Wrong;
        }
        if self.remembered.len() >= REMEMBERED_MAX {
            self.remembered.clear();
        }
        self.remembered.extend(key.map(|key| (key, ())));
        Verdict::Right
    }

    /// What is remembered of a right password: nothing that leads back to it without the secret, and nothing that holds once
    /// the entry in the file is another.
    fn key_of(&self, check: &CredentialCheck, entry: &str) -> [u8; 32] {
        let mut digest = Sha256::new();
        self.secret.iter().for_each(|part| digest.update(part.to_le_bytes()));
        let user = check.user.as_deref().unwrap_or_default();
        for part in [user.as_bytes(), &check.password, entry.as_bytes()] {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        digest.finalize().into()
    }
}

/// What the keys say of a token. Nobody can guess one, so nobody is slowed down.
fn judge_token(now: Millis, bench: &Bench, judge: JudgeId, token: &[u8]) -> Verdict {
    // If the keys are others by now, so are the rules, and the shard asks again.
    let Some(keys) = bench.seated().tokens.get(&judge).cloned() else { return Verdict::Busy };
    let unix_secs = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    match keys.check(token, unix_secs, now) {
        Ok(warrant) => Verdict::Warranted(Arc::new(warrant)),
        Err(what) => Verdict::BadToken(what),
    }
}

/// The wrong passwords of each address (case A30).
pub(super) struct Guesses {
    /// 0: any number.
    wrong_max: u32,
    by_address: HashMap<IpAddr, Guesser>,
}

struct Guesser {
    wrong: u32,
    since: Millis,
    checked_at: Millis,
}

impl Guesses {
    /// Whether a password from there may be checked now.
    fn may_check(&mut self, now: Millis, address: Option<IpAddr>) -> bool {
        let Some(address) = address.map(network_of).filter(|_| self.wrong_max > 0) else { return true };
        let Some(guesser) = self.by_address.get_mut(&address) else { return true };
        if now >= guesser.since.after_millis(FORGET_MILLIS) {
            self.by_address.remove(&address);
            return true;
        }
        if guesser.wrong >= self.wrong_max && now < guesser.checked_at.after_millis(PAUSE_MILLIS) {
            return false;
        }
        guesser.checked_at = now;
        true
    }

    /// A password from there was wrong.
    pub(super) fn note(&mut self, now: Millis, address: Option<IpAddr>) {
        let Some(address) = address.map(network_of).filter(|_| self.wrong_max > 0) else { return };
        if self.by_address.len() >= ADDRESSES_MAX && !self.by_address.contains_key(&address) {
            self.by_address.retain(|_, guesser| now < guesser.since.after_millis(FORGET_MILLIS));
            if self.by_address.len() >= ADDRESSES_MAX {
                return;
            }
        }
        let guesser = self.by_address.entry(address).or_insert(Guesser { wrong: 0, since: now, checked_at: now });
        guesser.wrong = guesser.wrong.saturating_add(1);
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;
    use crate::auth::password::{Hash, SALT_BYTES, Scheme};
    use crate::id::ConnectionId;

    const ONE: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)));
    const OTHER: Option<IpAddr> = Some(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 2)));

    fn passwords(password: &str) -> Arc<Passwords> {
        let hash = Hash::of(password.as_bytes(), Scheme::Sha512, [7; SALT_BYTES]);
        Arc::new(Passwords::parse(&format!("alice:{hash}")).expect("one good line"))
    }

    fn check(passwords: &Arc<Passwords>, user: &str, password: &str) -> CredentialCheck {
        let connection = ConnectionId { slot: 0, generation: 0 };
        let (user, password) = (Some(user.into()), password.as_bytes().into());
        let court = Court::Passwords(Arc::clone(passwords));
        CredentialCheck { ticket: 1, connection, court, user, password, proof: None }
    }

    /// Case A30: one address is slowed down, and others, and what is known to be right, are not.
    #[test]
    fn who_guesses_is_slowed_down_alone_and_for_a_while() {
        let known = passwords("secret");
        let mut verifier = Verifier::new(3, [1, 2, 3, 4]);
        let mut judge =
            |now, password, address| verifier.judge(Millis(now), &known, &check(&known, "alice", password), address);
        assert_eq!(judge(0, "secret", ONE), Verdict::Right);
        for now in 0..3 {
            assert_eq!(judge(now, "guess", ONE), Verdict::Wrong);
        }
        assert_eq!(judge(3, "guess", ONE), Verdict::TooManyWrong);
        assert_eq!(judge(3, "secret", ONE), Verdict::Right, "it was right before");
        assert_eq!(judge(3, "guess", OTHER), Verdict::Wrong);
        assert_eq!(judge(3, "guess", None), Verdict::Wrong, "no address, no count");
        assert_eq!(judge(1_002, "guess", ONE), Verdict::Wrong, "one in a second");
        assert_eq!(judge(1_003, "guess", ONE), Verdict::TooManyWrong);
        assert_eq!(judge(60_000, "guess", ONE), Verdict::Wrong, "all is forgotten");
    }

    /// Case A30: a proof by SCRAM is a guess like any other, and nothing of it is remembered.
    #[test]
    fn proofs_and_passwords_are_counted_together() {
        let known = passwords("secret");
        let mut verifier = Verifier::new(2, [1, 2, 3, 4]);
        let mut judge = |now, proof| {
            let check = CredentialCheck { proof: Some(proof), ..check(&known, "alice", "") };
            verifier.judge(Millis(now), &known, &check, ONE)
        };
        assert_eq!([0, 1].map(|now| judge(now, true)), [Verdict::Right, Verdict::Right]);
        assert_eq!([0, 1].map(|now| judge(now, false)), [Verdict::Wrong, Verdict::Wrong]);
        assert_eq!(
            [2, 3].map(|now| judge(now, now == 2)),
            [Verdict::TooManyWrong, Verdict::TooManyWrong],
            "right or not"
        );
        assert_eq!(judge(1_002, true), Verdict::Right);
        assert_eq!(
            verifier.judge(Millis(1_003), &known, &check(&known, "alice", "secret"), ONE),
            Verdict::TooManyWrong
        );
        assert!(verifier.remembered.is_empty());
    }

    #[test]
    fn what_was_right_is_remembered_as_long_as_the_entry_stands() {
        let (old, new) = (passwords("secret"), passwords("other"));
        let mut verifier = Verifier::new(0, [1, 2, 3, 4]);
        assert_eq!(verifier.judge(Millis(0), &old, &check(&old, "alice", "secret"), ONE), Verdict::Right);
        assert_eq!(verifier.remembered.len(), 1);
        assert_eq!(verifier.judge(Millis(0), &new, &check(&new, "alice", "secret"), ONE), Verdict::Wrong);
        assert_eq!(verifier.judge(Millis(0), &old, &check(&old, "bob", "secret"), ONE), Verdict::Wrong);
        for number in 0..=REMEMBERED_MAX as u64 {
            let mut key = [0; 32];
            key[..8].copy_from_slice(&number.to_le_bytes());
            verifier.remembered.insert(key, ());
        }
        assert_eq!(verifier.judge(Millis(0), &new, &check(&new, "alice", "other"), ONE), Verdict::Right);
        assert_eq!(verifier.remembered.len(), 1, "forgotten when there were too many");
    }

    /// What differs only in where the user name ends is something else.
    #[test]
    fn user_and_password_are_told_apart() {
        let verifier = Verifier::new(0, [1, 2, 3, 4]);
        let known = passwords("secret");
        let key = |user, password| verifier.key_of(&check(&known, user, password), "entry");
        assert_ne!(key("ab", "c"), key("a", "bc"));
        assert_ne!(key("a", "b"), Verifier::new(0, [9, 2, 3, 4]).key_of(&check(&known, "a", "b"), "entry"));
    }

    #[test]
    fn guessers_are_remembered_up_to_a_bound() {
        let mut guesses = Guesses { wrong_max: 1, by_address: HashMap::new() };
        let address = |number: u32| Some(IpAddr::V4(Ipv4Addr::from_bits(number)));
        for number in 0..=ADDRESSES_MAX as u32 {
            guesses.note(Millis(0), address(number));
        }
        assert_eq!(guesses.by_address.len(), ADDRESSES_MAX);
        assert!(
            !guesses.may_check(Millis(1), address(0)) && guesses.may_check(Millis(1), address(ADDRESSES_MAX as u32))
        );
        guesses.note(Millis(FORGET_MILLIS), address(u32::MAX));
        assert_eq!(guesses.by_address.len(), 1, "those of long ago make room");
    }
}
