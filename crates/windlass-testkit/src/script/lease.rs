//! Scripts about leases: which rows a mapping has, and which consumers run.
//!
//! ```text
//! stream [from=POSITION]     the source of the mapping; the default is a stream from trim_horizon
//! queue
//! replay FROM..TO [shards=A,B]
//!                            the rows are those of a replay from now on: of its shards, or of all
//! restart                    the daemon forgets how consumers have ended
//! > list SHARDS              plans the rows for a listing of shards, and changes them
//! sync                       plans the rows by the last listing again, and changes them
//! gone SHARD                 the source refuses reads of the shard as unknown from now on
//! pause DURATION             the next listing comes so long after the one before, instead of 30 s
//! save UNIT POSITION         writes the checkpoint of a row
//! row UNIT                   adds a row
//! enable | disable | delete | update
//!                            changes the mapping
//! steal UNIT                 another daemon takes the lease
//! park [SHARD]               parks a shard or the mapping
//! unpark [SHARD]             ends a park, or all of them
//! seek POSITION [SHARD]      moves all shards or one to a position
//! reconcile                  starts and stops consumers
//! ended UNIT                 the consumer of the unit ends
//! stretch_end UNIT           the same at the end of the stretch of a replay, which it has saved
//! ```
//!
//! `SHARDS` are drawings, separated by commas: `a` is a shard, `a -> b` a shard `b` with the parent
//! `a`, and `a b -> c` the merge of `a` and `b`; `from NUMBER` after a shard is its starting sequence
//! number. A `POSITION` is `trim_horizon`, `shard_end`, a time
//! (`@MILLISECONDS`), `latest` (only of a stream), or the sequence number of the last resolved record. A `UNIT` is the name of a
//! shard or the number of a queue slot.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Duration;

use goldenscript::{Command, Context, Runner};
use windlass_core::arn::{Arn, StreamKind};
use windlass_core::ids::{SequenceNumber, ShardId};
use windlass_core::lease::{Lease, LeaseKey, Unit};
use windlass_core::lease_rows::{
    LeaseRowPlan, RemovalReason, doubtful_shards, lost_parked_shards, plan_lease_rows,
};
use windlass_core::mapping::{
    DesiredState, MappingId, MessageBackoff, QueueSettings, QueueSource, RetrySettings, Revision,
    Source, StreamSettings, StreamSource,
};
use windlass_core::outcome::Fault;
use windlass_core::parks::{Park, Parks};
use windlass_core::position::{Checkpoint, Position};
use windlass_core::reconcile::{Action, Running, reconcile};
use windlass_core::seek::{SeekMark, SeekStart, seek_all, seek_one, unlisted_rows};
use windlass_core::shard::lineage::{ListingHistory, Shard};
use windlass_core::stretch::{Stretch, StretchEnd, StretchStart};
use windlass_core::stretch_rows::StretchShards;
use windlass_core::time::Timestamp;

use super::{Arguments, ScriptError, duration};

const LISTING_INTERVAL: Duration = Duration::from_secs(30);

/// Runs one script.
#[derive(Debug)]
pub struct LeaseRunner {
    mapping: MappingId,
    source: Source,
    desired: DesiredState,
    revision: Revision,
    rows: BTreeMap<LeaseKey, Lease>,
    running: BTreeMap<LeaseKey, Running>,
    listings: ListingHistory,
    parks: Parks,
    start: Option<SeekStart>,
    gone: BTreeSet<ShardId>,
    replay: Option<StretchShards>,
    /// Units of the replay that have found the end of the stretch.
    with_end: BTreeSet<ShardId>,
    now: Timestamp,
    /// Until the next listing.
    pause: Duration,
}

impl Default for LeaseRunner {
    fn default() -> Self {
        Self {
            mapping: MappingId::new("m"),
            source: stream(Position::TrimHorizon, Position::TrimHorizon),
            desired: DesiredState::Enabled,
            revision: Revision(1),
            rows: BTreeMap::new(),
            running: BTreeMap::new(),
            listings: ListingHistory::default(),
            parks: Parks::default(),
            start: None,
            gone: BTreeSet::new(),
            replay: None,
            with_end: BTreeSet::new(),
            now: Timestamp::EPOCH,
            pause: LISTING_INTERVAL,
        }
    }
}

impl Runner for LeaseRunner {
    type Command = Command;

    fn run(&mut self, command: &Command, _: &Context) -> Result<String, ScriptError> {
        if let Some(drawings) = command.name.strip_prefix("list ") {
            let shards: Result<Vec<_>, _> =
                drawings.split(',').map(shard).collect::<Result<_, _>>();
            return self.list(shards?);
        }
        let mut arguments = Arguments::of(command);
        let output = match command.name.as_str() {
            "list" => self.list(Vec::new())?,
            "sync" => self.sync()?,
            "reconcile" => self.reconcile()?,
            "seek" => {
                let to = position(&arguments.word()?)?;
                let shard = arguments.word().ok();
                let shard = shard.map(|name| ShardId::from(name.as_str()));
                self.seek(to, shard.as_ref())?
            }
            name => {
                self.change(name, &mut arguments)?;
                String::new()
            }
        };
        arguments.none_left()?;
        Ok(output)
    }
}

fn new_row(key: LeaseKey) -> Lease {
    Lease {
        key,
        owner: None,
        epoch: 0,
        checkpoint: Checkpoint::at(Position::TrimHorizon),
        shard_start: None,
        seek: None,
        waits: false,
    }
}

/// The shard that a command names; `None`: the whole mapping.
fn optional_shard(arguments: &mut Arguments) -> Option<ShardId> {
    let name = arguments.word().ok()?;
    Some(ShardId::from(name.as_str()))
}

impl LeaseRunner {
    fn change(&mut self, name: &str, arguments: &mut Arguments) -> Result<(), ScriptError> {
        match name {
            "stream" => {
                let from = arguments.key("from");
                self.source = match from.as_deref() {
                    // The time at which the mapping was created.
                    Some("latest") => {
                        let created = Position::AtTimestamp(Timestamp::from_millis(1_000));
                        stream(created, Position::TrimHorizon)
                    }
                    from => {
                        let from = position(from.unwrap_or("trim_horizon"))?;
                        stream(from.clone(), from)
                    }
                };
            }
            "queue" => self.source = queue(),
            "replay" => self.replay = Some(replay(arguments)?),
            "restart" => self.with_end.clear(),
            "stretch_end" => {
                let shard = arguments.word()?;
                let key = self.key(&shard);
                self.row(&key)?.checkpoint = Checkpoint::at(Position::ShardEnd);
                self.with_end.insert(ShardId::from(shard.as_str()));
            }
            "gone" => {
                self.gone.insert(ShardId::from(arguments.word()?.as_str()));
            }
            "pause" => self.pause = duration(&arguments.word()?)?,
            "save" => {
                let key = self.key(&arguments.word()?);
                self.row(&key)?.checkpoint = Checkpoint::at(position(&arguments.word()?)?);
            }
            "row" => {
                let key = self.key(&arguments.word()?);
                self.rows.insert(key.clone(), new_row(key));
            }
            "enable" => self.set_desired(DesiredState::Enabled),
            "disable" => self.set_desired(DesiredState::Disabled),
            "delete" => self.set_desired(DesiredState::Deleted),
            "update" => self.set_desired(self.desired),
            "park" => {
                let park = Park {
                    since: self.now,
                    reason: None,
                };
                self.parks.park(optional_shard(arguments).as_ref(), park);
            }
            "unpark" => {
                self.parks.unpark(optional_shard(arguments).as_ref());
            }
            "steal" => {
                let key = self.key(&arguments.word()?);
                self.row(&key)?.epoch += 1;
            }
            "ended" => {
                let key = self.key(&arguments.word()?);
                self.running.remove(&key).ok_or("the unit does not run")?;
            }
            _ => return Err(format!("there is no command {name:?}").into()),
        }
        Ok(())
    }

    fn set_desired(&mut self, desired: DesiredState) {
        self.desired = desired;
        self.revision.0 += 1;
    }

    fn list(&mut self, shards: Vec<Shard>) -> Result<String, ScriptError> {
        self.now = self.now + std::mem::replace(&mut self.pause, LISTING_INTERVAL);
        self.listings.record(shards, self.now);
        let rows: Vec<_> = self.rows.values().cloned().collect();
        let mut reads = String::new();
        let doubtful = match &self.replay {
            Some(replay) => replay.doubtful(&self.listings, &rows),
            None => doubtful_shards(&self.listings, &rows, &self.parks),
        };
        for shard in doubtful {
            if self.gone.contains(&shard) {
                writeln!(reads, "{shard} is refused")?;
                self.listings.handle_refusal(shard, Fault::Gone);
            } else {
                writeln!(reads, "{shard} is read")?;
            }
        }
        Ok(reads + &self.sync()?)
    }

    fn sync(&mut self) -> Result<String, ScriptError> {
        let rows: Vec<_> = self.rows.values().cloned().collect();
        let mut output = String::new();
        if let Some(parks) = self.parks.handed_over(&self.listings, &rows) {
            let parked: Vec<_> = parks.shards.keys().map(ShardId::as_str).collect();
            writeln!(output, "parked are now {}", parked.join(" "))?;
            self.parks = parks;
        }
        for row in lost_parked_shards(&self.listings, &rows, &self.parks) {
            writeln!(output, "end {}: lost", name(&row.key))?;
            self.row(&row.key)?.checkpoint = Checkpoint::at(Position::ShardEnd);
        }
        let plan = self.plan(&rows);
        if plan.is_inconsistent {
            writeln!(output, "inconsistent")?;
        }
        for (row, reason) in plan.remove {
            let reason = match reason {
                RemovalReason::Resolved => "resolved",
                RemovalReason::Recreated => "recreated",
                RemovalReason::WrongUnit => "wrong unit",
            };
            writeln!(output, "remove {}: {reason}", name(&row.key))?;
            self.rows.remove(&row.key);
        }
        for row in plan.insert {
            let from = text(&row.checkpoint.position);
            writeln!(output, "insert {} at {from}", name(&row.key))?;
            self.rows.insert(row.key.clone(), row);
        }
        for row in plan.set_start {
            let start = row.shard_start.as_ref().ok_or("a start is never removed")?;
            writeln!(output, "set the start of {} to {start}", name(&row.key))?;
            self.rows.insert(row.key.clone(), row);
        }
        for row in plan.resume {
            writeln!(output, "resume {}", name(&row.key))?;
            self.row(&row.key)?.waits = false;
        }
        if let Some(replay) = &self.replay {
            let rows: Vec<_> = self.rows.values().cloned().collect();
            if replay.is_complete(&self.listings, self.now, &rows, &self.with_end) {
                writeln!(output, "complete")?;
            }
        }
        Ok(output)
    }

    fn plan(&self, rows: &[Lease]) -> LeaseRowPlan {
        if let Some(replay) = &self.replay {
            return replay.plan(&self.mapping, &self.listings, rows);
        }
        let (start, listings) = (self.start.as_ref(), Some(&self.listings));
        plan_lease_rows(&self.mapping, &self.source, start, listings, rows)
    }

    /// Every shard that is not listed counts as one that has left the stream.
    fn seek(&mut self, to: Position, shard: Option<&ShardId>) -> Result<String, ScriptError> {
        let rows: Vec<_> = self.rows.values().cloned().collect();
        let listed = self.listings.shards();
        let to = SeekStart {
            position: to,
            mark: SeekMark {
                at: self.now,
                skip_before: None,
            },
        };
        let plan = match shard {
            Some(shard) => seek_one(&self.mapping, shard, &rows, listed, &to),
            None => {
                let gone = unlisted_rows(&rows, listed);
                Some(seek_all(&rows, listed, &gone, &to))
            }
        };
        let plan = plan.ok_or("there is no such shard")?;
        let mut output = String::new();
        for mut row in plan.update.into_iter().chain(plan.insert) {
            let waits = if row.waits { ", waits" } else { "" };
            let to = text(&row.checkpoint.position);
            writeln!(output, "move {} to {to}{waits}", name(&row.key))?;
            row.epoch += 1;
            self.rows.insert(row.key.clone(), row);
        }
        for row in plan.set_aside {
            writeln!(output, "set {} aside", name(&row.key))?;
            let row = self.row(&row.key)?;
            (row.waits, row.epoch) = (true, row.epoch + 1);
        }
        self.start = plan.start.or(self.start.take());
        Ok(output)
    }

    fn reconcile(&mut self) -> Result<String, ScriptError> {
        let mapping = (self.revision, self.desired);
        let mappings = BTreeMap::from([(self.mapping.clone(), mapping)]);
        let rows: Vec<_> = self.rows.values().cloned().collect();
        let mut output = String::new();
        let parks = self.parks.clone();
        let is_parked = |key: &LeaseKey| parks.covers(&key.unit);
        for action in reconcile(&mappings, &rows, &self.running, is_parked) {
            match action {
                Action::Start(key) => {
                    writeln!(output, "start {}", name(&key))?;
                    self.row(&key)?.epoch += 1;
                    let running = Running {
                        revision: self.revision,
                        epoch: self.rows[&key].epoch,
                    };
                    self.running.insert(key, running);
                }
                Action::Stop(key) => writeln!(output, "stop {}", name(&key))?,
            }
        }
        Ok(output)
    }

    fn row(&mut self, key: &LeaseKey) -> Result<&mut Lease, ScriptError> {
        let row = self.rows.get_mut(key);
        row.ok_or_else(|| format!("{} has no row", name(key)).into())
    }

    /// A number is a queue slot, anything else a shard.
    fn key(&self, name: &str) -> LeaseKey {
        let slot = name.parse().map(Unit::QueueSlot);
        LeaseKey {
            mapping: self.mapping.clone(),
            unit: slot.unwrap_or_else(|_| Unit::Shard(ShardId::from(name))),
        }
    }
}

fn name(key: &LeaseKey) -> String {
    match &key.unit {
        Unit::Shard(shard) => shard.to_string(),
        Unit::QueueSlot(slot) => slot.to_string(),
    }
}

/// Reads `b`, `a -> b`, `a b -> c` or `a from 7`.
fn shard(drawing: &str) -> Result<Shard, ScriptError> {
    let (parents, id) = drawing.split_once("->").unwrap_or(("", drawing));
    let words: Vec<_> = id.split_whitespace().collect();
    let (id, start) = match words[..] {
        [id] => (id, None),
        [id, "from", start] => (id, Some(SequenceNumber::from(start))),
        _ => return Err(format!("{drawing:?} is not a shard").into()),
    };
    Ok(Shard {
        id: ShardId::from(id),
        parents: parents.split_whitespace().map(ShardId::from).collect(),
        starting_sequence_number: start,
        is_closed: false,
    })
}

/// `FROM..TO`: times (`@MILLISECONDS`) or sequence numbers, and `trim_horizon` as a start.
fn replay(arguments: &mut Arguments) -> Result<StretchShards, ScriptError> {
    let shards = arguments.key("shards");
    let selected = shards.map(|shards| shards.split(',').map(ShardId::from).collect());
    let bounds = arguments.word()?;
    let (from, to) = bounds.split_once("..").ok_or("a stretch has two bounds")?;
    let time = |bound: &str| {
        let millis = bound.strip_prefix('@').map(str::parse);
        Ok::<_, ScriptError>(millis.transpose()?.map(Timestamp::from_millis))
    };
    let from = match time(from)? {
        Some(time) => StretchStart::Time(time),
        None if from == "trim_horizon" => StretchStart::TrimHorizon,
        None => StretchStart::At(from.into()),
    };
    let to = match time(to)? {
        Some(time) => StretchEnd::Time(time),
        None => StretchEnd::Through(to.into()),
    };
    let stretch = Stretch { from, to };
    Ok(StretchShards { stretch, selected })
}

fn position(text: &str) -> Result<Position, ScriptError> {
    Ok(match text {
        "trim_horizon" => Position::TrimHorizon,
        "shard_end" => Position::ShardEnd,
        _ => match text.strip_prefix('@') {
            Some(millis) => Position::AtTimestamp(Timestamp::from_millis(millis.parse()?)),
            None => Position::After(text.into()),
        },
    })
}

fn text(position: &Position) -> String {
    match position {
        Position::TrimHorizon | Position::ShardEnd => position.kind().to_owned(),
        Position::AtTimestamp(time) => format!("@{}", time.as_millis()),
        Position::At(number) => format!("number {number}"),
        Position::After(number) => number.to_string(),
        Position::Within(number, inner) => format!("{number}:{inner}"),
    }
}

fn stream(starting_position: Position, recreated_position: Position) -> Source {
    Source::Stream(StreamSource {
        kind: StreamKind::Kinesis,
        arn: arn("kinesis", "stream/s"),
        consumer: None,
        takes_aggregates_apart: false,
        settings: StreamSettings {
            starting_position,
            recreated_position,
            skip_before: None,
            batch_size: 100,
            maximum_batching_window: Duration::ZERO,
            parallelization_factor: 1,
            tumbling_window: None,
            on_failure: None,
            retries: RetrySettings::default(),
        },
    })
}

fn queue() -> Source {
    Source::Queue(QueueSource {
        retry_backoff: MessageBackoff::default(),
        arn: arn("sqs", "q"),
        maximum_concurrency: None,
        settings: QueueSettings {
            fifo: false,
            batch_size: 10,
            maximum_batching_window: Duration::ZERO,
            strict_order: false,
            pollers: None,
        },
    })
}

fn arn(service: &str, resource: &str) -> Arn {
    let arn = format!("arn:aws:{service}:us-east-1:000000000000:{resource}");
    Arn::parse(&arn).expect("it is an ARN")
}
