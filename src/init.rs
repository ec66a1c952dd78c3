//! Initial parameters: the same numbers on every platform for a seed.
//!
//! W: uniform by Glorot & Bengio (2010), eq. 16, for each gate. U: for each gate a random orthogonal matrix (Saxe et
//! al. 2014), by Gram and Schmidt from normal numbers. Biases: 0. Only IEEE operations and the `libm` crate are used.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::error::Error;
use crate::kernels::dot::dot;
use crate::kernels::pack::zeros;
use crate::kernels::real::Real;
use crate::params::cells_mut;
use crate::runtime::{Stop, execute, num_threads};
use crate::shape::Dims;

/// Flat parameters of a stack.
///
/// # Errors
/// Sizes that do not fit; interrupted by `stop`.
pub fn initial<T: Real>(dims: Dims, seed: u64, stop: Stop) -> Result<Vec<T>, Error> {
    let dims = dims.check()?;
    let hidden = dims.hidden_size;
    let mut params = zeros(dims.num_params())?;
    let mut tasks: Vec<(bool, usize, &mut [T])> = Vec::new();
    for (cell, part) in cells_mut(&dims, &mut params).into_iter().enumerate() {
        let input = dims.layer_input(cell / dims.directions());
        tasks.extend(part.u.chunks_mut(hidden * hidden).map(|u| (true, hidden, u)));
        tasks.extend(part.w.chunks_mut(hidden * input).map(|w| (false, input, w)));
    }
    let tasks = tasks.into_iter().enumerate().collect();
    let threads = if hidden >= 128 { num_threads()? } else { 1 };
    execute(threads, tasks, stop, |(stream, (orthogonal, columns, out)), check| {
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

/// In (0, 1), on a grid of 2^-53.
fn uniform(random: &mut ChaCha8Rng) -> f64 {
    ((random.next_u64() >> 12) as f64 + 0.5) / (1u64 << 52) as f64
}

/// A random orthogonal n x n matrix.
fn fill_orthogonal<T: Real>(
    random: &mut ChaCha8Rng,
    n: usize,
    out: &mut [T],
    check: crate::runtime::Check,
) -> Result<(), Error> {
    // Box & Muller.
    let mut normal = || (-2.0 * libm::log(uniform(random))).sqrt() * libm::cos(std::f64::consts::TAU * uniform(random));
    let mut rows = zeros::<f64>(n.saturating_mul(n))?;
    rows.fill_with(&mut normal);
    for i in 0..n {
        check()?;
        let (row, rest) = rows[i * n..].split_at_mut(n);
        let scale = 1.0 / dot(row, row).sqrt();
        for value in row.iter_mut() {
            *value *= scale;
        }
        for other in rest.chunks_mut(n) {
            let along = dot(row, other);
            for (other, &value) in other.iter_mut().zip(&*row) {
                *other -= along * value;
            }
        }
    }
    for (out, value) in out.iter_mut().zip(rows) {
        *out = T::from_f64(value);
    }
    Ok(())
}
