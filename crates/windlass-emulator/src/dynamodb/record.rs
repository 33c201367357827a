//! A change as a stream tells of it.
//!
//! <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_streams_Record.html>

use serde_json::{Value, json};

use super::attribute;
use super::refusal::DynamoDbRefusal;
use super::table::Change;
use crate::md5;

/// What of an item a stream shows beside its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ViewType {
    KeysOnly,
    NewImage,
    OldImage,
    NewAndOldImages,
}

/// Where a record stands in its stream.
#[derive(Debug)]
pub(super) struct Place<'a> {
    pub(super) stream_arn: &'a str,
    /// A decimal.
    pub(super) sequence_number: &'a str,
    /// Milliseconds since 1970.
    pub(super) created: u64,
}

impl ViewType {
    pub(super) fn read(name: &str) -> Result<Self, DynamoDbRefusal> {
        match name {
            "KEYS_ONLY" => Ok(Self::KeysOnly),
            "NEW_IMAGE" => Ok(Self::NewImage),
            "OLD_IMAGE" => Ok(Self::OldImage),
            "NEW_AND_OLD_IMAGES" => Ok(Self::NewAndOldImages),
            other => Err(DynamoDbRefusal::validation(format!(
                "StreamViewType '{other}' is not one of KEYS_ONLY, NEW_IMAGE, OLD_IMAGE, \
                 NEW_AND_OLD_IMAGES"
            ))),
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::KeysOnly => "KEYS_ONLY",
            Self::NewImage => "NEW_IMAGE",
            Self::OldImage => "OLD_IMAGE",
            Self::NewAndOldImages => "NEW_AND_OLD_IMAGES",
        }
    }

    /// The record of a change, and the bytes that it counts for.
    ///
    /// Its time is given in whole seconds, as AWS does: readers must not take it for exact.
    pub(super) fn record(self, change: &Change, place: &Place<'_>) -> (Value, usize) {
        let Place {
            stream_arn,
            sequence_number,
            created,
        } = place;
        let event = match (&change.old, &change.new) {
            (None, _) => "INSERT",
            (Some(_), Some(_)) => "MODIFY",
            (Some(_), None) => "REMOVE",
        };
        let mut told = json!({
            "ApproximateCreationDateTime": created / 1000,
            "Keys": change.keys,
            "SequenceNumber": sequence_number,
            "StreamViewType": self.name(),
        });
        let mut size = attribute::size(&change.keys);
        let shows_new = matches!(self, Self::NewImage | Self::NewAndOldImages);
        let shows_old = matches!(self, Self::OldImage | Self::NewAndOldImages);
        for (name, is_shown, image) in [
            ("NewImage", shows_new, &change.new),
            ("OldImage", shows_old, &change.old),
        ] {
            if let Some(image) = image.as_ref().filter(|_| is_shown) {
                size += attribute::size(image);
                told[name] = image.clone().into();
            }
        }
        told["SizeBytes"] = size.into();
        let id = md5::digest(format!("{stream_arn}/{sequence_number}").as_bytes());
        let record = json!({
            "awsRegion": super::REGION,
            "dynamodb": told,
            "eventID": format!("{:032x}", u128::from_be_bytes(id)),
            "eventName": event,
            "eventSource": "aws:dynamodb",
            "eventVersion": "1.1",
        });
        (record, size)
    }
}
