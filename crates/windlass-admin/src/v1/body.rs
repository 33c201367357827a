//! Bodies of requests: JSON objects whose members are all known.

use std::collections::BTreeMap;

use axum::extract::{FromRequest, Request};
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use windlass_core::place::Place;

use super::Refusal;
use crate::requests::read_body;

/// The object of a request; without a body it is empty.
pub(crate) struct JsonBody {
    members: Map<String, Value>,
    text: Bytes,
}

/// The members of a body. A member that is null is absent, except for [`Members::nullable`].
#[derive(Debug)]
pub(crate) struct Members {
    members: Map<String, Value>,
    text: Bytes,
}

impl<S: Send + Sync> FromRequest<S> for JsonBody {
    type Rejection = Refusal;

    async fn from_request(request: Request, _: &S) -> Result<Self, Refusal> {
        let (parts, body) = request.into_parts();
        let body = read_body(parts.uri.path(), body).await?;
        if body.is_empty() {
            return Ok(Self {
                members: Map::new(),
                text: body,
            });
        }
        let value = serde_json::from_slice::<Value>(&body);
        match value {
            Ok(Value::Object(members)) => Ok(Self {
                members,
                text: body,
            }),
            Ok(_) => Err(Refusal::malformed("expected a JSON object")),
            Err(error) => Err(Refusal::malformed(format!("the body is not JSON: {error}"))),
        }
    }
}

impl JsonBody {
    /// Refuses every member that is not one of these.
    pub(crate) fn with(self, known: &[&str]) -> Result<Members, Refusal> {
        let mut names = self.members.keys();
        match names.find(|name| !known.contains(&name.as_str())) {
            None => Ok(Members {
                members: self.members,
                text: self.text,
            }),
            Some(name) => Err(Refusal::invalid(name, unknown(name, known))),
        }
    }
}

/// What is wrong with a member or parameter that an operation does not have.
pub(super) fn unknown(name: &str, known: &[&str]) -> String {
    if known.is_empty() {
        return format!("'{name}' is not known: this operation has no members");
    }
    format!(
        "'{name}' is not known, expected one of {}",
        known.join(", ")
    )
}

impl Members {
    /// A member that may be absent.
    pub(crate) fn optional<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<T>, Refusal> {
        Ok(self.nullable(name)?.flatten())
    }

    /// A member whose absence differs from null: absent, null, or a value.
    pub(crate) fn nullable<T: DeserializeOwned>(
        &mut self,
        name: &str,
    ) -> Result<Option<Option<T>>, Refusal> {
        let Some(value) = self.members.remove(name) else {
            return Ok(None);
        };
        serde_json::from_value(value)
            .map(Some)
            .map_err(|error| Refusal::invalid(name, error.to_string()))
    }

    /// The text of a member as it was sent.
    pub(crate) fn raw(&mut self, name: &str) -> Result<Option<Bytes>, Refusal> {
        if self.optional::<Value>(name)?.is_none() {
            return Ok(None);
        }
        let members = serde_json::from_slice::<BTreeMap<String, &RawValue>>(&self.text);
        let members = members.map_err(|error| Refusal::malformed(error.to_string()))?;
        let value = members.get(name);
        Ok(value.map(|value| self.text.slice_ref(value.get().as_bytes())))
    }

    pub(crate) fn required<T: DeserializeOwned>(&mut self, name: &str) -> Result<T, Refusal> {
        let value = self.optional(name)?;
        value.ok_or_else(|| Refusal::invalid(name, format!("'{name}' is required")))
    }

    /// `false` if it is absent.
    pub(crate) fn flag(&mut self, name: &str) -> Result<bool, Refusal> {
        Ok(self.optional(name)?.unwrap_or(false))
    }

    /// A place in a stream.
    pub(crate) fn place(&mut self, name: &str) -> Result<Option<Place>, Refusal> {
        let Some(value) = self.optional::<Value>(name)? else {
            return Ok(None);
        };
        let place = Place::from_json(&value);
        place
            .map(Some)
            .map_err(|error| Refusal::place(name, &error))
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use http_body_util::BodyExt as _;
    use serde_json::json;

    use super::*;

    async fn members(body: &str, known: &[&str]) -> Result<Members, Refusal> {
        let request = Request::new(Body::from(body.to_owned()));
        JsonBody::from_request(request, &()).await?.with(known)
    }

    /// The status, and the member `error` of the body.
    async fn shown(refusal: Refusal) -> (u16, Value) {
        use axum::response::IntoResponse as _;
        let response = refusal.into_response();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        (status, body["error"].clone())
    }

    #[tokio::test]
    async fn members_have_types_and_may_be_absent() {
        let body = r#"{"shard": "s", "rate": null, "limit": null, "dry_run": true,
                       "to": {"type": "now"}}"#;
        let known = [
            "shard", "rate", "limit", "records", "dry_run", "batch", "to", "from",
        ];
        let mut body = members(body, &known).await.unwrap();
        assert_eq!(body.required::<String>("shard"), Ok("s".to_owned()));
        assert_eq!(body.nullable::<u64>("rate"), Ok(Some(None)));
        assert_eq!(body.optional::<u64>("limit"), Ok(None));
        assert_eq!(body.nullable::<u64>("records"), Ok(None));
        assert_eq!(
            (body.flag("dry_run"), body.flag("batch")),
            (Ok(true), Ok(false))
        );
        assert_eq!(
            (body.place("to"), body.place("from")),
            (Ok(Some(Place::Now)), Ok(None))
        );
        for nothing in ["", "{}"] {
            let mut body = members(nothing, &[]).await.unwrap();
            assert!(body.required::<u64>("records").is_err());
        }
    }

    #[tokio::test]
    async fn what_is_wrong_is_refused_with_the_member_at_fault() {
        let known = ["records", "to"];
        for (body, field, says) in [
            (
                r#"{"record": 1}"#,
                json!("record"),
                "expected one of records, to",
            ),
            (r#"{"records": "1"}"#, json!("records"), "expected u64"),
            (r#"{"records": -1}"#, json!("records"), "expected u64"),
            ("{}", json!("records"), "'records' is required"),
            ("[]", Value::Null, "expected a JSON object"),
            ("{", Value::Null, "the body is not JSON"),
            (r#"{"records": 1, "to": "now"}"#, json!("to"), "an object"),
            (
                r#"{"records": 1, "to": {"type": "later"}}"#,
                json!("to.type"),
                "'later'",
            ),
        ] {
            let read = async {
                let mut body = members(body, &known).await?;
                body.required::<u64>("records")?;
                body.place("to")
            };
            let (status, error) = shown(read.await.unwrap_err()).await;
            assert_eq!((status, &error["field"]), (400, &field), "{body}: {error}");
            assert_eq!(error["type"], "InvalidParameterValueException");
            let message = error["message"].as_str().unwrap();
            assert!(message.contains(says), "{message}");
        }
    }

    #[tokio::test]
    async fn each_kind_of_refusal_has_its_status() {
        for (refusal, status, name) in [
            (Refusal::not_found("x"), 404, "ResourceNotFoundException"),
            (
                Refusal::conflict("x").of_field("name"),
                409,
                "ResourceConflictException",
            ),
            (
                Refusal::malformed("x"),
                400,
                "InvalidParameterValueException",
            ),
            (Refusal::draining(), 503, "ServiceUnavailableException"),
        ] {
            let (shown_status, error) = shown(refusal).await;
            assert_eq!((shown_status, &error["type"]), (status, &json!(name)));
        }
    }
}
