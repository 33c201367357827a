//! Signatures of AWS's test suite, of AWS's own signer, and of garbage.

use std::time::{SystemTime, UNIX_EPOCH};

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    SignableBody, SignableRequest, SignatureLocation, SigningSettings, sign,
};
use aws_sigv4::sign::v4;
use http::{HeaderName, HeaderValue, Request};
use proptest::prelude::*;

use super::*;

const ID: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const REGION: &str = "us-east-1";

/// 2015-08-30T12:36:00Z
const NOW: Timestamp = Timestamp::from_millis(1_440_938_160_000);

fn check(parts: &Parts, body: &[u8], now: Timestamp) -> Result<(), ApiError> {
    let claim = Claim::parse(parts)?;
    assert_eq!(claim.key_id, ID);
    claim.check(REGION, now)?;
    claim.verify(parts, body, SECRET)
}

#[track_caller]
fn refused(parts: &Parts, body: &[u8], now: Timestamp, code: Code, says: &str) {
    let error = check(parts, body, now).unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert!(error.message.contains(says), "{error}");
}

/// Method, target, headers other than host and date, their names, and the signature.
type Vector = (
    &'static str,
    &'static str,
    &'static [(&'static str, &'static str)],
    &'static str,
    &'static str,
);

/// Of the suite that AWS published for Signature Version 4.
#[rustfmt::skip] // one vector, one block
const VECTORS: [Vector; 7] = [
    ("GET", "/", &[], "",
     "5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31"),
    ("GET", "/?Param2=value2&Param1=value1", &[], "",
     "b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500"),
    ("POST", "/?Param1=value1", &[], "",
     "28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11"),
    ("GET", "/./example", &[], "",
     "ef75d96142cf21edca26f06005da7988e4f8dc83a165a80865db7089db637ec5"),
    ("GET", "/?-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz=-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz", &[], "",
     "9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197"),
    ("GET", "/", &[("my-header1", "value2"), ("my-header1", "value2"), ("my-header1", "value1")], "my-header1;",
     "c9d5ea9f3f72853aea855b47ea873832890dbdd183b4468f858259531a5138ea"),
    ("GET", "/", &[("my-header1", " value1"), ("my-header2", "\"a   b   c\"")], "my-header1;my-header2;",
     "acc3ed3afb60bb290fc8d2dd0098b9911fcaa05412b367055dee359757a9c736"),
];

#[test]
fn the_vectors_of_aws_are_verified() {
    for (method, target, headers, names, signature) in VECTORS {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request
            .header("host", "example.amazonaws.com")
            .header("x-amz-date", "20150830T123600Z")
            .header(
                AUTHORIZATION,
                format!(
                    "AWS4-HMAC-SHA256 Credential={ID}/20150830/us-east-1/service/aws4_request, \
                     SignedHeaders=host;{names}x-amz-date, Signature={signature}"
                ),
            );
        let (parts, ()) = request.body(()).unwrap().into_parts();
        let claim = Claim::parse(&parts).unwrap();
        assert_eq!(claim.verify(&parts, b"", SECRET), Ok(()), "{target}");
        claim.verify(&parts, b"", "another").unwrap_err();
        let scope = "Credential should be scoped to correct service: 'lambda'.";
        refused(&parts, b"", NOW, Code::InvalidSignature, scope);
    }
}

/// A request that AWS's own signer has signed.
fn signed(method: &str, target: &str, body: &[u8], expires: Option<u64>) -> Request<()> {
    let identity = Credentials::new(ID, SECRET, None, None, "test").into();
    let mut settings = SigningSettings::default();
    settings.expires_in = expires.map(Duration::from_secs);
    if expires.is_some() {
        settings.signature_location = SignatureLocation::QueryParams;
    }
    let time: SystemTime = UNIX_EPOCH + Duration::from_millis(NOW.as_millis());
    let params = v4::SigningParams::builder()
        .identity(&identity)
        .region(REGION)
        .name("lambda")
        .time(time)
        .settings(settings)
        .build()
        .unwrap()
        .into();
    let uri = format!("http://127.0.0.1:9870{target}");
    let headers = [("content-type", "application/json"), ("x-amz-meta", "a  b")];
    let request =
        SignableRequest::new(method, &uri, headers.into_iter(), SignableBody::Bytes(body)).unwrap();
    let (instructions, _) = sign(request, &params).unwrap().into_parts();
    let mut request = Request::builder().method(method).uri(&uri);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let mut request = request.header("host", "127.0.0.1:9870").body(()).unwrap();
    instructions.apply_to_request_http1x(&mut request);
    request
}

/// Botocore signs a `Date` that its caller has set, in place of `X-Amz-Date`.
#[test]
fn a_date_takes_the_place_of_x_amz_date() {
    let body = b"{}";
    let of_botocore = "2eaca3228f61016a16642e32869162a6d4f16f5156ec1bc1c2bd7541d1551809";
    let (parts, ()) = Request::post("/2017-03-31/tags/a%2Fb//c/?b=a%20b&a=%2F&a=1")
        .header("host", "127.0.0.1:9870")
        .header("date", "Sun, 30 Aug 2015 12:36:00 -0000")
        .header("x-amz-meta", " a   b ")
        .header(
            AUTHORIZATION,
            format!(
                "AWS4-HMAC-SHA256 Credential={ID}/20150830/us-east-1/lambda/aws4_request, \
                 SignedHeaders=date;host;x-amz-meta, Signature={of_botocore}"
            ),
        )
        .body(())
        .unwrap()
        .into_parts();
    assert_eq!(check(&parts, body, NOW), Ok(()));
    check(&parts, b"{ }", NOW).unwrap_err();
    let late = NOW.shifted(6 * 60_000);
    let expired = "Signature expired: 20150830T123600Z is now";
    refused(&parts, body, late, Code::InvalidSignature, expired);
    let mut other = parts;
    let gmt = HeaderValue::from_static("Sun, 30 Aug 2015 12:36:01 GMT");
    other.headers.insert("date", gmt);
    refused(&other, body, NOW, Code::InvalidSignature, "does not match");
    let words = HeaderValue::from_static("yesterday");
    other.headers.insert("date", words);
    refused(&other, body, NOW, Code::InvalidSignature, "ISO-8601");
    // The other header goes first.
    other
        .headers
        .insert("x-amz-date", HeaderValue::from_static("20150830T123600Z"));
    refused(&other, body, NOW, Code::InvalidSignature, "does not match");
    // Of AWS's signer, whose string to sign has the same time in either header.
    let (mut parts, ()) = signed("GET", "/a?b=c", b"", None).into_parts();
    let signed_at = parts.headers.remove("x-amz-date").unwrap();
    parts.headers.insert("date", signed_at);
    assert!(Claim::parse(&parts).is_ok_and(|claim| claim.check(REGION, NOW).is_ok()));
}

const REQUESTS: [(&str, &str, &[u8]); 4] = [
    (
        "GET",
        "/2015-03-31/event-source-mappings/?MaxItems=5&FunctionName=a%20b%2Fc",
        b"",
    ),
    (
        "POST",
        "/2015-03-31/event-source-mappings",
        b"{\"FunctionName\": \"f\"}",
    ),
    (
        "DELETE",
        "/2017-03-31/tags/arn%3Aaws%3Alambda%3Aus-east-1%3A1%3Ax?tagKeys=b&tagKeys=a",
        b"",
    ),
    ("GET", "/2017-03-31/tags/arn:aws:lambda:us-east-1:1:x", b""),
];

#[test]
fn requests_of_aws_signer_are_accepted_and_refused_with_one_byte_changed() {
    for (method, target, body) in REQUESTS {
        for expires in [None, Some(60)] {
            let (parts, ()) = signed(method, target, body, expires).into_parts();
            assert_eq!(check(&parts, body, NOW), Ok(()), "{target} {expires:?}");
            let mut changed = body.to_vec();
            changed.push(b' ');
            check(&parts, &changed, NOW).unwrap_err();
            for other in ["GET", "PUT", "POST", "DELETE"]
                .iter()
                .filter(|it| **it != method)
            {
                let mut parts = parts.clone();
                parts.method = other.parse().unwrap();
                check(&parts, body, NOW).unwrap_err();
            }
            changed_targets(&parts, body);
            changed_headers(&parts, body);
        }
    }
}

fn changed_targets(parts: &Parts, body: &[u8]) {
    let target = parts.uri.path_and_query().unwrap().as_str().to_owned();
    // The first is the slash that every path has.
    for index in 1..target.len() {
        let mut bytes = target.clone().into_bytes();
        bytes[index] = if bytes[index] == b'0' { b'1' } else { b'0' };
        let Ok(uri) = String::from_utf8(bytes).unwrap().parse() else {
            continue;
        };
        let mut parts = parts.clone();
        parts.uri = uri;
        let key = |parts: &Parts| Claim::parse(parts).map(|claim| claim.key_id);
        // Another key is refused before.
        if key(&parts).is_ok_and(|id| id == ID) {
            check(&parts, body, NOW).expect_err(&parts.uri.to_string());
        }
    }
}

fn changed_headers(parts: &Parts, body: &[u8]) {
    for (name, value) in &parts.headers {
        for index in 0..value.len() {
            let mut bytes = value.as_bytes().to_vec();
            bytes[index] = if bytes[index] == b'0' { b'1' } else { b'0' };
            let mut parts = parts.clone();
            let changed = HeaderValue::from_bytes(&bytes).unwrap();
            parts.headers.insert(name.clone(), changed);
            if Claim::parse(&parts).is_ok_and(|claim| claim.key_id == ID) {
                check(&parts, body, NOW).expect_err(name.as_str());
            }
        }
    }
}

#[test]
fn a_signature_holds_for_its_time_and_its_scope() {
    let minutes = |minutes: i64| NOW.shifted(minutes * 60_000);
    let (header, ()) = signed("GET", "/", b"", None).into_parts();
    let (url, ()) = signed("GET", "/", b"", Some(3_600)).into_parts();
    for (parts, from, to) in [(&header, -5, 5), (&url, -5, 60)] {
        assert_eq!(check(parts, b"", minutes(from)), Ok(()));
        assert_eq!(check(parts, b"", minutes(to)), Ok(()));
        let code = Code::InvalidSignature;
        refused(
            parts,
            b"",
            minutes(from - 1),
            code,
            "Signature not yet current: 20150830T123600Z",
        );
        refused(
            parts,
            b"",
            minutes(to + 1),
            code,
            "Signature expired: 20150830T123600Z is now",
        );
    }
    let text = check(&header, b"", minutes(6)).unwrap_err().message;
    assert_eq!(
        text,
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123700Z \
         (20150830T124200Z - 5 min.)"
    );
    let region = Claim::parse(&header).unwrap().check("eu-west-1", NOW);
    let text = region.unwrap_err().message;
    assert_eq!(
        text,
        "Credential should be scoped to a valid region, not 'us-east-1'."
    );
    for expires in [0, 604_801] {
        let (parts, ()) = signed("GET", "/", b"", Some(expires)).into_parts();
        refused(
            &parts,
            b"",
            NOW,
            Code::InvalidSignature,
            "X-Amz-Expires must be",
        );
    }
    let (week, ()) = signed("GET", "/", b"", Some(604_800)).into_parts();
    assert_eq!(check(&week, b"", minutes(7 * 24 * 60)), Ok(()));
}

#[test]
fn the_payload_is_signed_as_a_whole() {
    let body = b"{}";
    for (sent, says) in [
        ("UNSIGNED-PAYLOAD", "must be signed"),
        ("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "in chunks"),
        ("STREAMING-UNSIGNED-PAYLOAD-TRAILER", "in chunks"),
        ("0", "does not match"),
        ("", "does not match"),
    ] {
        let (mut parts, ()) = signed("POST", "/", body, None).into_parts();
        let name = HeaderName::from_static("x-amz-content-sha256");
        parts.headers.insert(name, HeaderValue::from_static(sent));
        refused(&parts, body, NOW, Code::InvalidSignature, says);
    }
    let (mut parts, ()) = signed("POST", "/", body, None).into_parts();
    let hash = HeaderValue::from_str(&hex(&Sha256::digest(body))).unwrap();
    parts.headers.insert("x-amz-content-sha256", hash);
    assert_eq!(check(&parts, body, NOW), Ok(()));
}

#[test]
fn what_is_incomplete_is_named() {
    let (whole, ()) = signed("GET", "/", b"", None).into_parts();
    let value = whole.headers[AUTHORIZATION].to_str().unwrap().to_owned();
    for (from, to, says) in [
        (
            "AWS4-HMAC-SHA256",
            "AWS4-ECDSA-P256-SHA256",
            "not of the AWS4-HMAC-SHA256 form",
        ),
        ("Signature=", "Signature", "unknown parameter"),
        ("Signature=", "More=1, Signature=", "unknown parameter"),
        ("Signature=", "Signature=1, Signature=", "'Signature' twice"),
        (
            "SignedHeaders=",
            "SignedHeaders=, Credential=",
            "'Credential' twice",
        ),
        ("/lambda/", "/", "exactly 5 slash-delimited elements"),
    ] {
        let mut parts = whole.clone();
        let changed = value.replace(from, to);
        let changed = HeaderValue::from_str(&changed).unwrap();
        parts.headers.insert(AUTHORIZATION, changed);
        let error = Claim::parse(&parts).unwrap_err();
        assert_eq!(error.code, Code::IncompleteSignature);
        assert!(error.message.contains(says), "{error}");
    }
    let mut parts = whole.clone();
    parts.headers.remove("x-amz-date");
    let error = Claim::parse(&parts).unwrap_err();
    assert!(
        error.message.contains("'X-Amz-Date' or a 'Date' header"),
        "{error}"
    );
    let mut parts = whole;
    let without = HeaderValue::from_str(&value.replace("host;", "")).unwrap();
    parts.headers.insert(AUTHORIZATION, without);
    let error = Claim::parse(&parts).unwrap_err();
    assert!(error.message.contains("'Host' or ':authority'"), "{error}");
    let (mut both, ()) = signed("GET", "/", b"", Some(60)).into_parts();
    both.headers
        .insert(AUTHORIZATION, HeaderValue::from_static("x"));
    let error = Claim::parse(&both).unwrap_err();
    assert!(error.message.contains("either"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Any text in place of any part of a signature is an error of the caller.
    #[test]
    fn garbage_is_refused(
        part in 0..6_usize,
        garbage in prop_oneof![
            any::<String>(),
            "[0-9TZ]{0,18}",
            "(Credential|SignedHeaders|Signature|[=/,; a-z0-9]){0,40}",
        ],
        is_presigned in any::<bool>(),
    ) {
        let expires = is_presigned.then_some(60);
        let (mut parts, ()) = signed("GET", "/a?b=c", b"", expires).into_parts();
        let names = [
            "Algorithm", "Credential", "Date", "Expires", "SignedHeaders", "Signature",
        ];
        if is_presigned {
            let uri = parts.uri.to_string();
            let start = uri.find(&format!("X-Amz-{}=", names[part])).unwrap();
            let start = start + uri[start..].find('=').unwrap() + 1;
            let end = uri[start..].find('&').map_or(uri.len(), |end| start + end);
            let encoded: String =
                garbage.bytes().map(|byte| format!("%{byte:02X}")).collect();
            prop_assume!(garbage != uri[start..end]);
            parts.uri = format!("{}{encoded}{}", &uri[..start], &uri[end..]).parse().unwrap();
        } else {
            let value = HeaderValue::from_bytes(garbage.as_bytes());
            prop_assume!(value.is_ok());
            let name = [AUTHORIZATION.as_str(), "x-amz-date"][part % 2];
            parts.headers.insert(name, value.unwrap());
        }
        if let Ok(claim) = Claim::parse(&parts) {
            prop_assert!(claim.check(REGION, NOW).is_err() || claim.key_id != ID
                || claim.verify(&parts, b"", SECRET).is_err());
        }
    }
}
