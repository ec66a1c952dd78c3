//! Initial parameters: the same numbers on every platform for a seed.
//!
//! W: uniform by Glorot & Bengio (2010), eq. 16, for each gate. U: for each gate a random orthogonal matrix (Saxe et
//! al. 2014), by Gram-Schmidt on standard normal draws. Gains: 1. Biases and initial states: 0, but for the update gate of `DreamerV3`'s form of layer
//! normalisation, -1. Only exactly rounded operations and the `libm` crate are used.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::cell::Real;
use crate::error::Error;
use crate::gemm::dot::dot;
use crate::gemm::kernels::ProductKernels;
use crate::gemm::matmul::{Start, matmul};
use crate::gemm::pack::{PackedMatrix, WIDTH};
use crate::memory::aligned::zeros;
use crate::shape::params::split_params_mut;
use crate::shape::{Dims, NormForm};
use crate::simd::Isa;
use crate::threads::runtime::{Grant, Stop, num_threads};
use crate::threads::team::{Engine, Team};

/// Rows of an orthogonal matrix that are computed together.
const GROUP_ROWS: usize = 64;

/// Returns initial flat parameters of a stack.
///
/// # Errors
/// [`Error::Value`] if `dims` is not valid, [`Error::Memory`], or [`Error::Interrupted`] if `stop` returned true.
pub fn initial<T: Real>(dims: Dims, seed: u64, stop: Stop) -> Result<Vec<T>, Error> {
    let dims = dims.check()?;
    let hidden = dims.hidden_size;
    let mut params = zeros(dims.num_params())?;
    let mut tasks: Vec<(bool, usize, &mut [T])> = Vec::new();
    for (cell, part) in split_params_mut(&dims, &mut params).into_iter().enumerate() {
        let input = dims.layer_input(cell / dims.directions());
        part.g.fill(T::ONE);
        part.g_hh.fill(T::ONE);
        if dims.cell.layer_norm.is_some_and(|norm| norm.form == NormForm::Sum) && dims.bias {
            part.b[hidden..2 * hidden].fill(-T::ONE);
        }
        tasks.extend(part.u.chunks_mut(hidden * hidden).map(|u| (true, hidden, u)));
        tasks.extend(part.w.chunks_mut(hidden * input).map(|w| (false, input, w)));
    }
    let tasks = tasks.into_iter().enumerate().collect();
    let threads = if hidden >= 128 { num_threads()? } else { 1 };
    Grant::new(threads)?.execute(1, tasks, stop, |(stream, (orthogonal, columns, out)), _, check| {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        random.set_stream(stream as u64);
        if orthogonal {
            return fill_orthogonal(&mut random, columns, out, check);
        }
        let limit = (6.0 / (columns + hidden) as f64).sqrt();
        out.fill_with(|| T::from_f64(limit * (2.0 * uniform(&mut random) - 1.0)));
        Ok(())
    })?;
    Ok(params)
}

/// Returns `count` initial numbers of embeddings: uniform, with mean 0 and deviation 1.
///
/// # Errors
/// [`Error::Memory`].
pub fn initial_embeddings<T: Real>(count: usize, seed: u64) -> Result<Vec<T>, Error> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(u64::MAX); // those of the other tensors count from 0
    let mut numbers = zeros(count)?;
    numbers.fill_with(|| T::from_f64(3f64.sqrt() * (2.0 * uniform(&mut random) - 1.0)));
    Ok(numbers)
}

/// Returns a uniform number in (0, 1), an odd multiple of 2^-53.
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    ((random.next_u64() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// Fills `out` with a random orthogonal n x n matrix.
fn fill_orthogonal<T: Real>(
    random: &mut ChaCha8Rng,
    n: usize,
    out: &mut [T],
    check: crate::threads::runtime::Check,
) -> Result<(), Error> {
    // Box-Muller.
    let mut normal = || (-2.0 * libm::log(uniform(random))).sqrt() * libm::cos(std::f64::consts::TAU * uniform(random));
    let mut rows = zeros::<f64>(n.saturating_mul(n))?;
    rows.fill_with(&mut normal);
    let kernels = ProductKernels::<f64>::of(Isa::active()?)?;
    let engine = Engine { kernels, team: &Team::alone() };
    let mut along = Vec::new();
    for first in (0..n).step_by(GROUP_ROWS) {
        check()?;
        let (done, rest) = rows.split_at_mut(first * n);
        let count = GROUP_ROWS.min(n - first);
        let group = &mut rest[..count * n];
        // Subtract the projections on all rows before. Do it twice: rounding leaves a remainder the first time.
        let columns = PackedMatrix::from_columns(kernels.lanes, WIDTH, n, first, |c| Some(&done[c * n..][..n]))?;
        let mut packed = PackedMatrix::new(kernels.lanes, WIDTH);
        packed.pack_rows(first, n, |k| &done[k * n..])?;
        for _ in 0..2 {
            along.clear();
            along.resize(count * first, 0.0);
            matmul(engine, count, |r| &group[r * n..], &columns, Start::Continue, &mut along, first);
            for value in &mut along {
                *value = -*value;
            }
            matmul(engine, count, |r| &along[r * first..], &packed, Start::Continue, group, n);
        }
        // Then orthogonalise the rows of the group against each other.
        for i in 0..count {
            let (row, rest) = group[i * n..].split_at_mut(n);
            let scale = 1.0 / dot(row, row).sqrt();
            for value in row.iter_mut() {
                *value *= scale;
            }
            for other in rest.chunks_mut(n) {
                let along = dot(row, other);
                other.iter_mut().zip(&*row).for_each(|(other, &value)| *other -= along * value);
            }
        }
    }
    for (out, value) in out.iter_mut().zip(rows) {
        *out = T::from_f64(value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recurrent_weights_are_orthogonal_by_gate() {
        let hidden = 150; // more than two groups of rows, the last one short
        let dims = Dims::new(2, hidden);
        let params = initial::<f64>(dims, 3, &|| false).unwrap();
        for gate in params[6 * hidden..][..3 * hidden * hidden].chunks(hidden * hidden) {
            for (i, a) in gate.chunks(hidden).enumerate() {
                for (j, b) in gate.chunks(hidden).enumerate() {
                    let expected = f64::from(u8::from(i == j));
                    assert!((dot(a, b) - expected).abs() < 1e-14, "rows {i} and {j}");
                }
            }
        }
    }
}
