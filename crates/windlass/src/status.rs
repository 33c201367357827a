//! `windlass status`: what each mapping and shard is doing.

use std::io::IsTerminal;
use std::time::{Duration, Instant};

use http::StatusCode;
use serde_json::Value;

use crate::cli::{ClientArgs, OutputFormat};
use crate::client::{Client, Refusal};
use crate::output::{self, Look, Rates};

/// Between two looks. The rate is the difference of two, so one that is shown once needs two as
/// well.
const INTERVAL: Duration = Duration::from_secs(1);

/// Moves the cursor to the top and clears what is below.
const CLEAR: &str = "\u{1b}[H\u{1b}[2J";

/// Shows one mapping or all, once or again and again.
pub(crate) async fn run(
    args: &ClientArgs,
    mapping: Option<&str>,
    watch: bool,
) -> anyhow::Result<()> {
    let client = Client::new(&args.endpoint);
    if watch {
        return again_and_again(args, &client, mapping).await;
    }
    let mut statuses = look(&client, mapping).await?;
    let mut rates = Rates::new();
    if args.output == OutputFormat::Table && !statuses.is_empty() {
        let first = Look::at(Instant::now(), &statuses);
        tokio::time::sleep(INTERVAL).await;
        statuses = look(&client, mapping).await?;
        rates = Look::at(Instant::now(), &statuses).rates_since(&first);
    }
    output::print(&output::statuses(args.output, &statuses, &rates)?)
}

/// Shows it until interrupted, or until nobody reads it any more.
async fn again_and_again(
    args: &ClientArgs,
    client: &Client,
    mapping: Option<&str>,
) -> anyhow::Result<()> {
    let table = args.output == OutputFormat::Table;
    let live = table && std::io::stdout().is_terminal();
    let mut last: Option<Look> = None;
    loop {
        let shown = match look(client, mapping).await {
            Ok(statuses) => {
                let now = Look::at(Instant::now(), &statuses);
                let earlier = last.replace(now).zip(last.as_ref());
                let rates = earlier.map(|(earlier, now)| now.rates_since(&earlier));
                let shown = output::statuses(args.output, &statuses, &rates.unwrap_or_default())?;
                // In a file or a pipe each table is set apart from the last.
                if table && !live {
                    format!("\n{shown}")
                } else {
                    shown
                }
            }
            // A daemon that has answered once may be restarted: it comes back.
            Err(error) if last.is_some() && may_pass(&error) => {
                let text = format!("{error:#}; trying again");
                // Programs read the other forms: words are not for them.
                if table {
                    text
                } else {
                    crate::complain(&text);
                    String::new()
                }
            }
            Err(error) => return Err(error),
        };
        let shown = if live {
            format!("{CLEAR}{shown}")
        } else {
            shown
        };
        if !shown.is_empty() && !output::show(&shown)? {
            return Ok(());
        }
        tokio::select! {
            () = tokio::time::sleep(INTERVAL) => {}
            signal = tokio::signal::ctrl_c() => return Ok(signal?),
        }
    }
}

/// Whether an error may be gone at the next look: everything but a refusal of what is asked for.
fn may_pass(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.is_none_or(|refusal| !refusal.status.is_client_error())
}

/// The status of one mapping or of all, shards included.
pub(crate) async fn look(client: &Client, mapping: Option<&str>) -> anyhow::Result<Vec<Value>> {
    if let Some(uuid) = mapping {
        return Ok(vec![client.status(uuid).await?]);
    }
    let mut statuses = Vec::new();
    for brief in client.statuses().await? {
        let Some(uuid) = brief["uuid"].as_str() else {
            statuses.push(brief);
            continue;
        };
        match client.status(uuid).await {
            Ok(status) => statuses.push(status),
            // One that has just been deleted is passed over.
            Err(error) if is_gone(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(statuses)
}

fn is_gone(error: &anyhow::Error) -> bool {
    let refusal = error.downcast_ref::<Refusal>();
    refusal.is_some_and(|refusal| refusal.status == StatusCode::NOT_FOUND)
}
