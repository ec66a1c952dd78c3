//! The head of a model: the mean over time, and a linear map with its gradients. They use the kernels of the cell, so
//! their bits do not depend on the batch either.

use crate::cell::functions::Function;
use crate::cell::kernels::{CellKernels, Real};
use crate::cell::norm;
use crate::error::Error;
use crate::gemm::kernels::ProductKernels;
use crate::gemm::matmul::{Start, matmul};
use crate::gemm::pack::{PackedMatrix, WIDTH};
use crate::gemm::weight_grad::{BLOCK, OuterSum, add_rows};
use crate::shape::{Activation, Sequences, expect_shape};
use crate::simd::Isa;
use crate::threads::team::{Engine, Team};

/// The map x W^T + b of rows x `[K]` to rows `[O]`, with packed weights.
pub struct Linear<T: 'static> {
    kernels: &'static ProductKernels<T>,
    packed: PackedMatrix<T>,
    bias: Vec<T>,
}

impl<T: Real> Linear<T> {
    /// Packs W `[O, K]` and b `[O]`.
    ///
    /// # Errors
    /// [`Error::Value`] if the size of W does not fit; [`Error::Memory`].
    pub fn new(inputs: usize, weight: &[T], bias: &[T]) -> Result<Self, Error> {
        expect_shape("weight", &[bias.len() * inputs], &[weight.len()])?;
        let kernels = ProductKernels::of(Isa::active()?)?;
        let column = |c: usize| Some(&weight[c * inputs..][..inputs]);
        let packed = PackedMatrix::from_columns(kernels.lanes, WIDTH, inputs, bias.len(), column)?;
        Ok(Self { kernels, packed, bias: bias.to_vec() })
    }

    /// Returns K.
    pub fn inputs(&self) -> usize {
        self.packed.depth
    }

    /// Returns O.
    pub fn outputs(&self) -> usize {
        self.bias.len()
    }

    /// Computes the map: x `[M, K]`, out `[M, O]`.
    ///
    /// # Errors
    /// [`Error::Value`] if the size of `out` does not fit.
    pub fn run(&self, x: &[T], out: &mut [T]) -> Result<(), Error> {
        let (inputs, outputs) = (self.inputs(), self.outputs());
        let rows = x.len() / inputs.max(1);
        expect_shape("out", &[rows * outputs], &[out.len()])?;
        let engine = Engine { kernels: self.kernels, team: &Team::alone() };
        matmul(engine, rows, |r| &x[r * inputs..], &self.packed, Start::Bias(&self.bias), out, outputs);
        Ok(())
    }
}

/// Computes out = x W^T + b: x `[M, K]`, W `[O, K]`, b `[O]`, out `[M, O]`.
///
/// # Errors
/// [`Error::Value`] if a size does not fit; [`Error::Memory`].
pub fn linear<T: Real>(inputs: usize, x: &[T], weight: &[T], bias: &[T], out: &mut [T]) -> Result<(), Error> {
    Linear::new(inputs, weight, bias)?.run(x, out)
}

/// Computes the gradients of [`linear`] from the gradient `dy` `[M, O]` of its output: dx `[M, K]`, dW `[O, K]`,
/// db `[O]`, which must be zeros before the call.
///
/// # Errors
/// [`Error::Value`] if a size does not fit; [`Error::Memory`].
pub fn linear_backward<T: Real>(
    inputs: usize,
    x: &[T],
    weight: &[T],
    dy: &[T],
    dx: &mut [T],
    dweight: &mut [T],
    dbias: &mut [T],
) -> Result<(), Error> {
    let (outputs, rows) = (dbias.len(), x.len() / inputs.max(1));
    expect_shape("weight", &[outputs * inputs], &[weight.len()])?;
    expect_shape("dy", &[rows * outputs], &[dy.len()])?;
    expect_shape("dx", &[x.len()], &[dx.len()])?;
    expect_shape("dweight", &[weight.len()], &[dweight.len()])?;
    let kernels = ProductKernels::of(Isa::active()?)?;
    let engine = Engine { kernels, team: &Team::alone() };
    let mut packed = PackedMatrix::new(kernels.lanes, WIDTH);
    packed.pack_rows(outputs, inputs, |k| &weight[k * inputs..])?;
    matmul(engine, rows, |r| &dy[r * outputs..], &packed, Start::Continue, dx, inputs);
    let mut sum = OuterSum::new(kernels);
    for first in (0..rows).step_by(BLOCK) {
        let (steps, dy) = (BLOCK.min(rows - first), |k: usize| &dy[(first + k) * outputs..]);
        sum.add(steps, dy, |k| &x[(first + k) * inputs..], inputs, dweight)?;
        add_rows(kernels, steps, dy, dbias);
    }
    Ok(())
}

/// Applies an activation to every number, in place. The bits are those of a cell's activations.
///
/// # Errors
/// [`Error::Value`] if the instruction set in use is unknown.
pub fn activate<T: Real>(activation: Activation, x: &mut [T]) -> Result<(), Error> {
    CellKernels::of(Isa::active()?)?.activate(&Function::new(activation), x);
    Ok(())
}

/// Replaces each row x of `[M, width]` by (x - mean) / sqrt(variance + epsilon), and writes the reciprocals of these
/// roots to `scales`, `[M]`.
pub fn normalise<T: Real>(width: usize, epsilon: T, rows: &mut [T], scales: &mut [T]) {
    for (row, scale) in rows.chunks_mut(width.max(1)).zip(scales) {
        *scale = norm::normalise(row, epsilon);
    }
}

/// Replaces the gradients `d` of normalised rows `[M, width]` by those of the rows before [`normalise`].
pub fn normalise_backward<T: Real>(width: usize, normalised: &[T], scales: &[T], d: &mut [T]) {
    let width = width.max(1);
    for ((d, row), &scale) in d.chunks_mut(width).zip(normalised.chunks(width)).zip(scales) {
        norm::normalise_backward(d, row, scale);
    }
}

/// Computes the mean over the steps of each sequence: y `[S, K]`, out `[N, K]`; 0 for an empty sequence.
///
/// # Errors
/// [`Error::Value`] if a size does not fit.
pub fn mean_over_time<T: Real>(width: usize, y: &[T], sequences: &Sequences, out: &mut [T]) -> Result<(), Error> {
    expect_shape("y", &[sequences.rows() * width], &[y.len()])?;
    expect_shape("out", &[sequences.count() * width], &[out.len()])?;
    for (rows, mean) in sequences.split(y, width).into_iter().zip(out.chunks_mut(width.max(1))) {
        mean.fill(T::ZERO);
        for row in rows.chunks(width) {
            for (mean, &value) in mean.iter_mut().zip(row) {
                *mean += value;
            }
        }
        let count = T::from_f64((rows.len() / width).max(1) as f64);
        for mean in mean {
            *mean = *mean / count;
        }
    }
    Ok(())
}
