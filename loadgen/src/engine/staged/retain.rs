//! Retained messages: stored, replayed to one new subscriber, removed again. Neighbours: `store`, `receipt`, `Run`.
//! Must not leave a message behind, whatever went wrong before.

use super::receipt::Receipt;
use super::store::Store;
use super::{Player, Run, Session, Yield};
use crate::engine::snapshot;
use crate::scenario::Staged;

/// Errors: one sentence, when the publisher could not connect.
pub(super) fn run(run: &mut Run<'_>) -> Result<Yield, String> {
    let sent = store(run)?;
    let arrived = replay(run, sent);
    if clear(run, sent) {
        look_for_leftovers(run);
    }
    Ok(Yield { sent, arrived })
}

fn store(run: &mut Run<'_>) -> Result<u64, String> {
    let (plan, player) = (run.plan(), Player::Publisher);
    let (mut line, connack) = run.open(player, Session::Clean).map_err(|reason| run.objection(&reason))?;
    run.setup_ns = run.shared.now_ns();
    let mut store = Store::new(plan, Staged::Retain, plan.scenario.messages, &connack);
    let from = snapshot(run.shared);
    let intact = run.perform(player, &mut line, &mut store);
    run.enter("store", store.sent, from);
    store.finish(&mut run.score);
    if intact {
        run.leave(player, line, &mut store);
    }
    Ok(store.sent)
}

/// Gives the number of messages that came, each counted once.
fn replay(run: &mut Run<'_>, expected: u64) -> u64 {
    let player = Player::Subscriber;
    let opened = run.open(player, Session::Clean);
    let from = snapshot(run.shared);
    let Ok((mut line, _)) = opened.map_err(|reason| run.lose(player, &reason)) else {
        run.score.tally.lost += expected;
        run.enter("replay", 0, from);
        return 0;
    };
    let mut receipt = Receipt::subscribe(run.plan(), Staged::Retain, expected, &mut line.link.unsent);
    let intact = run.perform(player, &mut line, &mut receipt);
    run.enter("replay", receipt.arrived(), from);
    if intact {
        run.leave(player, line, &mut receipt);
    }
    receipt.finish(&mut run.score);
    receipt.arrived()
}

/// True when the broker has taken all of it.
fn clear(run: &mut Run<'_>, stored: u64) -> bool {
    let player = Player::Publisher;
    let opened = run.open(player, Session::Clean);
    let Ok((mut line, connack)) = opened.map_err(|reason| run.lose(player, &reason)) else { return false };
    let mut removal = Store::removal(run.plan(), stored, &connack);
    let from = snapshot(run.shared);
    let intact = run.perform(player, &mut line, &mut removal);
    run.enter("clear", removal.sent, from);
    removal.finish(&mut run.score);
    if intact {
        run.leave(player, line, &mut removal);
    }
    intact && removal.sent == stored
}

/// A subscriber that has to get nothing.
fn look_for_leftovers(run: &mut Run<'_>) {
    let player = Player::Subscriber;
    let opened = run.open(player, Session::Clean);
    let Ok((mut line, _)) = opened.map_err(|reason| run.lose(player, &reason)) else { return };
    let mut nothing = Receipt::subscribe(run.plan(), Staged::Retain, 0, &mut line.link.unsent);
    if run.perform(player, &mut line, &mut nothing) {
        run.leave(player, line, &mut nothing);
    }
    nothing.finish(&mut run.score);
}
