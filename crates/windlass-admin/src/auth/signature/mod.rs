//! Signature Version 4, in the header or in the URL.
//!
//! The canonical form is written here rather than taken from a crate: that of `aws-sigv4` cannot
//! be told which headers a caller has signed. The tests compare the two.
//!
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html>

use std::time::Duration;

use hmac::{Hmac, Mac};
use http::header::{AUTHORIZATION, DATE};
use http::request::Parts;
use sha2::{Digest, Sha256};
use windlass_core::time::Timestamp;

use super::canonical;
use crate::errors::{ApiError, Code};

pub(super) const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// The service of the scope, whatever the path.
const SERVICE: &str = "lambda";
const TERMINATOR: &str = "aws4_request";

/// By how much the time of a signature may differ from ours.
const MAX_SKEW: Duration = Duration::from_secs(5 * 60);

/// How long a presigned URL may hold.
const MAX_EXPIRY_SECONDS: u64 = 7 * 24 * 60 * 60;

/// What a request says of its signature. Nothing of it has been verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) key_id: String,
    /// `YYYYMMDD`
    date: String,
    region: String,
    service: String,
    terminator: String,
    signed_headers: String,
    signature: String,
    /// `YYYYMMDDTHHMMSSZ`
    time: String,
    /// In seconds; `None` for a signature in the header.
    expires: Option<String>,
}

impl Claim {
    /// Reads the `Authorization` header, or the parameters of a presigned URL.
    pub(super) fn parse(parts: &Parts) -> Result<Self, ApiError> {
        let query = parts.uri.query().unwrap_or_default();
        let is_presigned = canonical::parameters(query).any(|(name, _)| name == b"X-Amz-Algorithm");
        let claim = if is_presigned {
            Self::from_query(parts, query)?
        } else {
            Self::from_header(parts)?
        };
        let mut names = claim.signed_headers.split(';');
        if !names.any(|name| name == "host") {
            let text = "'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.";
            return Err(invalid(text));
        }
        Ok(claim)
    }

    fn from_header(parts: &Parts) -> Result<Self, ApiError> {
        let value = single(parts, AUTHORIZATION.as_str())?.unwrap_or_default();
        let fields = value
            .strip_prefix(ALGORITHM)
            .filter(|rest| rest.starts_with(' '))
            .ok_or_else(|| {
                incomplete("Authorization header is not of the AWS4-HMAC-SHA256 form.")
            })?;
        let (mut credential, mut signed_headers, mut signature) = (None, None, None);
        for field in fields.split(',') {
            let (name, value) = field.trim().split_once('=').unwrap_or_default();
            let slot = match name {
                "Credential" => &mut credential,
                "SignedHeaders" => &mut signed_headers,
                "Signature" => &mut signature,
                _ => return Err(incomplete("Authorization header has an unknown parameter.")),
            };
            if slot.replace(value).is_some() {
                let text = format!("Authorization header has the parameter '{name}' twice.");
                return Err(incomplete(text));
            }
        }
        let required = |value: Option<&'_ str>, name: &str| {
            let value = value.filter(|value| !value.is_empty()).map(str::to_owned);
            let text = format!("Authorization header requires '{name}' parameter.");
            value.ok_or_else(|| incomplete(text))
        };
        let time = match single(parts, "x-amz-date")? {
            Some(time) => Some(time),
            None => single(parts, DATE.as_str())?.map(signed_date),
        };
        let time = time.ok_or_else(|| {
            let text = "Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' \
                        header.";
            incomplete(text)
        })?;
        Self::new(
            &required(credential, "Credential")?,
            required(signed_headers, "SignedHeaders")?,
            required(signature, "Signature")?,
            time,
            None,
        )
    }

    fn from_query(parts: &Parts, query: &str) -> Result<Self, ApiError> {
        if parts.headers.contains_key(AUTHORIZATION) {
            let text = "A request has either an Authorization header or a presigned URL.";
            return Err(incomplete(text));
        }
        let required = |name: &str| {
            let mut values = canonical::parameters(query).filter(|(it, _)| it == name.as_bytes());
            let value = values.next().filter(|_| values.next().is_none());
            let value = value.and_then(|(_, value)| String::from_utf8(value).ok());
            let text = format!("AWS query-string parameters must include '{name}', once.");
            value
                .filter(|value| !value.is_empty())
                .ok_or_else(|| incomplete(text))
        };
        if required("X-Amz-Algorithm")? != ALGORITHM {
            return Err(incomplete("X-Amz-Algorithm must be AWS4-HMAC-SHA256."));
        }
        Self::new(
            &required("X-Amz-Credential")?,
            required("X-Amz-SignedHeaders")?,
            required("X-Amz-Signature")?,
            required("X-Amz-Date")?,
            Some(required("X-Amz-Expires")?),
        )
    }

    fn new(
        credential: &str,
        signed_headers: String,
        signature: String,
        time: String,
        expires: Option<String>,
    ) -> Result<Self, ApiError> {
        let parts: Vec<&str> = credential.split('/').collect();
        let [key_id, date, region, service, terminator] = parts[..] else {
            let text = "Credential must have exactly 5 slash-delimited elements: \
                        keyid/date/region/service/term.";
            return Err(incomplete(text));
        };
        Ok(Self {
            key_id: key_id.to_owned(),
            date: date.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
            terminator: terminator.to_owned(),
            signed_headers,
            signature,
            time,
            expires,
        })
    }

    /// Checks what needs neither the secret nor the body.
    pub(super) fn check(&self, region: &str, now: Timestamp) -> Result<(), ApiError> {
        let mut wrong = Vec::new();
        if self.region != region {
            let text = format!(
                "Credential should be scoped to a valid region, not '{}'.",
                self.region
            );
            wrong.push(text);
        }
        if self.service != SERVICE {
            wrong.push(format!(
                "Credential should be scoped to correct service: '{SERVICE}'."
            ));
        }
        if self.terminator != TERMINATOR {
            wrong.push(format!(
                "Credential should be scoped with a valid terminator: '{TERMINATOR}'."
            ));
        }
        let Some(signed) = parse_time(&self.time) else {
            return Err(invalid(
                "The date of a signature must be in ISO-8601 'basic format'.",
            ));
        };
        let day = self.time.get(..8).unwrap_or_default();
        if self.date != day {
            wrong.push(format!(
                "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from \
                 HTTP: '{}' != '{day}', from '{}'.",
                self.date, self.time
            ));
        }
        if !wrong.is_empty() {
            return Err(invalid(wrong.join(" ")));
        }
        self.check_time(signed, now)
    }

    fn check_time(&self, signed: Timestamp, now: Timestamp) -> Result<(), ApiError> {
        let skew = MAX_SKEW.as_secs();
        let (signed_at, now_at) = (signed.as_millis() / 1000, now.as_millis() / 1000);
        if now_at + skew < signed_at {
            let (time, minutes) = (&self.time, skew / 60);
            let text = format!(
                "Signature not yet current: {time} is still later than {} ({} + {minutes} min.)",
                display_time(now_at + skew),
                display_time(now_at)
            );
            return Err(invalid(text));
        }
        let valid = match &self.expires {
            None => skew,
            Some(expires) => {
                let seconds = expires.parse::<u64>().ok();
                let fits = |seconds: &u64| (1..=MAX_EXPIRY_SECONDS).contains(seconds);
                seconds.filter(fits).ok_or_else(|| {
                    let text = format!(
                        "X-Amz-Expires must be a number of seconds from 1 to {MAX_EXPIRY_SECONDS}."
                    );
                    invalid(text)
                })?
            }
        };
        if signed_at + valid < now_at {
            let text = format!(
                "Signature expired: {} is now earlier than {} ({} - {} min.)",
                self.time,
                display_time(now_at.saturating_sub(valid)),
                display_time(now_at),
                valid / 60
            );
            return Err(invalid(text));
        }
        Ok(())
    }

    /// Whether the request was signed with this secret, in constant time.
    pub(super) fn verify(&self, parts: &Parts, body: &[u8], secret: &str) -> Result<(), ApiError> {
        let hash = payload_hash(parts, body)?;
        let canonical = canonical::request(parts, &self.signed_headers, &hash);
        let scope = [&self.date, &self.region, &self.service, &self.terminator];
        let [date, region, service, terminator] = scope.map(String::as_str);
        let text = format!(
            "{ALGORITHM}\n{}\n{date}/{region}/{service}/{terminator}\n{}",
            self.time,
            hex(&Sha256::digest(canonical))
        );
        let key = hmac(format!("AWS4{secret}").as_bytes(), date)
            .finalize()
            .into_bytes();
        let key = hmac(&key, region).finalize().into_bytes();
        let key = hmac(&key, service).finalize().into_bytes();
        let key = hmac(&key, terminator).finalize().into_bytes();
        let signature = unhex(&self.signature).ok_or_else(mismatch)?;
        hmac(&key, &text)
            .verify_slice(&signature)
            .map_err(|_| mismatch())
    }
}

/// The hash of the body that was received, in hexadecimal. A caller that sends one must send this.
fn payload_hash(parts: &Parts, body: &[u8]) -> Result<String, ApiError> {
    let hash = hex(&Sha256::digest(body));
    match single(parts, "x-amz-content-sha256")? {
        Some(sent) if sent != hash => Err(match sent.as_str() {
            "UNSIGNED-PAYLOAD" => invalid("The payload must be signed."),
            sent if sent.starts_with("STREAMING-") => {
                invalid("Payloads that are signed in chunks are not supported.")
            }
            _ => mismatch(),
        }),
        _ => Ok(hash),
    }
}

pub(super) fn mismatch() -> ApiError {
    invalid(
        "The request signature we calculated does not match the signature you provided. Check your \
         AWS Secret Access Key and signing method. Consult the service documentation for details.",
    )
}

fn invalid(text: impl Into<String>) -> ApiError {
    ApiError::new(Code::InvalidSignature, text)
}

fn incomplete(text: impl Into<String>) -> ApiError {
    ApiError::new(Code::IncompleteSignature, text)
}

/// The value of a header that may be there once.
fn single(parts: &Parts, name: &str) -> Result<Option<String>, ApiError> {
    let mut values = parts.headers.get_all(name).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let text = value.to_str().ok().filter(|_| values.next().is_none());
    let text = text.map(|text| text.trim().to_owned());
    text.map(Some)
        .ok_or_else(|| incomplete(format!("The header '{name}' must be text, once.")))
}

fn hmac(key: &[u8], text: &str) -> Hmac<Sha256> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("a key has any length");
    hmac.update(text.as_bytes());
    hmac
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u32>> = text.chars().map(|digit| digit.to_digit(16)).collect();
    let bytes = digits?;
    let pairs = bytes.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| u8::try_from(16 * pair[0] + pair[1]).ok())
        .collect()
}

/// The time that a `Date` says, in the form of `X-Amz-Date`, in which it may be as well: botocore writes
/// `Sun, 30 Aug 2015 12:36:00 -0000`, and signs `20150830T123600Z`.
fn signed_date(date: String) -> String {
    let time = jiff::fmt::rfc2822::parse(&date).ok();
    let seconds = time.and_then(|time| u64::try_from(time.timestamp().as_second()).ok());
    seconds.map_or(date, display_time)
}

/// `YYYYMMDDTHHMMSSZ`
fn parse_time(text: &str) -> Option<Timestamp> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", text).ok()?;
    let is_exact = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let time = jiff::tz::TimeZone::UTC.to_timestamp(time).ok()?;
    let millis = u64::try_from(time.as_millisecond()).ok()?;
    is_exact.then(|| Timestamp::from_millis(millis))
}

fn display_time(seconds: u64) -> String {
    let seconds = i64::try_from(seconds).ok();
    let time = seconds.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    time.map_or_else(String::new, |time| {
        time.strftime("%Y%m%dT%H%M%SZ").to_string()
    })
}

#[cfg(test)]
mod tests;
