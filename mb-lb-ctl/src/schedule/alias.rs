//! Walker's alias method in Vose's form: draws in proportion to weight with one table look-up.

use mb_lb_common::AliasEntry;

use super::Candidate;

/// One column per candidate. Shares are exact to 2^-32 of a column.
pub fn build(candidates: &[Candidate]) -> Vec<AliasEntry> {
    let n = candidates.len() as u64;
    let total: u64 = candidates.iter().map(|c| u64::from(c.weight)).sum();
    // Share of a column, as weight * n; a full column is `total`.
    let mut rest: Vec<u64> = candidates.iter().map(|c| u64::from(c.weight) * n).collect();
    let (mut poor, mut rich): (Vec<usize>, Vec<usize>) =
        (0..candidates.len()).partition(|&i| rest[i] < total);
    let mut columns: Vec<(u64, usize)> = (0..candidates.len()).map(|i| (total, i)).collect();
    while let (Some(&p), Some(&r)) = (poor.last(), rich.last()) {
        poor.pop();
        columns[p] = (rest[p], r);
        rest[r] -= total - rest[p];
        if rest[r] < total {
            rich.pop();
            poor.push(r);
        }
    }
    columns
        .iter()
        .enumerate()
        .map(|(i, &(share, alias))| AliasEntry {
            // A full column never takes its alias, which is itself.
            threshold: u32::try_from((u128::from(share) << 32) / u128::from(total))
                .unwrap_or(u32::MAX),
            server: candidates[i].server as u16,
            alias: candidates[alias].server as u16,
            server_weight: candidates[i].weight,
            alias_weight: candidates[alias].weight,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::candidates;
    use proptest::prelude::*;

    proptest! {
        /// Summed over the columns, every server has its exact share.
        #[test]
        fn shares_are_weights(weights in prop::collection::vec(1u32..=256, 17..300)) {
            let table = build(&candidates(&weights));
            let mut share = vec![0f64; weights.len()];
            for entry in &table {
                let own = if entry.server == entry.alias { 1.0 } else { f64::from(entry.threshold) / 4_294_967_296.0 };
                share[entry.server as usize] += own;
                share[entry.alias as usize] += 1.0 - own;
                prop_assert_eq!(entry.server_weight, weights[entry.server as usize] * 256);
                prop_assert_eq!(entry.alias_weight, weights[entry.alias as usize] * 256);
            }
            let total: u32 = weights.iter().sum();
            for (i, &weight) in weights.iter().enumerate() {
                let expected = f64::from(weight) / f64::from(total) * weights.len() as f64;
                prop_assert!((share[i] - expected).abs() < 1e-6, "server {i}: {} for {expected}", share[i]);
            }
        }
    }
}
