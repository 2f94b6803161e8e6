//! SECOND floor: who may connect, and who may do what. Pure decisions on data that is already loaded.
//!
//! - `password`: files of users and hashes of their passwords, and the check of one password.
//! - `scram`: one exchange of SCRAM-SHA-256, from the client's first message to the broker's last.
//! - `acl`: files of rights, compiled; the decision and the line that made it.
//! - `warrant`: what a token or another judge has said of a client, and the decision by its rights.
//! - `policy`: what a broker has decided about its listeners, as the shards keep it. `dry_run`: the same asked without a client.
//! - `token`: what opens the admin room.
//!
//! Must not: open a file, read a clock, log. Neighbours: `shard` asks for rights; `runtime` reads the files and checks
//! passwords away from the shards; `cli` makes password files.

pub mod acl;
mod dry_run;
pub mod password;
pub mod policy;
mod rights;
pub mod scram;
mod token;
mod warrant;

use std::fmt;

pub use acl::{Access, Acl, Asked, Decision};
pub use dry_run::{Question, Unanswered, Wish};
pub use password::{Passwords, Scheme};
pub use policy::{Entrance, Explanation, Policy, Referee, Refusal, Rules, Terms};
pub use token::Token;
pub use warrant::{Grants, Judge, JudgeId, Warrant};

/// A mistake in a line of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Number of the line, from 1.
    pub line: u32,
    /// What is wrong, and what would be right.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "line {}: {}", self.line, self.what)
    }
}

/// The lines of a file with their numbers from 1, without white space at their end.
fn numbered(text: &str) -> impl Iterator<Item = (u32, &str)> {
    text.lines().zip(1..).map(|(line, number)| (number, line.trim_end()))
}
