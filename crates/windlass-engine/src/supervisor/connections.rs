//! The adapters of the mappings that can run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;

use windlass_core::arn::StreamKind;
use windlass_core::lease::Unit;
use windlass_core::mapping::{
    DesiredState, Mapping, MappingId, MappingRow, QueueSource, Source, StreamSource,
};
use windlass_core::rate::Rate;
use windlass_core::shard::stream_check::StreamCheck;
use windlass_core::stretch::{Stretch, StretchSettings};
use windlass_core::validate;

use super::absent_shards::KnownListings;
use super::known::{KnownMapping, KnownReplay};
use super::shard_reader::{ReadPermits, SupervisedReader};
use crate::clock::Clock;
use crate::ports::{
    AdapterFactory, Destination, PortError, QueueReader, StreamReader, Target, chain,
};
use crate::rate::RateLimiter;
use crate::run_unit::{ReplayRun, UnitSource};
use crate::shared_reads::{ReadShare, SharedReads};
use crate::status::StatusBoard;

/// The time that all targets together have to close.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(3);

pub(super) struct Connections {
    mappings: BTreeMap<MappingId, ConnectedMapping>,
    reads: SharedReads,
}

/// A mapping with its adapters, which all its units share.
pub(super) struct ConnectedMapping {
    pub(super) mapping: Mapping,
    pub(super) connection: Connection,
    pub(super) target: Arc<dyn Target>,
    /// What its units have in common if it is a replay.
    replay: Option<ReplayRun>,
}

pub(super) enum Connection {
    Stream {
        reader: Arc<dyn StreamReader>,
        permits: ReadPermits,
        /// `None` with enhanced fan-out.
        reads: Option<ReadShare>,
        source: StreamSource,
        /// For records that are given up.
        destination: Option<Arc<dyn Destination>>,
    },
    Queue {
        reader: Arc<dyn QueueReader>,
        source: QueueSource,
    },
}

impl Connections {
    pub(super) const fn new(reads: SharedReads) -> Self {
        Self {
            mappings: BTreeMap::new(),
            reads,
        }
    }

    /// Connects an enabled mapping if it is new or changed, and drops one that is not enabled. The
    /// board shows why a mapping cannot run.
    pub(super) fn update(
        &mut self,
        KnownMapping { row, replay, .. }: &KnownMapping,
        adapters: &dyn AdapterFactory,
        board: &StatusBoard,
        clock: Clock,
    ) {
        let known = self.mappings.remove(&row.id);
        if row.desired != DesiredState::Enabled {
            return;
        }
        if let Some(known) = known.filter(|it| it.mapping.revision == row.revision) {
            if let (Some(run), Some(replay)) = (&known.replay, replay) {
                run.rate.set_rate(replay.row.rate.map(Rate));
            }
            self.mappings.insert(row.id.clone(), known);
            return;
        }
        let connected = match replay {
            Some(replay) => ConnectedMapping::of_replay(row, replay, adapters, &self.reads, clock),
            None => ConnectedMapping::new(row, adapters, &self.reads, board),
        };
        match connected {
            Ok(connected) => {
                board.problem(&row.id, None);
                self.mappings.insert(row.id.clone(), connected);
            }
            Err(problem) => {
                tracing::error!(uuid = %row.id, problem, "mapping cannot run");
                board.problem(&row.id, Some(problem));
            }
        }
    }

    /// Closes the targets of all mappings. Nothing may be invoked any more.
    pub(super) async fn close_targets(&self) {
        let mut targets: Vec<&Arc<dyn Target>> = Vec::new();
        for connected in self.mappings.values() {
            if !targets.iter().any(|it| Arc::ptr_eq(it, &connected.target)) {
                targets.push(&connected.target);
            }
        }
        let closed = join_all(targets.into_iter().map(|target| target.close()));
        if tokio::time::timeout(CLOSE_TIMEOUT, closed).await.is_err() {
            tracing::warn!("functions have not closed within {CLOSE_TIMEOUT:?}");
        }
    }

    pub(super) fn get(&self, mapping: &MappingId) -> Option<&ConnectedMapping> {
        self.mappings.get(mapping)
    }

    pub(super) fn remove(&mut self, mapping: &MappingId) {
        self.mappings.remove(mapping);
    }
}

impl ConnectedMapping {
    fn new(
        row: &MappingRow,
        adapters: &dyn AdapterFactory,
        reads: &SharedReads,
        board: &StatusBoard,
    ) -> Result<Self, String> {
        let mapping = valid_mapping(row)?;
        let connect = || {
            let connection = Connection::new(&mapping, adapters, reads, board)?;
            Ok((connection, adapters.target(&mapping.function)?))
        };
        let (connection, target) = connect().map_err(|error: PortError| chain(&error))?;
        Ok(Self {
            mapping,
            connection,
            target,
            replay: None,
        })
    }

    fn of_replay(
        row: &MappingRow,
        replay: &KnownReplay,
        adapters: &dyn AdapterFactory,
        reads: &SharedReads,
        clock: Clock,
    ) -> Result<Self, String> {
        let KnownReplay {
            row: replay,
            shards,
        } = replay;
        let (mapping, source) = replayed(row, &shards.stretch)?;
        let owner = replay.mapping.as_ref().unwrap_or(&replay.id);
        let function = &mapping.function;
        let connect = || {
            let (name, reader) = (Some(&replay.name), adapters.stream(&source, function)?);
            let connection = Connection::Stream {
                reader,
                permits: ReadPermits::default(),
                reads: Some(reads.of_replay(&source.arn)),
                destination: adapters.destination(owner, name, &source, function)?,
                source: source.clone(),
            };
            Ok((connection, adapters.target(function)?))
        };
        let (connection, target) = connect().map_err(|error: PortError| chain(&error))?;
        Ok(Self {
            connection,
            target,
            replay: Some(ReplayRun {
                name: replay.name.clone(),
                mapping: replay.mapping.clone(),
                stretch: stretch_settings(&shards.stretch, &source),
                rate: RateLimiter::new(replay.rate.map(Rate), clock),
            }),
            mapping,
        })
    }

    /// Whether the mapping's source has such a unit.
    pub(super) const fn has_unit(&self, unit: &Unit) -> bool {
        match (&self.connection, unit) {
            (Connection::Stream { .. }, Unit::Shard(_))
            | (Connection::Queue { .. }, Unit::QueueSlot(_)) => true,
            (Connection::Stream { .. } | Connection::Queue { .. }, _) => false,
        }
    }

    /// `None` if the mapping's source has no such unit.
    pub(super) fn unit(
        &self,
        unit: &Unit,
        listings: KnownListings,
        clock: Clock,
        board: &Arc<StatusBoard>,
    ) -> Option<UnitSource> {
        match (&self.connection, unit) {
            (
                Connection::Stream {
                    reader,
                    permits,
                    reads,
                    source,
                    destination,
                },
                Unit::Shard(shard),
            ) => {
                let is_polled = source.consumer.is_none();
                Some(UnitSource::Shard {
                    shard: shard.clone(),
                    reader: Box::new(SupervisedReader {
                        inner: Arc::clone(reader).open(shard),
                        shard: shard.clone(),
                        permits: is_polled.then(|| permits.clone()),
                        shown_at: listings.shown_at(shard),
                        listings,
                        check: is_polled.then(StreamCheck::default),
                        clock,
                        board: Arc::clone(board),
                        mapping: self.mapping.id.clone(),
                    }),
                    source: Box::new(source.clone()),
                    destination: destination.clone(),
                    reads: reads.clone(),
                    replay: self.replay.clone(),
                })
            }
            (Connection::Queue { reader, source }, Unit::QueueSlot(_)) => Some(UnitSource::Queue {
                reader: Arc::clone(reader),
                source: source.clone(),
            }),
            (Connection::Stream { .. } | Connection::Queue { .. }, _) => None,
        }
    }
}

/// The mapping that runs a replay, and the stream that it reads.
pub(crate) fn replayed(
    row: &MappingRow,
    stretch: &Stretch,
) -> Result<(Mapping, StreamSource), String> {
    let mut mapping = valid_mapping(row)?;
    let Source::Stream(source) = &mut mapping.source else {
        return Err("only streams can be replayed".to_owned());
    };
    // The consumer of the mapping has one subscription to each shard.
    source.consumer = None;
    source.settings = stretch.settings(source.settings.clone());
    let source = source.clone();
    Ok((mapping, source))
}

/// How the consumers of a replay keep to its stretch.
pub(crate) fn stretch_settings(stretch: &Stretch, source: &StreamSource) -> StretchSettings {
    StretchSettings {
        stretch: stretch.clone(),
        reports_tip: source.kind == StreamKind::Kinesis,
    }
}

fn valid_mapping(row: &MappingRow) -> Result<Mapping, String> {
    validate::mapping(row).map_err(|violations| {
        let violations = violations.iter().map(ToString::to_string);
        violations.collect::<Vec<_>>().join("; ")
    })
}

impl Connection {
    fn new(
        mapping: &Mapping,
        adapters: &dyn AdapterFactory,
        reads: &SharedReads,
        board: &StatusBoard,
    ) -> Result<Self, PortError> {
        Ok(match &mapping.source {
            Source::Stream(source) => Self::Stream {
                reader: adapters.stream(source, &mapping.function)?,
                permits: ReadPermits::default(),
                reads: match source.consumer {
                    Some(_) => None,
                    None => Some(reads.of_mapping(&source.arn)),
                },
                source: source.clone(),
                destination: adapters.destination(&mapping.id, None, source, &mapping.function)?,
            },
            Source::Queue(source) => Self::Queue {
                reader: adapters.queue(source, board.requests_of(&mapping.id))?,
                source: source.clone(),
            },
        })
    }
}
