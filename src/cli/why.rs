//! Why: `ringmq why`, which says what a client may do, and which line of the ACL file says so.
//!
//! Duty: its command line; ask files, or a running broker. Must not: decide. Neighbours: `auth` decides and explains; `config` and
//! `runtime` read the files; `admin` knows how a broker is asked.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::load_again;
use crate::admin::{self, Asking};
use crate::auth::{self, Asked, Policy};
use crate::config::{AdminAddress, Arguments, File, ListenAddress, Listener};
use crate::runtime::{Failure, allowed_cpus, policy_for_questions, policy_of_acl_file};

/// Say whether a client may do something, and which line of an ACL file decides that: the running broker's, or that of files
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq why", disable_version_flag = true)]
pub struct Question {
    /// Ask this ACL file
    #[arg(long, value_name = "FILE")]
    acl: Option<PathBuf>,

    /// Ask a configuration file in Mosquitto's format, which names the ACL file
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["config", "acl"])]
    config_file: Option<PathBuf>,

    /// Ask a configuration file in ringmq's own format
    #[arg(long, value_name = "FILE", conflicts_with = "acl")]
    config: Option<PathBuf>,

    /// Ask the broker that has its admin room here: IP:PORT, http://IP:PORT or unix:/PATH [default: the usual Unix socket]
    #[arg(long, value_name = "ADDR", conflicts_with_all = ["config", "config_file", "acl"])]
    admin: Option<String>,

    /// The file of the token that the broker wants
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "config_file", "acl"])]
    admin_token_file: Option<PathBuf>,

    /// Port of the listener that the client comes by, if several have different rights; 0 for a Unix socket
    #[arg(long, value_name = "PORT", conflicts_with = "acl")]
    listener: Option<u16>,

    /// User name; none for a client that comes without. A running broker knows that of the client's session
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Client id
    #[arg(long, value_name = "ID", default_value = "")]
    client: String,

    /// Whether SUBSCRIBE to what can bring nothing is refused; a running broker knows that
    #[arg(long)]
    strict: bool,

    /// What the client wants to do
    wish: Wish,

    /// Topic name, or filter to subscribe to
    topic: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wish {
    Publish,
    Receive,
    Subscribe,
}

impl From<Wish> for auth::Wish {
    fn from(wish: Wish) -> Self {
        match wish {
            Wish::Publish => Self::Publish,
            Wish::Receive => Self::Receive,
            Wish::Subscribe => Self::Subscribe,
        }
    }
}

/// The answer, one line; a second one if the broker has found the user.
///
/// # Errors
/// A file that cannot be read or has mistakes, a topic that is none, a broker that does not answer.
pub fn answer(question: &Question) -> Result<String, Failure> {
    let asked = Asked { user: question.user.as_deref(), client_id: &question.client, grants: None };
    let (wish, topic, port) = (question.wish.into(), question.topic.as_str(), question.listener);
    let asks_files = question.acl.is_some() || question.config_file.is_some() || question.config.is_some();
    let asked = auth::Question { asked, wish, topic, port };
    if !asks_files {
        return ask_broker(question, asked);
    }
    let (policy, ports) = policy_of_files(question)?;
    let answer = policy.answer(asked, &ports).map_err(|wrong| Failure::usage(format!("why: {wrong}")))?;
    Ok(format!("{}\n", answer.text))
}

fn ask_broker(question: &Question, asked: auth::Question<'_>) -> Result<String, Failure> {
    let named = question.admin.as_deref().unwrap_or("default");
    let wrong = |wanted| Failure::usage(format!("why: --admin {wanted}"));
    let address = AdminAddress::parse(named).map_err(wrong)?;
    if question.strict {
        return Err(Failure::usage("why: --strict is for files; the broker knows whether it is strict"));
    }
    let asking =
        Asking { address: &address, token_file: question.admin_token_file.as_deref(), account: None, authority: None };
    let named = |failure: Failure| Failure { text: format!("why: {}", failure.text), ..failure };
    let answer = admin::why(asking, asked).map_err(named)?;
    let whose = match answer.user.filter(|_| answer.user_is_of_session) {
        Some(user) => format!("for user {user}, whose session {} is\n", question.client),
        None => String::new(),
    };
    Ok(format!("{}\n{whose}", answer.text))
}

/// The rights of the files that are named, and the ports of the listeners.
fn policy_of_files(question: &Question) -> Result<(Policy, Vec<Option<u16>>), Failure> {
    if let Some(acl) = &question.acl {
        return Ok((policy_of_acl_file(acl, question.strict)?, vec![Some(0)]));
    }
    let mosquitto = question.config_file.clone().map(File::Mosquitto);
    let file = mosquitto.or_else(|| question.config.clone().map(File::Toml));
    let arguments = Arguments { file, allowed_cpus: allowed_cpus(), ..Arguments::default() };
    let config = load_again(&arguments)?;
    let port = |listener: &Listener| match &listener.address {
        ListenAddress::Tcp(address) => Some(address.port()),
        ListenAddress::Unix(_) => Some(0),
    };
    let ports = config.listeners.iter().map(port).collect();
    Ok((policy_for_questions(&config, question.strict)?, ports))
}
