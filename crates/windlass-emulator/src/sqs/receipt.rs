//! Receipt handles: which message, and which of its receives.

use super::refusal::SqsRefusal;

/// What a receipt handle says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Receipt {
    /// The queue's number: one made anew under an old name is another.
    pub(super) queue: u64,
    pub(super) message: u64,
    /// Which receive of the message it was, from 1.
    pub(super) receive: u32,
}

impl Receipt {
    /// It as clients hold it.
    pub(super) fn encode(self) -> String {
        let Self {
            queue,
            message,
            receive,
        } = self;
        base64_simd::STANDARD.encode_to_string(format!("receipt/{queue}/{message}/{receive}"))
    }

    /// # Errors
    /// If the text is no handle of a message of this queue.
    pub(super) fn decode(text: &str, queue: u64) -> Result<Self, SqsRefusal> {
        let receipt = parse(text).filter(|receipt| receipt.queue == queue);
        receipt.ok_or_else(|| {
            SqsRefusal::new(
                "ReceiptHandleIsInvalid",
                format!("The input receipt handle \"{text}\" is not a valid receipt handle."),
            )
        })
    }
}

fn parse(text: &str) -> Option<Receipt> {
    let decoded = base64_simd::STANDARD.decode_to_vec(text).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let mut numbers = decoded.strip_prefix("receipt/")?.split('/');
    let receipt = Receipt {
        queue: numbers.next()?.parse().ok()?,
        message: numbers.next()?.parse().ok()?,
        receive: numbers.next()?.parse().ok()?,
    };
    numbers.next().is_none().then_some(receipt)
}
