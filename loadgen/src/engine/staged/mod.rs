//! Runs whose phases follow each other: one connection after the other, on one thread, each phase from a first to a last
//! message. Must not know what the phases are; `retain` and `offline` do. Neighbours: `engine::run` above, `line` below.

mod line;
mod offline;
mod receipt;
mod retain;
mod store;

use std::net::Shutdown;

use crate::broker::BrokerSample;
use crate::engine::outcome::{Harvest, Outcome, Phase, Snapshot};
use crate::engine::score::Score;
use crate::engine::shared::Shared;
use crate::engine::snapshot;
use crate::engine::way::Way;
use crate::plan::Plan;
use crate::scenario::Staged;
use crate::wire::{self, Connack, Connect, Packet};
use line::{Line, Part};

/// How long a session waits for its client, seconds: longer than any run, and not for ever if the run is cut off.
const SESSION_EXPIRY_SECS: u32 = 3600;

/// Who is on a line.
#[derive(Clone, Copy, Debug)]
enum Player {
    Publisher,
    Subscriber,
}

impl Player {
    fn name(self) -> &'static str {
        match self {
            Self::Publisher => "publisher",
            Self::Subscriber => "subscriber",
        }
    }
}

/// What becomes of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    /// It begins anew and ends with its connection.
    Clean,
    /// It is resumed if it is there, and outlives its connection.
    Kept,
}

/// What a stage brings home besides the score.
struct Yield {
    sent: u64,
    arrived: u64,
}

/// One staged run.
struct Run<'s> {
    shared: &'s Shared<'s>,
    way: &'s Way,
    score: Score<'s>,
    phases: Vec<Phase>,
    setup_ns: u64,
    idle_ns: u64,
}

/// Runs the stages of the plan.
///
/// Errors: one sentence, when no message could be sent. What goes wrong later is in the outcome.
pub(super) fn run(
    stage: Staged,
    shared: &Shared<'_>,
    way: &Way,
    broker_before: Option<BrokerSample>,
) -> Result<Outcome, String> {
    let score = Score::new(shared, 0);
    let mut run = Run { shared, way, score, phases: Vec::new(), setup_ns: 0, idle_ns: 0 };
    let Yield { sent, arrived } = match stage {
        Staged::Retain => retain::run(&mut run),
        Staged::Offline => offline::run(&mut run),
    }?;
    let window = window(&run.phases);
    let Run { score, phases, setup_ns, .. } = run;
    let Score { tally, latency, notes, .. } = score;
    let harvest = Harvest { tally, latency, notes, sent, expected: sent, arrived, ..Harvest::default() };
    Ok(Outcome { setup_ns, broker_before, window, timeline: Vec::new(), harvest, phases, agreed: way.agreed() })
}

/// The phase in which messages are delivered.
fn window(phases: &[Phase]) -> [Snapshot; 2] {
    let delivering = phases.iter().find(|phase| matches!(phase.name, "replay" | "drain"));
    let phase = delivering.expect("both stages enter this phase once they have sent a message");
    [phase.from.clone(), phase.to.clone()]
}

impl<'s> Run<'s> {
    fn plan(&self) -> &'s Plan {
        self.shared.plan
    }

    /// Starts to connect; CONNECT waits for the socket.
    fn dial(&self, player: Player, session: Session) -> Result<Line<'s>, String> {
        let plan = self.plan();
        let mut line = Line::dial(self.shared, self.way).map_err(|error| format!("cannot be dialled: {error}"))?;
        let client_id = format!("lg{:08x}{}0", plan.run, &player.name()[..1]);
        let kept = session == Session::Kept;
        let connect = Connect {
            version: plan.flags.protocol,
            client_id: &client_id,
            clean_start: !kept,
            session_expiry_secs: if kept { SESSION_EXPIRY_SECS } else { 0 },
            keep_alive_secs: u16::MAX,
        };
        wire::connect(&mut line.link.unsent, &connect);
        Ok(line)
    }

    /// Connects with a session that nobody has left behind.
    ///
    /// Errors: the rest of a sentence that begins with the broker.
    fn open(&mut self, player: Player, session: Session) -> Result<(Line<'s>, Connack), String> {
        let mut line = self.dial(player, session)?;
        let mut greeting = Greeting(None);
        self.play(&mut line, &mut greeting)?;
        let connack = greeting.0.ok_or_else(|| self.silence())?;
        welcome(&connack, self.plan())?;
        Ok((line, connack))
    }

    /// Turns until `part` is done, or until no byte has moved for as long as the patience lasts, which gives false.
    ///
    /// Errors: the rest of a sentence that begins with the broker, when the connection is of no more use.
    fn play(&mut self, line: &mut Line<'_>, part: &mut dyn Part) -> Result<bool, String> {
        let patience_ns = self.plan().flags.patience.as_nanos() as u64;
        let (mut mark, mut since_ns) = (line.mark(), self.shared.now_ns());
        while !part.is_done() {
            let turned = line.turn(part, &mut self.score);
            self.idle_ns += *turned.as_ref().unwrap_or(&0);
            self.score.settle(self.idle_ns);
            turned?;
            let now_ns = self.shared.now_ns();
            if line.mark() != mark {
                (mark, since_ns) = (line.mark(), now_ns);
            } else if now_ns - since_ns > patience_ns {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Plays and counts a broken connection as a fault; false when it is one.
    fn perform(&mut self, player: Player, line: &mut Line<'_>, part: &mut dyn Part) -> bool {
        let played = self.play(line, part);
        played.map_err(|reason| self.lose(player, &reason)).is_ok()
    }

    /// A PINGREQ, so that all that the broker still had comes before the answer, duplicates too; then DISCONNECT. Comes
    /// back when the broker has closed the connection as well, and so knows that the client is gone.
    fn leave(&mut self, player: Player, mut line: Line<'_>, part: &mut dyn Part) {
        wire::pingreq(&mut line.link.unsent);
        match self.play(&mut line, &mut Farewell { part, answered: false }) {
            Ok(true) => self.hang_up(line),
            Ok(false) => self.lose(player, "did not answer the last PINGREQ"),
            Err(reason) => self.lose(player, &reason),
        }
    }

    fn hang_up(&mut self, mut line: Line<'_>) {
        wire::disconnect(&mut line.link.unsent, 0, self.plan().flags.protocol);
        // This connection is judged: it ends all the same if the socket takes no more bytes or the broker does not close.
        if line.link.flush().is_ok() && line.link.stream.shutdown(Shutdown::Write).is_ok() {
            let _ = self.play(&mut line, &mut Parting);
        }
    }

    fn enter(&mut self, name: &'static str, count: u64, from: Snapshot) {
        self.phases.push(Phase { name, unit: "messages", count, from, to: snapshot(self.shared) });
    }

    fn lose(&mut self, player: Player, reason: &str) {
        self.score.tally.connections_lost += 1;
        self.score.note(format!("{}: the broker {reason}", player.name()));
    }

    fn silence(&self) -> String {
        format!("gave no answer for {} s", self.plan().flags.patience.as_secs_f64())
    }

    /// A whole sentence about why the run cannot begin.
    fn objection(&self, reason: &str) -> String {
        format!("{} {reason}", self.way)
    }
}

/// What CONNACK has to say.
///
/// Errors: the rest of a sentence that begins with the broker.
fn welcome(connack: &Connack, plan: &Plan) -> Result<(), String> {
    if connack.reason != 0 {
        return Err(format!("refused CONNECT with code {:#04x}", connack.reason));
    }
    if connack.maximum_qos < plan.qos {
        return Err(format!("takes at most QoS {}", connack.maximum_qos.number()));
    }
    match connack.packet_bytes_max {
        Some(bytes) if (bytes as usize) < plan.scenario.payload_bytes => {
            Err(format!("takes packets of at most {bytes} bytes"))
        }
        _ => Ok(()),
    }
}

/// From CONNECT to CONNACK.
struct Greeting(Option<Connack>);

impl Part for Greeting {
    fn take(&mut self, packet: &Packet<'_>, _: &mut Vec<u8>, _: &mut Score<'_>) -> Result<(), String> {
        match packet {
            Packet::Connack(connack) if self.0.is_none() => self.0 = Some(*connack),
            packet => return Err(format!("sent {packet:?} to a client that awaits CONNACK")),
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.0.is_some()
    }
}

/// From the last PINGREQ to its answer; all else still concerns the part before.
struct Farewell<'p> {
    part: &'p mut dyn Part,
    answered: bool,
}

impl Part for Farewell<'_> {
    fn take(&mut self, packet: &Packet<'_>, out: &mut Vec<u8>, score: &mut Score<'_>) -> Result<(), String> {
        match packet {
            Packet::Pingresp => self.answered = true,
            packet => return self.part.take(packet, out, score),
        }
        Ok(())
    }

    fn is_done(&self) -> bool {
        self.answered
    }
}

/// After DISCONNECT nothing that comes is of concern; the end is that the broker closes.
struct Parting;

impl Part for Parting {
    fn take(&mut self, _: &Packet<'_>, _: &mut Vec<u8>, _: &mut Score<'_>) -> Result<(), String> {
        Ok(())
    }

    fn is_done(&self) -> bool {
        false
    }
}
