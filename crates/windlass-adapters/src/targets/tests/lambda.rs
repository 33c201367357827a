//! Functions of AWS Lambda: requests, and the outcomes of their responses.

use std::time::Duration;

use aws_sdk_lambda::config::{BehaviorVersion, Credentials, Region};
use aws_smithy_types::retry::RetryConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::Instant;
use windlass_core::arn::Arn;
use windlass_core::outcome::{Fault, Outcome, Response};
use windlass_engine::ports::{FunctionLookup, Invocation, Purpose, Target};

use super::server::{Act, Server, response};
use super::{
    MINUTE, error, invocation, invocation_of_items, not_invoked, outcome_of, reported, throttled,
};
use crate::aws::Lambda;
use crate::targets::{LambdaTarget, MAX_RESPONSE_BYTES, find_function};
use crate::tests::test_http::{Ending, TestHttp};

fn arn(qualifier: &str) -> Arn {
    let arn = format!("arn:aws:lambda:us-east-1:123456789012:function:f{qualifier}");
    Arn::parse(&arn).unwrap()
}

fn lambda_target(timeout: Duration) -> (TestHttp, LambdaTarget) {
    let (http, clients) = TestHttp::new();
    let target = LambdaTarget::new(&clients.lambda, &arn(":live"), Some(timeout), None);
    (http, target)
}

#[tokio::test]
async fn a_function_is_invoked_synchronously() {
    let (http, target) = lambda_target(MINUTE);
    http.respond(b"{\"batchItemFailures\":[]}");
    assert_eq!(target.invoke(invocation(2)).await, Outcome::Success);
    let [request] = http.requests().try_into().unwrap();
    assert_eq!(
        request.uri,
        "https://lambda.us-east-1.amazonaws.com/2015-03-31/functions/\
         arn%3Aaws%3Alambda%3Aus-east-1%3A123456789012%3Afunction%3Af%3Alive/invocations"
    );
    assert_eq!(request.headers["x-amz-invocation-type"], "RequestResponse");
    assert_eq!(request.body, invocation(2).event.to_bytes());
    assert!(request.headers["authorization"].contains("/us-east-1/lambda/aws4_request"));
    assert!(!request.headers.contains_key("x-amz-client-context"));
    assert_eq!(target.timeout().await, MINUTE + Duration::from_secs(5));
}

#[tokio::test]
async fn a_replay_and_a_redrive_say_so_in_the_client_context() {
    let (http, target) = lambda_target(MINUTE);
    for (purpose, name, value) in [
        (Purpose::Replay("may".into()), "x-windlass-replay", "may"),
        (Purpose::Redrive("7".into()), "x-windlass-redrive", "7"),
    ] {
        http.respond(b"{}");
        let invocation = Invocation {
            purpose,
            ..invocation(1)
        };
        assert_eq!(target.invoke(invocation).await, Outcome::Success);
        let request = http.requests().pop().unwrap();
        let context = &request.headers["x-amz-client-context"];
        let context = base64_simd::STANDARD.decode_to_vec(context).unwrap();
        let context: serde_json::Value = serde_json::from_slice(&context).unwrap();
        let expected = serde_json::json!({"custom": {name: value, "x-windlass-attempt": "1"}});
        assert_eq!(context, expected);
    }
}

#[tokio::test]
async fn the_items_that_failed_are_read_from_the_response_if_the_mapping_asks_for_them() {
    let (http, target) = lambda_target(MINUTE);
    let headers = [("x-amzn-requestid", "r-1"), ("x-amz-executed-version", "7")];
    let head = Response {
        status: 200,
        request_id: Some("r-1".into()),
        executed_version: Some("7".into()),
        function_error: None,
    };
    for (body, failures) in reported() {
        http.respond_with(200, &headers, body);
        let outcome = target.invoke(invocation_of_items()).await;
        assert_eq!(outcome, outcome_of(failures, head.clone()));
        assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
    }
}

#[tokio::test]
async fn a_function_error_is_reported_without_its_message() {
    let (http, target) = lambda_target(MINUTE);
    let body = br#"{"errorMessage":"secret","errorType":"ValueError"}"#;
    for (kind, shown) in [
        ("Unhandled", "Unhandled"),
        ("Handled", "Handled"),
        ("a b", "Unhandled"),
    ] {
        http.respond_with(200, &[("x-amz-function-error", kind)], body);
        assert_eq!(target.invoke(invocation(1)).await, error(200, shown));
    }
}

#[tokio::test]
async fn every_kind_of_throttling_has_the_requested_delay() {
    let (http, target) = lambda_target(MINUTE);
    let reasons = [
        "ConcurrentInvocationLimitExceeded",
        "FunctionInvocationRateLimitExceeded",
        "ReservedFunctionConcurrentInvocationLimitExceeded",
        "ReservedFunctionInvocationRateLimitExceeded",
        "CallerRateLimitExceeded",
        "ConcurrentSnapshotCreateLimitExceeded",
    ];
    for reason in reasons {
        let body = format!(r#"{{"Reason":"{reason}","Type":"User","message":"Rate Exceeded."}}"#);
        let kind = ("x-amzn-errortype", "TooManyRequestsException");
        http.respond_with(429, &[kind], body.as_bytes());
        assert_eq!(target.invoke(invocation(1)).await, throttled(None));
        http.respond_with(429, &[kind, ("retry-after", "9")], body.as_bytes());
        assert_eq!(target.invoke(invocation(1)).await, throttled(Some(9)));
    }
    assert_eq!(http.requests().len(), 12, "the SDK does not retry");
}

/// <https://docs.aws.amazon.com/lambda/latest/api/API_Invoke.html>
#[tokio::test]
async fn errors_of_the_service_use_no_attempt() {
    let (http, target) = lambda_target(MINUTE);
    let transient = [
        (500, "ServiceException"),
        (502, "EC2ThrottledException"),
        (502, "EC2UnexpectedException"),
        (502, "ENILimitReachedException"),
        (502, "ENINotReadyException"),
        (502, "SubnetIPAddressLimitReachedException"),
        (502, "ResourceNotReadyException"),
        (408, "EFSMountConnectivityException"),
        (408, "EFSMountTimeoutException"),
        (408, "SnapStartTimeoutException"),
        (409, "SnapStartNotReadyException"),
        (409, "ResourceConflictException"),
        (503, ""),
    ];
    let denied = [
        (403, "AccessDeniedException"),
        (403, "EFSMountFailureException"),
        (403, "UnrecognizedClientException"),
        (403, ""),
        (410, "EFSIOException"),
        (502, "KMSAccessDeniedException"),
        (502, "KMSDisabledException"),
        (502, "KMSInvalidStateException"),
        (502, "KMSNotFoundException"),
        (502, "InvalidRuntimeException"),
        (502, "InvalidZipFileException"),
        (502, "InvalidSubnetIDException"),
        (502, "InvalidSecurityGroupIDException"),
        (502, "EC2AccessDeniedException"),
        (400, "SnapStartException"),
        (400, "InvalidParameterValueException"),
        (415, "UnsupportedMediaTypeException"),
        (400, "InvalidRequestContentException"),
        (402, "ServiceQuotaExceededException"),
        (400, ""),
        (404, ""),
        (422, "Unknown"),
    ];
    let transient = transient.map(|it| (it, not_invoked(Fault::Transient)));
    let denied = denied.map(|it| (it, not_invoked(Fault::Denied)));
    let others = [
        ((404, "ResourceNotFoundException"), not_invoked(Fault::Gone)),
        (
            (413, "RequestTooLargeException"),
            error(413, "RequestTooLargeException"),
        ),
        ((413, ""), error(413, "Unhandled")),
        (
            (400, "RecursiveInvocationException"),
            error(400, "RecursiveInvocationException"),
        ),
    ];
    for ((status, code), expected) in transient.into_iter().chain(denied).chain(others) {
        let kind = Some(("x-amzn-errortype", code)).filter(|_| !code.is_empty());
        http.respond_with(status, kind.as_slice(), br#"{"Message":"secret"}"#);
        let outcome = target.invoke(invocation(1)).await;
        assert_eq!(outcome, expected, "{status} {code}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_may_take_the_timeout_of_its_function_and_five_seconds() {
    let (http, target) = lambda_target(15 * MINUTE);
    http.respond(b"null");
    for seconds in [30, 41, 899, 902] {
        http.delay(Duration::from_secs(seconds));
        let outcome = target.invoke(invocation(1)).await;
        assert_eq!(outcome, Outcome::Success, "after {seconds} s");
    }
    let started = Instant::now();
    http.delay(60 * MINUTE);
    assert_eq!(target.invoke(invocation(1)).await, error(0, "timeout"));
    assert_eq!(started.elapsed().as_secs(), 15 * 60 + 5);
}

#[tokio::test]
async fn the_size_of_a_response_is_limited() {
    let (http, target) = lambda_target(MINUTE);
    http.respond(&vec![b'x'; MAX_RESPONSE_BYTES]);
    assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
    http.respond(&vec![b'x'; MAX_RESPONSE_BYTES + 1]);
    let outcome = target.invoke(invocation(1)).await;
    assert_eq!(outcome, error(200, "response too large"));
    http.respond(b"{}");
    http.end(Ending::ConnectionLost);
    let outcome = target.invoke(invocation(1)).await;
    assert_eq!(outcome, error(0, "response broken off"));
}

/// Requests for the configuration of the function, of those since the last call.
fn n_lookups(http: &TestHttp) -> usize {
    let requests = http.requests();
    let lookups = requests
        .iter()
        .filter(|it| it.uri.ends_with("/configuration"));
    lookups.count()
}

#[tokio::test(start_paused = true)]
async fn a_function_without_a_configured_timeout_has_its_own() {
    let (http, clients) = TestHttp::new();
    let target = LambdaTarget::new(&clients.lambda, &arn(""), None, None);
    http.respond_once(200, r#"{"FunctionName":"f","Timeout":120}"#);
    assert_eq!(target.timeout().await.as_secs(), 125);
    http.respond(b"null");
    http.delay(Duration::from_secs(75));
    assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
    assert_eq!(n_lookups(&http), 1, "it is read once");
    // After an invocation that took longer it is read again.
    http.delay(20 * MINUTE);
    let started = Instant::now();
    assert_eq!(target.invoke(invocation(1)).await, error(0, "timeout"));
    assert_eq!(started.elapsed().as_secs(), 125);
    http.respond_once(200, r#"{"FunctionName":"f","Timeout":300}"#);
    assert_eq!(target.timeout().await.as_secs(), 305);
    // And after an hour; what is known stays if it cannot be read, because of the delay here.
    tokio::time::advance(61 * MINUTE).await;
    http.requests();
    let started = Instant::now();
    assert_eq!(target.timeout().await.as_secs(), 305);
    assert_eq!(started.elapsed().as_secs(), 5);
    assert_eq!(n_lookups(&http), 1);
}

#[tokio::test(start_paused = true)]
async fn a_function_whose_timeout_cannot_be_read_may_take_the_longest_possible_time() {
    for (status, configuration) in [(403, "{}"), (500, "{}"), (200, r#"{"FunctionName":"f"}"#)] {
        let (http, clients) = TestHttp::new();
        let target = LambdaTarget::new(&clients.lambda, &arn(""), None, None);
        http.respond_once(status, configuration);
        http.respond(b"null");
        assert_eq!(target.timeout().await.as_secs(), 15 * 60 + 5);
        assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
        assert_eq!(n_lookups(&http), 1);
    }
}

/// A client that uses the network.
fn client(address: &str) -> Lambda {
    let config = aws_sdk_lambda::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("id", "secret", None, None, "test"))
        .retry_config(RetryConfig::standard())
        .endpoint_url(format!("http://{address}"));
    Lambda::new(config.build())
}

#[tokio::test]
async fn network_errors_are_distinguished() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    drop(listener);
    let target = LambdaTarget::new(&client(&address), &arn(""), Some(MINUTE), None);
    let refused = target.invoke(invocation(1)).await;
    assert_eq!(refused, not_invoked(Fault::Transient));
    let broken = b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nabc".to_vec();
    let script = [
        Act::Respond(response(200, &[], b"null")),
        Act::RespondAndClose(broken),
        Act::Respond(response(500, &[], b"")),
        Act::RespondAndClose(Vec::new()),
        Act::Hang(Vec::new()),
    ];
    let mut server = Server::start(script).await;
    let target = LambdaTarget::new(&client(server.address()), &arn(""), Some(MINUTE), None);
    assert_eq!(target.invoke(invocation(1)).await, Outcome::Success);
    assert_eq!(
        target.invoke(invocation(1)).await,
        error(0, "response broken off")
    );
    assert_eq!(
        target.invoke(invocation(1)).await,
        not_invoked(Fault::Transient)
    );
    assert_eq!(
        target.invoke(invocation(1)).await,
        not_invoked(Fault::Transient)
    );
    // Each request is sent once.
    server.connections(4).await;
    let mut call = JoinSet::new();
    call.spawn(async move { target.invoke(invocation(1)).await });
    server.received().await;
    tokio::time::pause();
    assert_eq!(
        call.join_next().await.unwrap().unwrap(),
        error(0, "timeout")
    );
}

#[tokio::test]
async fn a_function_is_looked_up() {
    let (http, clients) = TestHttp::new();
    let function = arn(":live");
    let find = async |status, code: &'static str, body: &[u8]| {
        http.respond_with(status, &[("x-amzn-errortype", code)], body);
        find_function(&clients.lambda, &function).await
    };
    let found = find(200, "", br#"{"FunctionName":"f"}"#).await.unwrap();
    assert_eq!(found, FunctionLookup::Found(function.clone()));
    let missing = find(404, "ResourceNotFoundException", b"{}").await.unwrap();
    assert_eq!(missing, FunctionLookup::Missing);
    for (status, code, fault) in [
        (403, "ExpiredTokenException", Fault::Denied),
        (400, "InvalidParameterValueException", Fault::Transient),
        (400, "ValidationException", Fault::Transient),
        (
            429,
            "TooManyRequestsException",
            Fault::Throttled { retry_after: None },
        ),
    ] {
        let error = find(status, code, b"{}").await.unwrap_err();
        assert_eq!(error.fault, fault, "{code}");
        let operation = "GetFunctionConfiguration of arn:aws:lambda";
        assert!(error.operation.starts_with(operation), "{error}");
    }
}

#[tokio::test]
async fn a_function_that_cannot_be_looked_up_may_exist() {
    for (status, code, body) in [
        (403, "AccessDeniedException", "{}"),
        (404, "", "<html>not found</html>"),
        (404, "", ""),
        (404, "UnknownOperationException", "{}"),
        (404, "PathNotFoundLocally", r#"{"Message":"no such path"}"#),
        (405, "", r#"{"message":"Method Not Allowed"}"#),
        (501, "InternalFailure", "{}"),
        (200, "", "hello"),
    ] {
        let (http, clients) = TestHttp::new();
        let code_header = [("x-amzn-errortype", code)];
        let headers = if code.is_empty() {
            &[]
        } else {
            &code_header[..]
        };
        // Statuses from 500 are retried.
        for _ in 0..2 {
            http.respond_with(status, headers, body.as_bytes());
        }
        match find_function(&clients.lambda, &arn("")).await {
            Ok(FunctionLookup::Unchecked { reason, .. }) => {
                assert!(
                    reason.starts_with("GetFunctionConfiguration of"),
                    "{reason}"
                );
            }
            other => panic!("{status} {code} {body}: {other:?}"),
        }
    }
    // A gateway, whose server may be there later.
    for status in [502, 503, 504] {
        let (http, clients) = TestHttp::new();
        for _ in 0..2 {
            http.respond_with(status, &[], b"<html></html>");
        }
        let error = find_function(&clients.lambda, &arn("")).await.unwrap_err();
        assert_eq!(error.fault, Fault::Transient, "{status}");
    }
}
