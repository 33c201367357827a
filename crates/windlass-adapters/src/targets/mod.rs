//! Functions: how they are configured and invoked.

mod http;
mod invocation_facts;
mod json_steps;
mod lambda;
mod own_timeout;
mod pool;
pub mod process;
mod response;
mod response_body;
mod response_walker;
mod settings;
mod write_errors;

pub use http::HttpTarget;
pub use lambda::{LambdaTarget, find_function};
pub use settings::{
    FunctionKind, FunctionSettings, HttpFunction, UrlError, validate_header, validate_url,
};

/// Lambda's limit of a response.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024;

#[cfg(test)]
mod tests;
