//! Receipt handles: a message, and one of its receives.

use crate::protocol::AwsError;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ReceiptHandle {
    pub(super) message: u64,
    /// The receive count of the message when it was received.
    pub(super) receive_count: u32,
}

impl ReceiptHandle {
    pub(super) fn encode(self, queue: &str) -> String {
        let Self {
            message,
            receive_count,
        } = self;
        base64_simd::STANDARD.encode_to_string(format!("{queue}/{message}/{receive_count}"))
    }

    pub(super) fn decode(text: &str, queue: &str) -> Result<Self, AwsError> {
        parse(text, queue).ok_or_else(|| {
            AwsError::new(
                "ReceiptHandleIsInvalid",
                format!("The input receipt handle \"{text}\" is not a valid receipt handle."),
            )
        })
    }
}

fn parse(text: &str, queue: &str) -> Option<ReceiptHandle> {
    let decoded = base64_simd::STANDARD.decode_to_vec(text).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let rest = decoded.strip_prefix(queue)?.strip_prefix('/')?;
    let (message, receive_count) = rest.split_once('/')?;
    Some(ReceiptHandle {
        message: message.parse().ok()?,
        receive_count: receive_count.parse().ok()?,
    })
}
