//! Asking: threads that ask an authenticator, so that neither a shard nor the verifier waits for a web server.
//!
//! Duty: take questions from a bounded queue, drop those that have waited for too long, count guesses, tell the shard. Must not: decide.
//! Neighbours: `verifier` asks what it does not remember; `authenticator` speaks to the server; `news` brings the answer.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};

use super::authenticator::{Authenticator, Key};
use super::clock::Clock;
use super::news::{News, NewsDesk};
use super::verifier::Guesses;
use crate::id::{Millis, ShardId};
use crate::shard::{Applicant, CredentialCheck, Verdict};

/// A question that nobody has answered before.
pub(super) struct Request {
    pub(super) shard: ShardId,
    pub(super) check: CredentialCheck,
    pub(super) applicant: Applicant,
    pub(super) address: Option<IpAddr>,
    pub(super) server: Arc<Authenticator>,
    /// What the answer is remembered by.
    pub(super) key: Key,
    /// When it was asked.
    pub(super) since: Millis,
}

/// The threads, which are started when the first question comes.
pub(super) struct Asking {
    requests: Option<Sender<Request>>,
    threads: usize,
    waiting_max: usize,
    parts: Parts,
}

#[derive(Clone)]
struct Parts {
    desk: NewsDesk,
    clock: Clock,
    guesses: Arc<Mutex<Guesses>>,
}

impl Asking {
    pub(super) fn new(
        (threads, waiting_max): (usize, usize),
        desk: NewsDesk,
        clock: Clock,
        guesses: Arc<Mutex<Guesses>>,
    ) -> Self {
        Self { requests: None, threads, waiting_max, parts: Parts { desk, clock, guesses } }
    }

    /// Lets a question be asked, which is answered then.
    ///
    /// # Errors
    /// It is not asked; what to answer.
    pub(super) fn ask(&mut self, request: Request) -> Result<(), Verdict> {
        if self.requests.is_none() {
            self.requests = Some(self.start()?);
        }
        let Some(requests) = &self.requests else { return Err(Verdict::Busy) };
        requests.try_send(request).map_err(|_| Verdict::Busy)
    }

    fn start(&self) -> Result<Sender<Request>, Verdict> {
        let (ask, requests) = bounded(self.waiting_max);
        for number in 0..self.threads {
            let (requests, parts) = (requests.clone(), self.parts.clone());
            let builder = thread::Builder::new().name(format!("ringmq-http-{number}"));
            let started = builder.spawn(move || {
                super::signal::block_here();
                serve(&requests, &parts);
            });
            // One is enough to go on.
            if started.is_err() && number == 0 {
                return Err(Verdict::Unanswered("the system has no thread for the authenticator"));
            }
        }
        Ok(ask)
    }
}

fn serve(requests: &Receiver<Request>, parts: &Parts) {
    for Request { shard, check, applicant, address, server, key, since } in requests {
        let verdict = if parts.clock.now() > since.after_millis(server.patience_millis()) {
            Verdict::Unanswered("too many wait for the authenticator's answers")
        } else {
            server.ask(&check, &applicant, address)
        };
        let now = parts.clock.now();
        if verdict == Verdict::Refused {
            parts.guesses.lock().unwrap_or_else(PoisonError::into_inner).note(now, address);
        }
        server.remember(now, key, &verdict);
        let CredentialCheck { ticket, connection, .. } = check;
        parts.desk.tell(shard, News::Verdict { ticket, connection, verdict });
    }
}
