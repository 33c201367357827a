//! The OpenAPI document of `/windlass/v1`.
//!
//! A group of operations has a file with its `paths` and `schemas` in `openapi/`, listed in [`GROUPS`];
//! what all of them use is in `openapi/base.json`. An object has the members of its `properties` and no
//! others, unless it has `additionalProperties`. Tests compare the paths with the routes of the server,
//! and the schemas with the exchanges in `tests/api`.

use std::sync::LazyLock;

use axum::Json;
use serde_json::{Map, Value};

const BASE: &str = include_str!("../openapi/base.json");

const GROUPS: &[&str] = &[
    include_str!("../openapi/status.json"),
    include_str!("../openapi/dead_letters.json"),
    include_str!("../openapi/history.json"),
    include_str!("../openapi/parks.json"),
    include_str!("../openapi/seek.json"),
    include_str!("../openapi/skip.json"),
    include_str!("../openapi/replays.json"),
    include_str!("../openapi/redrive.json"),
    include_str!("../openapi/apply.json"),
];

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// `GET /windlass/v1/openapi.json`
pub(crate) async fn get() -> Json<&'static Value> {
    Json(&DOCUMENT)
}

fn document() -> Value {
    let mut document = parse(BASE);
    document["info"]["version"] = env!("CARGO_PKG_VERSION").into();
    for group in GROUPS {
        let mut group = parse(group);
        // The operations of one path may be in several groups.
        for (path, operations) in object(&mut group["paths"]) {
            object(&mut document["paths"][path]).append(object(operations));
        }
        let schemas = object(&mut document["components"]["schemas"]);
        schemas.append(object(&mut group["schemas"]));
    }
    document
}

/// A member that is an object; it is added empty if it is missing.
fn object(value: &mut Value) -> &mut Map<String, Value> {
    if value.is_null() {
        *value = Value::Object(Map::new());
    }
    value.as_object_mut().expect("a test reads the document")
}

fn parse(text: &str) -> Value {
    serde_json::from_str(text).expect("a test reads the document")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::*;

    /// Whether the server has their methods is a test of its exchanges.
    #[test]
    fn every_route_has_a_path_in_the_document() {
        let mut routes = BTreeSet::new();
        add_routes(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
            &mut routes,
        );
        assert!(routes.contains("/windlass/v1/openapi.json"), "{routes:?}");
        let paths = DOCUMENT["paths"].as_object().unwrap();
        let paths: BTreeSet<String> = paths.keys().cloned().collect();
        assert_eq!(routes, paths);
    }

    /// The paths of all `.route("/windlass/v1/…", …)`.
    fn add_routes(directory: &Path, routes: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add_routes(&path, routes);
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            for call in text
                .lines()
                .filter(|line| !is_comment(line))
                .collect::<String>()
                .split(".route(")
                .skip(1)
            {
                let literal = call.trim_start().strip_prefix('"');
                let literal = literal.and_then(|rest| rest.split('"').next());
                routes.extend(
                    literal
                        .filter(|it| it.starts_with("/windlass/v1/"))
                        .map(str::to_owned),
                );
            }
        }
    }

    fn is_comment(line: &str) -> bool {
        line.trim_start().starts_with("//")
    }

    #[test]
    fn every_reference_has_its_target() {
        fn check(value: &Value) {
            match value {
                Value::Object(members) => {
                    if let Some(target) = members.get("$ref").and_then(Value::as_str) {
                        let pointer = target.strip_prefix('#').unwrap();
                        assert!(DOCUMENT.pointer(pointer).is_some(), "{target}");
                    }
                    members.values().for_each(check);
                }
                Value::Array(items) => items.iter().for_each(check),
                Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
            }
        }
        check(&DOCUMENT);
    }

    #[test]
    fn groups_share_no_schema() {
        let names = |text| {
            parse(text)["schemas"]
                .as_object()
                .map(|it| it.keys().cloned().collect())
        };
        let mut all: Vec<String> = parse(BASE)["components"]["schemas"]
            .as_object()
            .unwrap()
            .keys()
            .cloned()
            .collect();
        for group in GROUPS {
            let names: Vec<String> = names(group).unwrap_or_default();
            all.extend(names);
        }
        let distinct: BTreeSet<&String> = all.iter().collect();
        assert_eq!(distinct.len(), all.len(), "{all:?}");
    }
}
