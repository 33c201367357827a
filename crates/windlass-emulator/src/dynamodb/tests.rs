//! Tables and their streams by their calls, under a clock that the tests set.

use serde_json::{Value, json};

use super::*;

mod shards;
mod streams;
mod tables;

const START: u64 = 1_700_000_000_000;

/// Tables under a clock of the test's own.
struct Bench {
    world: World,
    now: u64,
}

impl Bench {
    fn new() -> Self {
        Self {
            world: World::new(),
            now: START,
        }
    }

    /// One with a table `orders`, of the key `id` (N), and a stream of so many shards.
    fn with_stream(view: ViewType, n_shards: u32) -> Self {
        let mut bench = Self::new();
        let hash = KeyAttribute {
            name: "id".to_owned(),
            kind: "N".to_owned(),
        };
        let schema = KeySchema { hash, range: None };
        let stream = Some((view, n_shards));
        let created = bench.world.create_table("orders", schema, stream, START);
        created.unwrap();
        bench
    }

    fn ask(&mut self, operation: &str, request: &Value) -> Result<Value, DynamoDbRefusal> {
        let body = request.to_string();
        let (world, body, now) = (&mut self.world, body.as_bytes(), self.now);
        if [
            "ListStreams",
            "DescribeStream",
            "GetShardIterator",
            "GetRecords",
        ]
        .contains(&operation)
        {
            let answer = stream_calls::execute(world, operation, body, now);
            return answer.map(|body| serde_json::from_slice(&body).unwrap());
        }
        calls::execute(world, operation, body, now)
    }

    fn call(&mut self, operation: &str, request: &Value) -> Value {
        self.ask(operation, request).unwrap()
    }

    fn code(&mut self, operation: &str, request: &Value) -> &'static str {
        self.ask(operation, request).unwrap_err().code
    }

    /// Puts an item of `orders` whose attribute `n` has this value.
    fn put(&mut self, id: u32, n: u32) {
        let item = json!({"id": {"N": id.to_string()}, "n": {"N": n.to_string()}});
        self.call("PutItem", &json!({"TableName": "orders", "Item": item}));
    }

    fn delete(&mut self, id: u32) {
        let key = json!({"id": {"N": id.to_string()}});
        self.call("DeleteItem", &json!({"TableName": "orders", "Key": key}));
    }

    fn roll(&mut self) {
        let stream = self.world.latest_stream_mut("orders").unwrap();
        stream.roll(self.now).unwrap();
    }

    fn trim(&mut self, horizon: u64) {
        let stream = self.world.latest_stream_mut("orders").unwrap();
        stream.trim(horizon);
    }

    fn arn(&mut self) -> String {
        let stream = self.world.latest_stream_mut("orders").unwrap();
        stream.arn().to_owned()
    }

    /// The shards as DescribeStream shows them.
    fn shards(&mut self) -> Vec<Value> {
        let request = json!({"StreamArn": self.arn()});
        let answer = self.call("DescribeStream", &request);
        let shards = answer["StreamDescription"]["Shards"].as_array();
        shards.unwrap().clone()
    }

    /// Asks for an iterator of the shard at this place of the list.
    fn ask_iterator(
        &mut self,
        shard: usize,
        kind: &str,
        number: Option<&str>,
    ) -> Result<String, DynamoDbRefusal> {
        let shard = self.shards()[shard]["ShardId"].clone();
        let mut request = json!({"StreamArn": self.arn(), "ShardId": shard,
            "ShardIteratorType": kind});
        if let Some(number) = number {
            request["SequenceNumber"] = number.into();
        }
        let answer = self.ask("GetShardIterator", &request)?;
        Ok(answer["ShardIterator"].as_str().unwrap().to_owned())
    }

    fn read(&mut self, iterator: &str) -> Value {
        self.call("GetRecords", &json!({"ShardIterator": iterator}))
    }

    /// What a new iterator reads.
    fn read_from(&mut self, shard: usize, kind: &str, number: Option<&str>) -> Vec<Value> {
        let iterator = self.ask_iterator(shard, kind, number).unwrap();
        records_of(&self.read(&iterator))
    }

    fn whole_shard(&mut self, shard: usize) -> Vec<Value> {
        self.read_from(shard, "TRIM_HORIZON", None)
    }
}

fn records_of(answer: &Value) -> Vec<Value> {
    answer["Records"].as_array().unwrap().clone()
}

/// The attribute `n` of each new image.
fn new_of(records: &[Value]) -> Vec<u32> {
    let numbers = records
        .iter()
        .map(|record| record["dynamodb"]["NewImage"]["n"]["N"].as_str().unwrap());
    numbers.map(|number| number.parse().unwrap()).collect()
}

fn numbers_of(records: &[Value]) -> Vec<String> {
    let numbers = records
        .iter()
        .map(|record| record["dynamodb"]["SequenceNumber"].as_str().unwrap());
    numbers.map(str::to_owned).collect()
}
