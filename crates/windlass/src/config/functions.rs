//! The `functions` of the configuration: names, and what each is.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_adapters::targets::{refused_header, refused_url};

use super::section::{Section, expected, problem};
use super::tree::{Node, Problem, Value};

/// A function that goes longer than this is not waited for unless the file says so.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);

/// The longest a function may take, as on AWS.
///
/// <https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html>
const LONGEST_TIMEOUT: Duration = Duration::from_secs(15 * 60);

/// Where a Runtime Interface Emulator listens; a second request while one runs ends it.
const EMULATOR_PATH: &str = "/2015-03-31/functions/function/invocations";

/// One function of the file.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct FunctionConfig {
    pub(crate) kind: FunctionKind,
    pub(crate) timeout: Duration,
    /// `None`: no limit of its own.
    pub(crate) maximum_concurrency: Option<usize>,
    /// What it sees as `invokeIdentityArn`.
    pub(crate) role_arn: Option<String>,
}

/// How a function is invoked.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum FunctionKind {
    /// By HTTP.
    Url {
        url: String,
        headers: BTreeMap<String, String>,
        signing_secret: Option<String>,
    },
    /// Through AWS Lambda's API.
    Lambda { arn: String },
}

pub(super) fn read(
    top: &mut Section<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, FunctionConfig> {
    let mut functions = BTreeMap::new();
    let Some(node) = top.take("functions") else {
        return functions;
    };
    let Value::Map(entries) = &node.value else {
        problems.push(expected(
            node,
            "functions",
            "names with what each function is",
        ));
        return functions;
    };
    for (key, node) in entries {
        let path = format!("functions.{}", key.name);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if key.name.is_empty() || 64 < key.name.len() || !key.name.chars().all(plain) {
            let message = format!(
                "{path}: a function's name has 1 to 64 letters, digits, hyphens or underscores"
            );
            problems.push(Problem {
                line: key.line,
                message,
            });
        }
        if let Some(function) = read_one(node, &path, problems) {
            functions.insert(key.name.clone(), function);
        }
    }
    functions
}

fn read_one(node: &Node, path: &str, problems: &mut Vec<Problem>) -> Option<FunctionConfig> {
    if !matches!(node.value, Value::Map(_) | Value::Null) {
        if node.value != Value::Unset {
            problems.push(expected(node, path, "a map with url or lambda"));
        }
        return None;
    }
    let mut section = Section::of(node, path, problems);
    let unset = ["url", "lambda"].map(|name| section.is_unset(name));
    let url = section.take("url");
    let lambda = section.take("lambda");
    let command = section.take("command");
    let headers = section.take("headers");
    let secret = section.peek("signing_secret");
    let signing_secret = section.text("signing_secret", problems);
    let kind = match (url, lambda, command) {
        (Some(url), None, None) => read_url(url, headers, signing_secret, path, problems),
        (None, Some(lambda), None) => {
            for (name, written) in [("headers", headers), ("signing_secret", secret)] {
                if let Some(written) = written {
                    let path = format!("{path}.{name}");
                    problems.push(problem(written, &path, "only for a function with a url"));
                }
            }
            read_lambda(lambda, path, problems)
        }
        (None, None, Some(command)) => {
            let message = "local processes are not supported yet; serve the function by HTTP and \
                           give its url";
            problems.push(problem(command, &format!("{path}.command"), message));
            None
        }
        (None, None, None) if unset.contains(&true) => None,
        _ => {
            problems.push(problem(
                node,
                path,
                "exactly one of url and lambda is needed",
            ));
            None
        }
    };
    let bounds = (Duration::from_millis(1), LONGEST_TIMEOUT);
    let timeout = section
        .duration("timeout", bounds, problems)
        .unwrap_or(DEFAULT_TIMEOUT);
    let concurrency = section.count("maximum_concurrency", (1, 10_000), problems);
    let role_arn = section.text("role_arn", problems);
    section.finish(problems);
    let kind = kind?;
    let emulator = matches!(&kind, FunctionKind::Url { url, .. } if url.ends_with(EMULATOR_PATH));
    let maximum_concurrency = concurrency
        .map(|limit| usize::try_from(limit).unwrap_or(usize::MAX))
        .or_else(|| emulator.then_some(1));
    Some(FunctionConfig {
        kind,
        timeout,
        maximum_concurrency,
        role_arn,
    })
}

fn read_url(
    node: &Node,
    headers: Option<&Node>,
    signing_secret: Option<String>,
    path: &str,
    problems: &mut Vec<Problem>,
) -> Option<FunctionKind> {
    let headers = headers
        .map(|node| read_headers(node, path, problems))
        .unwrap_or_default();
    let path = format!("{path}.url");
    let Some(url) = node.text() else {
        let what = "a URL such as http://127.0.0.1:9000/resize";
        problems.push(expected(node, &path, what));
        return None;
    };
    if let Some(refusal) = refused_url(url) {
        problems.push(problem(node, &path, refusal));
        return None;
    }
    Some(FunctionKind::Url {
        url: url.to_owned(),
        headers,
        signing_secret,
    })
}

fn read_headers(node: &Node, path: &str, problems: &mut Vec<Problem>) -> BTreeMap<String, String> {
    let path = format!("{path}.headers");
    let Value::Map(entries) = &node.value else {
        problems.push(expected(node, &path, "names and values"));
        return BTreeMap::new();
    };
    let mut headers = BTreeMap::new();
    for (key, node) in entries {
        let path = format!("{path}.{}", key.name);
        let name = http::HeaderName::from_bytes(key.name.as_bytes());
        match (&node.value, name) {
            (Value::Text(value), Ok(name)) if http::HeaderValue::from_str(value).is_ok() => {
                match refused_header(name.as_str(), value) {
                    Some(refusal) => problems.push(problem(node, &path, refusal)),
                    None if headers.contains_key(name.as_str()) => {
                        problems.push(problem(node, &path, "written twice; keep one"));
                    }
                    None => {
                        headers.insert(name.as_str().to_owned(), value.clone());
                    }
                }
            }
            (Value::Text(_), _) => problems.push(problem(node, &path, "not a valid header")),
            (Value::Unset, _) => {}
            _ => problems.push(expected(node, &path, "text")),
        }
    }
    headers
}

fn read_lambda(node: &Node, path: &str, problems: &mut Vec<Problem>) -> Option<FunctionKind> {
    if let Value::Text(arn) = &node.value
        && windlass_core::function::FunctionName::parse(arn).is_some_and(|it| it.scope.is_some())
    {
        return Some(FunctionKind::Lambda { arn: arn.clone() });
    }
    let what = "the ARN of a Lambda function: arn:aws:lambda:REGION:ACCOUNT:function:NAME";
    problems.push(expected(node, &format!("{path}.lambda"), what));
    None
}
