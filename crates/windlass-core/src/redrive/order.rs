//! The order in which documents are redriven: of each stream parents first, and within a shard by
//! number.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use super::document::FailureDocument;
use crate::arn::Arn;
use crate::ids::{SequenceNumber, ShardId};
use crate::shard::lineage::Shard;

/// How many generations of listed parents each shard has. A shard that is not listed is older than
/// all others.
pub fn ranks(shards: &[Shard]) -> BTreeMap<ShardId, usize> {
    let mut ranks: BTreeMap<ShardId, usize> =
        shards.iter().map(|shard| (shard.id.clone(), 1)).collect();
    // A source whose shards are each other's parents would have no end.
    for _ in 0..shards.len() {
        let mut changed = false;
        for shard in shards {
            let parents = shard.parents.iter().filter_map(|parent| ranks.get(parent));
            let rank = parents.max().map_or(1, |rank| rank + 1);
            changed |= ranks.insert(shard.id.clone(), rank) != Some(rank);
        }
        if !changed {
            break;
        }
    }
    ranks
}

/// Compares by stream, generation, shard and numbers.
pub fn compare(
    one: &FailureDocument,
    other: &FailureDocument,
    ranks: &BTreeMap<ShardId, usize>,
) -> Ordering {
    let rank = |document: &FailureDocument| ranks.get(&document.shard).copied().unwrap_or(0);
    let by_stream = one.stream.cmp(&other.stream);
    let by_rank = by_stream.then_with(|| rank(one).cmp(&rank(other)));
    let by_shard = by_rank.then_with(|| one.shard.cmp(&other.shard));
    let by_first = by_shard.then_with(|| compare_numbers(&one.first, &other.first));
    by_first.then_with(|| compare_numbers(&one.last, &other.last))
}

/// Where the records of a dead letter were.
#[derive(Clone, Debug)]
pub struct LetterPlace {
    pub stream: Arn,
    pub shard: ShardId,
    pub first: SequenceNumber,
    pub last: SequenceNumber,
}

/// The lanes of dead letters, by index: those of one shard by their numbers.
pub fn lanes(letters: &[LetterPlace]) -> Vec<Vec<usize>> {
    let mut shards: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (index, letter) in letters.iter().enumerate() {
        let lane = shards.entry((&letter.stream, &letter.shard));
        lane.or_default().push(index);
    }
    let mut lanes: Vec<_> = shards.into_values().collect();
    for lane in &mut lanes {
        lane.sort_by(|&one, &other| {
            let (one, other) = (&letters[one], &letters[other]);
            let by_first = compare_numbers(&one.first, &other.first);
            by_first.then_with(|| compare_numbers(&one.last, &other.last))
        });
    }
    lanes
}

/// Compares whole numbers; those that are not decimal have no order.
fn compare_numbers(one: &SequenceNumber, other: &SequenceNumber) -> Ordering {
    if one.is_lower_than(other) {
        Ordering::Less
    } else if other.is_lower_than(one) {
        Ordering::Greater
    } else {
        Ordering::Equal
    }
}

#[cfg(test)]
mod tests {
    use super::super::document::tests::document;
    use super::*;

    fn shard(id: &str, parents: &[&str]) -> Shard {
        Shard {
            id: id.into(),
            parents: parents.iter().map(|&parent| parent.into()).collect(),
            starting_sequence_number: None,
            is_closed: false,
        }
    }

    #[test]
    fn parents_come_first_and_numbers_are_compared_as_whole_numbers() {
        let shards = [
            shard("a", &["c", "b"]),
            shard("b", &["c"]),
            shard("c", &["gone"]),
        ];
        let ranks = ranks(&shards);
        let mut documents: Vec<_> = [
            ("a", "100"),
            ("b", "20"),
            ("b", "9"),
            ("c", "1"),
            ("gone", "3"),
            ("b", "009"),
        ]
        .map(|(shard, first)| document(shard, first, "1000", 1))
        .into();
        documents.sort_by(|one, other| compare(one, other, &ranks));
        let order: Vec<_> = documents
            .iter()
            .map(|it| (it.shard.as_str(), it.first.as_str()))
            .collect();
        assert_eq!(
            order,
            [
                ("gone", "3"),
                ("c", "1"),
                ("b", "9"),
                ("b", "009"),
                ("b", "20"),
                ("a", "100")
            ]
        );
    }

    #[test]
    fn letters_of_a_shard_are_ordered_by_their_numbers() {
        let place = |stream: &str, shard: &str, first: &str, last: &str| LetterPlace {
            stream: Arn::parse(&format!("arn:aws:kinesis:us-east-1:0:stream/{stream}")).unwrap(),
            shard: shard.into(),
            first: first.into(),
            last: last.into(),
        };
        let letters = [
            place("s", "b", "10", "12"),
            place("s", "a", "7", "7"),
            place("s", "b", "9", "9"),
            place("r", "b", "1", "1"),
            place("s", "b", "10", "11"),
        ];
        assert_eq!(lanes(&letters), [vec![3], vec![1], vec![2, 4, 0]]);
    }

    #[test]
    fn shards_that_are_each_others_parents_have_an_order() {
        assert_eq!(ranks(&[shard("a", &["b"]), shard("b", &["a"])]).len(), 2);
    }
}
