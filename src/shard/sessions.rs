//! The sessions of a shard, by slot and by client id.
//!
//! Duty: find them, reuse slots with a new generation, count those of each user name. Must not: know what a session is
//! about. Neighbours: every room.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;
use hashbrown::HashTable;

use super::alarm::Alarm;
use crate::auth::{Grants, Warrant};
use crate::id::{ConnectionId, Millis, SessionId};
use crate::session::{Account, Session, UserName};

#[derive(Debug)]
pub(super) struct Sessions {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// Slots alone: the client ids stand in the sessions.
    by_client_id: HashTable<u32>,
    hasher: RandomState,
    /// Sessions of each user name that has any.
    by_user: HashMap<UserName, usize, RandomState>,
    /// What a token, or an authenticator, has said of the client of a slot: most have none.
    warrants: HashMap<u32, Held, RandomState>,
}

#[derive(Debug)]
struct Held {
    warrant: Arc<Warrant>,
    /// Charged for it.
    _account: Account,
}

#[derive(Debug)]
struct Slot {
    generation: u32,
    session: Option<Box<Session>>,
    alarms: Alarms,
}

/// The timers of a slot, whoever has it, so that sessions that come and go do not fill the wheel.
#[derive(Debug, Default)]
pub(super) struct Alarms {
    /// For the end of the session.
    pub(super) end: Alarm,
    /// For the delay of its will.
    pub(super) will: Alarm,
}

impl Sessions {
    pub(super) fn new(hash_seed: u64) -> Self {
        let hasher = RandomState::with_seeds(hash_seed, !hash_seed, 0x27d4_eb2f, 5);
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            by_client_id: HashTable::new(),
            by_user: HashMap::with_hasher(hasher.clone()),
            warrants: HashMap::with_hasher(hasher.clone()),
            hasher,
        }
    }

    /// The session of a client id, made by `new` if there is none, and whether it was there.
    pub(super) fn obtain(&mut self, client_id: &str, new: impl FnOnce() -> Session) -> (SessionId, bool) {
        let hash = self.hasher.hash_one(client_id);
        if let Some(id) = self.find(hash, client_id) {
            return (id, true);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot { generation: 0, session: None, alarms: Alarms::default() });
            u32::try_from(self.slots.len() - 1).expect("fewer sessions than 2^32")
        });
        let place = &mut self.slots[slot as usize];
        place.session = Some(Box::new(new()));
        let id = SessionId { slot, generation: place.generation };
        let Self { slots, hasher, .. } = self;
        self.by_client_id.insert_unique(hash, slot, |&other| hasher.hash_one(client_id_of(slots, other)));
        (id, false)
    }

    pub(super) fn remove(&mut self, id: SessionId) -> Option<Box<Session>> {
        self.get_mut(id)?;
        let place = &mut self.slots[id.slot as usize];
        place.generation = place.generation.wrapping_add(1);
        self.free.push(id.slot);
        let session = place.session.take()?;
        let hash = self.hasher.hash_one(&*session.client_id);
        if let Ok(entry) = self.by_client_id.find_entry(hash, |&slot| slot == id.slot) {
            entry.remove();
        }
        self.leave_user(session.user_name.as_ref());
        self.set_warrant(id, None);
        Some(session)
    }

    /// The timers of a slot.
    pub(super) fn alarms(&mut self, slot: u32) -> &mut Alarms {
        &mut self.slots[slot as usize].alarms
    }

    /// Sessions of a user name.
    pub(super) fn of_user(&self, user_name: &str) -> usize {
        self.by_user.get(user_name).copied().unwrap_or(0)
    }

    /// Makes a session that of a user name, or of none. Whether it was another's.
    pub(super) fn set_user(&mut self, id: SessionId, user_name: Option<&str>) -> bool {
        let Some(session) = self.get_mut(id) else { return false };
        if session.user_name.as_deref() == user_name {
            return false;
        }
        let before = session.user_name.take();
        self.leave_user(before.as_ref());
        let Some(user_name) = user_name else { return true };
        // All sessions of a user share the name.
        let known = self.by_user.get_key_value(user_name).map(|(name, _)| name.clone());
        let user_name = known.unwrap_or_else(|| UserName::from(user_name));
        *self.by_user.entry(user_name.clone()).or_default() += 1;
        if let Some(session) = self.get_mut(id) {
            session.user_name = Some(user_name);
        }
        true
    }

    /// What lets the client of a session in, instead of what did before; the account is charged for it.
    pub(super) fn set_warrant(&mut self, id: SessionId, warrant: Option<(Arc<Warrant>, Account)>) {
        match warrant {
            Some((warrant, account)) => drop(self.warrants.insert(id.slot, Held { warrant, _account: account })),
            None if self.warrants.is_empty() => {}
            None => drop(self.warrants.remove(&id.slot)),
        }
    }

    /// What lets the client in whose session uses a slot now.
    pub(super) fn warrant(&self, slot: u32) -> Option<&Arc<Warrant>> {
        self.warrants.get(&slot).map(|held| &held.warrant)
    }

    /// Rights that came with that client.
    pub(super) fn grants(&self, slot: u32) -> Option<&Grants> {
        self.warrant(slot)?.grants.as_ref()
    }

    /// When its connection is to end because what let it in does.
    pub(super) fn warrant_ends_at(&self, slot: u32) -> Millis {
        self.warrant(slot).map_or(Millis::NEVER, |warrant| warrant.expires_at)
    }

    fn leave_user(&mut self, user_name: Option<&UserName>) {
        let Some(user_name) = user_name else { return };
        if let Some(sessions) = self.by_user.get_mut::<str>(user_name) {
            *sessions -= 1;
            if *sessions == 0 {
                self.by_user.remove::<str>(user_name);
            }
        }
    }

    pub(super) fn get_mut(&mut self, id: SessionId) -> Option<&mut Session> {
        let place = self.slots.get_mut(id.slot as usize)?;
        if place.generation == id.generation { place.session.as_deref_mut() } else { None }
    }

    /// The session that uses a slot now, to look at.
    pub(super) fn get(&self, slot: u32) -> Option<&Session> {
        self.slots.get(slot as usize)?.session.as_deref()
    }

    /// Does something with every session.
    pub(super) fn each(&mut self, act: impl FnMut(&mut Session)) {
        self.slots.iter_mut().filter_map(|slot| slot.session.as_deref_mut()).for_each(act);
    }

    /// The session that uses a slot now.
    pub(super) fn at(&mut self, slot: u32) -> Option<(SessionId, &mut Session)> {
        let place = self.slots.get_mut(slot as usize)?;
        let id = SessionId { slot, generation: place.generation };
        Some((id, place.session.as_deref_mut()?))
    }

    /// The session that takes this connection for its own; looks at all of them.
    pub(super) fn connected_by(&self, connection: ConnectionId) -> Option<SessionId> {
        let is_its = |slot: &Slot| slot.session.as_ref().is_some_and(|session| session.connection == Some(connection));
        let slot = self.slots.iter().position(is_its)?;
        Some(SessionId { slot: slot as u32, generation: self.slots[slot].generation })
    }

    pub(super) fn by_client_id(&self, client_id: &str) -> Option<SessionId> {
        self.find(self.hasher.hash_one(client_id), client_id)
    }

    fn find(&self, hash: u64, client_id: &str) -> Option<SessionId> {
        let slot = *self.by_client_id.find(hash, |&slot| client_id_of(&self.slots, slot) == client_id)?;
        Some(SessionId { slot, generation: self.slots[slot as usize].generation })
    }

    /// Messages in all queues; looks at every session.
    pub(super) fn queued_messages(&self) -> usize {
        self.slots.iter().flat_map(|slot| &slot.session).map(|session| session.outbound.queued()).sum()
    }

    /// Messages in all windows; looks at every session.
    pub(super) fn in_flight(&self) -> usize {
        self.slots.iter().flat_map(|slot| &slot.session).map(|session| session.outbound.inflight.len()).sum()
    }

    /// Behind the last slot.
    pub(super) fn slots_end(&self) -> u32 {
        self.slots.len() as u32
    }

    pub(super) fn len(&self) -> usize {
        self.by_client_id.len()
    }
}

/// The client id of the session in a slot that has one.
fn client_id_of(slots: &[Slot], slot: u32) -> &str {
    slots[slot as usize].session.as_ref().map_or("", |session| &session.client_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;
    use crate::session::{Budget, LargePayloads};

    /// The budget of an idle client: 600 bytes in all, with the driver's record of its connection.
    #[test]
    fn a_session_costs_no_more_than_its_budget() {
        assert!(size_of::<Slot>() <= 24, "{}", size_of::<Slot>());
        assert!(size_of::<Session>() <= 224, "{}", size_of::<Session>());
    }

    #[test]
    fn sessions_are_found_by_their_client_id_however_many_there_are() {
        let budget = Budget::new(usize::MAX, LargePayloads::default(), 1);
        let mut sessions = Sessions::new(1);
        let client_id = |number: usize| format!("client-{number}");
        let new = |number| Session::new(client_id(number).into(), &Limits::default(), &budget);
        let mut obtain = |number| sessions.obtain(&client_id(number), || new(number));
        let ids = (0..1000).map(|number| obtain(number).0).collect::<Vec<_>>();
        for id in ids.iter().step_by(2) {
            assert!(sessions.remove(*id).is_some());
        }
        for (number, &id) in ids.iter().enumerate() {
            assert_eq!(sessions.by_client_id(&client_id(number)), (number % 2 == 1).then_some(id));
        }
        assert_eq!(sessions.len(), 500);
        let (again, was_there) = sessions.obtain(&client_id(0), || new(0));
        assert!(!was_there);
        assert_eq!(sessions.by_client_id(&client_id(0)), Some(again));
        assert_eq!(sessions.obtain(&client_id(0), || unreachable!("it is there")), (again, true));
    }
}
