//! The calls of DynamoDB: tables and their items.

use serde_json::{Value, json};

use super::World;
use super::attribute::Attributes;
use super::refusal::DynamoDbRefusal;
use super::requests::{
    CreateTable, DeleteItem, GetItem, ListTables, PutItem, TableReference, page_limit, read,
};
use super::stream::{arn_of, label, table_arn};
use super::table::Table;

/// Tables of one ListTables, and of one that does not say how many.
///
/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_ListTables.html>
const MOST_LISTED: usize = 100;

/// Executes one call. `now` is in milliseconds since 1970.
pub(super) fn execute(
    world: &mut World,
    operation: &str,
    body: &[u8],
    now: u64,
) -> Result<Value, DynamoDbRefusal> {
    match operation {
        "CreateTable" => create_table(world, &read(body)?, now),
        "DescribeTable" => {
            let name = read::<TableReference>(body)?.table_name;
            Ok(json!({"Table": describe(world, &name, "ACTIVE")?}))
        }
        "DeleteTable" => {
            let name = read::<TableReference>(body)?.table_name;
            let described = describe(world, &name, "DELETING")?;
            world.delete_table(&name, now)?;
            Ok(json!({"TableDescription": described}))
        }
        "ListTables" => list_tables(world, &read(body)?),
        "PutItem" => put_item(world, read(body)?, now),
        "DeleteItem" => delete_item(world, read(body)?, now),
        "GetItem" => get_item(world, read(body)?),
        other => Err(DynamoDbRefusal::no_operation("DynamoDB", other)),
    }
}

fn create_table(
    world: &mut World,
    request: &CreateTable,
    now: u64,
) -> Result<Value, DynamoDbRefusal> {
    let name = &request.table_name;
    let (schema, view) = (request.schema()?, request.view()?);
    world.create_table(name, schema, view.map(|view| (view, 1)), now)?;
    Ok(json!({"TableDescription": describe(world, name, "ACTIVE")?}))
}

/// <https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TableDescription.html>
fn describe(world: &World, name: &str, status: &str) -> Result<Value, DynamoDbRefusal> {
    let table = world.table(name)?;
    let Table {
        created,
        schema,
        stream_created,
        ..
    } = table;
    let mut described = json!({
        "TableName": name,
        "TableArn": table_arn(name),
        "TableStatus": status,
        "CreationDateTime": created / 1000,
        "KeySchema": schema.to_json(),
        "AttributeDefinitions": schema.definitions_json(),
        "ItemCount": table.n_items(),
        "TableSizeBytes": table.size(),
    });
    if let Some(stream_created) = *stream_created {
        let view = world.stream_of(name, stream_created)?.view.name();
        described["StreamSpecification"] = json!({"StreamEnabled": true, "StreamViewType": view});
        described["LatestStreamArn"] = arn_of(name, stream_created).into();
        described["LatestStreamLabel"] = label(stream_created).into();
    }
    Ok(described)
}

fn list_tables(world: &World, request: &ListTables) -> Result<Value, DynamoDbRefusal> {
    let limit = page_limit(request.limit, MOST_LISTED)?;
    let after = request.exclusive_start_table_name.as_ref();
    let names = world.tables.keys();
    let mut names = names
        .filter(|name| after.is_none_or(|after| after < *name))
        .peekable();
    let shown: Vec<&String> = names.by_ref().take(limit).collect();
    let mut answer = json!({"TableNames": shown});
    if let Some(last) = shown.last().filter(|_| names.peek().is_some()) {
        answer["LastEvaluatedTableName"] = last.as_str().into();
    }
    Ok(answer)
}

fn put_item(world: &mut World, request: PutItem, now: u64) -> Result<Value, DynamoDbRefusal> {
    let returns_old = returns_old(request.return_values.as_deref())?;
    let change = world.table_mut(&request.table_name)?.put(request.item)?;
    world.record(&request.table_name, &change, now)?;
    Ok(old_image(change.old.filter(|_| returns_old)))
}

fn delete_item(world: &mut World, request: DeleteItem, now: u64) -> Result<Value, DynamoDbRefusal> {
    let returns_old = returns_old(request.return_values.as_deref())?;
    let change = world.table_mut(&request.table_name)?.delete(request.key)?;
    world.record(&request.table_name, &change, now)?;
    Ok(old_image(change.old.filter(|_| returns_old)))
}

fn get_item(world: &World, request: GetItem) -> Result<Value, DynamoDbRefusal> {
    let item = world.table(&request.table_name)?.get(request.key)?;
    Ok(item.map_or_else(|| json!({}), |item| json!({"Item": item})))
}

fn returns_old(return_values: Option<&str>) -> Result<bool, DynamoDbRefusal> {
    match return_values {
        None | Some("NONE") => Ok(false),
        Some("ALL_OLD") => Ok(true),
        Some(other) => Err(DynamoDbRefusal::validation(format!(
            "ReturnValues is NONE or ALL_OLD here and not '{other}'"
        ))),
    }
}

fn old_image(old: Option<Attributes>) -> Value {
    old.map_or_else(|| json!({}), |old| json!({"Attributes": old}))
}
