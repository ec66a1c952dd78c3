//! Checks that results have the same bits across instruction sets, threads, batches, layouts and steps.

use std::sync::Arc;

use proptest::prelude::*;
use rgru::__internals::cell::Real;
use rgru::__internals::rnn::packed_weights::PackedWeights;
use rgru::__internals::rnn::plan::Plan;
use rgru::__internals::rnn::{self, ForwardArrays, Masks, OutputGrads};
use rgru::__internals::simd::Isa;
use rgru::{CellOptions, Dims, LayerNorm, Merge, NormForm, Sequences, Stream};

use crate::common::{Arrays, Problem, Results, problems, with_threads};

/// Returns sequence n's rows of an array.
fn rows<'a, T>(sequences: &Sequences, array: &'a [T], width: usize, n: usize) -> &'a [T] {
    sequences.split(array, width)[n]
}

/// Returns a sequence's part of an array of states `[L * D, N, H]`.
fn states<T: Copy>(array: &[T], batch: usize, hidden: usize, n: usize) -> Vec<T> {
    array.chunks(batch * hidden).flat_map(|cell| cell[n * hidden..][..hidden].to_vec()).collect()
}

fn instruction_sets_agree<T: Real>(problem: &Problem) -> Result<(), TestCaseError> {
    let arrays = problem.arrays::<T>();
    let best = problem.solve(&arrays, Isa::available()[0], 1);
    for isa in Isa::available() {
        prop_assert!(equal(&problem.solve(&arrays, isa, 1), &best), "{isa}");
    }
    Ok(())
}

/// Returns whether all results have the same bits.
fn equal<T: Real>(a: &Results<T>, b: &Results<T>) -> bool {
    let same = |(a, b): (&T, &T)| a.to_f64().to_bits() == b.to_f64().to_bits(); // exact, the sign of 0 included
    let named = b.named();
    a.named().iter().zip(&named).all(|((_, a), (_, b))| a.len() == b.len() && a.iter().zip(b.iter()).all(same))
}

fn alone_as_in_the_batch<T: Real>(problem: &Problem) -> Result<(), TestCaseError> {
    let dims = Dims { recurrent_dropout: 0.0, ..problem.dims };
    let problem = &Problem { dims, ..problem.clone() }; // whose masks differ
    let arrays = problem.arrays::<T>();
    let isa = Isa::available()[0];
    let whole = problem.solve(&arrays, isa, 2);
    let (dims, sequences) = (&problem.dims, problem.sequences());
    let (batch, hidden) = (sequences.count(), dims.hidden_size);
    for n in 0..batch {
        let one = Problem { lengths: vec![problem.lengths[n]], ragged: true, ..problem.clone() };
        let own = Arrays {
            params: arrays.params.clone(),
            x: rows(&sequences, &arrays.x, dims.input_size, n).to_vec(),
            h0: arrays.h0.as_ref().map(|h0| states(h0, batch, hidden, n)),
            dy: rows(&sequences, &arrays.dy, dims.output_size(), n).to_vec(),
            dh_n: states(&arrays.dh_n, batch, hidden, n),
        };
        let alone = one.solve(&own, isa, 1);
        prop_assert!(alone.y == rows(&sequences, &whole.y, dims.output_size(), n), "y of sequence {n}");
        prop_assert!(alone.h_n == states(&whole.h_n, batch, hidden, n), "h_n of sequence {n}");
        prop_assert!(alone.dx == rows(&sequences, &whole.dx, dims.input_size, n), "dx of sequence {n}");
        prop_assert!(alone.dh0 == states(&whole.dh0, batch, hidden, n), "dh0 of sequence {n}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn instruction_sets_agree_f32(problem in problems(40, 12, 6)) {
        instruction_sets_agree::<f32>(&problem)?;
    }

    #[test]
    fn instruction_sets_agree_f64(problem in problems(40, 12, 6)) {
        instruction_sets_agree::<f64>(&problem)?;
    }

    #[test]
    fn a_sequence_alone_has_the_bits_it_has_in_a_batch_f32(problem in problems(40, 20, 6)) {
        alone_as_in_the_batch::<f32>(&problem)?;
    }

    #[test]
    fn a_sequence_alone_has_the_bits_it_has_in_a_batch_f64(problem in problems(40, 20, 6)) {
        alone_as_in_the_batch::<f64>(&problem)?;
    }

    #[test]
    fn a_stream_has_the_bits_of_the_whole(problem in problems(40, 9, 6)) {
        let dims = Dims {
            bidirectional: false,
            reverse: false,
            merge: Merge::Concat,
            recurrent_dropout: 0.0,
            ..problem.dims
        };
        let lengths = vec![problem.time as i64; problem.lengths.len()];
        let problem = Problem { dims, ragged: false, lengths, ..problem };
        let arrays = problem.arrays::<f32>();
        let (batch, time) = (problem.lengths.len(), problem.time);
        let whole = problem.solve(&arrays, Isa::available()[0], 1);
        let packed = Arc::new(PackedWeights::new(dims, &arrays.params, false).unwrap());
        let mut stream = Stream::new(packed, batch).unwrap();
        if let Some(h0) = &arrays.h0 {
            stream.set_states(h0).unwrap();
        }
        for t in 0..time {
            let x: Vec<f32> =
                arrays.x.chunks(time * dims.input_size).flat_map(|x| x[t * dims.input_size..][..dims.input_size].to_vec()).collect();
            let mut y = vec![0.0; batch * dims.hidden_size];
            stream.step_with(&x, &mut y, with_threads(1)).unwrap();
            for n in 0..batch {
                let expected = &whole.y[(n * time + t) * dims.hidden_size..][..dims.hidden_size];
                prop_assert_eq!(&y[n * dims.hidden_size..][..dims.hidden_size], expected);
            }
        }
        let mut h = vec![0.0; whole.h_n.len()];
        stream.states(&mut h).unwrap();
        prop_assert_eq!(h, whole.h_n);
        // One sequence starts anew; the others go on.
        if batch > 0 && arrays.h0.is_none() && time > 0 {
            stream.restart(batch - 1).unwrap();
            let x: Vec<f32> = arrays.x.chunks(time * dims.input_size).flat_map(|x| x[..dims.input_size].to_vec()).collect();
            let mut y = vec![0.0; batch * dims.hidden_size];
            stream.step_with(&x, &mut y, with_threads(1)).unwrap();
            let first = &whole.y[(batch - 1) * time * dims.hidden_size..][..dims.hidden_size];
            prop_assert_eq!(&y[(batch - 1) * dims.hidden_size..], first);
        }
    }
}

/// Ids look their products up in a table, whose rows begin the chains of multiply-adds of the other features.
#[test]
fn ids_have_the_bits_of_their_embeddings() {
    const IDS: usize = 7;
    let [separate, sum] = [NormForm::Separate, NormForm::Sum].map(|form| Some(LayerNorm::new(form)));
    for (reset_after, layer_norm, size, others) in
        [(false, None, 20, 0), (true, None, 3, 2), (false, None, 1, 33), (true, separate, 5, 3), (true, sum, 5, 0)]
    {
        let cell = CellOptions { layer_norm, ..CellOptions::default() };
        let dims = Dims { num_layers: 2, bidirectional: true, reset_after, cell, ..Dims::new(size + others, 21) };
        let problem = Problem::new(dims, vec![9, 0, 4], 12);
        let (mut arrays, sequences) = (problem.arrays::<f32>(), problem.sequences());
        let embeddings: Vec<f32> = (0..IDS * size).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
        let mut features = Vec::new();
        for (row, x) in arrays.x.chunks_exact_mut(size + others).enumerate() {
            let id = row * 5 % IDS;
            x[..size].copy_from_slice(&embeddings[id * size..][..size]);
            features.push(id as f32);
            features.extend(&x[size..]);
        }
        let expected = problem.solve(&arrays, Isa::active().unwrap(), 1);
        let packed = PackedWeights::with_ids(dims, &arrays.params, &embeddings, size).unwrap();
        let run = |x: &[f32], results: &mut Results<f32>| {
            let inputs = rgru::Inputs { x, sequences: &sequences, h0: arrays.h0.as_deref() };
            rnn::forward(&packed, inputs, results.outputs(), with_threads(2))
        };
        let mut results = Results::zeros_of(&dims, &sequences, &arrays);
        run(&features, &mut results).unwrap();
        assert!(results.y == expected.y && results.h_n == expected.h_n, "{size} and {others} features");
        for wrong in [-1.0, 0.5, IDS as f32, f32::NAN] {
            features[0] = wrong;
            let error = run(&features, &mut results).unwrap_err();
            let got = wrong.to_string().to_lowercase();
            let start = format!("x: expected ids from 0 to 6 in feature 0, got {got} in sequence 0, step 0");
            assert!(error.to_string().starts_with(&start), "{error}");
        }
    }
}

/// With these sizes, every kernel runs its largest tiles, several chunks of rows and many panels.
#[test]
fn instruction_sets_agree_on_large_cells() {
    for (reset_after, hidden_size, lengths) in [
        (false, 130, (0..70).map(|n| n % 7).collect()),
        (true, 300, vec![4; 21]),
        (false, 300, vec![5, 2]),
        (true, 130, vec![9]),
    ] {
        let dims = Dims { num_layers: 2, reset_after, ..Dims::new(70, hidden_size) };
        let problem = Problem::new(dims, lengths, 6);
        instruction_sets_agree::<f32>(&problem).unwrap();
        instruction_sets_agree::<f64>(&problem).unwrap();
    }
}

/// The gradients of inputs of the batch are products of rows of several sequences; a long sequence alone has its own.
#[test]
fn a_sequence_alone_has_the_bits_it_has_in_a_batch_with_large_weights() {
    let dims = Dims { bidirectional: true, ..Dims::new(1100, 88) };
    alone_as_in_the_batch::<f32>(&Problem::new(dims, (0..12).map(|n| 6 * n).collect(), 5)).unwrap();
}

/// The problem is large enough that the threads of the pool share it, in groups of several sizes.
#[test]
fn threads_change_nothing() {
    for (reset_after, bidirectional) in [(false, true), (true, false)] {
        let dims = Dims { num_layers: 2, bidirectional, reset_after, ..Dims::new(20, 50) };
        let lengths = (0..90).map(|n| (n * 7) % 41).collect();
        let problem = Problem::new(dims, lengths, 3);
        assert_eq!(Plan::new(&dims, &problem.sequences(), 8).threads(), 8);
        let arrays = problem.arrays::<f32>();
        let one = problem.solve(&arrays, Isa::available()[0], 1);
        for threads in [2, 3, 8] {
            assert!(equal(&problem.solve(&arrays, Isa::available()[0], threads), &one), "{threads} threads");
        }
    }
}

/// With few sequences and large cells, the threads share the units of every step.
#[test]
fn threads_that_share_units_change_nothing() {
    for (reset_after, hidden, lengths) in
        [(false, 400, vec![9, 4, 7]), (true, 350, vec![12]), (false, 130, vec![60; 5])]
    {
        let dims = Dims { num_layers: 2, bidirectional: true, reset_after, ..Dims::new(20, hidden) };
        let problem = Problem::new(dims, lengths, 4);
        assert!(Plan::new(&dims, &problem.sequences(), 8).members > 1);
        let arrays = problem.arrays::<f32>();
        let one = problem.solve(&arrays, Isa::available()[0], 1);
        for threads in [2, 3, 8] {
            assert!(equal(&problem.solve(&arrays, Isa::available()[0], threads), &one), "{threads} threads");
        }
    }
}

/// Temporary outputs are overwritten after every 2^17 numbers: here several times, and the last window is not full.
#[test]
fn final_states_need_no_outputs() {
    for (num_layers, bidirectional) in [(1, false), (2, false), (3, false), (2, true)] {
        let dims = Dims { num_layers, bidirectional, ..Dims::new(2, 30) };
        let lengths = (0..70).map(|n| n * 3 % 200).collect();
        let problem = Problem::new(dims, lengths, 9);
        problem.solve(&problem.arrays::<f32>(), Isa::available()[0], 2); // checks the final states without y
    }
}

/// Sequences end within, at the end of, and before windows of 128 steps.
#[test]
fn checkpoints_change_nothing() {
    for (reset_after, dropout, with_h0) in [(false, 0.0, true), (true, 0.3, false)] {
        let cell = CellOptions { zoneout: dropout / 2.0, ..CellOptions::default() };
        let masks = Dims { cell, recurrent_dropout: dropout / 3.0, ..Dims::new(5, 9) };
        let dims = Dims { num_layers: 2, reset_after, learned_h0: true, ..masks };
        let lengths = vec![300, 128, 0, 257, 40, 129];
        let problem = Problem { ragged: false, with_h0, ..Problem::new(dims, lengths, 8) };
        let (arrays, sequences) = (problem.arrays::<f32>(), problem.sequences());
        let packed = PackedWeights::new(dims, &arrays.params, true).unwrap();
        let (inputs, masks) = (arrays.inputs(&sequences), Masks::new(&dims, dropout, 3).unwrap());
        let mut whole = Results::zeros_of(&dims, &sequences, &arrays);
        let options = with_threads(1);
        let tape = rnn::forward_tape(&packed, inputs, whole.outputs(), masks, options).unwrap();
        let y = whole.y.clone();
        let forward = ForwardArrays { x: &arrays.x, h0: inputs.h0, y: &y };
        rnn::backward(&packed, &tape, forward, arrays.output_grads(), whole.input_grads(), options).unwrap();
        let options = with_threads(2);
        for every in [1, 200, 1000] {
            let mut parts = Results::zeros_of(&dims, &sequences, &arrays);
            let stored = rnn::forward_checkpoints(&packed, inputs, parts.outputs(), masks, every, options).unwrap();
            let (x, output_grads) = (&arrays.x, arrays.output_grads());
            rnn::backward_checkpoints(&packed, &stored, x, output_grads, parts.input_grads(), options).unwrap();
            for ((name, got), (_, expected)) in parts.named().iter().zip(whole.named()) {
                assert!(*got == expected, "{name} with every {every}");
            }
        }
    }
}

/// All kinds of dropout and zoneout have the same masks with any number of threads, and their gradient is that of the masked
/// function.
#[test]
fn masks_are_reproducible_and_differentiable() {
    for (merge, reset_after, dropout, recurrent_dropout, zoneout) in [
        (Merge::Concat, false, 0.4, 0.0, 0.0),
        (Merge::Product, true, 0.4, 0.0, 0.0),
        (Merge::Sum, false, 0.0, 0.0, 0.3),
        (Merge::Mean, false, 0.0, 0.4, 0.0),
        (Merge::Concat, true, 0.2, 0.3, 0.5),
    ] {
        let cell = CellOptions { zoneout, ..CellOptions::default() };
        let directions = Dims { bidirectional: true, merge, recurrent_dropout, ..Dims::new(3, 6) };
        let dims = Dims { num_layers: 2, reset_after, cell, ..directions };
        check_masks(dims, dropout);
    }
}

/// In training a state is kept or computed; in inference it is mixed of both.
#[test]
fn zoneout_keeps_states_in_training_and_mixes_them_in_inference() {
    for reset_after in [false, true] {
        let cell = CellOptions { zoneout: 0.25, ..CellOptions::default() };
        let dims = Dims { reset_after, cell, ..Dims::new(3, 40) };
        let problem = Problem { ragged: false, ..Problem::new(dims, vec![1; 50], 5) };
        let (arrays, sequences) = (problem.arrays::<f64>(), problem.sequences());
        let run = |dims: Dims, masks: Option<Masks>| {
            let packed = PackedWeights::new(dims, &arrays.params, true).unwrap();
            let mut results = Results::zeros_of(&dims, &sequences, &arrays);
            let (inputs, options) = (arrays.inputs(&sequences), with_threads(1));
            match masks {
                Some(masks) => {
                    rnn::forward_tape(&packed, inputs, results.outputs(), masks, options).unwrap();
                }
                None => rnn::forward(&packed, inputs, results.outputs(), options).unwrap(),
            }
            results.y
        };
        let plain = run(Dims { cell: CellOptions::default(), ..dims }, None);
        let (mixed, trained) = (run(dims, None), run(dims, Some(Masks::new(&dims, 0.0, 1).unwrap())));
        let h0 = arrays.h0.as_ref().unwrap();
        let mut kept = 0;
        for (i, &h) in trained.iter().enumerate() {
            assert!(h == h0[i] || h == plain[i], "{h} is neither {} nor {}", h0[i], plain[i]);
            kept += usize::from(h == h0[i]);
            let expected = 0.25 * h0[i] + 0.75 * plain[i];
            assert!((mixed[i] - expected).abs() <= 1e-14, "{}, expected {expected}", mixed[i]);
        }
        let share = kept as f64 / trained.len() as f64;
        assert!((share - 0.25).abs() < 0.04, "{share}"); // more than four deviations
    }
}

fn check_masks(dims: Dims, dropout: f64) {
    let lengths = vec![4, 0, 3];
    let problem = Problem { ragged: false, with_h0: false, ..Problem::new(dims, lengths, 5) };
    let arrays = problem.arrays::<f64>();
    let sequences = problem.sequences();
    let inputs = arrays.inputs(&sequences);
    let run = |params: &[f64], threads: usize| {
        let packed = PackedWeights::new(dims, params, true).unwrap();
        let mut results = Results::zeros_of(&dims, &sequences, &arrays);
        let masks = Masks::new(&dims, dropout, 11).unwrap();
        let tape = rnn::forward_tape(&packed, inputs, results.outputs(), masks, with_threads(threads)).unwrap();
        (packed, tape, results)
    };
    let (packed, tape, mut results) = run(&arrays.params, 1);
    let y = results.y.clone();
    assert!(run(&arrays.params, 2).2.y == y);
    let mut plain = Results::zeros_of(&dims, &sequences, &arrays);
    rnn::forward(&packed, inputs, plain.outputs(), with_threads(1)).unwrap();
    assert!(plain.y != y, "something was dropped");

    let forward = ForwardArrays { x: &arrays.x, h0: None, y: &y };
    let output_grads = OutputGrads { dy: None, dh_n: Some(&arrays.dh_n) };
    rnn::backward(&packed, &tape, forward, output_grads, results.input_grads(), with_threads(2)).unwrap();
    let dparams = results.dparams;
    let loss = |i: usize, offset: f64| -> f64 {
        let mut params = arrays.params.clone();
        params[i] += offset;
        run(&params, 1).2.h_n.iter().zip(&arrays.dh_n).map(|(a, b)| a * b).sum()
    };
    for (i, &got) in dparams.iter().enumerate() {
        let expected = (8.0 * (loss(i, 1e-3) - loss(i, -1e-3)) - (loss(i, 2e-3) - loss(i, -2e-3))) / 12e-3;
        assert!((got - expected).abs() <= 1e-7 * expected.abs().max(1.0), "dparams[{i}]: {got}, expected {expected}");
    }
}
