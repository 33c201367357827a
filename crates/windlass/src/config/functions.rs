//! The `functions` of the configuration: names, and what each is.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_adapters::targets::{self, FunctionKind, FunctionSettings, HttpFunction};
use windlass_core::arn::Arn;
use windlass_core::function::FunctionName;

use super::section::{Section, expected, problem};
use super::tree::{Node, Problem, Value};

pub(super) fn read(
    top: &mut Section<'_>,
    problems: &mut Vec<Problem>,
) -> BTreeMap<String, FunctionSettings> {
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

fn read_one(node: &Node, path: &str, problems: &mut Vec<Problem>) -> Option<FunctionSettings> {
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
    let bounds = (Duration::from_millis(1), FunctionSettings::MAX_TIMEOUT);
    let timeout = section.duration("timeout", bounds, problems);
    let concurrency = section.count("maximum_concurrency", (1, 10_000), problems);
    let role_arn = section.text("role_arn", problems);
    section.finish(problems);
    let mut function = FunctionSettings::new(kind?);
    if let Some(timeout) = timeout {
        function.timeout = timeout;
    }
    if let Some(limit) = concurrency {
        function.maximum_concurrency = Some(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    function.role_arn = role_arn;
    Some(function)
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
    if let Err(reason) = targets::validate_url(url) {
        problems.push(problem(node, &path, reason));
        return None;
    }
    Some(FunctionKind::Http(HttpFunction {
        url: url.to_owned(),
        headers,
        signing_secret,
    }))
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
                match targets::validate_header(name.as_str(), value) {
                    Err(reason) => problems.push(problem(node, &path, reason)),
                    Ok(()) if headers.contains_key(name.as_str()) => {
                        problems.push(problem(node, &path, "written twice; keep one"));
                    }
                    Ok(()) => {
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
    if let Value::Text(text) = &node.value
        && FunctionName::parse(text).is_some_and(|it| it.scope.is_some())
        && let Ok(arn) = Arn::parse(text)
    {
        return Some(FunctionKind::Lambda(arn));
    }
    let what = "the ARN of a Lambda function: arn:aws:lambda:REGION:ACCOUNT:function:NAME";
    problems.push(expected(node, &format!("{path}.lambda"), what));
    None
}
