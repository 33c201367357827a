//! A table: its items by their keys, and what a write changes.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::attribute::{self, Attributes};
use super::refusal::DynamoDbRefusal;

/// Bytes of an item, of a partition key's value and of a sort key's.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html>
const LARGEST_ITEM: usize = 400 * 1024;
const LONGEST_HASH_KEY: usize = 2048;
const LONGEST_RANGE_KEY: usize = 1024;

/// The attributes by which a table knows its items.
#[derive(Clone, Debug)]
pub(super) struct KeySchema {
    pub(super) hash: KeyAttribute,
    pub(super) range: Option<KeyAttribute>,
}

/// One of them, with its type: `S`, `N` or `B`.
#[derive(Clone, Debug)]
pub(super) struct KeyAttribute {
    pub(super) name: String,
    pub(super) kind: String,
}

/// A table. Times are milliseconds since 1970.
#[derive(Debug)]
pub(super) struct Table {
    pub(super) created: u64,
    pub(super) schema: KeySchema,
    /// When its stream was made, if it has one.
    pub(super) stream_created: Option<u64>,
    /// By the text of the key's values.
    items: BTreeMap<String, Attributes>,
}

/// What a write made of an item. All attributes are in their one form.
#[derive(Debug)]
pub(super) struct Change {
    pub(super) keys: Attributes,
    /// The text of the partition key's value.
    pub(super) partition: String,
    pub(super) old: Option<Attributes>,
    pub(super) new: Option<Attributes>,
}

impl Change {
    /// Whether the item is another than before: only then is there something to tell.
    ///
    /// <https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Streams.html>
    pub(super) fn is_one(&self) -> bool {
        self.old != self.new
    }
}

impl Table {
    pub(super) fn new(schema: KeySchema, created: u64) -> Self {
        Self {
            created,
            schema,
            stream_created: None,
            items: BTreeMap::new(),
        }
    }

    /// Puts an item in the place of that of the same key.
    pub(super) fn put(&mut self, item: Attributes) -> Result<Change, DynamoDbRefusal> {
        let item = attribute::normal(item)?;
        let keys = self.schema.keys_of(&item)?;
        if LARGEST_ITEM < attribute::size(&item) {
            return Err(DynamoDbRefusal::validation(
                "Item size has exceeded the maximum allowed size",
            ));
        }
        let (id, partition) = self.schema.texts_of(&keys);
        let old = self.items.insert(id, item.clone());
        Ok(Change {
            keys,
            partition,
            old,
            new: Some(item),
        })
    }

    /// Removes the item of a key, if there is one.
    pub(super) fn delete(&mut self, key: Attributes) -> Result<Change, DynamoDbRefusal> {
        let keys = self.schema.whole_key(key)?;
        let (id, partition) = self.schema.texts_of(&keys);
        Ok(Change {
            keys,
            partition,
            old: self.items.remove(&id),
            new: None,
        })
    }

    /// The item of a key.
    pub(super) fn get(&self, key: Attributes) -> Result<Option<&Attributes>, DynamoDbRefusal> {
        let keys = self.schema.whole_key(key)?;
        Ok(self.items.get(&self.schema.texts_of(&keys).0))
    }

    pub(super) fn n_items(&self) -> usize {
        self.items.len()
    }

    /// Bytes of all items.
    pub(super) fn size(&self) -> usize {
        self.items.values().map(attribute::size).sum()
    }
}

impl KeySchema {
    pub(super) fn to_json(&self) -> Value {
        let elements = self.attributes().zip(["HASH", "RANGE"]);
        let elements =
            elements.map(|(key, kind)| json!({"AttributeName": key.name, "KeyType": kind}));
        elements.collect()
    }

    pub(super) fn definitions_json(&self) -> Value {
        let attributes = self.attributes();
        attributes
            .map(|key| json!({"AttributeName": key.name, "AttributeType": key.kind}))
            .collect()
    }

    fn attributes(&self) -> impl Iterator<Item = &KeyAttribute> {
        std::iter::once(&self.hash).chain(&self.range)
    }

    /// The key of an item.
    fn keys_of(&self, item: &Attributes) -> Result<Attributes, DynamoDbRefusal> {
        let longest = [LONGEST_HASH_KEY, LONGEST_RANGE_KEY];
        let attributes = self.attributes().zip(longest);
        attributes
            .map(|(key, longest)| Ok((key.name.clone(), key.of(item, longest)?.clone())))
            .collect()
    }

    /// A key given as such: with all its attributes and no other.
    fn whole_key(&self, key: Attributes) -> Result<Attributes, DynamoDbRefusal> {
        if key.len() != self.attributes().count() {
            return Err(DynamoDbRefusal::validation(
                "The number of conditions on the keys is invalid",
            ));
        }
        let no_match =
            |_| DynamoDbRefusal::validation("The provided key element does not match the schema");
        self.keys_of(&attribute::normal(key)?).map_err(no_match)
    }

    /// The texts of a whole key and of its partition key, equal where the values are.
    fn texts_of(&self, keys: &Attributes) -> (String, String) {
        let text = |key: &KeyAttribute| keys[&key.name].to_string();
        let partition = text(&self.hash);
        let id = self.attributes().map(text).collect();
        (id, partition)
    }
}

impl KeyAttribute {
    /// Its value in an item.
    fn of<'a>(&self, item: &'a Attributes, longest: usize) -> Result<&'a Value, DynamoDbRefusal> {
        let wrong = |what: String| {
            DynamoDbRefusal::validation(format!(
                "One or more parameter values were invalid: {what}"
            ))
        };
        let Self { name, kind } = self;
        let value = item.get(name);
        let value = value.ok_or_else(|| wrong(format!("Missing the key {name} in the item")))?;
        let (actual, text) = attribute::parts(value).unwrap_or(("none", &Value::Null));
        if actual != kind {
            return Err(wrong(format!(
                "Type mismatch for key {name} expected: {kind} actual: {actual}"
            )));
        }
        let length = text.as_str().map_or(0, str::len);
        if length == 0 {
            return Err(wrong(format!(
                "the key {name} cannot be an empty string or binary"
            )));
        }
        // Base64 is longer than what it stands for.
        let is_longer = match kind.as_str() {
            "B" => longest.div_ceil(3) * 4 < length,
            _ => longest < length,
        };
        if is_longer {
            return Err(wrong(format!(
                "the key {name} has more than {longest} bytes"
            )));
        }
        Ok(value)
    }
}
