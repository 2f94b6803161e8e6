//! Spans: messages that their publishers trace, and a collector of OpenTelemetry that a running broker brings spans to.
//!
//! Duty: what a collector is sent, that a lost one is told and counted, and that a broker starts and stops whatever the collector does.
//! Must not: test which messages are sampled (`conformance/taps`). Neighbours: `src/admin/export.rs`; `room/metrics` has the counters.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use ringmq::wire::{Connect, Property};

use crate::broker::{Broker, TIMEOUT};
use crate::folder::Folder;
use crate::packets::*;
use crate::program::{self, ended};
use crate::room::asking;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

/// A collector that takes requests one at a time.
struct Collector(TcpListener);

impl Collector {
    fn open() -> (Self, String) {
        let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.set_nonblocking(true).unwrap();
        let url = format!("http://{}", socket.local_addr().unwrap());
        (Self(socket), url)
    }

    fn accept(&self) -> TcpStream {
        let until = Instant::now() + TIMEOUT;
        loop {
            match self.0.accept() {
                Ok((stream, _)) => {
                    stream.set_nonblocking(false).unwrap();
                    return stream;
                }
                Err(error) => assert!(Instant::now() < until, "no spans were brought: {error}"),
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// The next request: its first line, and what it carries.
    fn take(&self) -> (String, ExportTraceServiceRequest) {
        let stream = self.accept();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut reader = BufReader::new(&stream);
        let mut head = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            match line.trim_end() {
                "" => break,
                line => head.push(line.to_owned()),
            }
        }
        let length =
            head.iter().find_map(|line| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut body = vec![0; length.expect("a length")];
        reader.read_exact(&mut body).unwrap();
        (&stream).write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        (head.swap_remove(0), ExportTraceServiceRequest::decode(&body[..]).expect("what OTLP says"))
    }

    /// The next `count` spans.
    fn spans(&self, count: usize) -> Vec<Span> {
        let mut spans = Vec::new();
        while spans.len() < count {
            let (_, request) = self.take();
            spans.extend(request.resource_spans.into_iter().flat_map(|of| of.scope_spans).flat_map(|of| of.spans));
        }
        spans
    }
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let value = attributes.iter().find(|attribute| attribute.key == key)?.value.as_ref()?;
    match &value.value {
        Some(Value::StringValue(text)) => Some(text),
        _ => None,
    }
}

/// What the metrics say of spans: exported, lost.
fn counted(broker: &Broker) -> (u64, u64) {
    let answer = asking::get(broker, "/metrics").body;
    let count = |result| {
        let start = format!("ringmq_spans_total{{result=\"{result}\"}} ");
        answer.lines().find_map(|line| line.strip_prefix(&start)).expect("a metric").parse().unwrap()
    };
    (count("exported"), count("lost"))
}

/// [MQTT-3.3.2-17]: the context reaches subscribers as it came, and a span of the broker goes on with it.
#[test]
fn a_sampled_message_has_a_span_below_that_of_its_publisher() {
    let (collector, url) = Collector::open();
    let mut broker = Broker::of_arguments(&["-p", "0", "--admin", "127.0.0.1:0", "--otlp-endpoint", &url], 2);
    let mut bob = broker.join(&Connect::new(V5, "bob"));
    bob.send(subscribe(1).to("a/b", Q1));
    bob.expect(&suback(1, &[1]).bytes(V5));
    let mut ann = broker.join(&Connect::new(V5, "ann"));
    let traced = [Property::UserProperty("traceparent", PARENT), Property::UserProperty("tracestate", "vendor=1")];
    ann.send(qos1(1, "a/b", "hello").with(&traced));
    ann.expect(&puback(1).bytes(V5));
    bob.expect(&qos1(1, "a/b", "hello").with(&traced).bytes(V5));
    let (line, request) = collector.take();
    assert_eq!(line, "POST /v1/traces HTTP/1.1");
    let of_broker = &request.resource_spans[0];
    let resource = of_broker.resource.as_ref().unwrap();
    assert_eq!(text(&resource.attributes, "service.name"), Some("ringmq"));
    let span = &of_broker.scope_spans[0].spans[0];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&span.trace_id), "0af7651916cd43dd8448eb211c80319c");
    assert_eq!(hex(&span.parent_span_id), "b7ad6b7169203331");
    assert_eq!((span.span_id.len(), &*span.trace_state, &*span.name), (8, "vendor=1", "publish a/b"));
    assert!(span.start_time_unix_nano > 0 && span.start_time_unix_nano <= span.end_time_unix_nano);
    assert_eq!(text(&span.attributes, "messaging.client.id"), Some("ann"));
    assert_eq!(text(&span.attributes, "messaging.destination.name"), Some("a/b"));
    // What is refused has a span that says so.
    ann.send(qos1(2, "$SYS/x", "hello").with(&traced));
    let spans = collector.spans(1);
    assert_eq!(text(&spans[0].attributes, "error.type"), Some("publishes_denied"));
    assert_eq!(spans[0].status.as_ref().unwrap().message, "publishes_denied");
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn a_collector_that_is_away_is_told_once_and_its_spans_are_counted_as_lost() {
    let (collector, url) = Collector::open();
    drop(collector);
    let mut broker = Broker::of_arguments(&["-p", "0", "--admin", "127.0.0.1:0", "--otlp-endpoint", &url], 1);
    let mut ann = broker.join(&Connect::new(V5, "ann"));
    let traced = [Property::UserProperty("traceparent", PARENT)];
    ann.send(qos0("a", "x").with(&traced));
    broker.line_with(&["1 spans of sampled messages were lost", "otlp_endpoint"]);
    assert_eq!(counted(&broker), (0, 1));
    assert_eq!(broker.stop(), Some(0));
}

#[test]
fn an_address_that_is_none_is_told_at_the_start() {
    let (code, _, said) = ended(&mut program::ringmq(&["-p", "0", "--otlp-endpoint", "collector"]));
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("otlp_endpoint collector: http://HOST:PORT or https://HOST:PORT is wanted"), "{said}");
}

/// What exports waits to be told to begin: it must not be waited for.
#[test]
fn a_start_that_fails_ends_although_spans_were_to_be_exported() {
    let holder = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = holder.local_addr().unwrap().to_string();
    let folder = Folder::new();
    let conf = folder.write("m.conf", "listener 0 127.0.0.1\npid_file /nowhere/ringmq.pid\n");
    for (arguments, word) in [(["--admin", &*taken], "for admin"), (["-c", &*conf], "/nowhere")] {
        let program = ["20", env!("CARGO_BIN_EXE_ringmq"), "--otlp-endpoint", "http://127.0.0.1:9"];
        let (code, _, said) = ended(Command::new("timeout").args(program).args(arguments));
        assert!(code.is_some_and(|code| (1..124).contains(&code)) && said.contains(word), "{code:?} {said}");
    }
}
