//! What the calls of DynamoDB and its streams ask for, as JSON.
//!
//! A member that is not listed is refused: a condition, say, must not be passed over. Members whose
//! names begin with `_` are taken and are of no consequence in memory.

use serde::Deserialize;
use serde::de::IgnoredAny;

use super::attribute::Attributes;
use super::record::ViewType;
use super::refusal::DynamoDbRefusal;
use super::table::{KeyAttribute, KeySchema};

/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_CreateTable.html>
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct CreateTable {
    pub(super) table_name: String,
    key_schema: Vec<KeyElement>,
    attribute_definitions: Vec<Definition>,
    stream_specification: Option<StreamSpecification>,
    #[serde(rename = "BillingMode")]
    _billing_mode: Option<IgnoredAny>,
    #[serde(rename = "ProvisionedThroughput")]
    _provisioned_throughput: Option<IgnoredAny>,
    #[serde(rename = "SSESpecification")]
    _sse_specification: Option<IgnoredAny>,
    #[serde(rename = "TableClass")]
    _table_class: Option<IgnoredAny>,
    #[serde(rename = "Tags")]
    _tags: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct KeyElement {
    attribute_name: String,
    key_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct Definition {
    attribute_name: String,
    attribute_type: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
struct StreamSpecification {
    stream_enabled: bool,
    stream_view_type: Option<String>,
}

/// The table that DescribeTable or DeleteTable is about.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct TableReference {
    pub(super) table_name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ListTables {
    pub(super) exclusive_start_table_name: Option<String>,
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct PutItem {
    pub(super) table_name: String,
    pub(super) item: Attributes,
    pub(super) return_values: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DeleteItem {
    pub(super) table_name: String,
    pub(super) key: Attributes,
    pub(super) return_values: Option<String>,
}

/// Reads are consistent always.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetItem {
    pub(super) table_name: String,
    pub(super) key: Attributes,
    #[serde(rename = "ConsistentRead")]
    _consistent_read: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ListStreams {
    pub(super) table_name: Option<String>,
    pub(super) exclusive_start_stream_arn: Option<String>,
    pub(super) limit: Option<usize>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct DescribeStream {
    pub(super) stream_arn: String,
    pub(super) exclusive_start_shard_id: Option<String>,
    pub(super) limit: Option<usize>,
    pub(super) shard_filter: Option<ShardFilter>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct ShardFilter {
    #[serde(rename = "Type")]
    pub(super) kind: String,
    pub(super) shard_id: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetShardIterator {
    pub(super) stream_arn: String,
    pub(super) shard_id: String,
    pub(super) shard_iterator_type: String,
    pub(super) sequence_number: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase", deny_unknown_fields)]
pub(super) struct GetRecords {
    pub(super) shard_iterator: String,
    pub(super) limit: Option<usize>,
}

/// Reads a request.
pub(super) fn read<'a, T: Deserialize<'a>>(body: &'a [u8]) -> Result<T, DynamoDbRefusal> {
    serde_json::from_slice(body)
        .map_err(|error| DynamoDbRefusal::new("SerializationException", error.to_string()))
}

/// A limit of one page: `most` if none is given.
pub(super) fn page_limit(limit: Option<usize>, most: usize) -> Result<usize, DynamoDbRefusal> {
    let limit = limit.unwrap_or(most);
    if limit == 0 || most < limit {
        return Err(DynamoDbRefusal::validation(format!(
            "Limit must be between 1 and {most} and is {limit}"
        )));
    }
    Ok(limit)
}

impl CreateTable {
    /// The key of the table's items.
    pub(super) fn schema(&self) -> Result<KeySchema, DynamoDbRefusal> {
        let wrong = |what: &str| {
            DynamoDbRefusal::validation(format!(
                "One or more parameter values were invalid: {what}"
            ))
        };
        let (hash, range) = match &self.key_schema[..] {
            [hash] => (hash, None),
            [hash, range] if range.key_type == "RANGE" => (hash, Some(range)),
            _ => {
                return Err(wrong(
                    "KeySchema must have a HASH key and at most a RANGE key",
                ));
            }
        };
        if hash.key_type != "HASH" {
            return Err(wrong(
                "the first element of KeySchema must be of KeyType HASH",
            ));
        }
        if range.is_some_and(|range| range.attribute_name == hash.attribute_name) {
            return Err(wrong("both keys of KeySchema have the same name"));
        }
        if self.attribute_definitions.len() != self.key_schema.len() {
            return Err(wrong(
                "AttributeDefinitions must have the attributes of KeySchema and no others",
            ));
        }
        let key = |element: &KeyElement| {
            let name = &element.attribute_name;
            let mut definitions = self.attribute_definitions.iter();
            let definition = definitions.find(|definition| definition.attribute_name == *name);
            let kind = definition.map_or("none", |definition| &definition.attribute_type);
            if !["S", "N", "B"].contains(&kind) {
                return Err(wrong(&format!(
                    "the type of key {name} must be S, N or B and is {kind}"
                )));
            }
            Ok(KeyAttribute {
                name: name.clone(),
                kind: kind.to_owned(),
            })
        };
        Ok(KeySchema {
            hash: key(hash)?,
            range: range.map(key).transpose()?,
        })
    }

    /// What its stream shows, if it is to have one.
    pub(super) fn view(&self) -> Result<Option<ViewType>, DynamoDbRefusal> {
        let Some(specification) = &self.stream_specification else {
            return Ok(None);
        };
        let view = specification.stream_view_type.as_deref();
        match (specification.stream_enabled, view) {
            (true, Some(view)) => ViewType::read(view).map(Some),
            (false, None) => Ok(None),
            (true, None) => Err(DynamoDbRefusal::validation(
                "StreamViewType is required when StreamEnabled is true",
            )),
            (false, Some(_)) => Err(DynamoDbRefusal::validation(
                "StreamViewType cannot be given when StreamEnabled is false",
            )),
        }
    }
}
