//! Tables and items.

use super::*;

/// A table `sales` with the keys `shop` (S) and `at` (N).
fn sales() -> Value {
    json!({
        "TableName": "sales",
        "KeySchema": [{"AttributeName": "shop", "KeyType": "HASH"},
            {"AttributeName": "at", "KeyType": "RANGE"}],
        "AttributeDefinitions": [{"AttributeName": "at", "AttributeType": "N"},
            {"AttributeName": "shop", "AttributeType": "S"}],
        "BillingMode": "PAY_PER_REQUEST",
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"},
    })
}

fn with_sales() -> Bench {
    let mut bench = Bench::new();
    bench.call("CreateTable", &sales());
    bench
}

#[test]
fn a_table_is_described_as_it_was_made() {
    let mut bench = with_sales();
    let table = bench.call("DescribeTable", &json!({"TableName": "sales"}))["Table"].clone();
    let arn = "arn:aws:dynamodb:us-east-1:000000000000:table/sales";
    let expected = json!({
        "TableName": "sales",
        "TableArn": arn,
        "TableStatus": "ACTIVE",
        "CreationDateTime": 1_700_000_000,
        "KeySchema": sales()["KeySchema"],
        "AttributeDefinitions": [{"AttributeName": "shop", "AttributeType": "S"},
            {"AttributeName": "at", "AttributeType": "N"}],
        "ItemCount": 0,
        "TableSizeBytes": 0,
        "StreamSpecification": {"StreamEnabled": true, "StreamViewType": "NEW_IMAGE"},
        "LatestStreamArn": format!("{arn}/stream/2023-11-14T22:13:20.000"),
        "LatestStreamLabel": "2023-11-14T22:13:20.000",
    });
    assert_eq!(table, expected);
    assert_eq!(
        bench.code("CreateTable", &sales()),
        "ResourceInUseException"
    );
}

#[test]
fn tables_are_listed_in_pages() {
    let mut bench = Bench::new();
    for name in ["ccc", "aaa", "bbb"] {
        let mut request = sales();
        request["TableName"] = name.into();
        bench.call("CreateTable", &request);
    }
    let first = bench.call("ListTables", &json!({"Limit": 2}));
    assert_eq!(
        first,
        json!({"TableNames": ["aaa", "bbb"], "LastEvaluatedTableName": "bbb"})
    );
    let second = bench.call("ListTables", &json!({"ExclusiveStartTableName": "bbb"}));
    assert_eq!(second, json!({"TableNames": ["ccc"]}));
    assert_eq!(
        bench.code("ListTables", &json!({"Limit": 0})),
        "ValidationException"
    );
}

#[test]
fn an_item_is_known_by_both_its_keys() {
    let mut bench = with_sales();
    let item =
        |at: &str, sum: &str| json!({"shop": {"S": "a"}, "at": {"N": at}, "sum": {"N": sum}});
    let key =
        |at: &str| json!({"TableName": "sales", "Key": {"shop": {"S": "a"}, "at": {"N": at}}});
    for (at, sum) in [("1", "10"), ("2", "20"), ("1.0", "30")] {
        bench.call(
            "PutItem",
            &json!({"TableName": "sales", "Item": item(at, sum)}),
        );
    }
    assert_eq!(
        bench.call("GetItem", &key("1")),
        json!({"Item": item("1", "30")})
    );
    assert_eq!(
        bench.call("GetItem", &key("2e0")),
        json!({"Item": item("2", "20")})
    );
    assert_eq!(bench.call("GetItem", &key("3")), json!({}));
    let mut delete = key("1");
    delete["ReturnValues"] = "ALL_OLD".into();
    assert_eq!(
        bench.call("DeleteItem", &delete),
        json!({"Attributes": item("1", "30")})
    );
    assert_eq!(bench.call("DeleteItem", &delete), json!({}));
    assert_eq!(bench.call("GetItem", &key("1")), json!({}));
    let described = bench.call("DescribeTable", &json!({"TableName": "sales"}));
    assert_eq!(described["Table"]["ItemCount"], 1);
    assert_eq!(
        described["Table"]["TableSizeBytes"],
        5 + 4 + 5,
        "shop a, at 2, sum 20"
    );
}

#[test]
fn values_of_all_types_are_kept() {
    let mut bench = with_sales();
    let item = json!({
        "shop": {"S": "a"}, "at": {"N": "1"}, "b": {"B": "Zm9v"}, "yes": {"BOOL": true},
        "nothing": {"NULL": true}, "ss": {"SS": ["x", "y"]}, "ns": {"NS": ["1", "2"]},
        "bs": {"BS": ["Zm9v"]}, "l": {"L": [{"S": "x"}, {"M": {"k": {"L": []}}}]}, "e": {"S": ""},
    });
    let mut spelled = item.clone();
    spelled["ss"] = json!({"SS": ["y", "x"]});
    spelled["ns"] = json!({"NS": ["2.0", "01"]});
    bench.call("PutItem", &json!({"TableName": "sales", "Item": spelled}));
    let key = json!({"shop": {"S": "a"}, "at": {"N": "1"}});
    let got = bench.call("GetItem", &json!({"TableName": "sales", "Key": key}));
    assert_eq!(got["Item"], item);
}

#[test]
fn items_are_refused_that_aws_refuses() {
    let mut bench = with_sales();
    let deep = (0..40).fold(json!({"S": "x"}), |value, _| json!({"L": [value]}));
    for (wrong, told) in [
        (json!({"shop": {"S": "a"}}), "Missing the key at"),
        (
            json!({"shop": {"S": "a"}, "at": {"S": "1"}}),
            "expected: N actual: S",
        ),
        (
            json!({"shop": {"S": ""}, "at": {"N": "1"}}),
            "shop cannot be an empty",
        ),
        (
            json!({"shop": {"S": "x".repeat(2049)}, "at": {"N": "1"}}),
            "more than 2048",
        ),
        (
            json!({"shop": {"S": "a"}, "at": {"N": "one"}}),
            "numeric value",
        ),
        (
            json!({"shop": {"S": "a"}, "at": {"N": "1"}, "x": {"B": "?"}}),
            "not base64",
        ),
        (
            json!({"shop": {"S": "a"}, "at": {"N": "1"}, "x": {"SS": []}}),
            "empty",
        ),
        (
            json!({"shop": {"S": "a"}, "at": {"N": "1"}, "x": {"NS": ["1", "1.0"]}}),
            "duplicates",
        ),
        (
            json!({"shop": {"S": "a"}, "at": {"N": "1"}, "x": {"S": "a", "N": "1"}}),
            "exactly one",
        ),
        (
            json!({"shop": {"S": "a"}, "at": {"N": "1"}, "x": {"N": 1}}),
            "must be a string",
        ),
        (
            json!({"shop": {"S": "a"}, "at": {"N": "1"}, "x": {"Q": "1"}}),
            "not of type Q",
        ),
        (
            json!({"shop": {"S": "a"}, "at": {"N": "1"}, "x": deep}),
            "Nesting",
        ),
        (
            json!({"shop": {"S": "a"}, "at": {"N": "1"}, "x": {"S": "x".repeat(409_600)}}),
            "size",
        ),
    ] {
        let refusal = bench.ask("PutItem", &json!({"TableName": "sales", "Item": wrong}));
        let refusal = refusal.unwrap_err();
        assert_eq!(refusal.code, "ValidationException");
        assert!(refusal.message.contains(told), "{told}: {refusal}");
    }
    let key = json!({"TableName": "sales", "Key": {"shop": {"S": "a"}}});
    assert_eq!(bench.code("GetItem", &key), "ValidationException");
    let key = json!({"TableName": "sales", "Key": {"shop": {"S": "a"}, "other": {"N": "1"}}});
    assert_eq!(bench.code("DeleteItem", &key), "ValidationException");
    let key = json!({"shop": {"S": "a"}, "at": {"N": "1"}, "other": {"N": "1"}});
    let key = json!({"TableName": "sales", "Key": key});
    assert_eq!(bench.code("GetItem", &key), "ValidationException");
}

#[test]
fn what_is_not_emulated_is_refused_and_not_passed_over() {
    let mut bench = with_sales();
    let item = json!({"shop": {"S": "a"}, "at": {"N": "1"}});
    let conditional = json!({"TableName": "sales", "Item": item,
        "ConditionExpression": "attribute_not_exists(shop)"});
    let refusal = bench.ask("PutItem", &conditional).unwrap_err();
    assert_eq!(refusal.code, "SerializationException");
    assert!(refusal.message.contains("ConditionExpression"), "{refusal}");
    let updated = json!({"TableName": "sales", "Item": item, "ReturnValues": "ALL_NEW"});
    assert_eq!(bench.code("PutItem", &updated), "ValidationException");
    assert_eq!(
        bench.code("UpdateItem", &json!({})),
        "UnknownOperationException"
    );
    let got = bench.call("GetItem", &json!({"TableName": "sales", "Key": item}));
    assert_eq!(got, json!({}), "what was refused was not done");
    let gone = json!({"TableName": "none", "Item": item});
    assert_eq!(bench.code("PutItem", &gone), "ResourceNotFoundException");
}

#[test]
fn tables_are_refused_that_aws_refuses() {
    let mut bench = Bench::new();
    for (place, value) in [
        ("/TableName", json!("no")),
        ("/TableName", json!("a/b/c")),
        ("/KeySchema", json!([])),
        ("/KeySchema/0/KeyType", json!("RANGE")),
        ("/KeySchema/1/KeyType", json!("HASH")),
        ("/KeySchema/1/AttributeName", json!("shop")),
        ("/AttributeDefinitions/0/AttributeType", json!("BOOL")),
        ("/AttributeDefinitions/0/AttributeName", json!("other")),
        ("/AttributeDefinitions", json!([])),
        ("/StreamSpecification/StreamViewType", json!("ALL")),
        ("/StreamSpecification/StreamViewType", Value::Null),
        ("/StreamSpecification/StreamEnabled", json!(false)),
    ] {
        let mut request = sales();
        *request.pointer_mut(place).unwrap() = value;
        assert_eq!(
            bench.code("CreateTable", &request),
            "ValidationException",
            "{request}"
        );
    }
    let mut indexed = sales();
    indexed["GlobalSecondaryIndexes"] = json!([]);
    assert_eq!(
        bench.code("CreateTable", &indexed),
        "SerializationException"
    );
    assert_eq!(
        bench.call("ListTables", &json!({})),
        json!({"TableNames": []})
    );
}

#[test]
fn a_table_without_a_stream_takes_items_and_tells_nobody() {
    let mut bench = Bench::new();
    let mut request = sales();
    request["StreamSpecification"] = json!({"StreamEnabled": false});
    let described = bench.call("CreateTable", &request);
    assert_eq!(
        described["TableDescription"]["LatestStreamArn"],
        Value::Null
    );
    let item = json!({"shop": {"S": "a"}, "at": {"N": "1"}});
    bench.call("PutItem", &json!({"TableName": "sales", "Item": item}));
    assert_eq!(
        bench.call("ListStreams", &json!({})),
        json!({"Streams": []})
    );
    let refused = bench.world.latest_stream_mut("sales").unwrap_err();
    assert_eq!(refused.code, "ResourceNotFoundException");
}
