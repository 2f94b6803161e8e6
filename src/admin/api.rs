//! Api: the paths, and what is behind them.
//!
//! Duty: one table of paths; the way to the shards for all rooms of the API. Must not: wait for anything but a shard's answer. Neighbours:
//! `server` brings requests, `entry` lets them in; each room answers its own.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::{get, post};

use super::answer::{Explained, WhyQuestion};
use super::asked::Query;
use super::clients::{self, Talk};
use super::export::Spans;
use super::overview::{self, Glance};
use super::pace::Pace;
use super::problem::{Problem, json_of};
use super::sampler::{Sampler, Span};
use super::server::Refused;
use super::topics::{self, Published};
use super::trace::Watchers;
use super::{change, configuration, describe, drops, entry, metrics, page, retained, trace};
use crate::auth::{Asked, Question, Wish};
use crate::id::ShardId;
use crate::runtime::{Look, Phase, SessionUser, ShardFigures, Window};

/// What answers need.
#[derive(Clone, Debug)]
pub(super) struct Room {
    pub(super) window: Window,
    /// Whether only processes of this machine's broker and root come in; a browser does not.
    pub(super) is_unix: bool,
    pub(super) refused: Arc<Refused>,
    pub(super) samples: Arc<Samples>,
    /// What became of spans, if they are exported.
    pub(super) spans: Option<Arc<Spans>>,
    pub(super) watchers: Watchers,
    pub(super) pace: Arc<Pace>,
}

/// What was looked at last.
#[derive(Debug, Default)]
pub(super) struct Samples {
    figures: Sampler<Glance>,
    pub(super) topics: Sampler<Published>,
    pub(super) talk: Sampler<Talk>,
}

impl Room {
    /// All shards.
    pub(super) fn shards(&self) -> impl Iterator<Item = ShardId> + use<> {
        (0..self.window.shards() as u16).map(ShardId)
    }

    /// Asks a shard.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        shard: ShardId,
        question: impl FnOnce(&mut Look<'_>) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        self.window.ask(shard, question).await.ok_or_else(Problem::gone)
    }

    /// What all shards have counted until now.
    pub(super) async fn figures(&self) -> Result<Vec<ShardFigures>, Problem> {
        self.window.figures().await.filter(|figures| !figures.is_empty()).ok_or_else(Problem::gone)
    }

    /// What all shards had counted at two moments of the last seconds.
    pub(super) async fn recent(&self) -> Result<Span<Glance>, Problem> {
        let look = |window: Window| async move {
            let shards = window.figures().await.filter(|figures| !figures.is_empty())?;
            Some(Glance { shards, commits: window.store().map(|store| store.tally().commit_times()) })
        };
        self.samples.figures.recent(|| look(self.window.clone())).await.ok_or_else(Problem::gone)
    }
}

/// All paths.
pub(super) fn router(room: Room) -> Router {
    let of_api = Router::new()
        .route("/metrics", get(metrics::metrics))
        .route("/api/v1/why", get(why))
        .route("/api/v1/overview", get(overview::overview))
        .route("/api/v1/shards", get(overview::shards))
        .route("/api/v1/clients", get(clients::list))
        .route("/api/v1/clients/{client_id}", get(clients::one).delete(change::kick))
        .route("/api/v1/clients/{client_id}/queue", get(clients::queue))
        .route("/api/v1/topics", get(topics::list))
        .route("/api/v1/topics/{topic}/audience", get(topics::audience))
        .route("/api/v1/retained", get(retained::list).delete(retained::delete))
        .route("/api/v1/retained/{*topic}", get(retained::one))
        .route("/api/v1/publish", post(change::publish))
        .route("/api/v1/drops", get(drops::list))
        .route("/api/v1/denials", get(drops::denials))
        .route("/api/v1/config", get(configuration::config))
        .route("/api/v1/reload", post(configuration::reload))
        .route("/api/v1/log", get(configuration::log).put(configuration::set_log))
        .route("/api/v1/trace", get(trace::trace))
        .route_layer(from_fn_with_state(room.clone(), entry::let_in));
    Router::new()
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/api/openapi.json", get(describe::description))
        .merge(of_api)
        .merge(page::routes())
        .fallback(|| async {
            let detail =
                "there is nothing here; /, /metrics, /healthz, /readyz and what /api/openapi.json describes are";
            Problem::new(StatusCode::NOT_FOUND, detail)
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(StatusCode::METHOD_NOT_ALLOWED, "the path is there, but not for this method")
        })
        .layer(from_fn_with_state(room.clone(), entry::bound))
        .with_state(room)
}

/// This process is up.
async fn healthz() -> &'static str {
    "ok\n"
}

/// Every shard listens, and none was told to stop.
async fn readyz(State(room): State<Room>) -> (StatusCode, &'static str) {
    match room.window.phase() {
        Phase::Starting => (StatusCode::SERVICE_UNAVAILABLE, "starting\n"),
        Phase::Serving => (StatusCode::OK, "ready\n"),
        Phase::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping\n"),
    }
}

/// Whether a client may do something, by the rules that hold now.
async fn why(State(room): State<Room>, Query(question): Query<WhyQuestion>) -> Result<Response, Problem> {
    let WhyQuestion { user, client, action, topic, listener } = question;
    let wish = Wish::WORDS.iter().find(|(word, _)| *word == action).map(|(_, wish)| *wish);
    let wish = wish.ok_or_else(|| Problem::bad("action: publish, receive or subscribe is wanted"))?;
    let (user, user_is_of_session) = match user {
        Some(user) => (Some(user), false),
        None if client.is_empty() => (None, false),
        None => match room.window.user_of(&client).await {
            Some(SessionUser::User(user)) => (Some(user.into_string()), true),
            Some(SessionUser::Nobody | SessionUser::NoSession) => (None, false),
            None => return Err(Problem::gone()),
        },
    };
    let shown = room.window.shown();
    let asked = Asked { user: user.as_deref(), client_id: &client, grants: None };
    let question = Question { asked, wish, topic: &topic, port: listener };
    let answer = shown.policy.answer(question, &shown.ports).map_err(|error| Problem::bad(error.to_string()))?;
    let (file, line) = answer.line.map(|(file, line)| (file.to_string(), line)).unzip();
    let explained = Explained { allowed: answer.is_allowed, text: answer.text, file, line, user, user_is_of_session };
    Ok(json_of(StatusCode::OK, &explained))
}
