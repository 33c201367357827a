//! A client of the daemon's API.

use anyhow::{Context, bail};
use bytes::Bytes;
use http::header::DATE;
use http::response::Parts;
use http::uri::Scheme;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde::de::DeserializeOwned;
use serde_json::Value;
use windlass_adapters::targets::{UrlError, validate_url};
use windlass_adapters::tls_roots::{self, Connector};
use windlass_admin::report::{
    DaemonReport, FunctionReport, FunctionsReport, MappingReport, MappingsReport,
};
use windlass_core::time::Timestamp;

use crate::credentials::Credentials;
use crate::{UsageError, config};

const MAPPINGS_PATH: &str = "/2015-03-31/event-source-mappings";
const STATUS_PATH: &str = "/windlass/v1/mappings";
const FUNCTIONS_PATH: &str = "/windlass/v1/functions";
const DAEMON_PATH: &str = "/windlass/v1/daemon";

/// Mappings of a page, as many as it may have.
const PAGE_SIZE: usize = 100;

const BROKEN_OFF: &str = "the connection closed before the end of the response";

/// Without `Debug`: it has a secret.
pub(crate) struct Client {
    endpoint: String,
    /// What is wrong with the trusted authorities, if anything.
    http: Result<HttpClient<Connector, Full<Bytes>>, String>,
    credentials: Credentials,
}

/// An error that the daemon returned.
#[derive(Debug)]
pub(crate) struct ApiError {
    pub(crate) status: StatusCode,
    /// AWS's name of the error.
    pub(crate) code: String,
    pub(crate) message: String,
    /// The member or parameter at fault.
    pub(crate) field: Option<String>,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({}): ", self.code, self.status.as_u16())?;
        if let Some(field) = &self.field {
            write!(f, "{field}: ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ApiError {}

impl Client {
    /// `endpoint`: see [`parse_endpoint`].
    pub(crate) fn new(endpoint: &str, credentials: Credentials) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            http: http_client(endpoint),
            credentials,
        }
    }

    /// All mappings, from all pages.
    pub(crate) async fn list(
        &self,
        event_source_arn: Option<&str>,
        function_name: Option<&str>,
    ) -> anyhow::Result<Vec<Value>> {
        let mut mappings = Vec::new();
        let mut marker: Option<String> = None;
        loop {
            let mut query = Vec::new();
            for (name, value) in [
                ("EventSourceArn", event_source_arn),
                ("FunctionName", function_name),
                ("Marker", marker.as_deref()),
            ] {
                query.extend(value.map(|value| format!("{name}={}", percent_encode(value))));
            }
            let path = format!("{MAPPINGS_PATH}?{}", query.join("&"));
            let mut page = self.call(Method::GET, &path, None).await?;
            let Value::Array(items) = page["EventSourceMappings"].take() else {
                bail!("{}", self.not_a_daemon("JSON without EventSourceMappings"));
            };
            mappings.extend(items);
            match page["NextMarker"].as_str() {
                Some(next) if !next.is_empty() => marker = Some(next.to_owned()),
                _ => return Ok(mappings),
            }
        }
    }

    pub(crate) async fn get(&self, uuid: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, &mapping_path(uuid), None).await
    }

    pub(crate) async fn create(&self, members: &Value) -> anyhow::Result<Value> {
        self.call(Method::POST, MAPPINGS_PATH, Some(members)).await
    }

    pub(crate) async fn update(&self, uuid: &str, members: &Value) -> anyhow::Result<Value> {
        self.call(Method::PUT, &mapping_path(uuid), Some(members))
            .await
    }

    pub(crate) async fn delete(&self, uuid: &str) -> anyhow::Result<Value> {
        self.call(Method::DELETE, &mapping_path(uuid), None).await
    }

    /// The status of every mapping, from all pages, without shards and queues.
    pub(crate) async fn statuses(&self) -> anyhow::Result<Vec<MappingReport>> {
        let (mut mappings, mut marker) = (Vec::new(), String::new());
        loop {
            let path = format!("{STATUS_PATH}?max_items={PAGE_SIZE}&marker={marker}");
            let value = self.call(Method::GET, &path, None).await?;
            // A daemon without pages returns all.
            if value.is_array() {
                return self.parse(value);
            }
            let page: MappingsReport = self.parse(value)?;
            mappings.extend(page.mappings);
            match page.next_marker {
                Some(next) => marker = percent_encode(&next),
                None => return Ok(mappings),
            }
        }
    }

    /// The status of one mapping, with its shards or its queue.
    pub(crate) async fn status(&self, uuid: &str) -> anyhow::Result<MappingReport> {
        let path = format!("{STATUS_PATH}/{}", percent_encode(uuid));
        let value = self.call(Method::GET, &path, None).await?;
        self.parse(value)
    }

    /// The functions that run in processes of the daemon's machine.
    pub(crate) async fn functions(&self) -> anyhow::Result<Vec<FunctionReport>> {
        let value = self.call(Method::GET, FUNCTIONS_PATH, None).await?;
        Ok(self.parse::<FunctionsReport>(value)?.functions)
    }

    /// What is to be said of the daemon itself.
    pub(crate) async fn daemon(&self) -> anyhow::Result<DaemonReport> {
        let value = self.call(Method::GET, DAEMON_PATH, None).await?;
        self.parse(value)
    }

    /// The time by the daemon's clock, in whole seconds: commands count from it, not from ours.
    pub(crate) async fn time(&self) -> anyhow::Result<Timestamp> {
        let (head, _) = self
            .exchange(Method::GET, FUNCTIONS_PATH, String::new())
            .await?;
        let date = head.headers.get(DATE).and_then(|date| date.to_str().ok());
        let time = date.and_then(parse_date);
        time.with_context(|| self.not_a_daemon("a response without its time"))
    }

    /// Every item of a list of windlass's own API, from all pages. `query` has values as they are.
    pub(crate) async fn items(
        &self,
        path: &str,
        query: &[(&str, &str)],
        member: &str,
    ) -> anyhow::Result<Vec<Value>> {
        let mut items = Vec::new();
        let mut marker = None;
        loop {
            let (page, next) = self.page(path, query, member, marker.as_deref()).await?;
            items.extend(page);
            if next.is_none() {
                return Ok(items);
            }
            marker = next;
        }
    }

    /// Shows such a list page by page: a page is not empty unless it is the only one, and the last is
    /// told so. It ends when nobody reads it.
    pub(crate) async fn show_pages(
        &self,
        path: &str,
        query: &[(&str, &str)],
        member: &str,
        mut show: impl FnMut(&[Value], bool) -> anyhow::Result<bool>,
    ) -> anyhow::Result<()> {
        let mut page = self.page(path, query, member, None).await?;
        loop {
            let next = match page.1.as_deref() {
                Some(marker) => self.page(path, query, member, Some(marker)).await?,
                None => (Vec::new(), None),
            };
            let is_last = next.0.is_empty();
            if !show(&page.0, is_last)? || is_last {
                return Ok(());
            }
            page = next;
        }
    }

    /// One page of such a list, and the marker of the next.
    pub(crate) async fn page(
        &self,
        path: &str,
        query: &[(&str, &str)],
        member: &str,
        marker: Option<&str>,
    ) -> anyhow::Result<(Vec<Value>, Option<String>)> {
        let pairs = query.iter().copied();
        let pairs = pairs.chain(marker.map(|marker| ("marker", marker)));
        let pairs = pairs.map(|(name, value)| format!("{name}={}", percent_encode(value)));
        let path = format!("{path}?{}", pairs.collect::<Vec<_>>().join("&"));
        let mut page = self.call(Method::GET, &path, None).await?;
        let Value::Array(items) = page[member].take() else {
            bail!("{}", self.not_a_daemon(&format!("JSON without {member}")));
        };
        Ok((items, page["next_marker"].as_str().map(ToOwned::to_owned)))
    }

    fn parse<T: DeserializeOwned>(&self, value: Value) -> anyhow::Result<T> {
        serde_json::from_value(value).with_context(|| self.not_a_daemon("other JSON than a status"))
    }

    /// Calls an operation; a refusal is an [`ApiError`].
    pub(crate) async fn call(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> anyhow::Result<Value> {
        let body = body.map(ToString::to_string).unwrap_or_default();
        self.call_with(method, path, body).await
    }

    /// The same with the text of a body.
    pub(crate) async fn call_with(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<Value> {
        Ok(self.exchange(method, path, body).await?.1)
    }

    /// The body of a response that is not JSON, or not to be read as such.
    pub(crate) async fn bytes(&self, path: &str) -> anyhow::Result<Bytes> {
        let response = self.send(Method::GET, path, String::new()).await?;
        let (head, body) = response.into_parts();
        let body = body.collect().await.context(BROKEN_OFF)?.to_bytes();
        if head.status.is_success() {
            return Ok(body);
        }
        Err(self.refused(&head, serde_json::from_slice(&body).ok()))
    }

    /// Calls a job, whose answer has a line of JSON for each thing that it has dealt with; `show` gets
    /// each as it arrives. Returns how many there were.
    pub(crate) async fn call_job(
        &self,
        path: &str,
        body: &Value,
        mut show: impl FnMut(Value) -> anyhow::Result<()>,
    ) -> anyhow::Result<usize> {
        let (head, mut body) = self
            .send(Method::POST, path, body.to_string())
            .await?
            .into_parts();
        if !head.status.is_success() {
            let body = body.collect().await.context(BROKEN_OFF)?.to_bytes();
            return Err(self.refused(&head, serde_json::from_slice(&body).ok()));
        }
        let (mut text, mut n_lines) = (Vec::new(), 0);
        while let Some(frame) = body.frame().await {
            let data = frame.context(BROKEN_OFF)?.into_data();
            text.extend_from_slice(&data.unwrap_or_default());
            while let Some(end) = text.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = text.drain(..=end).collect();
                let line = serde_json::from_slice(&line);
                show(line.with_context(|| self.not_a_daemon("a line that is not JSON"))?)?;
                n_lines += 1;
            }
        }
        Ok(n_lines)
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<(Parts, Value)> {
        let (head, body) = self.send(method, path, body).await?.into_parts();
        let body = body.collect().await.context(BROKEN_OFF)?.to_bytes();
        let value = match head.status {
            StatusCode::NO_CONTENT => Some(Value::Null),
            _ => serde_json::from_slice::<Value>(&body).ok(),
        };
        match value {
            Some(value) if head.status.is_success() => Ok((head, value)),
            value => Err(self.refused(&head, value)),
        }
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        body: String,
    ) -> anyhow::Result<Response<Incoming>> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.endpoint))
            .header("content-type", "application/json")
            .body(Bytes::from(body))
            .with_context(|| format!("cannot call the endpoint '{}'", self.endpoint))?;
        self.credentials.apply(&mut request)?;
        let http = self.http.as_ref();
        let http = http.map_err(|message| UsageError(message.clone()))?;
        let response = http.request(request.map(Full::new)).await;
        response.map_err(|error| {
            let endpoint = &self.endpoint;
            match tls_roots::describe(&error) {
                Some(why) => anyhow::anyhow!("no secure connection to {endpoint}: {why}"),
                None => anyhow::Error::new(error).context(format!(
                    "no daemon answers at {endpoint}; start one with 'windlass serve'"
                )),
            }
        })
    }

    /// The error of a response without what was asked for.
    fn refused(&self, head: &Parts, body: Option<Value>) -> anyhow::Error {
        let header = |name| head.headers.get(name).and_then(|it| it.to_str().ok());
        if let Some(code) = header("x-amzn-errortype") {
            let body = body.unwrap_or_default();
            // Those of windlass's own operations, and those of AWS.
            let error = body.get("error").unwrap_or(&body);
            let message = error["message"].as_str().or(error["Message"].as_str());
            let mut message = message.unwrap_or("no message").to_owned();
            if code == "MissingAuthenticationTokenException" {
                message.push_str(
                    "; set WINDLASS_ACCESS_KEY_ID and WINDLASS_SECRET_ACCESS_KEY, or WINDLASS_TOKEN",
                );
            }
            return ApiError {
                status: head.status,
                code: code.to_owned(),
                message,
                field: error["field"].as_str().map(str::to_owned),
            }
            .into();
        }
        let (status, kind) = (head.status, header("content-type").unwrap_or("no type"));
        let server = header("server").map(|name| format!(" from the server '{name}'"));
        let answer = format!("{status}{} with {kind}", server.unwrap_or_default());
        anyhow::anyhow!("{}", self.not_a_daemon(&answer))
    }

    fn not_a_daemon(&self, answer: &str) -> String {
        format!(
            "{} is not a windlass daemon: it returned {answer}; give the daemon's address with \
             --endpoint or WINDLASS_ENDPOINT",
            self.endpoint
        )
    }
}

/// # Errors
/// The text is not an `http://` or `https://` URL.
pub(crate) fn parse_endpoint(text: &str) -> Result<String, String> {
    match validate_url(text) {
        Ok(()) if !text.contains('?') => Ok(text.trim_end_matches('/').to_owned()),
        Err(UrlError::UserName) => Err(
            "user names in URLs are not supported; set WINDLASS_ACCESS_KEY_ID and              WINDLASS_SECRET_ACCESS_KEY, or WINDLASS_TOKEN"
                .to_owned(),
        ),
        Ok(()) | Err(UrlError::Invalid) => {
            Err("expected a URL such as http://127.0.0.1:9870".to_owned())
        }
    }
}

/// For an endpoint by HTTPS with the authorities of this machine and of `AWS_CA_BUNDLE`.
fn http_client(endpoint: &str) -> Result<HttpClient<Connector, Full<Bytes>>, String> {
    let uri = endpoint.parse::<http::Uri>();
    let is_https = uri.is_ok_and(|uri| uri.scheme() == Some(&Scheme::HTTPS));
    let bundle = match is_https {
        true => config::ca_bundle(crate::process_environment())?,
        false => None,
    };
    let connector = tls_roots::connector(HttpConnector::new(), is_https, bundle.as_ref());
    let connector = connector.map_err(|error| error.to_string())?;
    Ok(HttpClient::builder(TokioExecutor::new()).build(connector))
}

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
///
/// <https://www.rfc-editor.org/rfc/rfc9110#name-date-time-formats>
fn parse_date(text: &str) -> Option<Timestamp> {
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let millis = u64::try_from(date.timestamp().as_millisecond()).ok()?;
    Some(Timestamp::from_millis(millis))
}

fn mapping_path(uuid: &str) -> String {
    format!("{MAPPINGS_PATH}/{}", percent_encode(uuid))
}

/// Percent-encodes a path segment or a query value.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_a_url_of_http_or_https() {
        for text in ["http://127.0.0.1:9870", "https://windlass.internal"] {
            assert_eq!(parse_endpoint(&format!("{text}/")).as_deref(), Ok(text));
        }
        for text in [
            "",
            "127.0.0.1:9870",
            "ftp://a",
            "http:/a b",
            "http://a:70000",
            "http://a?b",
            "http://u:pw@a",
        ] {
            parse_endpoint(text).unwrap_err();
        }
    }

    #[test]
    fn the_date_of_a_response_is_read() {
        let time = parse_date("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(time, Some(Timestamp::from_millis(784_111_777_000)));
        assert_eq!(parse_date("today"), None);
    }
}
