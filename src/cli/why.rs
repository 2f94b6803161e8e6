//! Why: `ringmq why`, which says what a client may do, and which line of the ACL file says so.
//!
//! Duty: its command line. Must not: decide. Neighbours: `auth` decides and explains; `config` and `runtime` read the files.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use super::load_again;
use crate::auth::{Access, Asked, Judge, JudgeId, Rules, Terms};
use crate::config::{Arguments, Config, File, ListenAddress, Listener, Security};
use crate::limits::Limits;
use crate::runtime::{Failure, allowed_cpus, rules_of, rules_of_acl_file};
use crate::topic::{SubscriptionFilter, TopicLimits, TopicName};

/// Say whether a client may do something, and which line of an ACL file decides that
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq why", disable_version_flag = true)]
pub struct Question {
    /// The ACL file
    #[arg(long, value_name = "FILE", required_unless_present_any = ["config_file", "config"])]
    acl: Option<PathBuf>,

    /// Configuration file in Mosquitto's format, which names the ACL file
    #[arg(short, long, value_name = "FILE", conflicts_with_all = ["config", "acl"])]
    config_file: Option<PathBuf>,

    /// Configuration file in ringmq's own format
    #[arg(long, value_name = "FILE", conflicts_with = "acl")]
    config: Option<PathBuf>,

    /// Port of the listener that the client comes by, if the file has several with different rights
    #[arg(long, value_name = "PORT", conflicts_with = "acl")]
    listener: Option<u16>,

    /// User name; none for a client that comes without
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Client id
    #[arg(long, value_name = "ID", default_value = "")]
    client: String,

    /// Whether SUBSCRIBE to what can bring nothing is refused
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

/// The answer, one line.
///
/// # Errors
/// A file that cannot be read or has mistakes, a topic that is none.
pub fn answer(question: &Question) -> Result<String, Failure> {
    let (rules, terms) = rules(question)?;
    let asked = Asked { user: question.user.as_deref(), client_id: &question.client, grants: None };
    let limits = TopicLimits::from(&Limits::default());
    let topic = question.topic.as_str();
    let wrong = |error| Failure::usage(format!("why: '{topic}': {error}"));
    let access = match question.wish {
        Wish::Subscribe => {
            let mounted = terms.mounted_filter(topic);
            SubscriptionFilter::new(topic, limits).map_err(wrong)?;
            let filter = SubscriptionFilter::new(&mounted, limits).map_err(wrong)?.filter();
            return Ok(format!("{}\n", rules.explain_subscription(asked, filter.as_str())));
        }
        Wish::Publish => Access::Publish,
        Wish::Receive => Access::Receive,
    };
    let name = TopicName::new(topic, limits).map_err(wrong)?;
    if access == Access::Publish && name.is_dollar() {
        return Ok("denied: clients may not publish to topics that begin with $\n".into());
    }
    Ok(format!(
        "{}\n",
        rules.explain(access, asked, &format!("{}{topic}", terms.mount_point.as_deref().unwrap_or_default()))
    ))
}

/// The rules that are asked for, and the terms of the listener.
fn rules(question: &Question) -> Result<(Rules, Terms), Failure> {
    if let Some(acl) = &question.acl {
        return Ok((rules_of_acl_file(acl, question.strict)?, Terms::default()));
    }
    let mosquitto = question.config_file.clone().map(File::Mosquitto);
    let file = mosquitto.or_else(|| question.config.clone().map(File::Toml));
    let arguments = Arguments { file, allowed_cpus: allowed_cpus(), ..Arguments::default() };
    let config = load_again(&arguments)?;
    let (security, mount) = chosen(&config, question.listener)?;
    let strict = question.strict || security.refuses_useless_subscriptions;
    // Keys, and who is asked, say nothing of rights: whoever asks here may not even read them.
    let judge = |gives_rights| Judge { id: JudgeId(0), gives_rights };
    let tokens = security.tokens.as_ref().map(|tokens| judge(tokens.gives_rights()));
    let authenticator = security.authenticator.as_ref().map(|_| judge(true));
    let security = Security { password_file: None, tokens: None, authenticator: None, ..security };
    let rules = rules_of(&Security { refuses_useless_subscriptions: strict, ..security })?;
    let rules = Rules { tokens, authenticator, ..rules };
    Ok((rules, Terms { mount_point: mount.map(Box::from), ..Terms::default() }))
}

/// The rights of the listener on this port; of all, if they are the same everywhere.
fn chosen(config: &Config, port: Option<u16>) -> Result<(Security, Option<String>), Failure> {
    let is_there = |listener: &&Listener| match (&listener.address, port) {
        (_, None) => true,
        (ListenAddress::Tcp(address), Some(port)) => address.port() == port,
        (ListenAddress::Unix(_), Some(port)) => port == 0,
    };
    let mut found = config.listeners.iter().filter(is_there);
    let terms = |listener: &Listener| (listener.security, listener.mount_point.clone());
    let first = found.next().map(terms).ok_or_else(|| Failure::usage("why: the file has no listener on that port"))?;
    if found.any(|other| terms(other) != first) {
        let text = "why: the listeners have different rights or mount points; choose one by --listener PORT";
        return Err(Failure::usage(text));
    }
    let (security, mount) = first;
    Ok((config.securities[security].clone(), mount))
}
