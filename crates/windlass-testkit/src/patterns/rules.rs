//! Generates valid patterns.

use super::values::Values;
use crate::naive_filter::json::Json;
use crate::rng::Rng;

/// Nested objects.
const MAX_DEPTH: usize = 3;

/// Each `$or` multiplies the sub-rules, and event-ruler may need minutes for a thousand of them.
const MAX_ORS: usize = 3;

pub(super) fn pattern(rng: &mut Rng, values: &Values) -> Json {
    let mut generator = Generator {
        values,
        n_ors_left: rng.size(0, MAX_ORS),
    };
    if values.are_few() {
        // Nested fields, for array consistency: the event may have an array of objects here.
        let fields = generator.object(rng, 1);
        return Json::Object(vec![(values.name(rng).to_owned(), fields)]);
    }
    generator.object(rng, MAX_DEPTH)
}

struct Generator<'a> {
    values: &'a Values,
    n_ors_left: usize,
}

impl Generator<'_> {
    fn object(&mut self, rng: &mut Rng, depth: usize) -> Json {
        let n_members = rng.pick(if self.values.are_few() {
            &[2, 3]
        } else {
            &[1, 1, 2, 2, 3]
        });
        let mut members: Vec<(String, Json)> = Vec::new();
        for _ in 0..n_members {
            let name = self.values.name(rng);
            // A pattern may repeat a name, and the last one counts. Rarely.
            if members.iter().any(|(other, _)| other == name) && !rng.per_mille(100) {
                continue;
            }
            members.push(self.member(rng, depth, name));
        }
        Json::Object(members)
    }

    fn member(&mut self, rng: &mut Rng, depth: usize, name: &str) -> (String, Json) {
        let nested = depth.checked_sub(1);
        let kind = rng.between(0, 9);
        match (kind, nested, self.n_ors_left.checked_sub(1)) {
            (0..=2, Some(depth), _) => (name.to_owned(), self.object(rng, depth)),
            (3..=5, Some(depth), Some(n_left)) => {
                self.n_ors_left = n_left;
                let n_branches = rng.pick(&[2, 2, 3]);
                let branches = (0..n_branches).map(|_| self.object(rng, depth));
                ("$or".to_owned(), Json::Array(branches.collect()))
            }
            _ => (name.to_owned(), self.tests(rng)),
        }
    }

    fn tests(&self, rng: &mut Rng) -> Json {
        let n_tests = rng.pick(&[1, 1, 2, 3]);
        Json::Array((0..n_tests).map(|_| self.values.test(rng)).collect())
    }
}
