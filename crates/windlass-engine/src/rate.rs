//! The rate of a replay: the turns of the core, shared by the drivers of its shards.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{Notify, oneshot};
use tokio::task::JoinSet;
use windlass_core::rate::{Rate, RateTurns, TurnId};

use crate::clock::{Clock, Timer};

/// Shared by the drivers of one replay. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct RateLimiter(Arc<Limiter>);

#[derive(Debug)]
struct Limiter {
    shared: Arc<Shared>,
    /// Gives the turns that are paid for after a while; ends with this.
    _timer: JoinSet<()>,
}

#[derive(Debug)]
struct Shared {
    clock: Clock,
    state: Mutex<State>,
    /// Another turn may be due earlier.
    changed: Notify,
}

#[derive(Debug)]
struct State {
    turns: RateTurns,
    /// The requests that wait.
    waiting: BTreeMap<TurnId, oneshot::Sender<()>>,
}

/// A request for a turn, given or not; ends on drop.
#[derive(Debug)]
pub(crate) struct Turn {
    shared: Arc<Shared>,
    id: TurnId,
}

/// The turn of the next invocation of one consumer.
#[derive(Debug, Default)]
pub(crate) enum NextTurn {
    #[default]
    None,
    Waiting {
        turn: Turn,
        given: oneshot::Receiver<()>,
    },
    Given(Turn),
}

impl RateLimiter {
    /// Must be called in the runtime of the drivers.
    pub(crate) fn new(rate: Option<Rate>, clock: Clock) -> Self {
        let shared = Arc::new(Shared {
            clock,
            state: Mutex::new(State {
                turns: RateTurns::new(rate),
                waiting: BTreeMap::new(),
            }),
            changed: Notify::new(),
        });
        let mut timer = JoinSet::new();
        timer.spawn(give_turns(Arc::clone(&shared)));
        Self(Arc::new(Limiter {
            shared,
            _timer: timer,
        }))
    }

    pub(crate) fn set_rate(&self, rate: Option<Rate>) {
        let shared = &self.0.shared;
        shared.lock().turns.set_rate(rate);
        shared.give();
        shared.changed.notify_one();
    }

    /// The records that a batch may have that is sent now; `None`: any number.
    pub(crate) fn max_records(&self) -> Option<usize> {
        self.0.shared.lock().turns.max_records()
    }

    pub(crate) fn request(&self) -> NextTurn {
        let shared = Arc::clone(&self.0.shared);
        let (sender, given) = oneshot::channel();
        let id = {
            let mut state = shared.lock();
            let id = state.turns.request();
            state.waiting.insert(id, sender);
            id
        };
        shared.give();
        shared.changed.notify_one();
        NextTurn::Waiting {
            turn: Turn { shared, id },
            given,
        }
    }
}

async fn give_turns(shared: Arc<Shared>) {
    let mut timer = Timer::new(shared.clock);
    loop {
        let at = shared.lock().turns.poll_timeout();
        tokio::select! {
            () = shared.changed.notified() => {}
            () = timer.sleep_until(at) => shared.give(),
        }
    }
}

impl Shared {
    /// Gives the turn that is due.
    fn give(&self) {
        let mut state = self.lock();
        if let Some(id) = state.turns.poll_turn(self.clock.now())
            && let Some(waiting) = state.waiting.remove(&id)
        {
            // A driver that no longer listens is about to end its request.
            waiting.send(()).unwrap_or_default();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl NextTurn {
    pub(crate) fn cancel(&mut self) {
        *self = Self::None;
    }

    /// Waits until the turn is given; forever if none is waited for.
    pub(crate) async fn given(&mut self) {
        let Self::Waiting { given, .. } = self else {
            return std::future::pending().await;
        };
        given
            .await
            .expect("the sender is kept until the turn is given or the request has ended");
        if let Self::Waiting { turn, .. } = std::mem::take(self) {
            *self = Self::Given(turn);
        }
    }

    /// The batch of the turn is sent.
    pub(crate) fn sent(&mut self, n_records: usize) {
        if let Self::Given(turn) = std::mem::take(self) {
            let shared = Arc::clone(&turn.shared);
            let now = shared.clock.now();
            shared.lock().turns.sent(turn.id, n_records, now);
            // Ends the request, which is no longer the current one, and gives the next turn.
            drop(turn);
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        {
            let mut state = self.shared.lock();
            state.waiting.remove(&self.id);
            state.turns.cancel(self.id);
        }
        self.shared.give();
        self.shared.changed.notify_one();
    }
}
