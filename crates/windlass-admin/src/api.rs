//! The routes of AWS's API of mappings.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::{BytesRejection, QueryRejection};
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use serde_json::{Value, json};
use windlass_core::spec::MappingSpec;

use crate::control::ListQuery;
use crate::errors::{ApiError, Code};
use crate::server::{MAXIMUM_REQUEST, Served};

type Body = Result<Bytes, BytesRejection>;

/// The UUID in a path. What is no text is refused as AWS refuses every other UUID that is none.
pub(crate) struct Uuid(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Uuid {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(uuid)) => Ok(Self(uuid)),
            Err(rejection) => Err(ApiError::new(Code::Validation, rejection.body_text())),
        }
    }
}

/// The routes. Clients write the path of all mappings with and without a slash at its end.
pub(crate) fn routes() -> Router<Arc<Served>> {
    let all = || post(create).get(list);
    let one = get(get_one).put(update).delete(delete);
    Router::new()
        .route("/2015-03-31/event-source-mappings", all())
        .route("/2015-03-31/event-source-mappings/", all())
        .route("/2015-03-31/event-source-mappings/{uuid}", one)
}

async fn create(State(served): State<Arc<Served>>, body: Body) -> Result<Response, ApiError> {
    let mapping = served.control.create(&members(body)?).await?;
    Ok(answer(StatusCode::ACCEPTED, &mapping))
}

async fn list(
    State(served): State<Arc<Served>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let (mappings, next) = served.control.list(&query).await?;
    let mut list = json!({"EventSourceMappings": mappings});
    if let Some(next) = next {
        list["NextMarker"] = Value::String(next);
    }
    Ok(answer(StatusCode::OK, &list))
}

async fn get_one(
    State(served): State<Arc<Served>>,
    Uuid(uuid): Uuid,
) -> Result<Response, ApiError> {
    let mapping = served.control.get(&uuid).await?;
    Ok(answer(StatusCode::OK, &mapping))
}

async fn update(
    State(served): State<Arc<Served>>,
    Uuid(uuid): Uuid,
    body: Body,
) -> Result<Response, ApiError> {
    let mapping = served.control.update(&uuid, &members(body)?).await?;
    Ok(answer(StatusCode::ACCEPTED, &mapping))
}

async fn delete(State(served): State<Arc<Served>>, Uuid(uuid): Uuid) -> Result<Response, ApiError> {
    let mapping = served.control.delete(&uuid).await?;
    Ok(answer(StatusCode::ACCEPTED, &mapping))
}

/// The members of a request; no body at all has none.
fn members(body: Body) -> Result<MappingSpec, ApiError> {
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => {
            let text = format!("Request must be smaller than {MAXIMUM_REQUEST} bytes");
            ApiError::new(Code::RequestTooLarge, text)
        }
        _ => ApiError::new(Code::Serialization, rejection.body_text()),
    })?;
    if body.is_empty() {
        return Ok(MappingSpec::default());
    }
    // A list would be read as a mapping's members in their order.
    let object = serde_json::from_slice::<serde_json::Map<String, Value>>(&body);
    let spec = object.and_then(|members| serde_json::from_value(Value::Object(members)));
    spec.map_err(|error| ApiError::new(Code::Serialization, error.to_string()))
}

fn answer(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}
