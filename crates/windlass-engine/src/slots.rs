//! The invocation slots of the daemon: the arbiter of the core, shared by all drivers.
//!
//! A slot that is free is granted within the call that requests it; only a request that waits costs
//! a wake-up.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::oneshot;
use windlass_core::mapping::MappingId;
use windlass_core::slots::{FunctionKey, MappingKey, SlotArbiter, SlotId, SlotLimit};

use crate::memory::{Backpressure, Limit, WaitGuard};
use crate::ports::Target;

/// The slots of all mappings of a daemon.
#[derive(Clone, Debug)]
pub struct Slots(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    arbiter: SlotArbiter,
    /// The requests that wait.
    waiting: BTreeMap<SlotId, oneshot::Sender<()>>,
    /// The functions of the mappings below.
    functions: Vec<Function>,
    /// A mapping that was updated may have another function for a while.
    mappings: BTreeMap<(MappingId, FunctionKey), Mapping>,
    last_key: u64,
}

#[derive(Debug)]
struct Function {
    key: FunctionKey,
    /// Identifies it: all mappings of a function share its target.
    target: Weak<dyn Target>,
}

#[derive(Debug)]
struct Mapping {
    key: MappingKey,
    /// Accounts in use.
    n_accounts: usize,
}

/// The slots of one mapping.
#[derive(Clone, Debug)]
pub(crate) struct SlotAccount(Arc<Account>);

#[derive(Debug)]
struct Account {
    slots: Slots,
    mapping: MappingId,
    function: FunctionKey,
    key: MappingKey,
}

/// A request for a slot, granted or not; ends on drop.
#[derive(Debug)]
pub(crate) struct Slot {
    account: SlotAccount,
    id: SlotId,
}

/// The slot of the next invocation of one consumer.
#[derive(Debug, Default)]
pub(crate) enum NextSlot {
    #[default]
    None,
    Waiting {
        slot: Slot,
        granted: oneshot::Receiver<()>,
        /// Shows the wait in the status.
        _guard: WaitGuard,
    },
    Granted {
        slot: Slot,
        /// The consumer has not been told.
        is_news: bool,
    },
}

impl Slots {
    /// `limit`: concurrent invocations of the daemon.
    pub fn new(limit: usize) -> Self {
        Self(Arc::new(Mutex::new(State {
            arbiter: SlotArbiter::new(limit),
            waiting: BTreeMap::new(),
            functions: Vec::new(),
            mappings: BTreeMap::new(),
            last_key: 0,
        })))
    }

    /// Slots that are in use.
    pub fn used(&self) -> usize {
        self.lock().arbiter.used()
    }

    pub fn limit(&self) -> usize {
        self.lock().arbiter.limit()
    }

    /// The account that a unit of a mapping uses; `limit` is the mapping's maximum concurrency.
    pub(crate) fn account(
        &self,
        mapping: &MappingId,
        limit: Option<usize>,
        target: &Arc<dyn Target>,
    ) -> SlotAccount {
        let mut state = self.lock();
        let function = state.function(target);
        let next = MappingKey(state.last_key + 1);
        let entry = state.mappings.entry((mapping.clone(), function));
        let entry = entry.or_insert(Mapping {
            key: next,
            n_accounts: 0,
        });
        entry.n_accounts += 1;
        let key = entry.key;
        state.last_key += 1;
        state.arbiter.set_mapping(key, function, limit);
        state.announce_grants();
        SlotAccount(Arc::new(Account {
            slots: self.clone(),
            mapping: mapping.clone(),
            function,
            key,
        }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Finds or adds the function of a target.
    fn function(&mut self, target: &Arc<dyn Target>) -> FunctionKey {
        let is_same = |it: &&Function| std::ptr::addr_eq(it.target.as_ptr(), Arc::as_ptr(target));
        if let Some(known) = self.functions.iter().find(is_same) {
            return known.key;
        }
        self.last_key += 1;
        let key = FunctionKey(self.last_key);
        self.arbiter.set_function(key, target.concurrency());
        self.functions.push(Function {
            key,
            target: Arc::downgrade(target),
        });
        key
    }

    fn announce_grants(&mut self) {
        while let Some(id) = self.arbiter.poll_grant() {
            if let Some(waiting) = self.waiting.remove(&id) {
                // A driver that no longer listens is about to end its request.
                waiting.send(()).unwrap_or_default();
            }
        }
    }
}

impl SlotAccount {
    /// How many requests would be granted at once.
    pub(crate) fn room(&self) -> usize {
        self.0.slots.lock().arbiter.room(self.0.key)
    }

    pub(crate) fn request(&self, backpressure: &Backpressure) -> NextSlot {
        let mut state = self.0.slots.lock();
        let id = state.arbiter.request(self.0.key);
        let account = self.clone();
        let slot = Slot { account, id };
        // Others that could be granted were granted before.
        if state.arbiter.poll_grant().is_some() {
            return NextSlot::Granted {
                slot,
                is_news: true,
            };
        }
        let (sender, granted) = oneshot::channel();
        state.waiting.insert(id, sender);
        let limit = match state.arbiter.limit_reached(self.0.key) {
            SlotLimit::Daemon => Limit::Invocations,
            SlotLimit::Function => Limit::FunctionConcurrency,
            SlotLimit::Mapping => Limit::MappingConcurrency,
        };
        NextSlot::Waiting {
            slot,
            granted,
            _guard: backpressure.wait(limit),
        }
    }
}

impl NextSlot {
    pub(crate) fn cancel(&mut self) {
        *self = Self::None;
    }

    /// Whether the request was granted at once, and the consumer has not been told.
    pub(crate) fn take_news(&mut self) -> bool {
        match self {
            Self::Granted { is_news, .. } => std::mem::take(is_news),
            Self::None | Self::Waiting { .. } => false,
        }
    }

    /// Waits until the request is granted; forever if none waits.
    pub(crate) async fn granted(&mut self) {
        let Self::Waiting { granted, .. } = self else {
            return std::future::pending().await;
        };
        granted
            .await
            .expect("the sender is kept until the request is granted or has ended");
        if let Self::Waiting { slot, .. } = std::mem::take(self) {
            *self = Self::Granted {
                slot,
                is_news: false,
            };
        }
    }

    /// The slot of the invocation that begins.
    pub(crate) fn take(&mut self) -> Slot {
        match std::mem::take(self) {
            Self::Granted { slot, .. } => slot,
            Self::None | Self::Waiting { .. } => {
                panic!("an invocation begins with a slot that was granted")
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.account.0.slots.lock();
        state.waiting.remove(&self.id);
        state.arbiter.end(self.id);
        state.announce_grants();
    }
}

impl Drop for Account {
    fn drop(&mut self) {
        let mut state = self.slots.lock();
        let key = (self.mapping.clone(), self.function);
        let entry = state.mappings.get_mut(&key);
        let entry = entry.expect("a mapping is known while it has accounts");
        entry.n_accounts -= 1;
        if 0 < entry.n_accounts {
            return;
        }
        state.mappings.remove(&key);
        state.arbiter.remove_mapping(self.key);
        let function = self.function;
        if state.mappings.keys().all(|(_, it)| *it != function) {
            state.functions.retain(|it| it.key != function);
            state.arbiter.remove_function(function);
        }
    }
}
