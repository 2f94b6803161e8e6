//! Metrics: what Prometheus reads, in its text format or as OpenMetrics.
//!
//! Duty: name, meaning, type and labels of each family; labels are bounded by the number of shards and by what the code names. Must not:
//! count. Neighbours: `drops` has the troubles by name, `histogram` the buckets; `prometheus_client` writes.

use std::fs;
use std::sync::atomic::Ordering::Relaxed;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use hdrhistogram::Histogram;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet, prometheus_text, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

use super::api::Room;
use super::drops::troubles_of_shard;
use super::overview::{retained_of, state_name};
use super::problem::Problem;
use crate::runtime::store::State as StoreState;
use crate::runtime::{Figures, Phase, ShardFigures};
use crate::shard::{Trouble, TroubleKind};

/// Upper bounds of the buckets, nanoseconds: from 10 us to 10 s.
const BOUNDS_NANOS: [u64; 19] = [
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    200_000_000,
    500_000_000,
    1_000_000_000,
    2_000_000_000,
    5_000_000_000,
    10_000_000_000,
];

/// What `/proc` counts processor time in.
const TICKS_PER_SEC: f64 = 100.0;
/// What it counts memory in.
const PAGE_BYTES: u64 = 4096;

const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// All metrics, as OpenMetrics if that is asked for.
pub(super) async fn metrics(State(room): State<Room>, headers: HeaderMap) -> Result<Response, Problem> {
    let scrape = Scrape::of(&room, room.figures().await?);
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
    let is_open = accept.contains("application/openmetrics-text");
    let mut registry = Registry::default();
    registry.register_collector(Box::new(scrape));
    let mut told = String::new();
    let written =
        if is_open { text::encode(&mut told, &registry) } else { prometheus_text::encode(&mut told, &registry) };
    written.map_err(|_| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "the metrics cannot be written"))?;
    let mut response = Response::new(Body::from(told));
    let kind = HeaderValue::from_static(if is_open { OPEN_METRICS } else { PROMETHEUS });
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    Ok(response)
}

/// What is told at once.
#[derive(Debug)]
struct Scrape {
    shards: Vec<ShardFigures>,
    started_secs: f64,
    is_ready: bool,
    held_bytes_max: u64,
    connections_max: u64,
    store: Option<StoreScrape>,
    process: ProcessScrape,
    /// Spans that were exported, and lost.
    spans: Option<[u64; 2]>,
}

#[derive(Debug)]
struct StoreScrape {
    state: StoreState,
    commits: u64,
    waiting: u64,
    micros: Histogram<u64>,
}

#[derive(Debug)]
struct ProcessScrape {
    resident_bytes: u64,
    cpu_secs: f64,
    open_fds: u64,
    max_fds: u64,
}

impl Scrape {
    fn of(room: &Room, shards: Vec<ShardFigures>) -> Self {
        let window = &room.window;
        let limits = window.shown().limits.clone();
        let held_bytes_max = limits.held_bytes_per_shard_max as u64;
        let store = window.store().map(|store| StoreScrape {
            state: store.state(),
            commits: store.tally().commits.load(Relaxed),
            waiting: store.waiting() as u64,
            micros: store.tally().commit_times(),
        });
        Self {
            held_bytes_max: held_bytes_max.saturating_mul(shards.len() as u64),
            connections_max: limits.connections_per_shard_max as u64,
            shards,
            started_secs: window.started_unix_millis() as f64 / 1000.0,
            is_ready: window.phase() == Phase::Serving,
            store,
            process: ProcessScrape::now(),
            spans: room.spans.as_ref().map(|spans| [spans.exported(), spans.lost()]),
        }
    }
}

impl ProcessScrape {
    /// What the kernel says of this process; zeroes where it says nothing.
    fn now() -> Self {
        let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
        let pages: u64 = statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).unwrap_or(0);
        let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
        // The name of the process, in brackets, may have spaces.
        let ticks = stat.rsplit_once(") ").map_or(0, |(_, rest)| {
            rest.split(' ').skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
        });
        // Kernels before 6.2 have to be asked for each.
        let counted = fs::metadata("/proc/self/fd").map_or(0, |folder| folder.len());
        let open_fds =
            if counted > 0 { counted } else { fs::read_dir("/proc/self/fd").map_or(0, |all| all.count() as u64) };
        let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
        let of_files = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
        let max_fds = of_files.and_then(|limits| limits.split_whitespace().next()?.parse().ok()).unwrap_or(0);
        Self { resident_bytes: pages * PAGE_BYTES, cpu_secs: ticks as f64 / TICKS_PER_SEC, open_fds, max_fds }
    }
}

type Labels = Vec<(&'static str, String)>;
type Written = Result<(), std::fmt::Error>;

/// Writes families.
struct Families<'a>(DescriptorEncoder<'a>);

impl Families<'_> {
    /// A name that ends with a unit has that unit.
    fn family(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        write: impl FnOnce(MetricEncoder<'_>) -> Written,
    ) -> Written {
        let units = [("_bytes", Unit::Bytes), ("_seconds", Unit::Seconds)];
        let with_unit = units.iter().find_map(|(end, unit)| Some((name.strip_suffix(end)?, unit)));
        let (name, unit) = with_unit.map_or((name, None), |(name, unit)| (name, Some(unit)));
        write(self.0.encode_descriptor(name, help, unit, kind)?)
    }

    fn gauges(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, f64)>) -> Written {
        self.family(name, help, MetricType::Gauge, |mut family| {
            rows.into_iter().try_for_each(|(labels, value)| match &labels[..] {
                [] => family.encode_gauge(&value),
                _ => family.encode_family(&labels)?.encode_gauge(&value),
            })
        })
    }

    fn counters(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, u64)>) -> Written {
        self.family(name, help, MetricType::Counter, |mut family| {
            rows.into_iter().try_for_each(|(labels, value)| match &labels[..] {
                [] => family.encode_counter::<NoLabelSet, _, u64>(&value, None),
                _ => family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None),
            })
        })
    }

    fn seconds(&mut self, name: &str, help: &str, rows: impl IntoIterator<Item = (Labels, f64)>) -> Written {
        self.family(name, help, MetricType::Counter, |mut family| {
            rows.into_iter().try_for_each(|(labels, value)| match &labels[..] {
                [] => family.encode_counter::<NoLabelSet, _, u64>(&value, None),
                _ => family.encode_family(&labels)?.encode_counter::<NoLabelSet, _, u64>(&value, None),
            })
        })
    }

    /// `scale`: nanoseconds of what is counted in the histograms.
    fn histograms(
        &mut self,
        (name, help, scale): (&str, &str, u64),
        rows: impl IntoIterator<Item = (Labels, Histogram<u64>)>,
    ) -> Written {
        self.family(name, help, MetricType::Histogram, |mut family| {
            rows.into_iter().try_for_each(|(labels, histogram)| {
                let (sum, buckets) = buckets_of(&histogram, scale);
                match &labels[..] {
                    [] => family.encode_histogram::<NoLabelSet>(sum, histogram.len(), &buckets, None),
                    _ => family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                        sum,
                        histogram.len(),
                        &buckets,
                        None,
                    ),
                }
            })
        })
    }
}

/// The sum in seconds, and how many there are up to each bound above the one before it.
fn buckets_of(histogram: &Histogram<u64>, scale: u64) -> (f64, Vec<(f64, u64)>) {
    let bounds = BOUNDS_NANOS.map(|nanos| nanos as f64 / 1e9);
    let mut buckets: Vec<(f64, u64)> = bounds.into_iter().chain([f64::INFINITY]).map(|bound| (bound, 0)).collect();
    let mut sum = 0.0;
    for value in histogram.iter_recorded() {
        let (nanos, count) = (value.value_iterated_to().saturating_mul(scale), value.count_at_value());
        sum += nanos as f64 / 1e9 * count as f64;
        buckets[BOUNDS_NANOS.partition_point(|bound| *bound < nanos)].1 += count;
    }
    (sum, buckets)
}

impl Collector for Scrape {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> Written {
        let mut out = Families(encoder);
        self.write_broker(&mut out)?;
        self.write_gauges(&mut out)?;
        self.write_traffic(&mut out)?;
        self.write_troubles(&mut out)?;
        self.write_shards(&mut out)?;
        self.write_latency(&mut out)?;
        self.write_store(&mut out)?;
        if let Some(spans) = self.spans {
            let spans = ["exported", "lost"].into_iter().zip(spans);
            let spans = spans.map(|(result, count)| (with(&vec![], &[("result", result)]), count));
            out.counters("ringmq_spans", "Spans of sampled messages.", spans.collect::<Vec<_>>())?;
        }
        let process = &self.process;
        out.gauges(
            "ringmq_process_resident_bytes",
            "Resident memory of the broker.",
            [(vec![], process.resident_bytes as f64)],
        )?;
        out.seconds("ringmq_process_cpu_seconds", "Processor time of all threads.", [(vec![], process.cpu_secs)])?;
        out.gauges("ringmq_process_open_fds", "Open file descriptors.", [(vec![], process.open_fds as f64)])?;
        let most = process.max_fds as f64;
        out.gauges("ringmq_process_max_fds", "How many file descriptors may be open.", [(vec![], most)])
    }
}

impl Scrape {
    /// Something of each shard.
    fn each<T>(&self, of: impl Fn(&Figures) -> T) -> Vec<(Labels, T)> {
        self.shards.iter().enumerate().map(|(shard, figures)| (shard_label(shard), of(&figures.figures))).collect()
    }

    fn write_broker(&self, out: &mut Families<'_>) -> Written {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        out.gauges("ringmq_build_info", "The version that runs.", [(version, 1.0)])?;
        out.gauges(
            "ringmq_start_time_seconds",
            "When the broker was started, seconds since 1970.",
            [(vec![], self.started_secs)],
        )?;
        out.gauges("ringmq_ready", "Whether clients are served.", [(vec![], f64::from(u8::from(self.is_ready)))])?;
        let retained = retained_of(&self.shards) as f64;
        out.gauges("ringmq_retained_messages", "Retained messages of the broker.", [(vec![], retained)])?;
        let most = self.held_bytes_max as f64;
        out.gauges("ringmq_held_bytes_max", "How many bytes all shards may hold for clients.", [(vec![], most)])
    }

    fn write_gauges(&self, out: &mut Families<'_>) -> Written {
        type Gauge = (&'static str, &'static str, fn(&Figures) -> f64);
        let gauges: [Gauge; 9] = [
            ("ringmq_connections", "Network connections.", |shard| shard.gauges.connections as f64),
            ("ringmq_clients_connected", "Connected clients.", |shard| shard.gauges.connected as f64),
            ("ringmq_sessions", "Sessions, connected or not.", |shard| shard.gauges.sessions as f64),
            ("ringmq_subscriptions", "Subscriptions, shared ones included.", |shard| shard.gauges.subscriptions as f64),
            ("ringmq_shared_subscriptions", "Shared subscriptions.", |shard| shard.gauges.shared_subscriptions as f64),
            ("ringmq_queued_messages", "Messages that wait in queues of sessions.", |shard| {
                shard.gauges.queued_messages as f64
            }),
            ("ringmq_inflight_messages", "Messages sent and not acknowledged.", |shard| shard.gauges.in_flight as f64),
            ("ringmq_held_bytes", "Bytes held for clients.", |shard| shard.gauges.held_bytes as f64),
            ("ringmq_mesh_waiting_batches", "Batches of other shards that wait to be taken.", |shard| {
                shard.batches_waiting as f64
            }),
        ];
        gauges.into_iter().try_for_each(|(name, help, of)| out.gauges(name, help, self.each(of)))?;
        let most = self.connections_max as f64;
        out.gauges("ringmq_connections_max", "How many network connections a shard takes.", self.each(|_| most))
    }

    fn write_traffic(&self, out: &mut Families<'_>) -> Written {
        let by_qos = |received: fn(&Figures) -> [u64; 3], sent: fn(&Figures) -> [u64; 3]| {
            let rows = self.each(move |shard| [("received", received(shard)), ("sent", sent(shard))]).into_iter();
            let rows = rows.flat_map(|(labels, ways)| ways.map(|(way, each)| (labels.clone(), way, each)));
            rows.flat_map(|(labels, way, each)| {
                each.into_iter().enumerate().map(move |(qos, count)| {
                    (with(&labels, &[("direction", way), ("qos", ["0", "1", "2"][qos])]), count)
                })
            })
            .collect::<Vec<_>>()
        };
        let messages =
            by_qos(|shard| shard.counters.publishes_received.each(), |shard| shard.counters.delivered.each());
        out.counters("ringmq_messages", "PUBLISH packets received, and messages sent.", messages)?;
        let bytes = by_qos(
            |shard| shard.counters.payload_bytes_received.each(),
            |shard| shard.counters.payload_bytes_sent.each(),
        );
        out.counters("ringmq_payload_bytes", "Payloads of PUBLISH packets.", bytes)?;
        let ways = |received: fn(&Figures) -> u64, sent: fn(&Figures) -> u64| {
            let rows = self.each(move |shard| [("received", received(shard)), ("sent", sent(shard))]).into_iter();
            rows.flat_map(|(labels, ways)| ways.map(|(way, count)| (with(&labels, &[("direction", way)]), count)))
                .collect::<Vec<_>>()
        };
        out.counters(
            "ringmq_socket_bytes",
            "Bytes of all packets.",
            ways(|shard| shard.bytes_received, |shard| shard.bytes_sent),
        )?;
        let sent =
            |shard: &Figures| shard.counters.delivered.sum() + shard.counters.resent + shard.control_packets_sent;
        out.counters("ringmq_packets", "Packets of all kinds.", ways(|shard| shard.counters.packets_received, sent))?;
        out.counters("ringmq_connects", "Accepted CONNECT packets.", self.each(|shard| shard.counters.connects))?;
        let closed = self.each(|shard| shard.counters.broker_closes);
        out.counters("ringmq_disconnects_by_broker", "Connections that the broker closed.", closed)?;
        let unmatched = self.each(|shard| shard.counters.unmatched);
        out.counters("ringmq_messages_unmatched", "Messages that nobody had subscribed to.", unmatched)?;
        out.counters(
            "ringmq_messages_resent",
            "Messages sent again on a new connection.",
            self.each(|shard| shard.counters.resent),
        )
    }

    fn write_troubles(&self, out: &mut Families<'_>) -> Written {
        let of = |is_wanted: fn(&Trouble) -> bool| {
            let rows = self.shards.iter().enumerate().flat_map(move |(shard, figures)| {
                let troubles = troubles_of_shard(figures).into_iter();
                let wanted = troubles.filter(is_wanted);
                wanted.map(move |one| (with(&shard_label(shard), &[("reason", one.name)]), one.times))
            });
            rows.collect::<Vec<_>>()
        };
        let drops = of(|one| one.kind == TroubleKind::Drop);
        out.counters("ringmq_messages_dropped", "Messages that did not reach a session they were for.", drops)?;
        let denials = self.each(|shard| {
            [("publish", shard.counters.publishes_denied), ("subscribe", shard.counters.subscriptions_denied)]
        });
        let denials = denials
            .into_iter()
            .flat_map(|(labels, each)| each.map(|(access, times)| (with(&labels, &[("access", access)]), times)));
        out.counters("ringmq_denials", "Requests denied for want of a right.", denials.collect::<Vec<_>>())?;
        let connects = of(|one| one.is_at_connect);
        out.counters("ringmq_refused_connects", "Clients that did not come in.", connects)?;
        // Denials that are not of CONNECT have a family of their own.
        let others = of(|one| one.kind == TroubleKind::Limit && !one.is_at_connect);
        out.counters("ringmq_troubles", "What else was cut short, put off or has failed.", others)
    }

    fn write_shards(&self, out: &mut Families<'_>) -> Written {
        let batches = self.each(|shard| [("received", shard.batches_received), ("sent", shard.batches_sent)]);
        let batches = batches
            .into_iter()
            .flat_map(|(labels, ways)| ways.map(|(way, count)| (with(&labels, &[("direction", way)]), count)));
        out.counters("ringmq_mesh_batches", "Batches between shards.", batches.collect::<Vec<_>>())?;
        let messages = self.each(|shard| shard.counters.mesh_publishes);
        out.counters("ringmq_mesh_messages", "Messages to other shards.", messages)?;
        out.counters("ringmq_turns", "Turns of the shard's loop.", self.each(|shard| shard.turns))?;
        let busy = self.shards.iter().enumerate();
        let busy = busy.map(|(shard, figures)| (shard_label(shard), figures.cpu_nanos as f64 / 1e9));
        out.seconds("ringmq_busy_seconds", "Processor time of the shard's thread.", busy.collect::<Vec<_>>())
    }

    fn write_latency(&self, out: &mut Families<'_>) -> Written {
        let rows = self.shards.iter().enumerate().flat_map(|(shard, figures)| {
            let paths = [("local", &figures.latency.local), ("cross_shard", &figures.latency.crossed)];
            paths.into_iter().flat_map(move |(path, each)| {
                each.iter().zip(["0", "1", "2"]).map(move |(durations, qos)| {
                    (with(&shard_label(shard), &[("path", path), ("qos", qos)]), durations.histogram())
                })
            })
        });
        let help = "From the turn that took a message to its hand-over to the socket, queues left out.";
        out.histograms(("ringmq_message_latency_seconds", help, 1), rows.collect::<Vec<_>>())
    }

    fn write_store(&self, out: &mut Families<'_>) -> Written {
        let Some(store) = &self.store else { return Ok(()) };
        out.counters("ringmq_store_commits", "Commits of the store.", [(vec![], store.commits)])?;
        out.histograms(
            ("ringmq_store_commit_seconds", "How long commits took.", 1000),
            [(vec![], store.micros.clone())],
        )?;
        let waiting = store.waiting as f64;
        out.gauges("ringmq_store_waiting_batches", "Batches that wait for the store.", [(vec![], waiting)])?;
        let states = [StoreState::Ok, StoreState::Full, StoreState::Broken];
        let states = states
            .map(|state| (vec![("state", state_name(state).to_owned())], f64::from(u8::from(state == store.state))));
        out.gauges("ringmq_store_state", "1 for how the store is, 0 for the others.", states)
    }
}

fn shard_label(shard: usize) -> Labels {
    vec![("shard", shard.to_string())]
}

fn with(labels: &Labels, more: &[(&'static str, &str)]) -> Labels {
    labels.iter().cloned().chain(more.iter().map(|(name, value)| (*name, (*value).to_owned()))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_duration_is_in_the_bucket_that_it_is_not_above() {
        let mut histogram = Histogram::<u64>::new_with_bounds(256, 100_000_000_000, 2).unwrap();
        for nanos in [1_000, 15_000, 1_900_000, 30_000_000_000] {
            histogram.record(nanos).unwrap();
        }
        let (sum, buckets) = buckets_of(&histogram, 1);
        let counted: Vec<_> = buckets.iter().filter(|(_, count)| *count > 0).copied().collect();
        assert_eq!(counted, [(1e-5, 1), (2e-5, 1), (2e-3, 1), (f64::INFINITY, 1)]);
        assert!((sum - 30.0).abs() < 0.3, "{sum}");
    }
}
