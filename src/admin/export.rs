//! Export: spans of messages that their publishers trace, for a collector of OpenTelemetry (OTLP over HTTP).
//!
//! Duty: make a span of each sampled message, from the first that a client can send after the broker has said that it listens, as a
//! child of its publisher's, and bring them in batches; count what could not be brought and say so, not often. Must not: sample by
//! itself, or hold a shard up: what does not fit into its channel is lost and counted.
//! Neighbours: `shard::Tap::Sampled` shows the messages, `metrics` the counts.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use async_trait::async_trait;
use opentelemetry::trace::{SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{SpanExporter, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{IdGenerator, RandomIdGenerator, SpanData, SpanEvents, SpanExporter as _, SpanLinks};
use tokio::sync::mpsc::{Receiver, channel};
use tokio::sync::oneshot;
use ureq::Agent;

use crate::id::ShardId;
use crate::runtime::{AUTHORITY, Failure, Sight, Window, agent, certificates, start_beside};
use crate::shard::{Shown, Tap};

/// Sampled messages that may wait to be brought; more are lost and counted.
const SPANS_WAITING_MAX: usize = 4096;
/// Spans in one request.
const SPANS_PER_REQUEST_MAX: usize = 512;
/// So long are spans gathered before the next request.
const GATHERED: Duration = Duration::from_millis(200);
/// So long a collector may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// So long are answers of the collector that are read, bytes.
const ANSWER_BYTES_MAX: u64 = 65_536;
/// It is told so seldom that spans are lost.
const TOLD_EVERY: Duration = Duration::from_secs(60);
/// So long the start waits until every shard samples; they answer in their next turn.
const SAMPLED_WITHIN: Duration = Duration::from_secs(1);
/// Where collectors take spans (OTLP specification, "OTLP/HTTP Request").
const TRACES_PATH: &str = "/v1/traces";

/// What became of spans.
#[derive(Debug, Default)]
pub(super) struct Spans {
    exported: AtomicU64,
    lost: AtomicU64,
}

impl Spans {
    /// How many the collector has taken.
    pub(super) fn exported(&self) -> u64 {
        self.exported.load(Ordering::Relaxed)
    }

    /// How many it has not, as there were too many or it did not answer.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

/// A running export. Dropped, it brings what it has and ends; the shards have ended before, or it was never told to begin.
#[derive(Debug)]
pub(super) struct Export {
    pub(super) spans: Arc<Spans>,
    thread: Option<JoinHandle<()>>,
}

/// Has the shards sample; dropped unused, the export ends.
pub(super) struct Begin(oneshot::Sender<mpsc::Sender<()>>);

impl Begin {
    /// Every shard answers by now: waits until it samples.
    pub(super) fn begin(self) {
        let (done, is_done) = mpsc::channel();
        // If the thread has ended, or a shard, then so does the waiting.
        let _ = self.0.send(done);
        let _ = is_done.recv_timeout(SAMPLED_WITHIN);
    }
}

impl Export {
    /// Brings spans to the collector at an address such as `http://127.0.0.1:4318` once it is told to begin.
    ///
    /// # Errors
    /// The address is none, or there are no certificates for https.
    pub(super) fn start(endpoint: &str, window: Window) -> Result<(Self, Begin), Failure> {
        let exporter = exporter(endpoint).map_err(|why| Failure::config(format!("otlp_endpoint {endpoint}: {why}")))?;
        let spans = Arc::new(Spans::default());
        let (begin, begun) = oneshot::channel();
        let counts = Arc::clone(&spans);
        let thread = start_beside("export", move || {
            // It is needed for its waiting only: nothing here reads a socket of it.
            match tokio::runtime::Builder::new_current_thread().build() {
                Ok(executor) => {
                    let bringer = Bringer { exporter, window, spans: counts, executor, told: None };
                    bringer.run(begun);
                }
                Err(error) => window.warn(format!("No spans are exported: {error}")),
            }
        })?;
        Ok((Self { spans, thread: Some(thread) }, Begin(begin)))
    }
}

impl Drop for Export {
    fn drop(&mut self) {
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn exporter(endpoint: &str) -> Result<SpanExporter, String> {
    let uri: ureq::http::Uri =
        endpoint.parse().map_err(|_| "not an address such as http://127.0.0.1:4318".to_owned())?;
    let authority = match uri.scheme_str() {
        Some("http") => Vec::new(),
        Some("https") => {
            let pem = fs::read(AUTHORITY).map_err(|error| format!("{AUTHORITY} cannot be read: {error}"))?;
            certificates(&pem).ok_or_else(|| format!("{AUTHORITY} has no certificate"))?
        }
        _ => return Err("http://HOST:PORT or https://HOST:PORT is wanted".into()),
    };
    let has_path = uri.path() != "/";
    let url = if has_path { endpoint.to_owned() } else { format!("{}{TRACES_PATH}", endpoint.trim_end_matches('/')) };
    let client = Collector(agent(PATIENCE, authority));
    let builder =
        SpanExporter::builder().with_http().with_http_client(client).with_endpoint(url).with_timeout(PATIENCE);
    let mut exporter = builder.build().map_err(|error| error.to_string())?;
    // OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES of the environment hold, as everywhere.
    let named = std::env::var_os("OTEL_SERVICE_NAME").is_some();
    let resource = Resource::builder().with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")));
    exporter.set_resource(&if named { resource } else { resource.with_service_name("ringmq") }.build());
    Ok(exporter)
}

/// The way to a collector.
#[derive(Debug)]
struct Collector(Agent);

#[async_trait]
impl HttpClient for Collector {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(head, &body[..]))?;
        let (head, mut body) = answer.into_parts();
        let body = body.with_config().limit(ANSWER_BYTES_MAX).read_to_vec()?;
        Ok(Response::from_parts(head, body.into()))
    }
}

struct Bringer {
    exporter: SpanExporter,
    window: Window,
    spans: Arc<Spans>,
    executor: tokio::runtime::Runtime,
    /// When it was told last that spans are lost, and how many were until then.
    told: Option<(Instant, u64)>,
}

impl Bringer {
    fn run(mut self, begun: oneshot::Receiver<mpsc::Sender<()>>) {
        // The broker has not started, otherwise.
        let Ok(sampling) = begun.blocking_recv() else { return };
        let (sender, mut sights) = channel(SPANS_WAITING_MAX);
        for shard in (0..self.window.shards() as u16).map(ShardId) {
            let sender = sender.clone();
            self.executor.block_on(self.window.ask(shard, move |look| look.watch(Tap::Sampled, sender)));
        }
        drop((sender, sampling));
        while let Some(batch) = gather(&mut sights) {
            let is_full = batch.len() == SPANS_PER_REQUEST_MAX;
            self.bring(batch);
            if !is_full {
                thread::sleep(GATHERED);
            }
        }
    }

    fn bring(&mut self, batch: Vec<Sight>) {
        let unseen: u64 = batch.iter().map(|sight| sight.lost).sum();
        let spans: Vec<_> = batch.into_iter().filter_map(span_of).collect();
        let count = spans.len() as u64;
        let result = self.executor.block_on(self.exporter.export(spans));
        let (exported, lost) = if result.is_ok() { (count, unseen) } else { (0, unseen + count) };
        self.spans.exported.fetch_add(exported, Ordering::Relaxed);
        let lost = self.spans.lost.fetch_add(lost, Ordering::Relaxed) + lost;
        self.tell_of_lost(lost, result.err().map(|error| error.to_string()));
    }

    fn tell_of_lost(&mut self, lost: u64, why: Option<String>) {
        let told = self.told.map_or(0, |(_, told)| told);
        if lost == told || self.told.is_some_and(|(when, _)| when.elapsed() < TOLD_EVERY) {
            return;
        }
        let why = why.unwrap_or_else(|| format!("more than {SPANS_WAITING_MAX} waited"));
        self.window.warn(format!("{} spans of sampled messages were lost: {why} (otlp_endpoint)", lost - told));
        self.told = Some((Instant::now(), lost));
    }
}

/// What waits, up to what one request takes; waits for the first. `None`: there are no shards any more.
fn gather(sights: &mut Receiver<Sight>) -> Option<Vec<Sight>> {
    let mut batch = vec![sights.blocking_recv()?];
    while batch.len() < SPANS_PER_REQUEST_MAX {
        match sights.try_recv() {
            Ok(sight) => batch.push(sight),
            Err(_) => break,
        }
    }
    Some(batch)
}

/// The span of a sampled message: from the turn that took it until what the turn has sent was handed over.
fn span_of(sight: Sight) -> Option<SpanData> {
    let Shown::Sampled { context, topic, qos, payload_bytes, troubles } = sight.what else { return None };
    // What is no state is forgotten, and the context holds (W3C Trace Context, section 3.3).
    let state = context.state.parse().unwrap_or(TraceState::NONE);
    let span_id = RandomIdGenerator::default().new_span_id();
    let trace_id = TraceId::from_bytes(context.trace_id.to_be_bytes());
    let status = if troubles.is_empty() { Status::Unset } else { Status::error(troubles.join(", ")) };
    // Names of OpenTelemetry's semantic conventions for messaging, and of its own where these have none.
    let mut attributes = vec![
        KeyValue::new("messaging.system", "mqtt"),
        KeyValue::new("messaging.operation.type", "send"),
        KeyValue::new("messaging.operation.name", "publish"),
        KeyValue::new("messaging.destination.name", topic.to_string()),
        KeyValue::new("messaging.client.id", sight.client_id.to_string()),
        KeyValue::new("messaging.message.body.size", payload_bytes as i64),
        KeyValue::new("mqtt.qos", qos as i64),
    ];
    if let Some(trouble) = troubles.first() {
        attributes.push(KeyValue::new("error.type", *trouble));
    }
    let end_time = UNIX_EPOCH + Duration::from_nanos(sight.at_unix_nanos);
    let start_time: SystemTime = end_time - Duration::from_nanos(sight.turn_nanos);
    Some(SpanData {
        span_context: SpanContext::new(trace_id, span_id, TraceFlags::SAMPLED, false, state),
        parent_span_id: SpanId::from_bytes(context.parent_id.to_be_bytes()),
        parent_span_is_remote: true,
        span_kind: SpanKind::Server,
        name: format!("publish {topic}").into(),
        start_time,
        end_time,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status,
        instrumentation_scope: InstrumentationScope::builder("ringmq").with_version(env!("CARGO_PKG_VERSION")).build(),
    })
}
