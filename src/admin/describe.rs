//! Describe: what can be asked here, for programs: an OpenAPI 3.1 description.
//!
//! Duty: one row for each path and method, with its words, parameters, body and answer; the types come from `answer`. Must not: answer
//! anything else. Neighbours: `api` has the same paths; `answer` the words of each field.

use std::sync::LazyLock;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, header};
use axum::response::Response;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

use super::answer::{
    Audience, Client, ClientDetail, ClientsQuestion, ConfigText, DeleteQuestion, Deleted, Denial, Drop, EndQuestion,
    Explained, Items, List, LogChoice, Overview, ProblemText, Publication, QueueQuestion, Queued, Retained,
    RetainedQuestion, Shard, Told, TopicRates, TopicsQuestion, TraceQuestion, Traced, WhyQuestion,
};

const SCHEMAS: &str = "/components/schemas";

/// What is to be known of all of it.
const ABOUT: &str = "What a running broker says of itself, and what can be changed in it. Numbers that are not known are null, never \
    left out. What changes something is refused (403) unless admin_allow_changes says otherwise.";

/// Who makes schemas.
struct Schemas {
    /// Of what is answered; the description has these once.
    told: SchemaGenerator,
    /// Of what is asked; each stands where it is wanted.
    asked: SchemaGenerator,
}

type Typed = fn(&mut SchemaGenerator) -> Schema;

/// A path and a method.
struct Row {
    method: &'static str,
    path: &'static str,
    /// A name for programs that are made of this.
    id: &'static str,
    summary: &'static str,
    /// What stands behind the question mark.
    query: Option<Typed>,
    body: Option<Typed>,
    status: u16,
    answer: Answer,
    /// Operations that take the name of the first item, the name of that, and whose field it is.
    leads_to: &'static [(&'static str, &'static str, &'static str)],
}

enum Answer {
    Nothing,
    Json(Typed),
    Text(&'static str),
    /// Server-sent events, each with one of these.
    Events(Typed),
}

const fn row(method: &'static str, path: &'static str, id: &'static str, summary: &'static str) -> Row {
    Row { method, path, id, summary, query: None, body: None, status: 200, answer: Answer::Nothing, leads_to: &[] }
}

impl Row {
    const fn asks<T: JsonSchema>(self) -> Self {
        Self { query: Some(schema_of::<T>), ..self }
    }

    const fn takes<T: JsonSchema>(self) -> Self {
        Self { body: Some(schema_of::<T>), ..self }
    }

    const fn gives<T: JsonSchema>(self) -> Self {
        Self { answer: Answer::Json(schema_of::<T>), ..self }
    }

    const fn says(self, kind: &'static str) -> Self {
        Self { answer: Answer::Text(kind), ..self }
    }

    const fn leads_to(self, leads_to: &'static [(&'static str, &'static str, &'static str)]) -> Self {
        Self { leads_to, ..self }
    }

    const fn is(self, status: u16) -> Self {
        Self { status, ..self }
    }
}

fn schema_of<T: JsonSchema>(schemas: &mut SchemaGenerator) -> Schema {
    schemas.subschema_for::<T>()
}

const TEXT: &str = "text/plain";

const ROWS: &[Row] = &[
    row("get", "/healthz", "healthz", "The process is up").says(TEXT),
    row("get", "/readyz", "readyz", "Clients are served; 503 if not").says(TEXT),
    row("get", "/metrics", "metrics", "What Prometheus reads, as OpenMetrics if that is asked for").says(TEXT),
    row("get", "/api/v1/overview", "overview", "How the broker is").gives::<Overview>(),
    row("get", "/api/v1/shards", "shards", "How each shard is").gives::<Items<Shard>>(),
    row("get", "/api/v1/clients", "clients", "Clients, in pieces; the slowest; those that send most")
        .asks::<ClientsQuestion>()
        .gives::<List<Client>>()
        .leads_to(&[
            ("client", "client_id", "client_id"),
            ("queue", "client_id", "client_id"),
            ("kick", "client_id", "client_id"),
        ]),
    row("get", "/api/v1/clients/{client_id}", "client", "One client").gives::<ClientDetail>(),
    row("delete", "/api/v1/clients/{client_id}", "kick", "End the connection of a client; 409 if it has none")
        .asks::<EndQuestion>()
        .is(204),
    row(
        "get",
        "/api/v1/clients/{client_id}/queue",
        "queue",
        "What a client was sent and has not acknowledged, then what waits",
    )
    .asks::<QueueQuestion>()
    .gives::<Items<Queued>>(),
    row("get", "/api/v1/topics", "topics", "The hottest topics").asks::<TopicsQuestion>().gives::<TopicRates>(),
    row("get", "/api/v1/topics/{topic}/audience", "audience", "Who gets what is published to a topic now")
        .gives::<Audience>(),
    row("get", "/api/v1/retained", "retained", "What is retained for a filter, in pieces")
        .asks::<RetainedQuestion>()
        .gives::<List<Retained>>()
        .leads_to(&[("retainedOfTopic", "topic", "topic"), ("audience", "topic", "topic")]),
    row("delete", "/api/v1/retained", "deleteRetained", "Delete what is retained for a filter")
        .asks::<DeleteQuestion>()
        .gives::<Deleted>(),
    row("get", "/api/v1/retained/{topic}", "retainedOfTopic", "What is retained of a topic, with its payload")
        .gives::<Retained>(),
    row("post", "/api/v1/publish", "publish", "Publish a message in the broker's own name")
        .takes::<Publication>()
        .is(202),
    row("get", "/api/v1/drops", "drops", "What was dropped, denied or cut short, by name").gives::<Items<Drop>>(),
    row("get", "/api/v1/denials", "denials", "What clients had no right to, the last of it first")
        .gives::<Items<Denial>>(),
    row("get", "/api/v1/config", "config", "The configuration in force").gives::<ConfigText>(),
    row("post", "/api/v1/reload", "reload", "Read the configuration again; 409 if it cannot be").gives::<Told>(),
    row("get", "/api/v1/log", "log", "What is logged").gives::<LogChoice>(),
    row("put", "/api/v1/log", "setLog", "Log something else until the next reload")
        .takes::<LogChoice>()
        .gives::<LogChoice>(),
    Row {
        query: Some(schema_of::<TraceQuestion>),
        answer: Answer::Events(schema_of::<Traced>),
        ..row(
            "get",
            "/api/v1/trace",
            "trace",
            "Packets of a client, or messages to topics, as they pass; 429 if enough watch",
        )
    },
    row("get", "/api/v1/why", "why", "Whether a client may do something, and what says so")
        .asks::<WhyQuestion>()
        .gives::<Explained>(),
];

/// The description.
pub(super) async fn description() -> Response {
    static TEXT: LazyLock<Bytes> = LazyLock::new(|| serde_json::to_vec(&described()).unwrap_or_default().into());
    let mut response = Response::new(Body::from(TEXT.clone()));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

fn described() -> Value {
    let mut schemas = Schemas {
        told: SchemaSettings::draft2020_12().for_serialize().with(|own| own.definitions_path = SCHEMAS.into()).into(),
        asked: SchemaSettings::draft2020_12().for_deserialize().with(|own| own.inline_subschemas = true).into(),
    };
    let mut paths: Map<String, Value> = Map::new();
    for row in ROWS {
        let operation = operation_of(row, &mut schemas);
        let path = paths.entry(row.path).or_insert_with(|| json!({}));
        path[row.method] = operation;
    }
    let problem = schema_of::<ProblemText>(&mut schemas.told);
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "ringmq",
            "version": env!("CARGO_PKG_VERSION"),
            "description": ABOUT,
            "license": { "name": "Apache-2.0 OR MIT", "identifier": "Apache-2.0 OR MIT" },
        },
        // The room itself, wherever it is.
        "servers": [{ "url": "/" }],
        "security": [{ "token": [] }, { "user": [] }, {}],
        "paths": paths,
        "components": {
            "schemas": schemas.told.take_definitions(true),
            "responses": {
                "Problem": {
                    "description": "Why there is no answer (RFC 9457)",
                    "content": { "application/problem+json": { "schema": problem } },
                },
            },
            "securitySchemes": {
                "token": { "type": "http", "scheme": "bearer", "description": "admin_token_file" },
                "user": { "type": "http", "scheme": "basic", "description": "admin_users" },
            },
        },
    })
}

fn operation_of(row: &Row, schemas: &mut Schemas) -> Value {
    let mut parameters: Vec<Value> = names_in(row.path).map(name_parameter).collect();
    if let Some(query) = row.query {
        parameters.extend(query_parameters(&query(&mut schemas.asked)));
    }
    let mut operation = json!({
        "operationId": row.id,
        "summary": row.summary,
        "responses": { row.status.to_string(): answer_of(row, schemas) },
    });
    let problem = json!({ "$ref": "#/components/responses/Problem" });
    if row.path == "/readyz" {
        let not_ready = json!({ TEXT: { "schema": { "type": "string" } } });
        operation["responses"]["503"] = json!({ "description": "Starting or stopping", "content": not_ready });
    }
    if row.path.starts_with("/api/") || row.path == "/metrics" {
        operation["responses"]["default"] = problem;
    } else {
        operation["security"] = json!([]);
    }
    if !parameters.is_empty() {
        operation["parameters"] = parameters.into();
    }
    if let Some(body) = row.body {
        let schema = body(&mut schemas.asked);
        operation["requestBody"] = json!({ "required": true, "content": { "application/json": { "schema": schema } } });
    }
    operation
}

fn answer_of(row: &Row, schemas: &mut Schemas) -> Value {
    let text = json!({ "type": "string" });
    let content = match row.answer {
        Answer::Nothing => return json!({ "description": "Done" }),
        Answer::Json(typed) => json!({ "application/json": { "schema": typed(&mut schemas.told) } }),
        Answer::Text(kind) => json!({ kind: { "schema": text } }),
        Answer::Events(typed) => {
            json!({ "text/event-stream": { "schema": text, "x-event": typed(&mut schemas.told) } })
        }
    };
    let mut answer = json!({ "description": row.summary, "content": content });
    for (id, parameter, field) in row.leads_to {
        let first = format!("$response.body#/items/0/{field}");
        answer["links"][id] = json!({ "operationId": id, "parameters": { *parameter: first } });
    }
    answer
}

/// Names of what stands in braces.
fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('{').skip(1).filter_map(|rest| Some(rest.split_once('}')?.0))
}

fn name_parameter(name: &str) -> Value {
    json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string", "minLength": 1 } })
}

/// The fields of a type as parameters; what may be left out is not null then.
fn query_parameters(described: &Schema) -> Vec<Value> {
    let required = described.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let fields = described.get("properties").and_then(Value::as_object).into_iter().flatten();
    let parameter = |(name, schema): (&String, &Value)| {
        let mut schema = schema.clone();
        let description = schema.as_object_mut().and_then(|schema| schema.remove("description"));
        if let Some(kind) =
            schema["type"].as_array().and_then(|kinds| kinds.iter().find(|kind| **kind != "null")).cloned()
        {
            schema["type"] = kind;
        }
        let is_required = required.iter().any(|known| known == name);
        json!({ "name": name, "in": "query", "required": is_required, "description": description, "schema": schema })
    };
    fields.map(parameter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_path_of_the_room_is_described_with_its_methods() {
        let router = include_str!("api.rs");
        let routes = router.lines().filter_map(|line| line.trim().strip_prefix(".route(\""));
        let mut told: Vec<(String, &str)> = Vec::new();
        for route in routes {
            let (path, handlers) = route.split_once('"').unwrap();
            let methods = ["get", "put", "post", "delete"].into_iter();
            told.extend(
                methods
                    .filter(|method| handlers.contains(&format!("{method}(")))
                    .map(|method| (path.replace('*', ""), method)),
            );
        }
        told.retain(|(path, _)| path != "/api/openapi.json");
        told.sort_unstable();
        let mut known: Vec<_> = ROWS.iter().map(|row| (row.path.to_owned(), row.method)).collect();
        known.sort_unstable();
        assert_eq!(told, known);
    }

    #[test]
    fn references_lead_somewhere_and_names_are_plain() {
        let described = described();
        let text = described.to_string();
        let schemas = described["components"]["schemas"].as_object().unwrap();
        for reference in text.split("#/components/schemas/").skip(1) {
            let name = reference.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        let is_plain = |name: &String| name.chars().all(|letter| letter.is_ascii_alphanumeric());
        assert!(schemas.keys().all(is_plain), "{:?}", schemas.keys());
        assert!(schemas.contains_key("ListOfClient"), "{:?}", schemas.keys());
    }
}
