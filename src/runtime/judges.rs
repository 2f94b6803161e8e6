//! Judges: who says of a client what no file of the broker's says, by the name under which the shards know them.
//!
//! Duty: hold those of the configuration that runs, so that the verifier finds them. Must not: judge. Neighbours: `policy_files` makes
//! them, `start` and `reloading` seat them, `verifier` asks.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::authenticator::Authenticator;
use super::tokens::TokenKeys;
use crate::auth::JudgeId;

/// All judges of a configuration.
#[derive(Debug, Default)]
pub(super) struct Judges {
    pub(super) tokens: HashMap<JudgeId, Arc<TokenKeys>>,
    pub(super) authenticators: HashMap<JudgeId, Arc<Authenticator>>,
}

/// Where the judges sit that judge now.
#[derive(Clone, Debug, Default)]
pub(super) struct Bench(Arc<Mutex<Arc<Judges>>>);

impl Bench {
    /// These judge from now on. To be called before the shards hear of them.
    pub(super) fn seat(&self, judges: Judges) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(judges);
    }

    /// Who judges now.
    pub(super) fn seated(&self) -> Arc<Judges> {
        Arc::clone(&self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
