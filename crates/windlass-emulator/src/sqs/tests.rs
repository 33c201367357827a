//! The rules of queues, by the wire's JSON and under a clock that stands still.
