//! The functions: where and how they are invoked.

mod answer;
mod http;
mod lambda;
mod pool;
mod settings;

pub use http::HttpTarget;
pub use lambda::{LambdaTarget, find_function};
pub use settings::{HttpTargetSettings, refused_header, refused_url};

/// The longest a function may take unless the configuration says otherwise.
pub const DEFAULT_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(60);

/// Most bytes of a response that are read: 6 MiB.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
pub const RESPONSE_LIMIT: usize = 6 * 1024 * 1024;

#[cfg(test)]
mod tests;
