//! What of a redrive is sent next, what becomes of it, and when the run ends.
//!
//! A run has lanes of items. Those of a lane are sent one after the other, each after the one before
//! it is settled; lanes go side by side.
//!
//! Call [`poll_command`](RedriveRun::poll_command) until it returns `None`, then pass on what has
//! happened, and so on until [`is_finished`](RedriveRun::is_finished).

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::verdict::{Decision, ItemEnd, ThrottleWait, Verdict};
use crate::arn::Arn;

/// Lanes side by side; the invocation slots bound them as well.
const MAX_LANES: usize = 1_000;

/// Items that are left together.
const MAX_LEFT: usize = 1_000;

/// Why an item is not sent to a function that was not reached with another.
const NOT_REACHED_BEFORE: &str = "not sent: the function was not reached before";

/// The items of one redrive, by their index.
#[derive(Clone, Debug)]
pub struct RedriveRun {
    /// Items that were not begun.
    lanes: Vec<VecDeque<usize>>,
    /// Of each item, the index of its function.
    functions_of_items: Vec<usize>,
    /// Lanes whose next item may begin.
    ready: VecDeque<usize>,
    /// Items that were begun and are not settled.
    active: BTreeMap<usize, Active>,
    unreached: BTreeSet<usize>,
    is_ended: bool,
    commands: VecDeque<RunCommand>,
    /// Items without an end.
    n_open: usize,
    counts: RunCounts,
}

#[derive(Clone, Debug)]
struct Active {
    lane: usize,
    throttled: ThrottleWait,
    is_redriven: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunCommand {
    /// Invoke the function with it; then call `handle_verdict` or `handle_unsent`.
    Send { item: usize },
    /// Wait while its function is throttled; then call `handle_waited`.
    Wait { item: usize, wait: Duration },
    /// Delete it if it was redriven; then call `handle_settled`.
    Settle { item: usize, end: ItemEnd },
    /// They are not sent in this run, and stay.
    Leave { items: Vec<usize>, end: ItemEnd },
}

/// Items that have an end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunCounts {
    /// Those that were deleted, or would be if that was asked for.
    pub redriven: u64,
    pub failed: u64,
}

impl RedriveRun {
    /// `functions` has that of each item; `lanes` have all items in their order, each once. What is
    /// for one of `unreached` is not sent.
    pub fn new(functions: &[Arn], lanes: Vec<Vec<usize>>, unreached: &BTreeSet<Arn>) -> Self {
        let names: BTreeSet<_> = functions.iter().collect();
        let names: Vec<_> = names.into_iter().collect();
        let index = |function: &Arn| names.binary_search(&function).unwrap_or(names.len());
        Self {
            ready: (0..lanes.len()).collect(),
            lanes: lanes.into_iter().map(VecDeque::from).collect(),
            functions_of_items: functions.iter().map(index).collect(),
            active: BTreeMap::new(),
            unreached: unreached
                .iter()
                .filter_map(|function| names.binary_search(&function).ok())
                .collect(),
            is_ended: false,
            commands: VecDeque::new(),
            n_open: functions.len(),
            counts: RunCounts::default(),
        }
    }

    pub fn poll_command(&mut self) -> Option<RunCommand> {
        self.begin();
        let command = self.commands.pop_front()?;
        if let RunCommand::Send { item } = command
            && !self.may_send(item)
        {
            let end = self.end_of_unsent();
            return Some(RunCommand::Settle { item, end });
        }
        Some(command)
    }

    /// Begins what may begin, and leaves what may not.
    fn begin(&mut self) {
        let mut left = Vec::new();
        while self.active.len() < MAX_LANES && left.len() < MAX_LEFT {
            let Some(lane) = self.ready.pop_front() else {
                break;
            };
            while let Some(&item) = self.lanes[lane].front() {
                if left.len() == MAX_LEFT {
                    self.ready.push_front(lane);
                    break;
                }
                self.lanes[lane].pop_front();
                if self.may_send(item) {
                    let active = Active {
                        lane,
                        throttled: ThrottleWait::default(),
                        is_redriven: false,
                    };
                    self.active.insert(item, active);
                    self.commands.push_back(RunCommand::Send { item });
                    break;
                }
                left.push(item);
            }
        }
        if !left.is_empty() {
            self.counts.failed += left.len() as u64;
            self.n_open -= left.len();
            let end = self.end_of_unsent();
            self.commands
                .push_back(RunCommand::Leave { items: left, end });
        }
    }

    /// The result of an invocation.
    pub fn handle_verdict(&mut self, item: usize, verdict: Verdict) {
        let Some(active) = self.active.get_mut(&item) else {
            return;
        };
        let end = match active.throttled.decide(verdict) {
            Decision::Repeat(wait) => {
                self.commands.push_back(RunCommand::Wait { item, wait });
                return;
            }
            Decision::End(end) => end,
        };
        if matches!(end, ItemEnd::NotReached(_)) {
            self.unreached.insert(self.functions_of_items[item]);
        }
        self.settle(item, end);
    }

    /// It cannot be sent, or is not to be.
    pub fn handle_unsent(&mut self, item: usize, reason: Option<String>) {
        self.settle(item, ItemEnd::Unsent(reason));
    }

    /// The wait for a throttled function is over.
    pub fn handle_waited(&mut self, item: usize) {
        if self.may_send(item) {
            self.commands.push_back(RunCommand::Send { item });
        } else {
            let end = self.end_of_unsent();
            self.settle(item, end);
        }
    }

    /// `is_done`: whether it was deleted, if it was redriven and is to be deleted.
    pub fn handle_settled(&mut self, item: usize, is_done: bool) {
        let Some(active) = self.active.remove(&item) else {
            return;
        };
        if active.is_redriven && is_done {
            self.counts.redriven += 1;
        } else {
            self.counts.failed += 1;
        }
        self.n_open -= 1;
        self.ready.push_back(active.lane);
    }

    /// Nothing more is begun: the caller has left, or the daemon drains.
    pub fn end(&mut self) {
        self.is_ended = true;
    }

    pub fn is_finished(&self) -> bool {
        self.n_open == 0 && self.commands.is_empty()
    }

    pub const fn counts(&self) -> RunCounts {
        self.counts
    }

    fn may_send(&self, item: usize) -> bool {
        !self.is_ended && !self.unreached.contains(&self.functions_of_items[item])
    }

    fn end_of_unsent(&self) -> ItemEnd {
        if self.is_ended {
            ItemEnd::Unsent(Some("not sent: the redrive was ended".to_owned()))
        } else {
            ItemEnd::NotReached(NOT_REACHED_BEFORE.to_owned())
        }
    }

    fn settle(&mut self, item: usize, end: ItemEnd) {
        if let Some(active) = self.active.get_mut(&item) {
            active.is_redriven = end == ItemEnd::Redriven;
            self.commands.push_back(RunCommand::Settle { item, end });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::{Fault, Outcome};
    use crate::redrive::judge;
    use crate::redrive::verdict::MAX_THROTTLED;

    fn arn(function: &str) -> Arn {
        let text = format!("arn:aws:lambda:us-east-1:123456789012:function:{function}");
        Arn::parse(&text).unwrap()
    }

    fn run(functions: &[&str], lanes: &[&[usize]]) -> RedriveRun {
        let functions: Vec<_> = functions.iter().map(|function| arn(function)).collect();
        let lanes = lanes.iter().map(|lane| lane.to_vec()).collect();
        RedriveRun::new(&functions, lanes, &BTreeSet::new())
    }

    fn commands(run: &mut RedriveRun) -> Vec<RunCommand> {
        std::iter::from_fn(|| run.poll_command()).collect()
    }

    fn send(item: usize) -> RunCommand {
        RunCommand::Send { item }
    }

    fn settle(item: usize, end: ItemEnd) -> RunCommand {
        RunCommand::Settle { item, end }
    }

    fn throttled() -> Verdict {
        let cause = Fault::Throttled { retry_after: None };
        judge(&Outcome::NotInvoked { cause }, false)
    }

    #[test]
    fn items_of_a_lane_go_one_after_the_other_and_lanes_side_by_side() {
        let mut run = run(&["f", "f", "g"], &[&[1, 0], &[2]]);
        assert_eq!(commands(&mut run), [send(1), send(2)]);
        run.handle_verdict(1, Verdict::Success);
        assert_eq!(commands(&mut run), [settle(1, ItemEnd::Redriven)]);
        run.handle_settled(1, true);
        assert_eq!(commands(&mut run), [send(0)]);
        run.handle_verdict(0, Verdict::Failed("x".to_owned()));
        run.handle_verdict(2, Verdict::Success);
        let failed = settle(0, ItemEnd::Failed("x".to_owned()));
        assert_eq!(commands(&mut run), [failed, settle(2, ItemEnd::Redriven)]);
        run.handle_settled(0, true);
        assert!(!run.is_finished());
        // It could not be deleted.
        run.handle_settled(2, false);
        assert_eq!(commands(&mut run), []);
        assert!(run.is_finished());
        let counts = RunCounts {
            redriven: 1,
            failed: 2,
        };
        assert_eq!(run.counts(), counts);
    }

    #[test]
    fn a_function_that_is_not_reached_ends_the_run_for_its_items() {
        let mut run = run(&["f", "f", "g", "f"], &[&[0, 1, 2], &[3]]);
        assert_eq!(commands(&mut run), [send(0), send(3)]);
        run.handle_verdict(3, throttled());
        let wait = Duration::from_secs(1);
        assert_eq!(commands(&mut run), [RunCommand::Wait { item: 3, wait }]);
        let reason = || "gone".to_owned();
        run.handle_verdict(0, Verdict::NotReached(reason()));
        let not_reached = settle(0, ItemEnd::NotReached(reason()));
        assert_eq!(commands(&mut run), [not_reached]);
        run.handle_settled(0, true);
        let end = || ItemEnd::NotReached(NOT_REACHED_BEFORE.to_owned());
        let items = vec![1];
        let left = RunCommand::Leave { items, end: end() };
        assert_eq!(commands(&mut run), [send(2), left]);
        // Nobody waits for it any more.
        run.handle_waited(3);
        assert_eq!(commands(&mut run), [settle(3, end())]);
        run.handle_settled(3, true);
        run.handle_verdict(2, Verdict::Success);
        assert_eq!(commands(&mut run), [settle(2, ItemEnd::Redriven)]);
        run.handle_settled(2, true);
        assert!(run.is_finished());
        assert_eq!((run.counts().redriven, run.counts().failed), (1, 3));
    }

    #[test]
    fn a_throttled_function_is_sent_the_same_again_for_a_minute() {
        let mut run = run(&["f"], &[&[0]]);
        let mut waited = Duration::ZERO;
        assert_eq!(commands(&mut run), [send(0)]);
        loop {
            run.handle_verdict(0, throttled());
            match commands(&mut run).as_slice() {
                [RunCommand::Wait { item: 0, wait }] => waited += *wait,
                [RunCommand::Settle { end, .. }] => {
                    assert!(matches!(end, ItemEnd::NotReached(_)), "{end:?}");
                    break;
                }
                other => panic!("{other:?}"),
            }
            run.handle_waited(0);
            assert_eq!(commands(&mut run), [send(0)]);
        }
        assert_eq!(waited, MAX_THROTTLED);
    }

    #[test]
    fn a_run_that_is_ended_begins_nothing_and_leaves_the_rest() {
        let lane: Vec<_> = (0..3 * MAX_LEFT).collect();
        let mut run = run(&vec!["f"; 3 * MAX_LEFT], &[&lane]);
        assert_eq!(run.poll_command(), Some(send(0)));
        run.handle_verdict(0, Verdict::Success);
        run.end();
        assert_eq!(commands(&mut run), [settle(0, ItemEnd::Redriven)]);
        run.handle_settled(0, true);
        let sizes: Vec<_> = commands(&mut run)
            .iter()
            .filter_map(|command| {
                let RunCommand::Leave { items, .. } = command else {
                    return None;
                };
                Some(items.len())
            })
            .collect();
        assert_eq!(sizes, [MAX_LEFT, MAX_LEFT, MAX_LEFT - 1]);
        assert!(run.is_finished());
        assert_eq!((run.counts().redriven, run.counts().failed), (1, 2_999));
    }
}
