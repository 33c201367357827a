//! Places in a stream, as commands and the API name them.
//!
//! ```text
//! command line          API
//! trim-horizon          {"type": "trim_horizon"}
//! 2026-11-23T12:00:00Z  {"type": "at_timestamp", "timestamp": "2026-11-23T12:00:00Z"}
//! -2h, -15m, -9s        a timestamp, counted from the time of the daemon
//! sequence:NUMBER       {"type": "at_sequence_number", "sequence_number": "NUMBER"}
//! after:NUMBER          {"type": "after_sequence_number", "sequence_number": "NUMBER"}
//! now                   {"type": "now"}
//! ```

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde_json::{Map, Value, json};
use thiserror::Error;

use crate::arn::StreamKind;
use crate::ids::SequenceNumber;
use crate::stretch::{StretchEnd, StretchStart};
use crate::time::Timestamp;

/// As Kinesis limits them; those of DynamoDB are shorter.
///
/// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_GetShardIterator.html>
const MAX_NUMBER_LENGTH: usize = 129;

/// What a place on the command line may be.
const FORMS: &str = "trim-horizon, now, a time with a zone such as 2026-11-23T12:00:00Z, a time ago \
                     such as -2h, -15m or -9s, sequence:NUMBER or after:NUMBER";

/// A place in a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The oldest record that the source still has.
    TrimHorizon,
    /// The first record that arrived then or later.
    AtTimestamp(Timestamp),
    /// The record with this number, of one shard.
    AtSequenceNumber(SequenceNumber),
    /// The record after the one with this number, of one shard.
    AfterSequenceNumber(SequenceNumber),
    /// The moment at which the daemon is asked.
    Now,
}

/// A place as the command line spells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlaceText {
    Place(Place),
    /// So long before the time of the daemon: see [`PlaceText::place`].
    Ago(Duration),
}

/// A text that is not a place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("'{text}' is not a place in a stream: {reason}")]
pub struct PlaceTextError {
    text: String,
    reason: String,
}

/// JSON that is not a place.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{reason}")]
pub struct PlaceError {
    /// The member at fault; `None`: the whole.
    pub member: Option<String>,
    pub reason: String,
}

impl Place {
    /// Whether it belongs to one shard.
    pub const fn sequence_number(&self) -> Option<&SequenceNumber> {
        match self {
            Self::AtSequenceNumber(number) | Self::AfterSequenceNumber(number) => Some(number),
            Self::TrimHorizon | Self::AtTimestamp(_) | Self::Now => None,
        }
    }

    /// As the start of a stretch, and where a seek ends. Records of a table have whole seconds.
    pub fn start(&self, now: Timestamp, kind: StreamKind) -> StretchStart {
        let rounded = |time: Timestamp| match kind {
            StreamKind::Kinesis => time,
            StreamKind::DynamoDbStreams => time.floor_to_second(),
        };
        match self {
            Self::TrimHorizon => StretchStart::TrimHorizon,
            Self::AtTimestamp(time) => StretchStart::Time(rounded(*time)),
            Self::AtSequenceNumber(number) => StretchStart::At(number.clone()),
            Self::AfterSequenceNumber(number) => StretchStart::After(number.clone()),
            Self::Now => StretchStart::Time(rounded(now)),
        }
    }

    /// As the end of a stretch. The time is not rounded: a record of the same second may have arrived
    /// before it.
    ///
    /// # Errors
    /// A stretch cannot end there.
    pub fn end(&self, now: Timestamp) -> Result<StretchEnd, PlaceError> {
        let refused = |reason: &str| {
            Err(PlaceError {
                member: Some("type".to_owned()),
                reason: format!("a stretch cannot end {reason}"),
            })
        };
        match self {
            Self::AtTimestamp(time) => Ok(StretchEnd::Time(*time)),
            Self::Now => Ok(StretchEnd::Time(now)),
            Self::AtSequenceNumber(number) => Ok(StretchEnd::Through(number.clone())),
            Self::TrimHorizon => refused("at the oldest record: it would have none"),
            Self::AfterSequenceNumber(number) => refused(&format!(
                "after a sequence number; the record {number} itself belongs to one that ends at it"
            )),
        }
    }

    /// The place with the moment of the request in place of `now`, as it is stored and shown.
    #[must_use]
    pub fn fixed(self, now: Timestamp) -> Self {
        if self == Self::Now {
            return Self::AtTimestamp(now);
        }
        self
    }

    /// In the API's form.
    pub fn to_json(&self) -> Value {
        let kind = self.kind();
        match self {
            Self::TrimHorizon | Self::Now => json!({"type": kind}),
            Self::AtTimestamp(time) => {
                json!({"type": kind, "timestamp": time.to_rfc3339_millis()})
            }
            Self::AtSequenceNumber(number) | Self::AfterSequenceNumber(number) => {
                json!({"type": kind, "sequence_number": number.as_str()})
            }
        }
    }

    /// Reads the API's form.
    ///
    /// # Errors
    /// It is something else, with the member at fault.
    pub fn from_json(value: &Value) -> Result<Self, PlaceError> {
        let whole = |reason: &str| PlaceError {
            member: None,
            reason: reason.to_owned(),
        };
        let members = value
            .as_object()
            .ok_or_else(|| whole("expected a place: an object with the member 'type'"))?;
        let (place, member) = match text_member(members, "type")? {
            "trim_horizon" => (Self::TrimHorizon, None),
            "now" => (Self::Now, None),
            "at_timestamp" => {
                let text = text_member(members, "timestamp")?;
                let time = parse_time(text).map_err(|reason| PlaceError {
                    member: Some("timestamp".to_owned()),
                    reason: format!("'{text}': {reason}"),
                })?;
                (Self::AtTimestamp(time), Some("timestamp"))
            }
            "at_sequence_number" => {
                let number = number_member(members)?;
                (Self::AtSequenceNumber(number), Some("sequence_number"))
            }
            "after_sequence_number" => {
                let number = number_member(members)?;
                (Self::AfterSequenceNumber(number), Some("sequence_number"))
            }
            other => {
                return Err(PlaceError {
                    member: Some("type".to_owned()),
                    reason: format!(
                        "'{other}': expected trim_horizon, at_timestamp, at_sequence_number, \
                         after_sequence_number or now"
                    ),
                });
            }
        };
        let is_unknown = |name: &&String| *name != "type" && Some(name.as_str()) != member;
        match members.keys().find(is_unknown) {
            None => Ok(place),
            Some(name) => Err(PlaceError {
                member: Some(name.clone()),
                reason: format!("a place of type {} has no member '{name}'", place.kind()),
            }),
        }
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::TrimHorizon => "trim_horizon",
            Self::AtTimestamp(_) => "at_timestamp",
            Self::AtSequenceNumber(_) => "at_sequence_number",
            Self::AfterSequenceNumber(_) => "after_sequence_number",
            Self::Now => "now",
        }
    }
}

/// As the command line spells it.
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TrimHorizon => f.write_str("trim-horizon"),
            Self::AtTimestamp(time) => f.write_str(&time.to_rfc3339_millis()),
            Self::AtSequenceNumber(number) => write!(f, "sequence:{number}"),
            Self::AfterSequenceNumber(number) => write!(f, "after:{number}"),
            Self::Now => f.write_str("now"),
        }
    }
}

impl PlaceText {
    /// Whether the time of the daemon is needed.
    pub const fn is_relative(&self) -> bool {
        matches!(self, Self::Ago(_))
    }

    /// The place; a time ago is counted from `now`.
    pub fn place(self, now: Timestamp) -> Place {
        match self {
            Self::Place(place) => place,
            Self::Ago(ago) => {
                let millis = u64::try_from(ago.as_millis()).unwrap_or(u64::MAX);
                let time = now.as_millis().saturating_sub(millis);
                Place::AtTimestamp(Timestamp::from_millis(time))
            }
        }
    }
}

impl FromStr for PlaceText {
    type Err = PlaceTextError;

    fn from_str(text: &str) -> Result<Self, PlaceTextError> {
        let refused = |reason: String| PlaceTextError {
            text: text.to_owned(),
            reason,
        };
        let place = match text {
            "trim-horizon" => Place::TrimHorizon,
            "now" => Place::Now,
            _ => {
                if let Some(number) = text.strip_prefix("sequence:") {
                    Place::AtSequenceNumber(parse_number(number).map_err(refused)?)
                } else if let Some(number) = text.strip_prefix("after:") {
                    Place::AfterSequenceNumber(parse_number(number).map_err(refused)?)
                } else if let Some(ago) = text.strip_prefix('-') {
                    return parse_ago(ago).map(Self::Ago).map_err(refused);
                } else if text.bytes().next().is_some_and(|it| it.is_ascii_digit()) {
                    Place::AtTimestamp(parse_time(text).map_err(refused)?)
                } else {
                    return Err(refused(format!("expected {FORMS}")));
                }
            }
        };
        Ok(Self::Place(place))
    }
}

/// A time with its zone.
fn parse_time(text: &str) -> Result<Timestamp, String> {
    if let Some(time) = Timestamp::parse_rfc3339(text) {
        return Ok(time);
    }
    let example = "for example 2026-11-23T12:00:00Z or 2026-11-23T12:00:00.250+01:00";
    let has_date = text.len() == 10 && text.bytes().filter(|byte| *byte == b'-').count() == 2;
    Err(if text.bytes().all(|byte| byte.is_ascii_digit()) {
        format!("seconds since the epoch are not accepted; give a time with its zone, {example}")
    } else if has_date {
        format!("a date alone is not a moment; add the time with its zone, {example}")
    } else if Timestamp::parse_rfc3339(&format!("{text}Z")).is_some() {
        format!("it has no zone; add Z for UTC or an offset such as +01:00, {example}")
    } else if crate::time::parse_duration(text).is_some() {
        format!("write a time ago with a minus, -{text}")
    } else {
        format!("expected a time since 1970 with its zone, {example}")
    })
}

fn parse_ago(text: &str) -> Result<Duration, String> {
    let expected =
        "expected a time ago in whole hours, minutes or seconds, for example -2h, -15m or -9s";
    let duration = crate::time::parse_duration(text).filter(|_| !text.ends_with("ms"));
    duration.ok_or_else(|| expected.to_owned())
}

/// A sequence number as a caller spells it.
///
/// # Errors
/// It is something else.
pub fn parse_number(text: &str) -> Result<SequenceNumber, String> {
    let is_number = text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && (1..=MAX_NUMBER_LENGTH).contains(&text.len()) {
        return Ok(SequenceNumber::from(text));
    }
    Err(format!(
        "a sequence number has 1 to {MAX_NUMBER_LENGTH} decimal digits, as 'windlass status' shows it"
    ))
}

fn text_member<'a>(members: &'a Map<String, Value>, name: &str) -> Result<&'a str, PlaceError> {
    let text = members.get(name).and_then(Value::as_str);
    text.ok_or_else(|| PlaceError {
        member: Some(name.to_owned()),
        reason: match members.get(name) {
            None => format!("a place needs the member '{name}'"),
            Some(_) => "expected a text".to_owned(),
        },
    })
}

fn number_member(members: &Map<String, Value>) -> Result<SequenceNumber, PlaceError> {
    let text = text_member(members, "sequence_number")?;
    parse_number(text).map_err(|reason| PlaceError {
        member: Some("sequence_number".to_owned()),
        reason: format!("'{text}': {reason}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_795_435_200_123);
    const NOON: Timestamp = Timestamp::from_millis(1_795_435_200_000);

    fn number(text: &str) -> SequenceNumber {
        SequenceNumber::from(text)
    }

    #[test]
    fn places_have_a_text_and_a_json_form() {
        let time = json!({"type": "at_timestamp", "timestamp": "2026-11-23T12:00:00.250Z"});
        let at = json!({"type": "at_sequence_number", "sequence_number": "007"});
        let after = json!({"type": "after_sequence_number", "sequence_number": "7"});
        for (text, json, place) in [
            (
                "trim-horizon",
                json!({"type": "trim_horizon"}),
                Place::TrimHorizon,
            ),
            (
                "2026-11-23T12:00:00.250Z",
                time,
                Place::AtTimestamp(Timestamp::from_millis(1_795_435_200_250)),
            ),
            ("sequence:007", at, Place::AtSequenceNumber(number("007"))),
            ("after:7", after, Place::AfterSequenceNumber(number("7"))),
            ("now", json!({"type": "now"}), Place::Now),
        ] {
            assert_eq!(text.parse(), Ok(PlaceText::Place(place.clone())), "{text}");
            assert_eq!(place.to_string(), text);
            assert_eq!(place.to_json(), json);
            assert_eq!(Place::from_json(&json), Ok(place));
        }
    }

    #[test]
    fn times_are_counted_from_now_or_have_a_zone() {
        for (text, millis) in [
            ("-2h", NOW.as_millis() - 7_200_000),
            ("-15m", NOW.as_millis() - 900_000),
            ("-9s", NOW.as_millis() - 9_000),
            ("-9999999999h", 0),
            ("2026-11-23T13:00:00.250+01:00", 1_795_435_200_250),
            ("2026-11-23T06:30:00-05:30", 1_795_435_200_000),
            ("2026-11-23T12:00:00.0001Z", 1_795_435_200_001),
        ] {
            let place = text.parse::<PlaceText>().map(|place| place.place(NOW));
            let expected = Place::AtTimestamp(Timestamp::from_millis(millis));
            assert_eq!(place, Ok(expected), "{text}");
        }
    }

    #[test]
    fn everything_else_is_refused_with_the_text_and_a_remedy() {
        for (text, remedy) in [
            ("2026-11-23T12:00:00", "it has no zone"),
            ("2026-11-23", "a date alone"),
            ("1795435200", "seconds since the epoch"),
            ("2h", "-2h"),
            ("2026-11-23 12:00:00Z", "with its zone"),
            ("2026-11-23T12:00Z", "with its zone"),
            ("2026-02-30T12:00:00Z", "with its zone"),
            ("1969-12-31T23:59:59Z", "since 1970"),
            ("2026-11-23T12:00:00Z[UTC]", "with its zone"),
            ("-250ms", "-15m"),
            ("-2d", "-15m"),
            ("-", "-15m"),
            ("latest", "trim-horizon, now"),
            ("TRIM_HORIZON", "trim-horizon, now"),
            ("", "trim-horizon, now"),
            ("sequence:", "1 to 129 decimal digits"),
            ("after:0x7", "1 to 129 decimal digits"),
        ] {
            let error = text.parse::<PlaceText>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("'{text}' is not")), "{error}");
            assert!(error.contains(remedy), "{error}");
        }
    }

    #[test]
    fn json_is_refused_with_the_member_at_fault() {
        for (json, member) in [
            (json!("now"), None),
            (json!({}), Some("type")),
            (json!({"type": "latest"}), Some("type")),
            (
                json!({"type": "now", "timestamp": "2026-11-23T12:00:00Z"}),
                Some("timestamp"),
            ),
            (json!({"type": "at_timestamp"}), Some("timestamp")),
            (
                json!({"type": "at_timestamp", "timestamp": 1_795_435_200}),
                Some("timestamp"),
            ),
            (
                json!({"type": "at_timestamp", "timestamp": "-2h"}),
                Some("timestamp"),
            ),
            (
                json!({"type": "after_sequence_number", "sequence_number": "x"}),
                Some("sequence_number"),
            ),
        ] {
            let error = Place::from_json(&json).unwrap_err();
            assert_eq!(error.member.as_deref(), member, "{json}");
        }
    }

    #[test]
    fn a_start_of_a_table_is_rounded_down_and_an_end_is_not() {
        let (table, stream) = (StreamKind::DynamoDbStreams, StreamKind::Kinesis);
        for place in [Place::Now, Place::AtTimestamp(NOW)] {
            assert_eq!(place.start(NOW, table), StretchStart::Time(NOON));
            assert_eq!(place.start(NOW, stream), StretchStart::Time(NOW));
            assert_eq!(place.end(NOW), Ok(StretchEnd::Time(NOW)));
        }
    }

    #[test]
    fn a_stretch_ends_with_a_number_and_never_after_one() {
        let at = Place::AtSequenceNumber(number("7"));
        assert_eq!(at.end(NOW), Ok(StretchEnd::Through(number("7"))));
        assert!(Place::AfterSequenceNumber(number("7")).end(NOW).is_err());
        assert!(Place::TrimHorizon.end(NOW).is_err());
    }
}
