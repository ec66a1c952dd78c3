//! Random problems, and their solution by the fast path and by the reference.

use proptest::prelude::*;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};
use rgru::__internals::cell::Real;
use rgru::__internals::rnn::packed_weights::PackedWeights;
use rgru::__internals::rnn::{self, ForwardArrays, InputGrads, Masks, OutputGrads};
use rgru::__internals::simd::Isa;
use rgru::{Activation, CellOptions, Dims, Inputs, LayerNorm, Merge, NormForm, Options, Outputs, Sequences};

/// Returns options for a number of threads.
pub fn with_threads(threads: usize) -> Options<'static> {
    Options { threads: Some(threads), stop: None }
}

/// The sizes of a stack and a batch, and how to fill its arrays.
#[derive(Clone, Debug)]
pub struct Problem {
    pub dims: Dims,
    pub time: usize,
    /// The lengths of the sequences.
    pub lengths: Vec<i64>,
    /// Whether the sequences are stored without padding.
    pub ragged: bool,
    pub with_h0: bool,
    pub seed: u64,
}

/// The arrays of a problem.
#[derive(Clone)]
pub struct Arrays<T> {
    pub params: Vec<T>,
    pub x: Vec<T>,
    pub h0: Option<Vec<T>>,
    pub dy: Vec<T>,
    pub dh_n: Vec<T>,
}

/// The results of a problem.
#[derive(Clone, Debug, PartialEq)]
pub struct Results<T> {
    pub y: Vec<T>,
    pub h_n: Vec<T>,
    pub dx: Vec<T>,
    pub dh0: Vec<T>,
    pub dparams: Vec<T>,
}

impl<T: Real> Arrays<T> {
    pub fn inputs<'a>(&'a self, sequences: &'a Sequences) -> Inputs<'a, T> {
        Inputs { x: &self.x, sequences, h0: self.h0.as_deref() }
    }

    pub fn output_grads(&self) -> OutputGrads<'_, T> {
        OutputGrads { dy: Some(&self.dy), dh_n: Some(&self.dh_n) }
    }
}

impl<T: Real> Results<T> {
    /// Returns zeros, in which to write the results of a problem.
    pub fn zeros_of(dims: &Dims, sequences: &Sequences, arrays: &Arrays<T>) -> Self {
        let zeros = |len| vec![T::ZERO; len];
        Self {
            y: zeros(sequences.rows() * dims.output_size()),
            h_n: zeros(arrays.dh_n.len()),
            dx: zeros(arrays.x.len()),
            dh0: zeros(arrays.dh_n.len()),
            dparams: zeros(arrays.params.len()),
        }
    }

    pub fn outputs(&mut self) -> Outputs<'_, T> {
        Outputs { y: &mut self.y, h_n: &mut self.h_n }
    }

    pub fn input_grads(&mut self) -> InputGrads<'_, T> {
        InputGrads { dx: &mut self.dx, dh0: &mut self.dh0, dparams: &mut self.dparams }
    }

    pub fn named(&self) -> [(&'static str, &[T]); 5] {
        [("y", &self.y), ("h_n", &self.h_n), ("dx", &self.dx), ("dh0", &self.dh0), ("dparams", &self.dparams)]
    }
}

/// Generates the options of a cell, those of the plain one in every third case.
fn cells() -> impl Strategy<Value = CellOptions> {
    let gates = prop_oneof![
        Just(Activation::Sigmoid),
        Just(Activation::HardSigmoid { alpha: 0.2, beta: 0.5 }),
        Just(Activation::HardSigmoid { alpha: 1.0 / 6.0, beta: 0.5 }),
    ];
    let candidates = prop_oneof![
        gates.clone(),
        Just(Activation::Tanh),
        Just(Activation::Relu),
        Just(Activation::Linear),
        Just(Activation::Softsign),
        (0.5..2.0).prop_map(|alpha| Activation::Elu { alpha }),
    ];
    let clips = (proptest::option::of(0.3..2.0), proptest::option::of(0.1..1.0));
    let custom = (gates, candidates, clips).prop_map(|(gate_activation, activation, (clip, state_clip))| CellOptions {
        gate_activation,
        activation,
        clip,
        state_clip,
        zoneout: 0.0,
        layer_norm: None,
    });
    prop_oneof![1 => Just(CellOptions::default()), 2 => custom]
}

/// Generates the layer normalisation of reset-after cells.
fn norms() -> impl Strategy<Value = Option<LayerNorm>> {
    let form = prop_oneof![Just(NormForm::Separate), Just(NormForm::Sum)];
    // With a smaller epsilon, nearly equal sums would turn rounding errors into large ones.
    proptest::option::of(form.prop_map(|form| LayerNorm { form, epsilon: 0.05 }))
}

/// Generates whether a unidirectional stack runs in reverse, and how a bidirectional one merges its outputs.
fn directions() -> impl Strategy<Value = (bool, Merge)> {
    let merge = prop_oneof![3 => Just(Merge::Concat), 1 => Just(Merge::Sum), 1 => Just(Merge::Mean),
        1 => Just(Merge::Product)];
    (any::<bool>(), merge)
}

/// Generates small problems, with sizes from 0 (batch, time, lengths) or 1 up, across the widths of the registers.
pub fn problems(max_hidden: usize, max_batch: usize, max_time: usize) -> impl Strategy<Value = Problem> {
    let dims = (
        1..=max_hidden + 3,
        1..=max_hidden,
        1..=3usize,
        any::<[bool; 3]>(),
        (cells(), norms()),
        directions(),
        any::<[bool; 2]>(),
    )
        .prop_map(
            |(
                input_size,
                hidden_size,
                num_layers,
                [bidirectional, reset_after, bias],
                (cell, layer_norm),
                (reverse, merge),
                [learned_h0, dropped],
            )| Dims {
                num_layers,
                bidirectional,
                reset_after,
                bias,
                cell: CellOptions { layer_norm: layer_norm.filter(|_| reset_after), ..cell },
                reverse: reverse && !bidirectional,
                merge: if bidirectional { merge } else { Merge::Concat },
                learned_h0,
                recurrent_dropout: if dropped { 0.4 } else { 0.0 },
                ..Dims::new(input_size, hidden_size)
            },
        );
    (dims, 0..=max_batch, 0..=max_time, any::<[bool; 3]>(), any::<u64>()).prop_flat_map(
        |(dims, batch, time, [ragged, with_h0, full], seed)| {
            let shortest = if full { time } else { 0 };
            proptest::collection::vec(shortest as i64..=time as i64, batch).prop_map(move |lengths| Problem {
                dims,
                time,
                lengths,
                ragged,
                with_h0,
                seed,
            })
        },
    )
}

impl Problem {
    /// Returns a problem with ragged sequences and initial states.
    pub fn new(dims: Dims, lengths: Vec<i64>, seed: u64) -> Self {
        let time = lengths.iter().copied().max().unwrap_or(0) as usize;
        Self { dims, time, lengths, ragged: true, with_h0: true, seed }
    }

    /// Returns whether the gradient jumps where a sum is at the end of a clip or of a straight part of an activation.
    pub fn has_kinks(&self) -> bool {
        let CellOptions { gate_activation, activation, clip, state_clip, .. } = self.dims.cell;
        let kink = |activation| {
            matches!(activation, Activation::HardSigmoid { .. } | Activation::Relu | Activation::Elu { .. })
        };
        kink(gate_activation) || kink(activation) || clip.is_some() || state_clip.is_some()
    }

    /// Returns whether differences are inexact near some sums: at kinks, or where the gradient has one.
    pub fn has_bends(&self) -> bool {
        self.has_kinks() || self.dims.cell.activation == Activation::Softsign
    }

    pub fn sequences(&self) -> Sequences {
        if self.ragged {
            let mut offsets = vec![0];
            for length in &self.lengths {
                offsets.push(offsets[offsets.len() - 1] + length);
            }
            Sequences::ragged(&offsets, offsets[offsets.len() - 1] as usize).unwrap()
        } else {
            Sequences::padded(self.lengths.len(), self.time, Some(&self.lengths)).unwrap()
        }
    }

    /// Returns random arrays: weights at the default scale, and NaN in the padding of x and dy.
    pub fn arrays<T: Real>(&self) -> Arrays<T> {
        let mut random = ChaCha8Rng::seed_from_u64(self.seed);
        let mut draw = |count: usize, scale: f64| -> Vec<T> {
            let mut uniform = || f64::from(random.next_u32()) / f64::from(u32::MAX) * 2.0 - 1.0;
            (0..count).map(|_| T::from_f64(scale * uniform())).collect()
        };
        let (dims, sequences) = (&self.dims, self.sequences());
        let states = dims.num_cells() * sequences.count() * dims.hidden_size;
        let params = draw(dims.num_params(), 1.0 / (dims.hidden_size as f64).sqrt());
        let mut x = vec![T::from_f64(f64::NAN); sequences.rows() * dims.input_size];
        let mut dy = vec![T::from_f64(f64::NAN); sequences.rows() * dims.output_size()];
        for rows in sequences.split_mut(&mut x, dims.input_size) {
            let values = draw(rows.len(), 1.5);
            rows.copy_from_slice(&values);
        }
        for rows in sequences.split_mut(&mut dy, dims.output_size()) {
            let values = draw(rows.len(), 1.0);
            rows.copy_from_slice(&values);
        }
        let h0 = self.with_h0.then(|| draw(states, 1.0));
        Arrays { params, x, h0, dy, dh_n: draw(states, 1.0) }
    }

    /// Returns the masks of recurrent dropout.
    pub fn masks(&self) -> Masks {
        if self.dims.recurrent_dropout == 0.0 {
            return Masks::default();
        }
        Masks::new(&self.dims, 0.0, self.seed).unwrap()
    }

    /// Returns the factors of the states in the recurrent products, `[L * D, N, H]`, for the reference.
    pub fn factors<T: Real>(&self) -> Option<Vec<T>> {
        let (hidden, batch) = (self.dims.hidden_size, self.lengths.len());
        let mut factors = vec![T::ZERO; self.dims.num_cells() * batch * hidden];
        let dropout = self.masks().recurrent?;
        for (i, mask) in factors.chunks_exact_mut(hidden).enumerate() {
            dropout.mask(i / batch, i % batch, mask);
        }
        Some(factors)
    }

    /// Solves the problem by the fast path. Also checks that inference without a tape gives the same results.
    pub fn solve<T: Real>(&self, arrays: &Arrays<T>, isa: Isa, threads: usize) -> Results<T> {
        let (dims, sequences) = (self.dims, self.sequences());
        let packed = PackedWeights::for_isa(isa, dims, &arrays.params, true).unwrap();
        let mut results = Results::zeros_of(&dims, &sequences, arrays);
        let options = with_threads(threads);
        let inputs = arrays.inputs(&sequences);
        let tape = rnn::forward_tape(&packed, inputs, results.outputs(), self.masks(), options).unwrap();
        if self.dims.recurrent_dropout == 0.0 {
            let mut plain = Results::zeros_of(&dims, &sequences, arrays);
            rnn::forward(&packed, inputs, plain.outputs(), options).unwrap();
            assert!(plain.y == results.y && plain.h_n == results.h_n, "results differ without a tape");
            plain.h_n.fill(T::ZERO);
            rnn::final_states(&packed, inputs, &mut plain.h_n, options).unwrap();
            assert!(plain.h_n == results.h_n, "final states differ without y");
        }
        let forward = ForwardArrays { x: &arrays.x, h0: inputs.h0, y: &results.y };
        let grads = InputGrads { dx: &mut results.dx, dh0: &mut results.dh0, dparams: &mut results.dparams };
        rnn::backward(&packed, &tape, forward, arrays.output_grads(), grads, options).unwrap();
        results
    }

    /// Solves the problem by the plain loops.
    pub fn reference<T: Real>(&self, arrays: &Arrays<T>) -> Results<T> {
        let (dims, sequences) = (&self.dims, self.sequences());
        let (params, x, h0, masks) = (&arrays.params, &arrays.x, arrays.h0.as_deref(), self.factors());
        let (masks, dy, dh_n) = (masks.as_deref(), &arrays.dy, &arrays.dh_n);
        let (y, h_n) = rgru::__internals::reference::forward(dims, params, x, &sequences, h0, masks);
        let (dx, dh0, dparams) =
            rgru::__internals::reference::backward(dims, params, x, &sequences, h0, masks, dy, dh_n);
        Results { y, h_n, dx, dh0, dparams }
    }
}

/// Returns the largest difference, relative to the largest magnitude of `b` or 1.
pub fn difference<T: Real>(a: &[T], b: &[T]) -> f64 {
    assert_eq!(a.len(), b.len());
    let scale = b.iter().fold(1.0, |scale: f64, &b| scale.max(b.to_f64().abs()));
    let worst = a.iter().zip(b).map(|(&a, &b)| (a.to_f64() - b.to_f64()).abs());
    worst.fold(0.0, |worst, d| if d <= worst { worst } else { d }) / scale
}
