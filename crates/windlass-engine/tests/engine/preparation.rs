//! Functions that take long to start do so while records wait for their invocation.

use std::time::Duration;

use crate::daemon::{Daemon, pass, until};

const START: Duration = Duration::from_secs(3);
const WINDOW: Duration = Duration::from_secs(5);

#[tokio::test(start_paused = true)]
async fn a_function_starts_while_a_batch_is_gathered() {
    for source in ["stream/orders", "jobs"] {
        let daemon = Daemon::start();
        let (stream, queue) = (daemon.stream("orders", 1), daemon.queue("jobs"));
        let function = daemon.adapters.function("f");
        function.starts_in(START);
        let map = daemon.map_with(source, "f", 100, |spec| {
            spec.set("MaximumBatchingWindowInSeconds", WINDOW.as_secs());
        });
        let id = map.await;
        until("it runs", || daemon.state(&id) == "Enabled").await;
        pass(60).await;
        assert_eq!(function.start_began(), None, "nothing was read");
        stream.put(0, b"{}");
        queue.send(b"{}");
        until("it is invoked", || function.n_calls() == 1).await;
        let began = function.start_began().unwrap();
        // The window alone, and not the start after it.
        assert_eq!(function.calls()[0].at - began, WINDOW, "{source}");
    }
}
