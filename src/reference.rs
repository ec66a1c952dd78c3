//! The equations as plain loops, in both precisions: the oracle that the fast path is tested against.
//!
//! It takes one sequence and one unit at a time, and follows the paper (Cho et al. 2014, eqs. 5-8). No dispatch ever
//! selects it.

use crate::shape::params::{CellParams, CellParamsMut, split_params, split_params_mut};
use crate::shape::{Activation, Dims, LayerNorm, Merge, NormForm, Sequences};
use crate::simd::float::Float;

/// The values of one step that the backward pass needs, `[H]` each.
struct Step<T> {
    a: [Vec<T>; 3],    // the pre-activations of r, z and the candidate
    unclipped: Vec<T>, // the new state before it is clipped
    h_prev: Vec<T>,
    read: Vec<T>, // the state before the step as the recurrent products read it
    r: Vec<T>,
    z: Vec<T>,
    c: Vec<T>,
    a_hh: Vec<T>,            // U_hh h + b_hh, reset-after
    norms: Vec<(Vec<T>, T)>, // normalised sums and their factors: of U h and W x, or of both together
}

/// Returns the value and the derivative of an activation at `a`, which is clipped first.
fn activate<T: Float>(activation: Activation, clip: Option<f64>, a: T) -> (T, T) {
    let a = clipped(clip, a);
    let (zero, one, number) = (T::ZERO, T::ONE, T::from_f64);
    let magnitude = if a < zero { -a } else { a };
    let (value, slope) = match activation {
        Activation::Sigmoid => {
            let s = one / (one + (-a).exp());
            (s, s * (one - s))
        }
        Activation::HardSigmoid { alpha, beta } => {
            let line = number(alpha) * a + number(beta);
            if line <= zero {
                (zero, zero)
            } else if line >= one {
                (one, zero)
            } else {
                (line, number(alpha))
            }
        }
        Activation::Tanh => (a.tanh(), one - a.tanh() * a.tanh()),
        Activation::Relu => {
            if a > zero {
                (a, one)
            } else {
                (zero, zero)
            }
        }
        Activation::Linear => (a, one),
        Activation::Softsign => (a / (one + magnitude), one / ((one + magnitude) * (one + magnitude))),
        Activation::Elu { alpha } => {
            if a > zero {
                (a, one)
            } else {
                (number(alpha) * (a.exp() - one), number(alpha) * a.exp())
            }
        }
    };
    let inside = clip.is_none_or(|clip| magnitude < number(clip));
    (value, if inside { slope } else { zero })
}

/// Clips a number to [-clip, clip].
fn clipped<T: Float>(clip: Option<f64>, a: T) -> T {
    let Some(clip) = clip.map(T::from_f64) else { return a };
    if a > clip {
        clip
    } else if a < -clip {
        -clip
    } else {
        a
    }
}

fn dot<T: Float>(a: &[T], b: &[T]) -> T {
    a.iter().zip(b).fold(T::ZERO, |sum, (&a, &b)| sum + a * b)
}

/// Layer normalisation: (x - mean) / sqrt(variance + epsilon), and the reciprocal of this root.
fn normalised<T: Float>(norm: LayerNorm, x: &[T]) -> (Vec<T>, T) {
    let count = T::from_f64(x.len() as f64);
    let mean = x.iter().copied().sum::<T>() / count;
    let variance = x.iter().map(|&x| (x - mean) * (x - mean)).sum::<T>() / count;
    let factor = T::ONE / (variance + T::from_f64(norm.epsilon)).sqrt();
    (x.iter().map(|&x| (x - mean) * factor).collect(), factor)
}

/// The backward pass of [`normalised`], by all its partial derivatives.
fn normalised_backward<T: Float>((y, factor): &(Vec<T>, T), d: &[T]) -> Vec<T> {
    let count = T::from_f64(y.len() as f64);
    let derivative = |i: usize, j: usize| {
        let same = if i == j { T::ONE } else { T::ZERO };
        *factor * (same - (T::ONE + y[i] * y[j]) / count)
    };
    (0..y.len()).map(|j| (0..y.len()).map(|i| d[i] * derivative(i, j)).sum()).collect()
}

/// Multiplies element by element.
fn times<T: Float>(a: &[T], b: &[T]) -> Vec<T> {
    a.iter().zip(b).map(|(&a, &b)| a * b).collect()
}

fn add_to<T: Float>(sums: &mut [T], terms: &[T]) {
    sums.iter_mut().zip(terms).for_each(|(sum, &term)| *sum += term);
}

/// Computes one step of one cell: the new state, and the values for the backward pass. The recurrent products read the
/// states times the `mask`.
fn step<T: Float>(cell: &CellParams<T>, x: &[T], h: &[T], mask: &[T]) -> (Vec<T>, Step<T>) {
    let (hidden, options) = (cell.hidden, &cell.options);
    let read = times(h, mask);
    let u = |row: usize| &cell.u[row * hidden..][..hidden];
    // The parts of the pre-activations that the reset gate does not multiply in reset-after cells, and those that it
    // does, `[3H]` each.
    let mut input: Vec<T> = (0..3 * hidden).map(|row| dot(&cell.w[row * cell.input..][..cell.input], x)).collect();
    let mut recurrent: Vec<T> = (0..3 * hidden).map(|row| dot(u(row), &read)).collect();
    let mut norms = Vec::new();
    match options.layer_norm {
        None => add_to(&mut input, cell.b),
        Some(norm) if norm.form == NormForm::Separate => {
            norms = vec![normalised(norm, &recurrent), normalised(norm, &input)];
            (recurrent, input) = (times(&norms[0].0, cell.g_hh), times(&norms[1].0, cell.g));
            add_to(&mut input, cell.b);
        }
        Some(norm) => {
            add_to(&mut recurrent, &input);
            norms = vec![normalised(norm, &recurrent)];
            (recurrent, input) = (times(&norms[0].0, cell.g), vec![T::ZERO; 3 * hidden]);
            add_to(&mut recurrent, cell.b);
        }
    }
    add_to(&mut recurrent[2 * hidden..], cell.b_hh);
    let all = |activation, a: &[T]| -> Vec<T> { a.iter().map(|&a| activate(activation, options.clip, a).0).collect() };
    let [a_r, a_z] = [0, 1]
        .map(|gate| -> Vec<T> { (0..hidden).map(|j| gate * hidden + j).map(|i| input[i] + recurrent[i]).collect() });
    let (r, z) = (all(options.gate_activation, &a_r), all(options.gate_activation, &a_z));
    let rh = times(&r, &read);
    let a_hh = recurrent[2 * hidden..].to_vec();
    let a_h: Vec<T> = (0..hidden)
        .map(|j| {
            let recurrent = if cell.reset_after { r[j] * a_hh[j] } else { dot(u(2 * hidden + j), &rh) };
            input[2 * hidden + j] + recurrent
        })
        .collect();
    let c = all(options.activation, &a_h);
    let unclipped: Vec<T> = (0..hidden).map(|j| (T::ONE - z[j]) * h[j] + z[j] * c[j]).collect();
    let new = unclipped.iter().map(|&h| clipped(options.state_clip, h)).collect();
    (new, Step { a: [a_r, a_z, a_h], unclipped, h_prev: h.to_vec(), read, r, z, c, a_hh, norms })
}

/// The backward pass of [`step`]: adds to the gradients of the cell and of x, and returns that of the previous state.
fn step_backward<T: Float>(
    cell: &CellParams<T>,
    x: &[T],
    step: &Step<T>,
    mask: &[T],
    dh: &[T],
    grads: &mut CellParamsMut<T>,
    dx: &mut [T],
) -> Vec<T> {
    let hidden = cell.hidden;
    let Step { a: [a_r, a_z, a_h], unclipped, h_prev, read, r, z, c, a_hh, norms } = step;
    let (one, options) = (T::ONE, &cell.options);
    let gate = |a: T| activate(options.gate_activation, options.clip, a).1;
    let candidate = |a: T| activate(options.activation, options.clip, a).1;
    let dh: Vec<T> = (0..hidden)
        .map(|j| if clipped(options.state_clip, unclipped[j]) == unclipped[j] { dh[j] } else { T::ZERO })
        .collect();
    let da_z: Vec<T> = (0..hidden).map(|j| dh[j] * (c[j] - h_prev[j]) * gate(a_z[j])).collect();
    let da_h: Vec<T> = (0..hidden).map(|j| dh[j] * z[j] * candidate(a_h[j])).collect();

    // The candidate's recurrent term: r * (U_hh h + b_hh), or U_hh (r * h).
    let (mut dr, mut d_read, mut da_hh) = (vec![T::ZERO; hidden], vec![T::ZERO; hidden], vec![T::ZERO; hidden]);
    for j in 0..hidden {
        if cell.reset_after {
            da_hh[j] = da_h[j] * r[j];
            dr[j] = da_h[j] * a_hh[j];
            continue;
        }
        for i in 0..hidden {
            let at = (2 * hidden + j) * hidden + i;
            grads.u[at] += da_h[j] * r[i] * read[i];
            d_read[i] += da_h[j] * cell.u[at] * r[i];
            dr[i] += da_h[j] * cell.u[at] * read[i];
        }
    }
    let da_r: Vec<T> = (0..hidden).map(|j| dr[j] * gate(a_r[j])).collect();

    // The gradients of W x and of U h.
    let mut d_input = [&da_r[..], &da_z, &da_h].concat();
    let mut d_recurrent = [&da_r[..], &da_z, &da_hh].concat();
    add_to(grads.b_hh, &d_recurrent[2 * hidden..]);
    match norms.as_slice() {
        [of_recurrent, of_input] => {
            add_to(grads.b, &d_input);
            add_to(grads.g, &times(&d_input, &of_input.0));
            add_to(grads.g_hh, &times(&d_recurrent, &of_recurrent.0));
            d_input = normalised_backward(of_input, &times(&d_input, cell.g));
            d_recurrent = normalised_backward(of_recurrent, &times(&d_recurrent, cell.g_hh));
        }
        [of_sum] => {
            add_to(grads.b, &d_recurrent);
            add_to(grads.g, &times(&d_recurrent, &of_sum.0));
            d_recurrent = normalised_backward(of_sum, &times(&d_recurrent, cell.g));
            d_input.clone_from(&d_recurrent);
        }
        _ => add_to(grads.b, &d_input),
    }
    for row in 0..3 * hidden {
        for i in 0..cell.input {
            grads.w[row * cell.input + i] += d_input[row] * x[i];
            dx[i] += d_input[row] * cell.w[row * cell.input + i];
        }
        for i in 0..hidden {
            grads.u[row * hidden + i] += d_recurrent[row] * read[i];
            d_read[i] += d_recurrent[row] * cell.u[row * hidden + i];
        }
    }
    (0..hidden).map(|i| dh[i] * (one - z[i]) + d_read[i] * mask[i]).collect()
}

/// Returns the position in the sequence of the t-th step of a direction.
fn position(reverse: bool, length: usize, t: usize) -> usize {
    if reverse { length - 1 - t } else { t }
}

/// A run of all layers over one sequence.
struct Run<T> {
    /// The input of each layer, and the output of the last.
    inputs: Vec<Vec<T>>,
    /// The states of all directions of each layer, side by side.
    states: Vec<Vec<T>>,
    /// The steps of every cell.
    steps: Vec<Vec<Step<T>>>,
}

/// Runs all layers over one sequence, with the masks of its states in the recurrent products of each cell. `states` has
/// those before the first step, and then those after the last.
fn run<T: Float>(dims: &Dims, params: &[T], x: &[T], masks: &[Vec<T>], states: &mut [Vec<T>]) -> Run<T> {
    let (hidden, width) = (dims.hidden_size, dims.states_size());
    let length = x.len() / dims.input_size;
    let mut run = Run { inputs: vec![x.to_vec()], states: Vec::new(), steps: Vec::new() };
    let cells = split_params(dims, params);
    for layer in 0..dims.num_layers {
        let mut outputs = vec![T::ZERO; length * width];
        for direction in 0..dims.directions() {
            let index = layer * dims.directions() + direction;
            let cell = &cells[index];
            let mut taken = Vec::new();
            for t in 0..length {
                let at = position(dims.runs_backward(direction), length, t);
                let x = &run.inputs[layer][at * cell.input..][..cell.input];
                let (h, record) = step(cell, x, &states[index], &masks[index]);
                outputs[at * width + direction * hidden..][..hidden].copy_from_slice(&h);
                states[index] = h;
                taken.push(record);
            }
            run.steps.push(taken);
        }
        let merged = |both: &[T]| -> Vec<T> {
            let pair = |i| (both[i], both[hidden + i]);
            match dims.merge {
                Merge::Concat => both.to_vec(),
                Merge::Sum => (0..hidden).map(pair).map(|(f, r)| f + r).collect(),
                Merge::Mean => (0..hidden).map(pair).map(|(f, r)| (f + r) / T::from_f64(2.0)).collect(),
                Merge::Product => (0..hidden).map(pair).map(|(f, r)| f * r).collect(),
            }
        };
        run.inputs.push(outputs.chunks_exact(width).flat_map(merged).collect());
        run.states.push(outputs);
    }
    run
}

/// The backward pass of merging the states of both directions of one step.
fn merge_backward<T: Float>(dims: &Dims, both: &[T], dy: &[T]) -> Vec<T> {
    let hidden = dims.hidden_size;
    let factor = |i: usize| match dims.merge {
        Merge::Product => both[(i + hidden) % (2 * hidden)],
        Merge::Mean => T::from_f64(0.5),
        Merge::Sum | Merge::Concat => T::ONE,
    };
    (0..both.len()).map(|i| dy[i % dy.len()] * factor(i)).collect()
}

/// Returns the states of sequence n in an array `[L * D, N, H]`.
fn states_of<T: Float>(dims: &Dims, array: &[T], batch: usize, n: usize) -> Vec<Vec<T>> {
    let hidden = dims.hidden_size;
    (0..dims.num_cells()).map(|index| array[(index * batch + n) * hidden..][..hidden].to_vec()).collect()
}

/// Returns the states that sequence n starts from: those given, else the learned ones, else zeros.
fn initial<T: Float>(dims: &Dims, params: &[T], h0: Option<&[T]>, batch: usize, n: usize) -> Vec<Vec<T>> {
    match h0 {
        Some(h0) => states_of(dims, h0, batch, n),
        None if dims.learned_h0 => split_params(dims, params).iter().map(|cell| cell.h0.to_vec()).collect(),
        None => vec![vec![T::ZERO; dims.hidden_size]; dims.num_cells()],
    }
}

/// Returns the masks of sequence n in all cells, from `[L * D, N, H]`; without masks, ones.
fn masks_of<T: Float>(dims: &Dims, masks: Option<&[T]>, batch: usize, n: usize) -> Vec<Vec<T>> {
    masks.map_or_else(|| vec![vec![T::ONE; dims.hidden_size]; dims.num_cells()], |all| states_of(dims, all, batch, n))
}

/// Returns the outputs `[rows, D * H]`, zero in the padding, and the final states `[L * D, N, H]`, for x `[rows, I]`.
/// `masks` `[L * D, N, H]` has the factors of the states in the recurrent products.
pub fn forward<T: Float>(
    dims: &Dims,
    params: &[T],
    x: &[T],
    sequences: &Sequences,
    h0: Option<&[T]>,
    masks: Option<&[T]>,
) -> (Vec<T>, Vec<T>) {
    let (batch, hidden, width) = (sequences.count(), dims.hidden_size, dims.output_size());
    let mut y = vec![T::ZERO; sequences.rows() * width];
    let mut h_n = vec![T::ZERO; dims.num_cells() * batch * hidden];
    for (n, x) in sequences.split(x, dims.input_size).into_iter().enumerate() {
        let mut states = initial(dims, params, h0, batch, n);
        let masks = masks_of(dims, masks, batch, n);
        let last = run(dims, params, x, &masks, &mut states).inputs.pop().unwrap_or_default();
        y[sequences.range(n).start * width..][..last.len()].copy_from_slice(&last);
        for (index, state) in states.iter().enumerate() {
            h_n[(index * batch + n) * hidden..][..hidden].copy_from_slice(state);
        }
    }
    (y, h_n)
}

/// Returns the gradients of sum(y * dy) + sum(`h_n` * `dh_n`) with respect to x, h0 and the flat parameters.
pub fn backward<T: Float>(
    dims: &Dims,
    params: &[T],
    x: &[T],
    sequences: &Sequences,
    h0: Option<&[T]>,
    masks: Option<&[T]>,
    dy: &[T],
    dh_n: &[T],
) -> (Vec<T>, Vec<T>, Vec<T>) {
    let (batch, hidden, width) = (sequences.count(), dims.hidden_size, dims.output_size());
    let mut dx = vec![T::ZERO; x.len()];
    let mut dh0 = vec![T::ZERO; dh_n.len()];
    let mut dparams = vec![T::ZERO; params.len()];
    let cells = split_params(dims, params);
    for (n, x) in sequences.split(x, dims.input_size).into_iter().enumerate() {
        let length = sequences.length(n);
        let masks = masks_of(dims, masks, batch, n);
        let Run { inputs, states, steps } = run(dims, params, x, &masks, &mut initial(dims, params, h0, batch, n));
        let mut dvalues = dy[sequences.range(n).start * width..][..length * width].to_vec();
        let mut grads = split_params_mut(dims, &mut dparams);
        let mut dstates = states_of(dims, dh_n, batch, n);
        for layer in (0..dims.num_layers).rev() {
            let input = dims.layer_input(layer);
            let mut dinput = vec![T::ZERO; length * input];
            let dboth: Vec<Vec<T>> = states[layer]
                .chunks_exact(dims.states_size())
                .zip(dvalues.chunks_exact(width))
                .map(|(both, dy)| merge_backward(dims, both, dy))
                .collect();
            for direction in 0..dims.directions() {
                let index = layer * dims.directions() + direction;
                for t in (0..length).rev() {
                    let at = position(dims.runs_backward(direction), length, t);
                    let dy = &dboth[at][direction * hidden..][..hidden];
                    let dh: Vec<T> = dstates[index].iter().zip(dy).map(|(&a, &b)| a + b).collect();
                    let x = &inputs[layer][at * input..][..input];
                    let dx = &mut dinput[at * input..][..input];
                    let (cell, mask, grads) = (&cells[index], &masks[index], &mut grads[index]);
                    dstates[index] = step_backward(cell, x, &steps[index][t], mask, &dh, grads, dx);
                }
            }
            dvalues = dinput;
        }
        if h0.is_none() {
            for (grads, dstate) in grads.iter_mut().zip(&dstates) {
                grads.h0.iter_mut().zip(dstate).for_each(|(sum, &d)| *sum += d);
            }
        }
        dx[sequences.range(n).start * dims.input_size..][..dvalues.len()].copy_from_slice(&dvalues);
        for (index, state) in dstates.iter().enumerate() {
            dh0[(index * batch + n) * hidden..][..hidden].copy_from_slice(state);
        }
    }
    (dx, dh0, dparams)
}
