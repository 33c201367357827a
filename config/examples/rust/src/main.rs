//! A function that prints the messages of a queue.

use lambda_runtime::{Error, LambdaEvent, service_fn};
use serde_json::Value;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    lambda_runtime::run(service_fn(handle)).await
}

async fn handle(event: LambdaEvent<Value>) -> Result<(), Error> {
    for record in event.payload["Records"].as_array().into_iter().flatten() {
        println!("got {}", record["body"].as_str().unwrap_or_default());
    }
    Ok(())
}
