//! What the operations of `/windlass/v1` share that AWS does not have: their requests and refusals.
//!
//! A group of operations has a file with its handlers and `routes()`, which `server` merges. What may
//! take longer than the timeout of requests is in `job_routes()`, merged after that timeout, and begins
//! with [`ServerState::accept_job`](crate::state::ServerState::accept_job).
//!
//! ```text
//! pub(crate) fn routes() -> Router<Arc<ServerState>> {
//!     Router::new().route("/windlass/v1/mappings/{uuid}/park", post(park))
//! }
//!
//! async fn park(
//!     State(state): State<Arc<ServerState>>,
//!     caller: Caller,
//!     PathName(uuid): PathName,
//!     body: JsonBody,
//! ) -> Result<Json<Value>, Refusal> {
//!     let row = mapping_of_path(&state.control, &uuid).await?;
//!     let mut body = body.with(&["shard", "reason"])?;
//!     let shard = body.optional::<String>("shard")?;
//!     …
//! }
//! ```
//!
//! Who may call is decided before: `read_only` reads, and everything but `GET` needs `admin`. A handler
//! that reads payloads takes an [`AdminCaller`](crate::auth::AdminCaller).

mod body;
mod lines;
mod mapping;
mod query;
mod refusal;

pub(crate) use body::{JsonBody, Members};
pub(crate) use lines::respond_in_lines;
pub(crate) use mapping::{mapping_of_body, mapping_of_path};
pub(crate) use query::Query;
pub(crate) use refusal::Refusal;
