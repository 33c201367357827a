//! How filters see a record of each source: which part of it, and under which names.

use base64_simd::{AsOut, STANDARD};

use super::PatternError;
use super::rules::Rule;
use super::text::unescape;

/// The form in which filters see what they judge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum View {
    /// Any JSON object, as it stands.
    Whole,
    /// A record of Kinesis: `data` is what its data says, decoded; the other members of `kinesis`
    /// stand beside it.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis-filtering.html>
    Kinesis,
    /// A record of a DynamoDB stream, as it stands.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-filtering.html>
    DynamoDbStreams,
    /// A message: `body` is what its body says if it is JSON, and else its text.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs-filtering.html>
    Sqs,
}

/// Where the value of a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the event, at this path.
    Envelope(String),
    /// In what the data says, at this path.
    Data(String),
    /// The data itself, as a text.
    PlainData,
    /// Nowhere.
    Nowhere,
}

/// The members of a record of Kinesis that its event has within `kinesis`.
const WITHIN_KINESIS: [&str; 5] = [
    "kinesisSchemaVersion",
    "partitionKey",
    "sequenceNumber",
    "approximateArrivalTimestamp",
    "encryptionType",
];

impl View {
    /// Whether patterns say of the data of a record what AWS accepts: that of streams is JSON, so
    /// that a value for the whole of it cannot be meant.
    pub(super) fn check(self, rules: &[Rule]) -> Result<(), PatternError> {
        let key = match self {
            Self::Kinesis => "data",
            Self::DynamoDbStreams => "dynamodb",
            Self::Whole | Self::Sqs => return Ok(()),
        };
        match rules.iter().find_map(|rule| rule.get(key)) {
            Some(condition) => {
                let reason = format!("`{key}` is JSON: its fields are named in an object");
                Err(PatternError::new(condition.at, &reason).within(key))
            }
            None => Ok(()),
        }
    }

    /// Where the value of a path is.
    pub(super) fn place(self, path: &str) -> Place {
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        match (self, first, rest) {
            (Self::Kinesis, "data", Some(rest)) | (Self::Sqs, "body", Some(rest)) => {
                Place::Data(rest.to_owned())
            }
            (Self::Sqs, "body", None) => Place::PlainData,
            (Self::Kinesis, "kinesis" | "data", _) => Place::Nowhere,
            (Self::Kinesis, first, _) if WITHIN_KINESIS.contains(&first) => {
                Place::Envelope(format!("kinesis.{path}"))
            }
            _ => Place::Envelope(path.to_owned()),
        }
    }

    /// What data says, given as it stands in the event; `None`: it is not what the source sends.
    pub(super) fn decode<'s>(
        self,
        data: &'s [u8],
        text: &'s mut Vec<u8>,
        decoded: &'s mut Vec<u8>,
    ) -> Option<&'s [u8]> {
        if self == Self::Kinesis {
            // Base64 needs no escapes, except that some servers write its slashes so.
            if decode_base64(data, decoded).is_none() {
                unescape(data, text).ok()?;
                decode_base64(text, decoded)?;
            }
            return Some(decoded);
        }
        if memchr::memchr(b'\\', data).is_none() {
            return Some(data);
        }
        unescape(data, text).ok()?;
        Some(text)
    }
}

/// Decodes base64 over what `decoded` has.
fn decode_base64(data: &[u8], decoded: &mut Vec<u8>) -> Option<()> {
    let most = STANDARD.estimated_decoded_length(data.len());
    decoded.resize(most, 0);
    let out = decoded.as_mut_slice().as_out();
    let length = STANDARD.decode(data, out).ok()?.len();
    decoded.truncate(length);
    Some(())
}
