//! Retained messages for new subscriptions, searched as the clients take them (case R13).
//!
//! Duty: begin, search within a bound of nodes per millisecond, go on later, keep what is retained before what is live.
//! Must not: send (`deliver` does). Neighbours: `interest` begins when SUBACK leaves, `deliver` asks for the next message,
//! `retain` holds what is searched, `deadline` calls for what is left.

use std::collections::VecDeque;
use std::sync::Arc;

use super::carrier::Carrier;
use super::connect::publisher_of;
use super::pump::replay_manner;
use super::{DropReason, Outbox, Outcome, Shard};
use crate::id::{Millis, SessionId};
use crate::message::Message;
use crate::session::{NextReplay, Replays, Subscription};
use crate::topic::{TopicFilter, TopicName};

/// What searches may still cost, and who waits for more.
#[derive(Debug, Default)]
pub(super) struct Searches {
    /// When nodes were last looked at.
    at: Millis,
    /// Nodes that were looked at in that millisecond.
    nodes: usize,
    /// Sessions for which there is more to be looked for.
    listed: VecDeque<SessionId>,
}

impl Searches {
    /// When the next search is wanted.
    pub(super) fn next(&self) -> Option<Millis> {
        (!self.listed.is_empty()).then(|| self.at.after_millis(1))
    }

    /// Sessions that wait for more.
    pub(super) fn waiting(&self) -> usize {
        self.listed.len()
    }

    fn nodes_left(&mut self, now: Millis, nodes_max: usize) -> usize {
        if self.at != now {
            self.at = now;
            self.nodes = 0;
        }
        nodes_max.saturating_sub(self.nodes)
    }
}

impl Shard {
    /// Begins to send the retained messages of a new subscription.
    pub(super) fn start_replay(&mut self, now: Millis, session_id: SessionId, filter: Arc<str>) {
        // The subscription may have been replaced while its SUBACK waited: what it asked for is sent as the new one wants it.
        let Some(session) = self.sessions.get_mut(session_id) else { return };
        let Some(&subscription) = session.subscriptions.get(&filter) else { return };
        let replays = &mut session.outbound.replays;
        if replays.is_none() {
            let nodes_left = self.searches.nodes_left(now, self.config.limits.retained_search_nodes_max);
            let (has_any, nodes) = self.retained.has_match(TopicFilter::trusted(&filter), nodes_left);
            self.searches.nodes += nodes;
            if !has_any {
                return;
            }
        }
        let replays = replays.get_or_insert_with(|| Box::new(Replays::new(self.budget.open())));
        replays.add(filter, subscription);
    }

    /// The next retained message for a session. `None`: there is none, or the search goes on in the next millisecond.
    pub(super) fn next_replayed(&mut self, now: Millis, id: SessionId) -> Option<(Message, Subscription)> {
        loop {
            let session = self.sessions.get_mut(id)?;
            let replays = session.outbound.replays.as_mut()?;
            match replays.advance() {
                NextReplay::Send(message, subscription) => {
                    if self.may_replay(id, &message) {
                        return Some((message, subscription));
                    }
                }
                NextReplay::Nothing => {
                    session.outbound.replays = None;
                    return None;
                }
                NextReplay::Search(filter, subscription, search) => {
                    // No Local (section 3.8.3.1)
                    let own =
                        subscription.options.no_local.then(|| publisher_of(&session.client_id, self.config.hash_seed));
                    let nodes_max = self.config.limits.retained_search_nodes_max;
                    let nodes_left = self.searches.nodes_left(now, nodes_max);
                    if nodes_left == 0 {
                        if !std::mem::replace(&mut replays.is_listed, true) {
                            self.searches.listed.push_back(id);
                            self.counters.searches_put_off += 1;
                        }
                        return None;
                    }
                    let filter = TopicFilter::trusted(&filter);
                    let mut finding = self.retained.search(now, filter, search, nodes_left, nodes_left == nodes_max);
                    self.searches.nodes += finding.nodes;
                    finding.messages.retain(|message| own.is_none() || message.view().publisher != own);
                    replays.found(finding.messages, finding.search);
                }
            }
        }
    }

    /// Whether a session may have a retained message, and its publisher still publish it (case A11).
    fn may_replay(&self, id: SessionId, message: &Message) -> bool {
        self.may_receive(id, message.topic()) && self.may_still_publish(message)
    }

    /// Goes on for those who wait for a search.
    pub(super) fn go_on_searching(&mut self, now: Millis, outbox: &mut Outbox) {
        for _ in 0..self.searches.listed.len() {
            if self.searches.nodes_left(now, self.config.limits.retained_search_nodes_max) == 0 {
                return;
            }
            let Some(id) = self.searches.listed.pop_front() else { return };
            if let Some(replays) = self.sessions.get_mut(id).and_then(|session| session.outbound.replays.as_mut()) {
                replays.is_listed = false;
                self.pump(now, id, outbox);
            }
        }
    }

    /// A live message is for a session that still gets retained ones: never an older message after a newer one, so what is
    /// retained of its topic goes first. False: there is no room to remember that, so the live message cannot be taken.
    pub(super) fn replay_before(
        &mut self,
        now: Millis,
        id: SessionId,
        carrier: &Carrier<'_>,
        outbox: &mut Outbox,
    ) -> bool {
        let topic = TopicName::trusted(carrier.view().topic);
        let (place, retained) = self.retained.placed(topic, now);
        if retained.is_none() && !carrier.view().retain {
            return true;
        }
        let Some(session) = self.sessions.get_mut(id) else { return true };
        let Some(replays) = session.outbound.replays.as_mut() else { return true };
        let Some(owed) = replays.overtake(topic, place) else { return false };
        let own = publisher_of(&session.client_id, self.config.hash_seed);
        let Some(message) = retained.filter(|message| self.may_still_publish(message)) else { return true };
        let is_own = message.view().publisher == Some(own);
        for subscription in owed {
            if is_own && subscription.options.no_local {
                continue;
            }
            let mut carrier = Carrier::unencoded(&message);
            let manner = replay_manner(&message, subscription);
            let from = self.keep.taken();
            if self.give_in_order(now, id, manner, &mut carrier, outbox).outcome == Outcome::Refused {
                self.counters.miss(DropReason::QueueFull);
            }
            self.keep_message(now, from, &mut carrier, None, outbox);
        }
        true
    }
}
