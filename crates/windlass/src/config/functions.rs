//! The functions of the file.

use std::collections::BTreeMap;
use std::time::Duration;

use windlass_adapters::targets::{
    FunctionKind, FunctionSettings, HttpFunction, UrlError, validate_header, validate_url,
};
use windlass_core::arn::Arn;
use windlass_core::function::FunctionName;

use super::reader::{Field, Section};
use super::yaml::Value;
use super::{Environment, processes, roles};

const MIN_TIMEOUT: Duration = Duration::from_millis(1);

const MAX_CONCURRENCY: u64 = 10_000;

pub(super) fn read(
    file: &mut Section<'_>,
    env: Environment<'_>,
) -> BTreeMap<String, FunctionSettings> {
    let mut functions = BTreeMap::new();
    let Some(field) = file.take("functions") else {
        return functions;
    };
    for (key, node) in field.entries("functions by name") {
        let function = field.child(node, &format!(".{}", key.name));
        if !is_function_name(&key.name) {
            let message = "a function's name has 1 to 64 letters, digits, hyphens or underscores";
            function.error_at(key.line, message);
        }
        if let Some(settings) = read_function(function, env) {
            functions.insert(key.name.clone(), settings);
        }
    }
    functions
}

fn is_function_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    (1..=64).contains(&name.len()) && name.chars().all(is_plain)
}

fn read_function(function: Field<'_>, env: Environment<'_>) -> Option<FunctionSettings> {
    match &function.node.value {
        Value::Map(_) | Value::Null => {}
        Value::Unset => return None,
        Value::Bool(_) | Value::Number(_) | Value::Text(_) | Value::List(_) => {
            function.expected_collection("a map with url, command or lambda");
            return None;
        }
    }
    let mut section = function.section();
    let concurrency = section.take("maximum_concurrency");
    let role_arn = section.text("role_arn");
    let assume_role = section.take("assume_role");
    let kind = read_kind(&mut section, env);
    let assume_role = match &kind {
        Some(FunctionKind::Http(_) | FunctionKind::Process(_)) => {
            if let Some(field) = assume_role {
                field.error("only for a function with lambda");
            }
            None
        }
        Some(FunctionKind::Lambda(_)) | None => assume_role.and_then(roles::read_role),
    };
    let max_timeout = match &kind {
        Some(FunctionKind::Lambda(_)) => FunctionSettings::MAX_LAMBDA_TIMEOUT,
        Some(FunctionKind::Http(_) | FunctionKind::Process(_)) | None => {
            FunctionSettings::MAX_TIMEOUT
        }
    };
    let timeout = section.duration("timeout", (MIN_TIMEOUT, max_timeout));
    let maximum_concurrency = match &kind {
        Some(FunctionKind::Process(_)) => {
            if let Some(field) = concurrency {
                field.error("only without a command, whose concurrency is processes.maximum");
            }
            None
        }
        Some(FunctionKind::Http(_) | FunctionKind::Lambda(_)) | None => {
            concurrency.and_then(|field| maximum_concurrency(&field))
        }
    };
    let defaults = FunctionSettings::new(kind?);
    Some(FunctionSettings {
        timeout: timeout.or(defaults.timeout),
        maximum_concurrency: maximum_concurrency.or(defaults.maximum_concurrency),
        role_arn: role_arn.or(defaults.role_arn),
        assume_role,
        kind: defaults.kind,
    })
}

fn maximum_concurrency(field: &Field<'_>) -> Option<usize> {
    let number = field.whole_number(1, MAX_CONCURRENCY);
    if number.is_none() {
        field.expected(&format!("a whole number from 1 to {MAX_CONCURRENCY}"));
    }
    number.and_then(|number| usize::try_from(number).ok())
}

fn read_kind(section: &mut Section<'_>, env: Environment<'_>) -> Option<FunctionKind> {
    let kinds = ["url", "lambda", "command"];
    let is_unset = kinds.iter().any(|name| section.is_unset(name));
    let [url, lambda, command] = kinds.map(|name| section.take(name));
    let of_url = ["headers", "signing_secret"].map(|name| section.take(name));
    let of_command = processes::KEYS.map(|name| section.take(name));
    if url.is_none() {
        for field in of_url.iter().flatten() {
            field.error("only for a function with a url");
        }
    }
    if command.is_none() {
        for field in of_command.iter().flatten() {
            field.error("only for a function with a command");
        }
    }
    match (url, lambda, command) {
        (Some(url), None, None) => {
            let [headers, signing_secret] = of_url;
            let headers = headers.map(|field| read_headers(&field.secret()));
            let signing_secret = signing_secret.and_then(|field| field.secret().text());
            Some(FunctionKind::Http(HttpFunction {
                url: read_url(url)?,
                headers: headers.unwrap_or_default(),
                signing_secret,
            }))
        }
        (None, Some(lambda), None) => read_lambda(&lambda),
        (None, None, Some(command)) => {
            processes::read(&command, of_command, env).map(FunctionKind::Process)
        }
        (None, None, None) if is_unset => None,
        _ => {
            section.error("exactly one of url, command and lambda is required");
            None
        }
    }
}

fn read_url(field: Field<'_>) -> Option<String> {
    let url = field.node.text();
    // Queries may contain keys.
    let field = match url.is_some_and(|url| url.contains('?')) {
        true => field.secret(),
        false => field,
    };
    match url.map(validate_url) {
        Some(Ok(())) => return url.map(str::to_owned),
        Some(Err(UrlError::UserName)) => field.error(UrlError::UserName),
        Some(Err(UrlError::Invalid)) | None => {
            field.expected("a URL such as http://127.0.0.1:9000/resize");
        }
    }
    None
}

fn read_headers(field: &Field<'_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (key, node) in field.entries("names and values") {
        let field = field.child(node, &format!(".{}", key.name));
        let name = http::HeaderName::from_bytes(key.name.as_bytes());
        match (&node.value, name) {
            (_, Err(_)) => field.error_at(
                key.line,
                "the name of a header has letters, digits and hyphens",
            ),
            (Value::Text(value), Ok(_)) if http::HeaderValue::from_str(value).is_err() => {
                field.error("the value of a header has no line breaks or other control characters");
            }
            (Value::Text(value), Ok(name)) => {
                if let Err(message) = validate_header(name.as_str(), value) {
                    field.error(message);
                } else if headers.contains_key(name.as_str()) {
                    field.error("duplicate header; names are not case-sensitive");
                } else {
                    headers.insert(name.as_str().to_owned(), value.clone());
                }
            }
            (Value::Unset, _) => {}
            _ => field.expected("text"),
        }
    }
    headers
}

fn read_lambda(field: &Field<'_>) -> Option<FunctionKind> {
    let arn = field
        .node
        .text()
        .filter(|text| FunctionName::parse(text).is_some_and(|name| name.scope.is_some()));
    let arn = arn.and_then(|text| Arn::parse(text).ok());
    if arn.is_none() {
        field.expected("the ARN of a Lambda function: arn:aws:lambda:REGION:ACCOUNT:function:NAME");
    }
    arn.map(FunctionKind::Lambda)
}
