//! Does independent work on all processors.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread;

use anyhow::Result;

/// Calls `work` with each item, and `show` with its result, in the order of the items and as soon as
/// those before it are shown. Ends early if `show` fails.
pub(super) fn in_parallel<T: Sync, R: Send>(
    items: &[T],
    work: impl Fn(&T) -> R + Sync,
    mut show: impl FnMut(&T, R) -> Result<()>,
) -> Result<()> {
    let n_workers = thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let next = AtomicUsize::new(0);
    let (sender, results) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..n_workers.min(items.len()) {
            let (sender, next, work) = (sender.clone(), &next, &work);
            scope.spawn(move || {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(item) = items.get(index) else {
                        break;
                    };
                    if sender.send((index, work(item))).is_err() {
                        // `show` has failed.
                        break;
                    }
                }
            });
        }
        drop(sender);
        let mut finished = BTreeMap::new();
        let mut next = items.iter().enumerate().peekable();
        for (index, result) in results {
            finished.insert(index, result);
            while let Some((index, item)) = next.peek()
                && let Some(result) = finished.remove(index)
            {
                show(item, result)?;
                next.next();
            }
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn results_keep_the_order_of_the_items() {
        let items = Vec::from_iter(0..100);
        let mut shown = Vec::new();
        let square = |item: &u64| item * item;
        in_parallel(&items, square, |item, result| {
            shown.push((*item, result));
            Ok(())
        })
        .unwrap();
        let expected = items.iter().map(|item| (*item, item * item));
        assert_eq!(shown, Vec::from_iter(expected));
    }

    #[test]
    fn a_result_that_cannot_be_shown_ends_the_work() {
        let result = in_parallel(
            &[1, 2, 3],
            |item| *item,
            |item, _| match item {
                1 => Ok(()),
                _ => bail!("{item}"),
            },
        );
        assert_eq!(result.unwrap_err().to_string(), "2");
    }
}
