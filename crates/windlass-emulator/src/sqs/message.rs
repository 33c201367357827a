//! A message: what may be sent, and its digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::refusal::SqsRefusal;
use super::requests::{AttributeValue, SendEntry};
use super::settings::Settings;
use crate::md5;

/// Attributes of one message.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>
const MOST_ATTRIBUTES: usize = 10;

/// The one system attribute that a sender may set.
pub(super) const TRACE_HEADER: &str = "AWSTraceHeader";

/// A message in a queue. Times are milliseconds since 1970.
#[derive(Clone, Debug)]
pub(super) struct Message {
    pub(super) id: String,
    pub(super) body: String,
    pub(super) md5_of_body: String,
    pub(super) attributes: BTreeMap<String, AttributeValue>,
    pub(super) trace_header: Option<String>,
    pub(super) group: Option<Arc<str>>,
    pub(super) deduplication_id: Option<String>,
    /// Where it stands among those of a FIFO queue.
    pub(super) sequence_number: Option<String>,
    /// The queue that gave it up, if this one is for dead letters.
    pub(super) dead_letter_source: Option<String>,
    pub(super) sent: u64,
    pub(super) first_received: Option<u64>,
    pub(super) n_received: u32,
    /// How often it had been received when it came here from another queue.
    pub(super) n_received_elsewhere: u32,
    pub(super) state: State,
}

/// Whether a message can be received.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Not before this time: it was sent with a delay.
    Delayed {
        until: u64,
    },
    Visible,
    /// Somebody has it. It can be received by others after `until`.
    InFlight {
        received: u64,
        until: u64,
    },
}

/// A message as its sender wants it, checked.
#[derive(Clone, Debug)]
pub(super) struct Outgoing {
    pub(super) body: String,
    pub(super) attributes: BTreeMap<String, AttributeValue>,
    pub(super) trace_header: Option<String>,
    pub(super) group: Option<String>,
    pub(super) deduplication_id: Option<String>,
    pub(super) delay_seconds: Option<i64>,
    /// Bytes of the body and the attributes.
    pub(super) n_bytes: usize,
    pub(super) md5_of_trace_header: Option<String>,
}

impl Outgoing {
    /// Takes what a request says.
    ///
    /// # Errors
    /// If no queue would take it.
    pub(super) fn new(entry: SendEntry) -> Result<Self, SqsRefusal> {
        let n_bytes = entry.n_bytes();
        let body = entry.message_body.filter(|body| !body.is_empty());
        let body = body.ok_or_else(|| SqsRefusal::missing("MessageBody"))?;
        if !body.chars().all(is_allowed) {
            return Err(SqsRefusal::new(
                "InvalidMessageContents",
                "the body has characters outside of #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to \
                 #xFFFD and #x10000 to #x10FFFF",
            ));
        }
        let attributes = entry.message_attributes;
        if MOST_ATTRIBUTES < attributes.len() {
            return Err(invalid(format!(
                "Number of message attributes [{}] exceeds the allowed maximum [{MOST_ATTRIBUTES}].",
                attributes.len()
            )));
        }
        for (name, value) in &attributes {
            check_attribute(name, value)?;
        }
        let mut trace_header = None;
        let system = entry.message_system_attributes;
        let md5_of_trace_header = digest_of_attributes(&system);
        for (name, value) in system {
            if name != TRACE_HEADER {
                return Err(invalid(format!(
                    "Message system attribute name '{name}' is invalid."
                )));
            }
            let text = value.string_value.filter(|_| value.data_type == "String");
            trace_header = Some(text.ok_or_else(|| {
                invalid(format!(
                    "Message system attribute '{TRACE_HEADER}' must be a String."
                ))
            })?);
        }
        Ok(Self {
            body,
            attributes,
            trace_header,
            group: entry.message_group_id,
            deduplication_id: entry.message_deduplication_id,
            delay_seconds: entry.delay_seconds,
            n_bytes,
            md5_of_trace_header,
        })
    }

    /// # Errors
    /// If a queue with these settings would not take it.
    ///
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
    pub(super) fn check(&self, settings: &Settings) -> Result<(), SqsRefusal> {
        let most = settings.maximum_message_size;
        if most < self.n_bytes as u64 {
            return Err(SqsRefusal::new(
                "InvalidParameterValueException",
                format!(
                    "One or more parameters are invalid. Reason: Message must be shorter than \
                     {most} bytes."
                ),
            ));
        }
        check_id("MessageGroupId", self.group.as_deref())?;
        let id = self.deduplication_id.as_deref();
        check_id("MessageDeduplicationId", id)?;
        let other_type = "The request includes a parameter that is not valid for this queue type.";
        if !settings.fifo {
            return match id {
                Some(id) => Err(SqsRefusal::invalid(
                    id,
                    "MessageDeduplicationId",
                    other_type,
                )),
                None => Ok(()),
            };
        }
        if let Some(seconds) = self.delay_seconds.filter(|seconds| *seconds != 0) {
            let seconds = seconds.to_string();
            return Err(SqsRefusal::invalid(&seconds, "DelaySeconds", other_type));
        }
        if self.group.is_none() {
            return Err(SqsRefusal::missing("MessageGroupId"));
        }
        if id.is_none() && !settings.content_based_deduplication {
            return Err(SqsRefusal::new(
                "InvalidParameterValueException",
                "The queue should either have ContentBasedDeduplication enabled or \
                 MessageDeduplicationId provided explicitly",
            ));
        }
        Ok(())
    }
}

/// The MD5 of a text, in hexadecimal.
pub(super) fn digest_of(text: &[u8]) -> String {
    hexadecimal(&md5::digest(text))
}

/// The MD5 of attributes; none if there are none.
///
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html#sqs-attributes-md5-message-digest-calculation>
pub(super) fn digest_of_attributes<'a>(
    attributes: impl IntoIterator<Item = (&'a String, &'a AttributeValue)>,
) -> Option<String> {
    let mut text = Vec::new();
    for (name, value) in attributes {
        push_part(&mut text, name.as_bytes());
        push_part(&mut text, value.data_type.as_bytes());
        match (&value.string_value, value.bytes()) {
            (Some(string), _) => {
                text.push(1);
                push_part(&mut text, string.as_bytes());
            }
            (None, Some(bytes)) => {
                text.push(2);
                push_part(&mut text, &bytes);
            }
            // Such an attribute is refused before its message is taken.
            (None, None) => {}
        }
    }
    (!text.is_empty()).then(|| digest_of(&text))
}

/// Bytes in hexadecimal.
pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes
        .iter()
        .flat_map(|byte| [byte >> 4, byte & 15])
        .map(|digit| char::from(DIGITS[usize::from(digit)]));
    digits.collect()
}

impl AttributeValue {
    /// Bytes that it adds to a message, with its name.
    pub(super) fn n_bytes(&self, name: &str) -> usize {
        let text = self.string_value.as_ref().map(String::len);
        let length = text.or_else(|| self.bytes().map(|bytes| bytes.len()));
        name.len() + self.data_type.len() + length.unwrap_or_default()
    }

    fn bytes(&self) -> Option<Vec<u8>> {
        let encoded = self.binary_value.as_ref()?;
        base64_simd::STANDARD.decode_to_vec(encoded).ok()
    }
}

/// Each part is told with its length, so that no two lists look alike.
fn push_part(text: &mut Vec<u8>, part: &[u8]) {
    let length = u32::try_from(part.len()).expect("a message is shorter than 4 GiB");
    text.extend_from_slice(&length.to_be_bytes());
    text.extend_from_slice(part);
}

/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html>
fn is_allowed(character: char) -> bool {
    matches!(character, '\t' | '\n' | '\r' | '\u{20}'..='\u{FFFD}' | '\u{10000}'..)
}

fn check_attribute(name: &str, value: &AttributeValue) -> Result<(), SqsRefusal> {
    let is_name_character = |byte: u8| byte.is_ascii_alphanumeric() || b"_.-".contains(&byte);
    let reserved = name.to_ascii_lowercase();
    let good = (1..=256).contains(&name.len())
        && name.bytes().all(is_name_character)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
        && !reserved.starts_with("aws.")
        && !reserved.starts_with("amazon.");
    if !good {
        return Err(invalid(format!(
            "Message attribute name '{name}' is invalid."
        )));
    }
    let kind = value.data_type.split('.').next().unwrap_or_default();
    let length = match kind {
        "String" | "Number" if value.binary_value.is_none() => {
            let text = value.string_value.as_deref();
            let is_number = |text: &str| text.parse().is_ok_and(f64::is_finite);
            if kind == "Number" && !text.is_none_or(is_number) {
                return Err(invalid(format!(
                    "Can't cast the value of message attribute '{name}' to a number."
                )));
            }
            text.map(str::len)
        }
        "Binary" if value.string_value.is_none() => value.bytes().map(|bytes| bytes.len()),
        _ => {
            return Err(invalid(format!(
                "The type of message attribute '{name}' must be String, Number or Binary and fit \
                 its value."
            )));
        }
    };
    match length {
        Some(1..) => Ok(()),
        _ => Err(invalid(format!(
            "Message attribute '{name}' must contain a non-empty value of its type."
        ))),
    }
}

fn check_id(parameter: &str, id: Option<&str>) -> Result<(), SqsRefusal> {
    let good =
        |id: &str| (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic());
    match id.filter(|id| !good(id)) {
        Some(id) => {
            let reason = format!(
                "{parameter} can only include alphanumeric and punctuation characters. 1 to 128 \
                 in length."
            );
            Err(SqsRefusal::invalid(id, parameter, &reason))
        }
        None => Ok(()),
    }
}

fn invalid(message: String) -> SqsRefusal {
    SqsRefusal::new("InvalidParameterValueException", message)
}
