//! The routes of AWS's API of event source mappings.
//!
//! <https://docs.aws.amazon.com/lambda/latest/api/API_Operations.html>

use std::sync::Arc;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::request::Parts;
use http::{StatusCode, header};
use serde_json::{Value, json};
use windlass_core::spec::MappingSpec;

use crate::auth::Caller;
use crate::control::ListQuery;
use crate::errors::{ApiError, Code};
use crate::requests::read_body;
use crate::state::ServerState;

/// The body of a request.
struct Body(Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let (parts, body) = request.into_parts();
        read_body(parts.uri.path(), body).await.map(Self)
    }
}

/// The UUID or the ARN of a path. One that is not UTF-8 is refused like any other invalid one.
pub(crate) struct PathName(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for PathName {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(rejection) => Err(ApiError::new(Code::Validation, rejection.body_text())),
        }
    }
}

/// Clients send the path of all mappings with and without a trailing slash.
pub(crate) fn routes() -> Router<Arc<ServerState>> {
    let all = || post(create).get(list);
    let one = get(get_one).put(update).delete(delete);
    Router::new()
        .route("/2015-03-31/event-source-mappings", all())
        .route("/2015-03-31/event-source-mappings/", all())
        .route("/2015-03-31/event-source-mappings/{uuid}", one)
        .route(
            "/2017-03-31/tags/{*arn}",
            get(list_tags).post(tag).delete(untag),
        )
}

async fn create(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    body: Body,
) -> Result<Response, ApiError> {
    let mapping = state.control.create(&members(body)?, &caller.name).await?;
    Ok(respond(StatusCode::ACCEPTED, &mapping))
}

async fn list(
    State(state): State<Arc<ServerState>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let (mappings, next) = state.control.list(&query).await?;
    let mut list = json!({"EventSourceMappings": mappings});
    if let Some(next) = next {
        list["NextMarker"] = Value::String(next);
    }
    Ok(respond(StatusCode::OK, &list))
}

async fn get_one(
    State(state): State<Arc<ServerState>>,
    PathName(uuid): PathName,
) -> Result<Response, ApiError> {
    let mapping = state.control.get(&uuid).await?;
    Ok(respond(StatusCode::OK, &mapping))
}

async fn update(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(uuid): PathName,
    body: Body,
) -> Result<Response, ApiError> {
    let change = members(body)?;
    let mapping = state.control.update(&uuid, &change, &caller.name).await?;
    Ok(respond(StatusCode::ACCEPTED, &mapping))
}

async fn delete(
    State(state): State<Arc<ServerState>>,
    caller: Caller,
    PathName(uuid): PathName,
) -> Result<Response, ApiError> {
    let mapping = state.control.delete(&uuid, &caller.name).await?;
    Ok(respond(StatusCode::ACCEPTED, &mapping))
}

async fn list_tags(
    State(state): State<Arc<ServerState>>,
    PathName(arn): PathName,
) -> Result<Response, ApiError> {
    Ok(respond(
        StatusCode::OK,
        &state.control.list_tags(&arn).await?,
    ))
}

async fn tag(
    State(state): State<Arc<ServerState>>,
    PathName(arn): PathName,
    body: Body,
) -> Result<StatusCode, ApiError> {
    state.control.tag(&arn, &members(body)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A key is a parameter of its own, which is repeated for each.
async fn untag(
    State(state): State<Arc<ServerState>>,
    PathName(arn): PathName,
    query: Result<Query<Vec<(String, String)>>, QueryRejection>,
) -> Result<StatusCode, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::invalid(error.body_text()))?;
    let keys = query.into_iter().filter(|(name, _)| name == "tagKeys");
    let keys: Vec<String> = keys.map(|(_, key)| key).collect();
    state.control.untag(&arn, &keys).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The parameters of a request; an empty body has none.
fn members(Body(body): Body) -> Result<MappingSpec, ApiError> {
    if body.is_empty() {
        return Ok(MappingSpec::default());
    }
    // In two steps, so that an error about a type has no position in its text.
    let object = serde_json::from_slice::<serde_json::Map<String, Value>>(&body);
    let spec = object.and_then(|members| serde_json::from_value(Value::Object(members)));
    spec.map_err(|error| ApiError::new(Code::Serialization, error.to_string()))
}

fn respond(status: StatusCode, body: &Value) -> Response {
    (
        status,
        [(header::CONTENT_TYPE, "application/json")],
        body.to_string(),
    )
        .into_response()
}
