//! Look: commands that ask a running broker what it does, and have it do something.
//!
//! Duty: their command line, and which file answers which. Must not: decide anything. Neighbours: `broker` asks over the API of `admin`;
//! `table` and `units` write for people; the other files have a few commands each.
//!
//! - `overview`: `stats` and `shards`. `clients`: `clients` and `client`. `topics`: `topics`, `topic` and `retained`.
//! - `trouble`: `drops` and `denials`. `steering`: `kick`, `publish`, `reload`. `trace`: `trace`. `top`: `top`.

mod broker;
mod clients;
mod overview;
mod paint;
mod steering;
mod table;
mod top;
mod topics;
mod trace;
mod trouble;
mod units;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use self::broker::Broker;
use crate::runtime::Failure;

/// The first words of the command line that mean one of these commands.
const WORDS: [&str; 14] = [
    "client", "clients", "denials", "drops", "kick", "publish", "reload", "retained", "shards", "stats", "top",
    "topic", "topics", "trace",
];

/// Whether a command line that begins with this word is one of these.
pub(super) fn is_word(word: &str) -> bool {
    WORDS.contains(&word)
}

/// Look at a running broker
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq", disable_version_flag = true, disable_help_subcommand = true)]
pub struct Order {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    place: Place,
}

/// Which broker.
#[derive(Clone, Debug, Args)]
struct Place {
    /// The broker that has its admin room here: IP:PORT, http://IP:PORT or unix:/PATH [default: the usual Unix socket]
    #[arg(long, value_name = "ADDR", global = true)]
    admin: Option<String>,

    /// The file of the token that the broker wants
    #[arg(long, value_name = "FILE", global = true)]
    admin_token_file: Option<PathBuf>,

    /// Ask as this user of admin_users; the password is asked for, or read from standard input
    #[arg(long, value_name = "NAME", global = true, conflicts_with = "admin_token_file")]
    admin_user: Option<String>,

    /// The room is encrypted (admin_tls_cert): trust these certificates, PEM
    #[arg(long, value_name = "FILE", global = true)]
    admin_ca: Option<PathBuf>,

    /// Print what the broker has answered, as JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Say how the broker is: clients, messages, latency, what is wrong
    Stats(overview::Stats),
    /// List the shards, and what each does
    Shards,
    /// List clients, or those with a part of a name or an address
    Clients(clients::Clients),
    /// Say all that is known of a client: session, subscriptions, queue
    Client(clients::OneClient),
    /// List the topics that most is published to
    Topics(topics::Topics),
    /// Say who gets what is published to a topic, and what is retained there
    Topic(topics::OneTopic),
    /// List retained messages, or delete them
    Retained(topics::RetainedOrder),
    /// List what was dropped or cut short, by reason
    Drops(trouble::Drops),
    /// List the last requests that were denied for want of a right
    Denials,
    /// Show packets of a client, or messages to topics, as they pass
    Trace(trace::Trace),
    /// Show the broker on a screen that refreshes itself: q quits; into a pipe, print it once
    Top(top::Top),
    /// End the connection of a client
    Kick(steering::Kick),
    /// Publish a message
    Publish(steering::Publish),
    /// Have the broker read its configuration and its files again, as SIGHUP does
    Reload,
}

/// How much of a list.
#[derive(Clone, Copy, Debug, Args)]
struct Wanted {
    /// List so many at most
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,

    /// List all
    #[arg(long, conflicts_with = "limit")]
    all: bool,
}

impl Wanted {
    fn most(self) -> usize {
        if self.all { usize::MAX } else { self.limit as usize }
    }
}

/// Does it.
///
/// # Errors
/// No broker answers, or it does not do it: one line with a remedy.
pub fn run(order: &Order) -> Result<(), Failure> {
    let (name, command) = (order.command.name(), &order.command);
    let broker = Broker::find(name, &order.place)?;
    let done = match command {
        Command::Stats(stats) => overview::stats(&broker, stats),
        Command::Shards => overview::shards(&broker),
        Command::Clients(clients) => clients::list(&broker, clients),
        Command::Client(client) => clients::one(&broker, client),
        Command::Topics(topics) => topics::list(&broker, topics),
        Command::Topic(topic) => topics::one(&broker, topic),
        Command::Retained(retained) => topics::retained(&broker, retained),
        Command::Drops(drops) => trouble::drops(&broker, drops),
        Command::Denials => trouble::denials(&broker),
        Command::Trace(trace) => trace::trace(&broker, trace),
        Command::Top(top) => top::top(&broker, top),
        Command::Kick(kick) => steering::kick(&broker, kick),
        Command::Publish(publish) => steering::publish(&broker, publish),
        Command::Reload => steering::reload(&broker),
    };
    done.map_err(|failure| Failure { text: format!("{name}: {}", failure.text), ..failure })
}

impl Command {
    fn name(&self) -> &'static str {
        match self {
            Self::Stats(_) => "stats",
            Self::Shards => "shards",
            Self::Clients(_) => "clients",
            Self::Client(_) => "client",
            Self::Topics(_) => "topics",
            Self::Topic(_) => "topic",
            Self::Retained(_) => "retained",
            Self::Drops(_) => "drops",
            Self::Denials => "denials",
            Self::Trace(_) => "trace",
            Self::Top(_) => "top",
            Self::Kick(_) => "kick",
            Self::Publish(_) => "publish",
            Self::Reload => "reload",
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_known_by_its_word() {
        let command = Order::command();
        let mut names: Vec<_> = command.get_subcommands().map(clap::Command::get_name).collect();
        names.sort_unstable();
        assert_eq!(names, WORDS);
        command.debug_assert();
    }

    #[test]
    fn options_stand_before_and_behind_a_command() {
        for line in ["ringmq clients --json --admin 127.0.0.1:1 x", "ringmq clients x --admin 127.0.0.1:1 --json"] {
            let order = Order::try_parse_from(line.split(' ')).unwrap();
            assert!(order.place.json && order.place.admin.as_deref() == Some("127.0.0.1:1"), "{line}");
        }
        for bad in [
            "ringmq clients --connected --away",
            "ringmq clients --order fastest",
            "ringmq clients --order slowest x",
            "ringmq clients --limit 0",
            "ringmq clients --limit 5 --all",
            "ringmq trace",
            "ringmq trace --client c --topic t",
            "ringmq publish t m --qos 3",
            "ringmq retained --yes",
            "ringmq retained --delete --yes",
            "ringmq stats --watch 0",
        ] {
            assert_eq!(Order::try_parse_from(bad.split(' ')).unwrap_err().exit_code(), 2, "{bad}");
        }
    }
}
