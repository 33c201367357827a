//! The history: who changed what, and when.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use serde_json::Value;
use windlass_core::mapping::MappingId;
use windlass_core::time::Timestamp;

use super::PortError;

/// How long a line is kept. A store deletes older ones when it writes one.
pub const HISTORY_RETENTION: Duration = Duration::from_hours(24 * 90);

/// One line: one request that changed something, or one mapping that the configuration changed.
///
/// A store writes it in the transaction of the change: what writes a change takes a line, and
/// writes it if the change is written. `None` is for changes that follow from others, such as the
/// removal of a mapping whose deletion has its line already.
///
/// A request that takes several transactions gives each of them the line with the same id, and with
/// what it has changed by then: it stays one line, which grows.
#[derive(Clone, Debug, PartialEq)]
pub struct HistoryLine {
    pub id: HistoryId,
    pub time: Timestamp,
    /// The id of an access key, the name of a token, or [`CONFIGURATION`], `local` or `anonymous`.
    pub who: String,
    pub what: What,
    /// `None` if it concerns several mappings, or none.
    pub mapping: Option<MappingId>,
    /// What it changed, as it was: an object; null if there was nothing. Never a payload.
    pub before: Value,
    pub after: Value,
}

/// A part of the line of a redrive, which grows with each part: a store adds it to what its own line
/// says, so that this is never more or less than what was done.
#[derive(Clone, Debug, PartialEq)]
pub struct RedriveLine {
    /// Its `after` is an object that says what was asked. The store adds the members `redriven` and
    /// `failed`, which are numbers, and `ids`, which has [`MAX_LINE_IDS`] at most.
    pub line: HistoryLine,
    /// Identifiers of what was redriven.
    pub redriven: Vec<String>,
    pub failed: u64,
}

/// Identifiers that a line has at most of a redrive or of a deletion.
pub const MAX_LINE_IDS: usize = 1_000;

/// Who changes the mappings of the configuration file.
pub const CONFIGURATION: &str = "configuration";

/// Identifies a line: random, such as a UUID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HistoryId(pub u128);

macro_rules! what {
    ($($variant:ident $name:literal)*) => {
        /// What was done.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum What {
            $($variant,)*
        }

        impl What {
            /// In the order of the definition.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// As the API and the store spell it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

what! {
    Create "create"
    Update "update"
    Delete "delete"
    Seek "seek"
    Skip "skip"
    Park "park"
    Unpark "unpark"
    ReplayStart "replay start"
    ReplayPause "replay pause"
    ReplayResume "replay resume"
    ReplayCancel "replay cancel"
    ReplaySet "replay set"
    ReplayDelete "replay delete"
    Redrive "redrive"
    DeadLettersDelete "dead-letters delete"
}

impl What {
    /// `None` if the text is not one of them.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|it| it.as_str() == name)
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Follows the last line of a page. It stays valid when that line is deleted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HistoryMarker(pub u64);

/// Lines, the latest first.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HistoryPage {
    pub lines: Vec<HistoryLine>,
    /// `None` if these are the last.
    pub next: Option<HistoryMarker>,
}

#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// Up to `limit` lines, the latest first: of one mapping, which may not exist any more, or all;
    /// after those of an earlier page.
    async fn history(
        &self,
        mapping: Option<&MappingId>,
        after: Option<HistoryMarker>,
        limit: usize,
    ) -> Result<HistoryPage, PortError>;

    /// Adds to the line of a redrive, and writes it if it is not there, for what is not in the store,
    /// such as messages of a queue.
    async fn write_redrive(&self, part: &RedriveLine) -> Result<(), PortError>;
}
