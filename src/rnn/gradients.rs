//! Gradients of the weights: one product per weight over all steps of all sequences.
//!
//! Threads share the rows of the results, so the bits do not depend on the number of threads.

use crate::cell::Real;
use crate::error::Error;
use crate::gemm::weight_grad::{BLOCK, OuterSum, add_rows};
use crate::memory::aligned::zeros;
use crate::memory::buffer_pool::PooledBuffer;
use crate::rnn::group::BatchContext;
use crate::rnn::tape::Tape;
use crate::shape::params::split_params_mut;
use crate::threads::runtime::{Check, Grant, Stop};

/// The fewest rows of a result that are worth a task.
const TASK_ROWS: usize = 48;

/// The factor that the gradients of the pre-activations are multiplied with in each step.
#[derive(Clone, Copy)]
enum Factor {
    /// The layer's input (for W).
    Input,
    /// The state before the step, as the recurrent products read it (for U).
    State,
    /// Its product with the reset gate (for the candidate's U in reset-before).
    ResetState,
}

/// The work for some rows of one result.
struct Task<'a, T> {
    cell: usize,
    /// Column of `d` that belongs to the first row.
    column: usize,
    /// `None` for biases and gains, whose gradients are the sums of `d` itself.
    factor: Option<Factor>,
    /// Number of columns of the result.
    width: usize,
    out: &'a mut [T],
}

/// Writes the flat gradients, given each cell's gradients `d` of the pre-activations by compact row.
pub fn weight_gradients<T: Real>(
    batch: &BatchContext<T>,
    tape: &Tape<T>,
    x: &[T],
    states: &[Vec<&[T]>],
    d: &[PooledBuffer<T>],
    dparams: &mut [T],
    grant: &Grant,
    stop: Stop,
) -> Result<(), Error> {
    let dims = &batch.packed.dims;
    let hidden = dims.hidden_size;
    let mut tasks = Vec::new();
    for (cell, grads) in split_params_mut(dims, dparams).into_iter().enumerate() {
        let input = dims.layer_input(cell / dims.directions());
        let from = batch.backward[cell].segments();
        let candidate = if dims.reset_after { Factor::State } else { Factor::ResetState };
        let (u_gates, u_candidate) = grads.u.split_at_mut(2 * hidden * hidden);
        for (segment, factor, width, out) in [
            (from.w, Some(Factor::Input), input, grads.w),
            (from.u_gates, Some(Factor::State), hidden, u_gates),
            (from.u_candidate, Some(candidate), hidden, u_candidate),
            (from.b, None, 1, grads.b),
            (from.b_hh, None, 1, grads.b_hh),
            (from.g, None, 1, grads.g),
            (from.g_hh, None, 1, grads.g_hh),
        ] {
            if out.is_empty() {
                continue;
            }
            let rows = (out.len() / width).div_ceil(grant.threads()).max(TASK_ROWS);
            for (i, out) in out.chunks_mut(rows * width).enumerate() {
                tasks.push(Task { cell, column: segment * hidden + i * rows, factor, width, out });
            }
        }
    }
    tasks.sort_by_key(|task| std::cmp::Reverse(task.out.len()));
    let x = batch.sequences.split(x, dims.input_size);
    grant.execute(1, tasks, stop, |task, _, check| sum_over_steps(batch, tape, &x, states, &d[task.cell], task, check))
}

fn sum_over_steps<T: Real>(
    batch: &BatchContext<T>,
    tape: &Tape<T>,
    x: &[&[T]],
    states: &[Vec<&[T]>],
    d: &[T],
    task: Task<T>,
    check: Check,
) -> Result<(), Error> {
    let (dims, sequences) = (&batch.packed.dims, batch.sequences);
    let hidden = dims.hidden_size;
    let (layer, direction) = (task.cell / dims.directions(), task.cell % dims.directions());
    let input = if layer == 0 {
        x.to_vec()
    } else if tape.layers[layer].input.is_empty() {
        states[layer - 1].clone()
    } else {
        sequences.split_compact(&tape.layers[layer].input, dims.output_size())
    };
    let width = batch.backward[task.cell].segments().count * hidden;
    let rows = task.out.len() / task.width;
    let row_of = |factor: Factor, (n, t): (usize, usize)| -> &[T] {
        match factor {
            Factor::Input => &input[n][t * task.width..],
            Factor::State => {
                let before = if dims.runs_backward(direction) { Some(t + 1) } else { t.checked_sub(1) };
                match before.filter(|&before| before < sequences.length(n)) {
                    Some(before) => &states[layer][n][before * dims.states_size() + direction * hidden..],
                    None => batch.h0.of(task.cell, n),
                }
            }
            Factor::ResetState => {
                let step = sequences.compact_range(n).start + t;
                &tape.layers[layer].cells[direction][step * dims.record_len() + 3 * hidden..]
            }
        }
    };
    // The masks of the states, if there are any, and the masked states of a block.
    let dropout = tape.masks.recurrent.filter(|_| matches!(task.factor, Some(Factor::State)));
    let mut masks = zeros(if dropout.is_some() { sequences.count() * hidden } else { 0 })?;
    let mut masked = zeros(if dropout.is_some() { BLOCK * hidden } else { 0 })?;
    if let Some(dropout) = dropout {
        masks.chunks_exact_mut(hidden).enumerate().for_each(|(n, mask)| dropout.mask(task.cell, n, mask));
    }
    let kernels = batch.packed.kernels.products;
    let mut sum = OuterSum::new(kernels);
    let mut factors = Vec::with_capacity(BLOCK);
    for block in sequences.blocks(BLOCK) {
        check()?;
        let d = |k: usize| {
            let (n, t) = block[k];
            &d[(sequences.compact_range(n).start + t) * width + task.column..][..rows]
        };
        let Some(factor) = task.factor else {
            add_rows(kernels, block.len(), d, task.out);
            continue;
        };
        factors.clear();
        factors.extend(block.iter().map(|&step| row_of(factor, step)));
        for ((masked, state), (n, _)) in masked.chunks_exact_mut(hidden).zip(&factors).zip(&block) {
            let products = state.iter().zip(&masks[n * hidden..]).map(|(&h, &mask)| h * mask);
            masked.iter_mut().zip(products).for_each(|(masked, product)| *masked = product);
        }
        let factor = |k: usize| if masked.is_empty() { factors[k] } else { &masked[k * hidden..] };
        sum.add(block.len(), d, factor, task.width, task.out)?;
    }
    Ok(())
}
