//! Takes aggregates of the Kinesis Producer Library apart: records of many users in the data of one
//! record of the stream.
//!
//! An aggregate is a magic number, a Protocol Buffers message and the MD5 of that. Data that are not
//! exactly this are those of a plain record. The message is read in place, twice: it is checked as a
//! whole before its first record is used, and nothing is allocated per record.
//!
//! <https://github.com/awslabs/amazon-kinesis-producer/blob/master/aggregation-format.md>

use std::ops::RangeInclusive;

use base64_simd::STANDARD;
use md5::{Digest as _, Md5};

use super::text::unescape;

const MAGIC: [u8; 4] = [0xf3, 0x89, 0x9a, 0xc2];

/// What the base64 of the magic number begins with.
const BASE64_MAGIC: &[u8] = b"84maw";

const DIGEST_LEN: usize = 16;

/// Memory for one aggregate at a time: at most three times its size.
#[derive(Debug, Default)]
pub(super) struct Deaggregator {
    bytes: Vec<u8>,
    tables: Tables,
}

/// Where the fields of the tables are in the message.
#[derive(Debug, Default)]
struct Tables {
    partition_keys: Vec<u32>,
    explicit_hash_keys: Vec<u32>,
}

/// A valid aggregate.
#[derive(Debug)]
pub(super) struct Aggregate<'a> {
    message: &'a [u8],
    tables: &'a Tables,
    /// At least 1.
    n_records: u32,
}

/// A record of an aggregate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct UserRecord<'a> {
    /// UTF-8.
    pub(super) partition_key: &'a [u8],
    explicit_hash_key: Option<&'a [u8]>,
    pub(super) data: &'a [u8],
}

/// The fields of a message, each with its number.
struct Fields<'a> {
    rest: &'a [u8],
}

#[derive(Debug)]
struct InvalidField;

enum Value<'a> {
    Number(u64),
    /// A string, bytes or a message.
    Bytes(&'a [u8]),
    /// Four or eight bytes, which no field of ours has.
    Fixed,
}

/// The fields of a record that matter here.
struct RecordFields<'a> {
    key: u64,
    hash_key: Option<u64>,
    data: &'a [u8],
}

/// Whether the base64 text of a record's data may be that of an aggregate.
#[inline]
pub(super) fn may_be_aggregate(data: &[u8]) -> bool {
    data.starts_with(BASE64_MAGIC)
}

impl Deaggregator {
    /// Opens the aggregate in the raw text of a base64 string. `None` if it is not one, or has no
    /// records.
    pub(super) fn open(&mut self, data: &[u8]) -> Option<Aggregate<'_>> {
        let data = unescape(data)?;
        self.bytes.clear();
        STANDARD.decode_append(&data, &mut self.bytes).ok()?;
        let message = self.bytes.strip_prefix(&MAGIC)?;
        let (message, digest) = message.split_at_checked(message.len().checked_sub(DIGEST_LEN)?)?;
        if Md5::digest(message)[..] != *digest {
            return None;
        }
        let n_records = check(message, &mut self.tables).filter(|n_records| 0 < *n_records)?;
        Some(Aggregate {
            message,
            tables: &self.tables,
            n_records,
        })
    }
}

impl<'a> Aggregate<'a> {
    pub(super) const fn n_records(&self) -> u32 {
        self.n_records
    }

    /// All records, in their order.
    pub(super) fn records(&self) -> impl Iterator<Item = UserRecord<'a>> {
        let fields = Fields { rest: self.message };
        let records = fields.filter_map(|field| match field {
            Ok((3, Value::Bytes(record))) => record_fields(record),
            _ => None,
        });
        records.filter_map(|record| {
            Some(UserRecord {
                partition_key: self.key(&self.tables.partition_keys, record.key)?,
                explicit_hash_key: match record.hash_key {
                    Some(index) => Some(self.key(&self.tables.explicit_hash_keys, index)?),
                    None => None,
                },
                data: record.data,
            })
        })
    }

    fn key(&self, table: &[u32], index: u64) -> Option<&'a [u8]> {
        let at = *table.get(usize::try_from(index).ok()?)?;
        let rest = self.message.get(at as usize..)?;
        match (Fields { rest }).next()? {
            Ok((_, Value::Bytes(key))) => Some(key),
            _ => None,
        }
    }
}

impl UserRecord<'_> {
    /// Whether a shard with these hash keys is the one of its key. An explicit hash key that is not a
    /// number of 128 bits belongs to no shard.
    ///
    /// <https://docs.aws.amazon.com/kinesis/latest/APIReference/API_PutRecord.html>
    pub(super) fn is_within(&self, hash_keys: &RangeInclusive<u128>) -> bool {
        let hash_key = match self.explicit_hash_key {
            Some(text) => std::str::from_utf8(text)
                .ok()
                .and_then(|text| text.parse().ok()),
            None => Some(u128::from_be_bytes(Md5::digest(self.partition_key).into())),
        };
        hash_key.is_some_and(|hash_key| hash_keys.contains(&hash_key))
    }
}

/// Checks a message as a whole. Returns the number of its records, and where its keys are; `None` if
/// it is not valid.
fn check(message: &[u8], tables: &mut Tables) -> Option<u32> {
    let Tables {
        partition_keys,
        explicit_hash_keys,
    } = tables;
    partition_keys.clear();
    explicit_hash_keys.clear();
    let mut n_records = 0;
    let (mut keys_used, mut hash_keys_used) = (0, 0);
    let mut fields = Fields { rest: message };
    loop {
        let at = message.len() - fields.rest.len();
        let Some(field) = fields.next() else {
            break;
        };
        match field.ok()? {
            (1, Value::Bytes(key)) => {
                std::str::from_utf8(key).ok()?;
                partition_keys.push(u32::try_from(at).ok()?);
            }
            (2, Value::Bytes(_)) => explicit_hash_keys.push(u32::try_from(at).ok()?),
            (3, Value::Bytes(record)) => {
                let record = record_fields(record)?;
                n_records += 1;
                keys_used = keys_used.max(record.key.checked_add(1)?);
                let n_used = record.hash_key.map_or(Some(0), |key| key.checked_add(1))?;
                hash_keys_used = hash_keys_used.max(n_used);
            }
            _ => {}
        }
    }
    let are_listed = keys_used <= partition_keys.len() as u64
        && hash_keys_used <= explicit_hash_keys.len() as u64;
    are_listed.then_some(n_records)
}

/// `None` if the record is not valid.
fn record_fields(record: &[u8]) -> Option<RecordFields<'_>> {
    let (mut key, mut hash_key, mut data) = (None, None, None);
    for field in (Fields { rest: record }) {
        match field.ok()? {
            (1, Value::Number(index)) => key = Some(index),
            (2, Value::Number(index)) => hash_key = Some(index),
            (3, Value::Bytes(bytes)) => data = Some(bytes),
            (4, Value::Bytes(tag)) => check_tag(tag)?,
            _ => {}
        }
    }
    Some(RecordFields {
        key: key?,
        hash_key,
        data: data?,
    })
}

fn check_tag(tag: &[u8]) -> Option<()> {
    let mut has_key = false;
    for field in (Fields { rest: tag }) {
        has_key |= matches!(field.ok()?, (1, Value::Bytes(_)));
    }
    has_key.then_some(())
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Value<'a>), InvalidField>;

    fn next(&mut self) -> Option<Self::Item> {
        (!self.rest.is_empty()).then(|| self.field().ok_or(InvalidField))
    }
}

impl<'a> Fields<'a> {
    /// <https://protobuf.dev/programming-guides/encoding/>
    fn field(&mut self) -> Option<(u64, Value<'a>)> {
        let tag = self.number()?;
        let value = match tag & 7 {
            0 => Value::Number(self.number()?),
            1 => {
                self.take(8)?;
                Value::Fixed
            }
            2 => {
                let length = self.number()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Value::Fixed
            }
            // Groups are not in use any more.
            _ => return None,
        };
        let number = tag >> 3;
        (number != 0).then_some((number, value))
    }

    /// A number of variable length, at most ten bytes.
    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.rest.split_first()?;
            self.rest = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    fn take(&mut self, length: u64) -> Option<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(usize::try_from(length).ok()?)?;
        self.rest = rest;
        Some(bytes)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A record to encode: its key, its explicit hash key and its data.
    pub(crate) type Written = (String, Option<String>, Vec<u8>);

    fn push_number(message: &mut Vec<u8>, mut number: u64) {
        while 0x80 <= number {
            message.push(number.to_le_bytes()[0] | 0x80);
            number >>= 7;
        }
        message.push(number.to_le_bytes()[0]);
    }

    fn push_bytes(message: &mut Vec<u8>, field: u64, bytes: &[u8]) {
        push_number(message, field << 3 | 2);
        push_number(message, bytes.len() as u64);
        message.extend_from_slice(bytes);
    }

    fn push_index(message: &mut Vec<u8>, field: u64, index: usize) {
        push_number(message, field << 3);
        push_number(message, index as u64);
    }

    fn record(key: usize, hash_key: Option<usize>, data: &[u8]) -> Vec<u8> {
        let mut record = Vec::new();
        push_index(&mut record, 1, key);
        if let Some(hash_key) = hash_key {
            push_index(&mut record, 2, hash_key);
        }
        push_bytes(&mut record, 3, data);
        record
    }

    /// The base64 text of a message with magic number and digest.
    fn seal(message: &[u8]) -> String {
        let bytes = [&MAGIC[..], message, &Md5::digest(message)[..]].concat();
        STANDARD.encode_to_string(bytes)
    }

    fn message(records: &[Written]) -> Vec<u8> {
        let mut keys: Vec<&str> = records.iter().map(|it| it.0.as_str()).collect();
        keys.sort_unstable();
        keys.dedup();
        let mut hash_keys: Vec<&str> = records.iter().filter_map(|it| it.1.as_deref()).collect();
        hash_keys.sort_unstable();
        hash_keys.dedup();
        let mut message = Vec::new();
        for key in &keys {
            push_bytes(&mut message, 1, key.as_bytes());
        }
        for hash_key in &hash_keys {
            push_bytes(&mut message, 2, hash_key.as_bytes());
        }
        for (key, hash_key, data) in records {
            let key = keys.binary_search(&key.as_str()).unwrap();
            let hash_key = hash_key.as_deref();
            let hash_key = hash_key.map(|it| hash_keys.binary_search(&it).unwrap());
            push_bytes(&mut message, 3, &record(key, hash_key, data));
        }
        message
    }

    /// An aggregate as the library writes it, in base64.
    pub(crate) fn aggregate(records: &[Written]) -> String {
        seal(&message(records))
    }

    fn opened(text: &str) -> Option<Vec<(String, Vec<u8>)>> {
        assert!(may_be_aggregate(text.as_bytes()));
        let mut deaggregator = Deaggregator::default();
        let aggregate = deaggregator.open(text.as_bytes())?;
        let records = aggregate.records().map(|record| {
            let key = String::from_utf8(record.partition_key.to_vec()).unwrap();
            (key, record.data.to_vec())
        });
        let records: Vec<_> = records.collect();
        assert_eq!(records.len(), aggregate.n_records() as usize);
        Some(records)
    }

    fn hash_key(record: &Written) -> Option<u128> {
        match &record.1 {
            Some(hash_key) => hash_key.parse().ok(),
            None => Some(u128::from_be_bytes(Md5::digest(&record.0).into())),
        }
    }

    fn written() -> impl Strategy<Value = Vec<Written>> {
        let hash_key = prop::option::of("[0-9]{1,39}");
        let data = prop::collection::vec(any::<u8>(), 0..300);
        prop::collection::vec(("\\PC{0,5}", hash_key, data), 1..20)
    }

    proptest! {
        #[test]
        fn an_aggregate_reads_back(records in written()) {
            let expected: Vec<_> = records.iter().map(|it| (it.0.clone(), it.2.clone())).collect();
            prop_assert_eq!(opened(&aggregate(&records)), Some(expected));
        }

        #[test]
        fn a_record_is_within_the_hash_keys_of_its_explicit_hash_key_or_else_of_its_partition_key(
            records in written(), ends in any::<(u128, u128)>()
        ) {
            let hash_keys = ends.0.min(ends.1)..=ends.0.max(ends.1);
            let expected: Vec<_> = records.iter().map(|record| {
                hash_key(record).is_some_and(|it| hash_keys.contains(&it))
            }).collect();
            let text = aggregate(&records);
            let mut deaggregator = Deaggregator::default();
            let aggregate = deaggregator.open(text.as_bytes()).unwrap();
            let found: Vec<_> = aggregate.records().map(|it| it.is_within(&hash_keys)).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_message_of_any_bytes_is_read_or_refused(message in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = opened(&seal(&message));
        }

        #[test]
        fn a_message_that_was_changed_is_read_or_refused(
            records in written(), at in any::<prop::sample::Index>(), byte in any::<u8>()
        ) {
            let mut changed = message(&records);
            let at = at.index(changed.len());
            changed[at] = byte;
            let _ = opened(&seal(&changed));
            changed.truncate(at);
            let _ = opened(&seal(&changed));
        }
    }

    fn three() -> Vec<Written> {
        let record = |key: &str, data: &[u8]| (key.to_owned(), Some("1".to_owned()), data.to_vec());
        vec![record("a", b"one"), record("b", b""), record("a", b"three")]
    }

    #[test]
    fn the_hash_key_is_the_md5_of_the_partition_key_as_a_number() {
        let (first, last) = (0..=u128::MAX / 2, u128::MAX / 2 + 1..=u128::MAX);
        let end = u128::MAX.to_string();
        let beyond = format!("{end}0");
        for (key, explicit, is_first, is_last) in [
            // 0cc175b9c0f1b6a831c399e269772661 and 92eb5ffee6ae2fec3ad71c777531578f.
            ("a", None, true, false),
            ("b", None, false, true),
            ("a", Some(end.as_str()), false, true),
            ("b", Some("0"), true, false),
            ("a", Some(beyond.as_str()), false, false),
            ("a", Some(""), false, false),
        ] {
            let record = UserRecord {
                partition_key: key.as_bytes(),
                explicit_hash_key: explicit.map(str::as_bytes),
                data: b"",
            };
            let found = (record.is_within(&first), record.is_within(&last));
            assert_eq!(found, (is_first, is_last), "{record:?}");
        }
    }

    #[test]
    fn what_is_damaged_or_incomplete_is_not_an_aggregate() {
        let text = aggregate(&three());
        assert!(opened(&text).is_some());
        let bytes = STANDARD.decode_to_vec(&text).unwrap();
        for length in MAGIC.len()..bytes.len() {
            assert_eq!(opened(&STANDARD.encode_to_string(&bytes[..length])), None);
        }
        for at in MAGIC.len()..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(opened(&STANDARD.encode_to_string(damaged)), None, "{at}");
        }
        assert!(!may_be_aggregate(
            STANDARD.encode_to_string("plain").as_bytes()
        ));
    }

    #[test]
    fn a_message_must_be_valid_as_a_whole() {
        let record_of = |parts: &[&[u8]]| {
            let mut message = Vec::new();
            push_bytes(&mut message, 1, b"key");
            for record in parts {
                push_bytes(&mut message, 3, record);
            }
            message
        };
        let good = record(0, None, b"data");
        let mut without_data = Vec::new();
        push_index(&mut without_data, 1, 0);
        let mut without_key = Vec::new();
        push_bytes(&mut without_key, 3, b"data");
        let mut empty_tag = good.clone();
        push_bytes(&mut empty_tag, 4, b"");
        let mut tagged = good.clone();
        push_bytes(&mut tagged, 4, b"\x0a\x01t");
        let mut with_others = good.clone();
        push_bytes(&mut with_others, 9, b"later");
        with_others.extend([10 << 3 | 5, 1, 2, 3, 4, 11 << 3 | 1, 1, 2, 3, 4, 5, 6, 7, 8]);
        for (records, is_valid) in [
            (&[&good[..]][..], true),
            (&[&tagged], true),
            (&[&with_others], true),
            (&[], false),
            (&[&good, &record(1, None, b"x")], false),
            (&[&good, &record(usize::MAX, None, b"x")], false),
            (&[&good, &record(0, Some(0), b"x")], false),
            (&[&good, &without_data], false),
            (&[&without_key], false),
            (&[&empty_tag], false),
            (&[&[1 << 3 | 3]], false),
            (&[&[0, 1]], false),
            (&[&[0x80; 11]], false),
        ] {
            let message = record_of(records);
            assert_eq!(opened(&seal(&message)).is_some(), is_valid, "{records:?}");
        }
        let mut not_utf8 = Vec::new();
        push_bytes(&mut not_utf8, 1, b"\xff");
        push_bytes(&mut not_utf8, 3, &good);
        assert_eq!(opened(&seal(&not_utf8)), None);
        // The table may come last.
        let mut reversed = Vec::new();
        push_bytes(&mut reversed, 3, &good);
        push_bytes(&mut reversed, 1, b"key");
        let expected = vec![("key".to_owned(), b"data".to_vec())];
        assert_eq!(opened(&seal(&reversed)), Some(expected));
    }
}
