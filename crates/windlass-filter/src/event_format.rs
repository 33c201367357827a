//! The records of each source as filters see them.

use base64_simd::{AsOut, STANDARD};

use crate::json::string::unescape;

/// The format of the events of a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventFormat {
    /// Any JSON object, matched as it is.
    Json,
    /// A Kinesis record. Patterns see its decoded data as `data`, next to the other members of
    /// `kinesis`.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-kinesis-filtering.html>
    Kinesis,
    /// A record of a DynamoDB stream, matched as it is.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-ddb-filtering.html>
    DynamoDbStreams,
    /// An SQS message. Patterns see its body as `body`: parsed if it is JSON, otherwise as a string.
    ///
    /// <https://docs.aws.amazon.com/lambda/latest/dg/with-sqs-filtering.html>
    Sqs,
}

/// Where to find the value of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Location {
    /// At this path of the event.
    Envelope(String),
    /// At this path of the data.
    Data(String),
    /// The data itself, as a string.
    PlainData,
    /// The format has no such field.
    Nowhere,
}

/// The members of a Kinesis record that its event nests in `kinesis`.
const KINESIS_MEMBERS: [&str; 5] = [
    "kinesisSchemaVersion",
    "partitionKey",
    "sequenceNumber",
    "approximateArrivalTimestamp",
    "encryptionType",
];

impl EventFormat {
    /// The field whose content must be JSON, so that AWS rejects a pattern that lists values for it.
    pub(crate) const fn json_field(self) -> Option<&'static str> {
        match self {
            Self::Kinesis => Some("data"),
            Self::DynamoDbStreams => Some("dynamodb"),
            Self::Json | Self::Sqs => None,
        }
    }

    /// AWS's name for the data.
    pub(crate) const fn data_name(self) -> &'static str {
        match self {
            Self::Sqs => "body",
            Self::Kinesis | Self::DynamoDbStreams | Self::Json => "data",
        }
    }

    pub(crate) fn locate(self, path: &str) -> Location {
        let (first, rest) = match path.split_once('.') {
            Some((first, rest)) => (first, Some(rest)),
            None => (path, None),
        };
        match (self, first, rest) {
            (Self::Kinesis, "data", Some(rest)) | (Self::Sqs, "body", Some(rest)) => {
                Location::Data(rest.to_owned())
            }
            (Self::Sqs, "body", None) => Location::PlainData,
            (Self::Kinesis, "kinesis" | "data", _) => Location::Nowhere,
            (Self::Kinesis, first, _) if KINESIS_MEMBERS.contains(&first) => {
                Location::Envelope(format!("kinesis.{path}"))
            }
            _ => Location::Envelope(path.to_owned()),
        }
    }

    /// Decodes the data of an event; `None` if the source never sends such data.
    pub(crate) fn decode<'s>(
        self,
        data: &'s [u8],
        unescaped: &'s mut Vec<u8>,
        decoded: &'s mut Vec<u8>,
    ) -> Option<&'s [u8]> {
        if self == Self::Kinesis {
            // Base64 needs no escapes, but some servers escape its slashes.
            if decode_base64(data, decoded).is_none() {
                unescape(data, unescaped).ok()?;
                decode_base64(unescaped, decoded)?;
            }
            return Some(decoded);
        }
        if memchr::memchr(b'\\', data).is_none() {
            return Some(data);
        }
        unescape(data, unescaped).ok()?;
        Some(unescaped)
    }
}

/// Replaces the contents of `decoded`.
fn decode_base64(data: &[u8], decoded: &mut Vec<u8>) -> Option<()> {
    let max_len = STANDARD.estimated_decoded_length(data.len());
    decoded.resize(max_len, 0);
    let out = decoded.as_mut_slice().as_out();
    let len = STANDARD.decode(data, out).ok()?.len();
    decoded.truncate(len);
    Some(())
}
