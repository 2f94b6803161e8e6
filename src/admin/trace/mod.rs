//! Trace: packets of a client, or messages to topics, shown as they pass, as server-sent events.
//!
//! Duty: set the tap on the shards that know, hand on what they show in words, end with the reader or at the limit, hold the bound on how
//! many watch at once. Must not: hold a shard up: what a reader does not take is counted. Neighbours: `words` has the text of a packet;
//! `runtime` carries what is shown; `stream` ends a connection that is not read.

mod words;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::body::Frame;
use tokio::sync::mpsc::{Receiver, channel};
use tokio::time::{Interval, interval};

use super::answer::{TraceQuestion, Traced};
use super::api::Room;
use super::asked::Query;
use super::problem::Problem;
use super::server::Why;
use crate::runtime::{Look, Sight, Window};
use crate::shard::Tap;
use crate::topic::{TopicFilter, TopicLimits};

/// Sights that wait for a reader; what is more is counted and lost.
const SIGHTS_MAX: usize = 1024;
/// Events that a reader may ask for.
const LIMIT_MAX: u32 = 1_000_000;
/// A comment is sent as often as this, so that both ends see whether the other is there.
const BEAT: Duration = Duration::from_secs(15);
/// What is sent first: from now on everything is shown.
const BEGIN: &[u8] = b": watching\n\n";

/// Who watches: the inner one is there as often as there are watchers, and once more.
#[derive(Clone, Debug, Default)]
pub(super) struct Watchers(Arc<Arc<()>>);

impl Watchers {
    fn place(&self, most: usize) -> Option<Arc<()>> {
        (Arc::strong_count(&*self.0) <= most).then(|| Arc::clone(&*self.0))
    }
}

/// Shows packets until the reader goes.
pub(super) async fn trace(
    State(room): State<Room>,
    Query(question): Query<TraceQuestion>,
) -> Result<Response, Problem> {
    let shown = room.window.shown();
    let tap = tap_of(&question, TopicLimits::from(&shown.limits))?;
    let left = match question.limit {
        None => u64::MAX,
        Some(limit @ 1..=LIMIT_MAX) => u64::from(limit),
        Some(_) => return Err(Problem::bad(format!("limit: 1 to {LIMIT_MAX} is wanted"))),
    };
    let most = shown.limits.admin_traces_max;
    let too_many = || {
        room.refused.note(Why::Watching);
        let detail = format!("{most} watch already, which is admin_traces_max; end one, or raise it");
        Problem::new(StatusCode::TOO_MANY_REQUESTS, detail)
    };
    let place = room.watchers.place(most).ok_or_else(too_many)?;
    let (sender, sights) = channel(SIGHTS_MAX);
    let shards: Vec<_> = match &tap {
        Tap::Client(client_id) => vec![room.window.shard_of(client_id)],
        Tap::Topic(_) | Tap::Sampled => room.shards().collect(),
    };
    for shard in shards {
        let (tap, sender) = (tap.clone(), sender.clone());
        room.ask(shard, move |look: &mut Look<'_>| look.watch(tap, sender)).await?;
    }
    drop(sender);
    let waiting = VecDeque::from([Bytes::from_static(BEGIN)]);
    let with_payload = question.payload.unwrap_or(false);
    let beat = interval(BEAT);
    let events = Events { window: room.window, sights, waiting, with_payload, left, beat, _place: place };
    let mut response = Response::new(Body::new(events));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

fn tap_of(question: &TraceQuestion, limits: TopicLimits) -> Result<Tap, Problem> {
    match (question.client.as_deref(), question.topic.as_deref()) {
        (Some(""), None) => Err(Problem::bad("client: a client id is wanted")),
        (Some(client_id), None) => Ok(Tap::Client(client_id.into())),
        (None, Some(filter)) => {
            let wrong = |error: &dyn std::fmt::Display| Problem::bad(format!("topic {filter:?}: {error}"));
            let filter = TopicFilter::new(filter, limits).map_err(|error| wrong(&error))?;
            Ok(Tap::Topic(filter.as_str().into()))
        }
        _ => Err(Problem::bad("either client or topic is wanted: whose packets, or messages to which topics")),
    }
}

/// The body of the answer.
struct Events {
    window: Window,
    sights: Receiver<Sight>,
    /// Events of the last sight.
    waiting: VecDeque<Bytes>,
    with_payload: bool,
    /// Events that may still come.
    left: u64,
    beat: Interval,
    _place: Arc<()>,
}

impl Events {
    fn take(&mut self, sight: Sight) {
        let shard = u32::from(self.window.shard_of(&sight.client_id).0);
        for traced in words::traced(sight, shard, self.with_payload) {
            if self.left > 0 {
                self.left -= 1;
                self.waiting.push_back(event_of(&traced));
            }
        }
    }
}

fn event_of(traced: &Traced) -> Bytes {
    // Our own types have keys that are text, and nothing that fails; JSON has no line break in it.
    let json = serde_json::to_string(traced).unwrap_or_default();
    format!("data: {json}\n\n").into()
}

impl HttpBody for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        loop {
            if let Some(bytes) = self.waiting.pop_front() {
                return Poll::Ready(Some(Ok(Frame::data(bytes))));
            }
            if self.left == 0 {
                return Poll::Ready(None);
            }
            match self.sights.poll_recv(context) {
                Poll::Ready(Some(sight)) => self.take(sight),
                // The shards have ended.
                Poll::Ready(None) => return Poll::Ready(None),
                Poll::Pending => {
                    ready!(self.beat.poll_tick(context));
                    self.waiting.push_back(Bytes::from_static(b":\n\n"));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::Limits;

    fn tap(client: Option<&str>, topic: Option<&str>) -> Result<Tap, Problem> {
        let [client, topic] = [client, topic].map(|text| text.map(str::to_owned));
        let question = TraceQuestion { client, topic, ..TraceQuestion::default() };
        tap_of(&question, TopicLimits::from(&Limits::default()))
    }

    #[test]
    fn one_client_or_one_filter_is_watched() {
        assert_eq!(tap(Some("c"), None).unwrap(), Tap::Client("c".into()));
        assert_eq!(tap(None, Some("a/#")).unwrap(), Tap::Topic("a/#".into()));
        for (client, topic) in [(None, None), (Some("c"), Some("a")), (Some(""), None), (None, Some("a/#/b"))] {
            assert_eq!(tap(client, topic).unwrap_err().status, StatusCode::BAD_REQUEST, "{client:?} {topic:?}");
        }
    }

    #[test]
    fn a_place_is_free_again_when_its_watcher_has_gone() {
        let watchers = Watchers::default();
        let _of_another_request = watchers.clone();
        let first = watchers.place(2);
        let second = watchers.place(2);
        assert!(first.is_some() && second.is_some() && watchers.place(2).is_none());
        drop(first);
        assert!(watchers.place(2).is_some());
    }
}
