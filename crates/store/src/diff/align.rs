//! Which time steps of two stores hold the same product.

use std::collections::HashMap;

use super::report::ProductDifference;
use super::side::Axis;
use crate::report::rfc3339_ms;

/// Steps of both stores with the same product.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Alignment {
    /// Step of the first and step of the second store.
    pub(super) pairs: Vec<(usize, usize)>,
    /// True where both have the same products at the same steps.
    pub(super) identity: bool,
}

impl Alignment {
    /// Aligns by product; what has no partner, or another time there, is a difference. A name that stands twice, which
    /// no store should have, is told apart by which of the two it is.
    pub(super) fn of(left: &Axis, right: &Axis) -> (Self, Vec<ProductDifference>) {
        let mut steps: HashMap<(&str, usize), usize> = numbered(right).zip(0..).collect();
        let time = |axis: &Axis, step: usize| axis.times.get(step).copied().map(rfc3339_ms);
        let mut pairs = Vec::new();
        let mut differences = Vec::new();
        for (step, product) in numbered(left).enumerate() {
            let other = steps.remove(&product);
            if let Some(other) = other {
                pairs.push((step, other));
            }
            let (left, right) = (time(left, step), other.and_then(|other| time(right, other)));
            if left != right {
                differences.push(ProductDifference { product: product.0.to_owned(), era: None, left, right });
            }
        }
        let mut rest: Vec<usize> = steps.into_values().collect();
        rest.sort_unstable();
        differences.extend(rest.into_iter().filter_map(|step| {
            let product = right.products.get(step)?.clone();
            Some(ProductDifference { product, era: None, left: None, right: time(right, step) })
        }));
        (Self { pairs, identity: left.products == right.products }, differences)
    }
}

/// The products with how often each stood before.
fn numbered(axis: &Axis) -> impl Iterator<Item = (&str, usize)> {
    let mut seen: HashMap<&str, usize> = HashMap::new();
    axis.products.iter().map(move |product| {
        let count = seen.entry(product).or_default();
        *count += 1;
        (product.as_str(), *count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(steps: &[(&str, i64)]) -> Axis {
        Axis {
            times: steps.iter().map(|(_, time)| *time).collect(),
            products: steps.iter().map(|(product, _)| (*product).to_owned()).collect(),
        }
    }

    #[test]
    fn products_are_aligned_by_name() {
        let left = axis(&[("a", 1), ("b", 2), ("c", 3), ("c", 4)]);
        let right = axis(&[("b", 2), ("c", 9), ("d", 10)]);
        let (alignment, differences) = Alignment::of(&left, &right);
        assert_eq!(alignment, Alignment { pairs: vec![(1, 0), (2, 1)], identity: false });
        let at = |ms: i64| Some(rfc3339_ms(ms));
        let told: Vec<_> = differences.into_iter().map(|d| (d.product, d.left, d.right)).collect();
        assert_eq!(
            told,
            [
                ("a".to_owned(), at(1), None),
                ("c".to_owned(), at(3), at(9)),
                ("c".to_owned(), at(4), None),
                ("d".to_owned(), None, at(10)),
            ]
        );
        assert!(Alignment::of(&left, &left).0.identity);
    }
}
