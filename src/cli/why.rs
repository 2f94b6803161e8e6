//! Why: `ringmq why`, which says what a client may do, and which line of the ACL file says so.
//!
//! Duty: its command line. Must not: decide. Neighbours: `auth` decides and explains; `runtime` reads the file.

use std::path::PathBuf;

use clap::{Parser, ValueEnum};

use crate::auth::{Access, Asked};
use crate::limits::Limits;
use crate::runtime::{Failure, rules_of_acl_file};
use crate::topic::{SubscriptionFilter, TopicLimits, TopicName};

/// Say whether a client may do something, and which line of an ACL file decides that
#[derive(Clone, Debug, Parser)]
#[command(name = "ringmq why", disable_version_flag = true)]
pub struct Question {
    /// The ACL file
    #[arg(long, value_name = "FILE")]
    acl: PathBuf,

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
    let rules = rules_of_acl_file(&question.acl, question.strict)?;
    let asked = Asked { user: question.user.as_deref(), client_id: &question.client };
    let limits = TopicLimits::from(&Limits::default());
    let topic = question.topic.as_str();
    let wrong = |error| Failure::usage(format!("why: '{topic}': {error}"));
    let access = match question.wish {
        Wish::Subscribe => {
            let filter = SubscriptionFilter::new(topic, limits).map_err(wrong)?.filter();
            return Ok(format!("{}\n", rules.explain_subscription(asked, filter.as_str())));
        }
        Wish::Publish => Access::Publish,
        Wish::Receive => Access::Receive,
    };
    let name = TopicName::new(topic, limits).map_err(wrong)?;
    if access == Access::Publish && name.is_dollar() {
        return Ok("denied: clients may not publish to topics that begin with $\n".into());
    }
    Ok(format!("{}\n", rules.explain(access, asked, topic)))
}
