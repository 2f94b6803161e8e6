//! A user name that all sessions of the user share.
//!
//! Duty: one word in each of a million sessions, most of which have none. Must not: say whether it was proved. Neighbours:
//! `shard/sessions` keeps one for each user that has sessions.

use std::borrow::Borrow;
use std::ops::Deref;
use std::sync::Arc;

/// A user name; a clone is a reference count.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct UserName(Arc<Box<str>>);

impl From<&str> for UserName {
    fn from(name: &str) -> Self {
        Self(Arc::new(name.into()))
    }
}

impl Deref for UserName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl Borrow<str> for UserName {
    fn borrow(&self) -> &str {
        self
    }
}
