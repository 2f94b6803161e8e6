//! Messages for a subscriber who is away: queued in its session, drained when it is back. Neighbours: `store`,
//! `receipt`, `Run`. Must not leave the session behind, whatever went wrong before.

use super::line::Line;
use super::receipt::Receipt;
use super::store::Store;
use super::{Player, Run, Session, Yield};
use crate::engine::snapshot;
use crate::scenario::Staged;
use crate::wire::Connack;

/// Errors: one sentence, when the session could not be made or the publisher could not connect.
pub(super) fn run(run: &mut Run<'_>) -> Result<Yield, String> {
    let opened = run.open(Player::Subscriber, Session::Kept);
    let (line, connack) = opened.map_err(|reason| run.objection(&reason))?;
    let prepared = subscribe(run, line, &connack).and_then(|()| run.open(Player::Publisher, Session::Clean));
    let outcome = match prepared {
        Ok((line, connack)) => {
            run.setup_ns = run.shared.now_ns();
            let sent = store(run, line, &connack);
            Ok(Yield { sent, arrived: drain(run, sent) })
        }
        Err(reason) => Err(run.objection(&reason)),
    };
    remove(run);
    outcome
}

/// Leaves a session with one subscription behind.
fn subscribe<'s>(run: &mut Run<'s>, mut line: Line<'s>, connack: &Connack) -> Result<(), String> {
    if connack.session_present {
        return Err("has a session of a client that was never there".to_owned());
    }
    let mut nothing = Receipt::subscribe(run.plan(), Staged::Offline, 0, &mut line.link.unsent);
    if !run.play(&mut line, &mut nothing)? {
        return Err(run.silence());
    }
    run.leave(Player::Subscriber, line, &mut nothing);
    Ok(())
}

fn store<'s>(run: &mut Run<'s>, mut line: Line<'s>, connack: &Connack) -> u64 {
    let (plan, player) = (run.plan(), Player::Publisher);
    let mut store = Store::new(plan, Staged::Offline, plan.scenario.messages, connack);
    let from = snapshot(run.shared);
    let intact = run.perform(player, &mut line, &mut store);
    run.enter("store", store.sent, from);
    store.finish(&mut run.score);
    if intact {
        run.leave(player, line, &mut store);
    }
    store.sent
}

/// Gives the number of messages that came, each counted once. The phase begins with CONNECT: the first messages may
/// come right behind CONNACK.
fn drain(run: &mut Run<'_>, expected: u64) -> u64 {
    let player = Player::Subscriber;
    let mut receipt = Receipt::resume(run.plan(), Staged::Offline, expected);
    let from = snapshot(run.shared);
    match run.dial(player, Session::Kept) {
        Ok(mut line) => {
            let intact = run.perform(player, &mut line, &mut receipt);
            run.enter("drain", receipt.arrived(), from);
            if intact {
                run.leave(player, line, &mut receipt);
            }
        }
        Err(reason) => {
            run.lose(player, &reason);
            run.enter("drain", 0, from);
        }
    }
    receipt.finish(&mut run.score);
    receipt.arrived()
}

/// A clean start ends the session that was there, and this one ends with its connection.
fn remove(run: &mut Run<'_>) {
    match run.open(Player::Subscriber, Session::Clean) {
        Ok((line, connack)) => {
            if connack.session_present {
                run.score.tally.protocol_errors += 1;
                run.score.note("subscriber: CONNACK says that a clean start found a session".to_owned());
            }
            run.hang_up(line);
        }
        Err(reason) => run.lose(Player::Subscriber, &reason),
    }
}
