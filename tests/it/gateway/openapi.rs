//! The OpenAPI document tells every route, and every answer of these tests fits it.
//!
//! [`hold`] looks at each answer of the bench, so an undocumented status or field
//! fails the test that met it.

use std::sync::LazyLock;

use serde_json::Value;

use super::bench::Bench;

static DOCUMENT: LazyLock<Value> = LazyLock::new(|| {
    let text = include_str!("../../../src/control_plane/gateway/openapi.json");
    serde_json::from_str(text).unwrap()
});

/// Holds an answer to the document. What is asked beside the routes is not in it.
pub fn hold(method: &str, path: &str, status: u16, body: &Value) {
    let path = path.split('?').next().unwrap();
    let Some(operation) = operation(method, path) else {
        assert!(
            matches!(status, 401 | 403 | 404 | 405),
            "{method} {path}: {status}"
        );
        return;
    };
    let answer = &operation["responses"][status.to_string()];
    assert!(
        answer.is_object(),
        "{method} {path} answers {status} {body}, which is not documented"
    );
    match answer["content"]["application/json"].get("schema") {
        None => assert!(body.is_null(), "{method} {path}: {body}"),
        Some(schema) => {
            let mut wrong = Vec::new();
            fit(schema, body, "", &mut wrong);
            assert_eq!(wrong, Vec::<String>::new(), "{method} {path}: {body}");
        }
    }
}

fn operation(method: &str, path: &str) -> Option<&'static Value> {
    let paths = DOCUMENT["paths"].as_object().unwrap();
    let known = paths.get(path).or_else(|| {
        let fits = |template: &str| {
            let (template, path) = (template.split('/'), path.split('/'));
            template.clone().count() == path.clone().count()
                && template.zip(path).all(|(t, p)| t == p || t == "{id}")
        };
        paths
            .iter()
            .find(|(template, _)| fits(template))
            .map(|(_, it)| it)
    })?;
    known.get(method.to_lowercase())
}

/// As much of JSON Schema as the document uses; a word it does not know is an error.
fn fit(schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let schema = schema.as_object().unwrap();
    for (word, says) in schema {
        match word.as_str() {
            "$ref" => {
                let name = says.as_str().unwrap().trim_start_matches('#');
                let found = DOCUMENT.pointer(name);
                fit(found.expect("it is in the document"), value, at, wrong);
            }
            "type" => {
                let is = match says.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "number" => value.is_number(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("no type {other}"),
                };
                if !is {
                    wrong.push(format!("{at} is not of type {says}: {value}"));
                }
            }
            "enum" => {
                if !says.as_array().unwrap().contains(value) {
                    wrong.push(format!("{at} is none of {says}: {value}"));
                }
            }
            "anyOf" => {
                let fits = says.as_array().unwrap().iter().any(|one| {
                    let mut wrong = Vec::new();
                    fit(one, value, at, &mut wrong);
                    wrong.is_empty()
                });
                if !fits {
                    wrong.push(format!("{at} fits none of {says}: {value}"));
                }
            }
            "items" => {
                for (n, item) in value.as_array().into_iter().flatten().enumerate() {
                    fit(says, item, &format!("{at}/{n}"), wrong);
                }
            }
            "properties" => {
                for (name, schema) in says.as_object().unwrap() {
                    if let Some(field) = value.get(name) {
                        fit(schema, field, &format!("{at}/{name}"), wrong);
                    }
                }
            }
            "required" => {
                for name in says.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        wrong.push(format!("{at} has no {name}"));
                    }
                }
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, field) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|known| known.contains_key(name)) {
                        continue;
                    }
                    match says {
                        Value::Bool(false) => wrong.push(format!("{at}/{name} is not documented")),
                        says => fit(says, field, &format!("{at}/{name}"), wrong),
                    }
                }
            }
            "format" => {
                let text = value.as_str().unwrap_or_default();
                let read = capdeck::time::Timestamp::parse_rfc3339(text);
                if says == "date-time" && read.is_none() {
                    wrong.push(format!("{at} is no date-time: {value}"));
                }
            }
            "description" | "default" | "maxLength" => {}
            other => panic!("the test does not know `{other}`"),
        }
    }
}

#[tokio::test]
async fn the_document_is_served_and_tells_every_route() {
    let bench = Bench::start().await;
    let served = bench.get("/api/v1/openapi.json").await;
    assert_eq!(served.body, *DOCUMENT);
    assert!(served.head.contains("content-type: application/json"));

    let source = include_str!("../../../src/control_plane/gateway/routes.rs");
    let mut routes: Vec<String> = Vec::new();
    for route in source.split(".route(").skip(1) {
        let path = route.split('"').nth(1).unwrap();
        let handlers = &route[..route.find("\n        .").unwrap_or(route.len())];
        let path = match path {
            "/health" | "/healthz" | "/livez" | "/readyz" => path.to_owned(),
            path => format!("/api/v1{path}"),
        };
        for method in ["get", "post", "delete", "put", "patch"] {
            let is = |before: &str| handlers.contains(&format!("{before}{method}("));
            if is(" ") || is(".") {
                routes.push(format!("{method} {path}"));
            }
        }
    }
    routes.sort();
    let mut told: Vec<String> = Vec::new();
    for (path, methods) in DOCUMENT["paths"].as_object().unwrap() {
        told.extend(
            methods
                .as_object()
                .unwrap()
                .keys()
                .map(|it| format!("{it} {path}")),
        );
    }
    told.sort();
    assert!(routes.len() > 25, "{routes:?}");
    assert_eq!(routes, told);
}

#[test]
fn an_answer_that_does_not_fit_is_found() {
    let schema = DOCUMENT.pointer("/components/schemas/DeadLetter").unwrap();
    let letter = serde_json::json!({
        "job_id": 7, "topic": "job.a", "status": "JOB_STATUS_FAILED", "last_state": "LOST",
        "attempts": 1, "created_at": "yesterday", "secret": true,
    });
    let mut wrong = Vec::new();
    fit(schema, &letter, "", &mut wrong);
    wrong.sort();
    assert_eq!(wrong.len(), 4, "{wrong:?}");
    assert!(
        wrong.iter().any(|it| it == "/secret is not documented"),
        "{wrong:?}"
    );
}
