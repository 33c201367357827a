//! Fails a test that logs an error.

use std::fmt;
use std::sync::{Arc, Mutex};

use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level, Metadata, Subscriber};

use super::lock;

/// Fails the test when it is dropped if its thread has logged an error.
pub struct ErrorsFail {
    errors: Errors,
    _default: DefaultGuard,
}

#[derive(Clone, Default)]
struct Errors(Arc<Mutex<Vec<String>>>);

struct Text(String);

impl ErrorsFail {
    pub fn watch() -> Self {
        let errors = Errors::default();
        Self {
            _default: tracing::subscriber::set_default(errors.clone()),
            errors,
        }
    }

    /// Removes and returns the errors so far, for tests that expect them.
    pub fn take(&self) -> Vec<String> {
        std::mem::take(&mut *lock(&self.errors.0))
    }
}

impl Drop for ErrorsFail {
    fn drop(&mut self) {
        let errors = self.take();
        if !std::thread::panicking() {
            assert!(errors.is_empty(), "logged as errors: {errors:#?}");
        }
    }
}

impl Subscriber for Errors {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() == Level::ERROR
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}

    fn record_follows_from(&self, _: &Id, _: &Id) {}

    fn event(&self, event: &Event<'_>) {
        let mut text = Text(String::new());
        event.record(&mut text);
        lock(&self.0).push(text.0);
    }

    fn enter(&self, _: &Id) {}

    fn exit(&self, _: &Id) {}
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!("{field}={value:?} "));
    }
}
