//! Smooth weighted round robin: 2/2/1 becomes a b c a b, not a a b b c.

use super::Candidate;

/// Longest sequence: 64 servers of weight 256 without a common divisor still fit exactly.
const MAX_LEN: u64 = 16_384;

/// Each server as often as its weight says, spread as evenly as can be. Weights that would make the sequence too
/// long are rounded, but no server is left out.
pub fn build(candidates: &[Candidate]) -> Vec<u16> {
    let mut weights: Vec<u64> = candidates.iter().map(|c| u64::from(c.weight)).collect();
    let divisor = weights.iter().copied().fold(0, gcd).max(1);
    weights.iter_mut().for_each(|w| *w /= divisor);
    let total: u64 = weights.iter().sum();
    if total > MAX_LEN {
        let room = MAX_LEN - weights.len() as u64;
        weights
            .iter_mut()
            .for_each(|w| *w = (*w * room).div_ceil(total));
    }
    let total: i64 = weights.iter().sum::<u64>() as i64;
    let mut credit = vec![0i64; weights.len()];
    (0..total)
        .map(|_| {
            for (credit, weight) in credit.iter_mut().zip(&weights) {
                *credit += *weight as i64;
            }
            let best = (0..credit.len())
                .rev()
                .max_by_key(|&i| credit[i])
                .unwrap_or(0);
            credit[best] -= total;
            candidates[best].server as u16
        })
        .collect()
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::candidates;

    #[test]
    fn is_smooth() {
        assert_eq!(build(&candidates(&[10, 10, 5])), [0, 1, 2, 0, 1]);
        assert_eq!(build(&candidates(&[5, 1, 1])), [0, 0, 1, 0, 2, 0, 0]);
        assert_eq!(build(&candidates(&[256])), [0]);
    }

    #[test]
    fn every_server_has_its_share_and_none_is_left_out() {
        let weights: Vec<u32> = (0..1024).map(|i| i % 256 + 1).collect();
        let sequence = build(&candidates(&weights));
        assert!(sequence.len() as u64 <= MAX_LEN);
        let total: u32 = weights.iter().sum();
        for (i, &weight) in weights.iter().enumerate() {
            let got = sequence.iter().filter(|&&s| usize::from(s) == i).count() as f64;
            let expected = sequence.len() as f64 * f64::from(weight) / f64::from(total);
            assert!(
                got >= 1.0 && (got - expected).abs() <= 1.0,
                "server {i}: {got} for {expected}"
            );
        }
    }
}
