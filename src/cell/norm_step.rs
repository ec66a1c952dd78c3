//! The kernels of a step of a cell with layer normalisation, for rows whose recurrent sums are complete.
//!
//! Both forms are a reset-after cell with other sums. In the form that normalises W x + U h, the candidate's sum is all
//! recurrent.

use std::ops::Range;
use std::slice::{from_raw_parts, from_raw_parts_mut};

use crate::cell::backward::BackwardArgs;
use crate::cell::equations;
use crate::cell::functions::{Custom, Functions};
use crate::cell::norm::{normalise, normalise_backward};
use crate::cell::step_args::StepArgs;
use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

/// Computes the equations of a step for some of the rows.
///
/// # Safety
/// The instruction set of `L` is present, and the arguments are those that `step` passes for such a cell.
#[inline(always)]
pub unsafe fn forward<L: Lanes>(s: &StepArgs<L::Elem>, rows: Range<usize>) {
    // SAFETY: the caller's promise; vectors of H numbers are cut at their end.
    unsafe {
        let (norm, hidden) = (&*s.norm, s.hidden);
        let functions: &Custom<L::Elem> = Functions::<L::Elem>::of(s.functions);
        for row in rows {
            let at = row * 3 * s.padded;
            let projected = from_raw_parts(s.projected.add(at), 3 * hidden);
            let sums = from_raw_parts_mut(s.sums.add(at), 3 * hidden);
            let inputs = from_raw_parts_mut(s.sums.add(s.rows_of_sums * 3 * s.padded + at), 3 * hidden);
            let mut scales = [L::Elem::ONE; 2];
            if norm.separate {
                inputs.copy_from_slice(projected);
                scales[1] = normalise(inputs, norm.epsilon);
            } else {
                sums.iter_mut().zip(projected).for_each(|(sum, &projected)| *sum += projected);
            }
            scales[0] = normalise(sums, norm.epsilon);
            for offset in (0..hidden).step_by(L::COUNT) {
                let n = hidden - offset;
                let load =
                    |from: &[L::Elem], gate: usize| -> L { L::load_first(from[gate * hidden + offset..].as_ptr(), n) };
                let normalised = |gate| {
                    let values = if norm.separate { &*inputs } else { &*sums };
                    load(values, gate).mul_add(load(&norm.g, gate), load(&norm.b, gate))
                };
                let recurrent = |gate| load(sums, gate) * load(&norm.g_hh, gate);
                let [mut a_r, mut a_z] = [normalised(0), normalised(1)];
                let (mut a_x, mut a_hh) = (L::broadcast(L::Elem::ZERO), normalised(2));
                if norm.separate {
                    (a_r, a_z) = (a_r + recurrent(0), a_z + recurrent(1));
                    (a_x, a_hh) = (a_hh, recurrent(2) + load(&norm.b_hh, 0));
                }
                let h = L::load(s.h.add(row * s.padded + offset));
                let (gate_r, z) = equations::gates(functions, a_r, a_z);
                let z = functions.kept(z, s.kept(row * s.padded + offset));
                let (c, new) = equations::update(functions, equations::reset_after(gate_r, a_x, a_hh), z, h);
                s.output(row, offset, new);
                if !s.tape.is_null() {
                    for (segment, value) in [gate_r, z, c, a_hh].into_iter().enumerate() {
                        s.record(row, segment, offset, value);
                    }
                }
            }
            if !s.tape.is_null() {
                let mut end = (*s.tape.add(row)).add(4 * hidden);
                for (values, scale) in [(sums, scales[0]), (inputs, scales[1])].into_iter().take(norm.sums()) {
                    from_raw_parts_mut(end, 3 * hidden).copy_from_slice(values);
                    *end.add(3 * hidden) = scale;
                    end = end.add(3 * hidden + 1);
                }
            }
        }
    }
}

/// Computes the gradients of a step for some of the rows.
///
/// # Safety
/// The instruction set of `L` is present, and the arguments are those that `backward_step` passes for such a cell.
#[inline(always)]
pub unsafe fn backward<L: Lanes>(args: &BackwardArgs<L::Elem>, rows: Range<usize>) {
    // SAFETY: the caller's promise; vectors of H numbers are cut at their end.
    unsafe {
        let (norm, hidden) = (&*args.norm, args.hidden);
        let functions: &Custom<L::Elem> = Functions::<L::Elem>::of(args.functions);
        for row in rows {
            // What the step has normalised, and the factor after it: U h and W x, or their sum.
            let recorded = |i: usize| {
                let from = (*args.tape.add(row)).add(4 * hidden + i * (3 * hidden + 1));
                (from_raw_parts(from, 3 * hidden), *from.add(3 * hidden))
            };
            for offset in (0..hidden).step_by(L::COUNT) {
                let n = hidden - offset;
                let load =
                    |from: &[L::Elem], gate: usize| -> L { L::load_first(from[gate * hidden + offset..].as_ptr(), n) };
                let (da_z, da_h) = args.update::<L>(functions, !args.mask.is_null(), row, offset, n);
                let (r, a_hh) = (args.tape(row, 0, offset), args.tape(row, 3, offset));
                let (da_r, da_hh) = equations::reset_after_backward(functions, r, a_hh, da_h);
                let put = |segment: usize, gate: usize, value: L| args.put(row, segment + gate, offset, value);
                for (gate, (da, da_x)) in [(da_r, da_r), (da_z, da_z), (da_hh, da_h)].into_iter().enumerate() {
                    let gradient_of_gain = da * load(recorded(0).0, gate);
                    if norm.separate {
                        put(0, gate, da * load(&norm.g_hh, gate));
                        put(3, gate, da_x * load(&norm.g, gate));
                        put(6, gate, da_x);
                        put(10, gate, da_x * load(recorded(1).0, gate));
                        put(13, gate, gradient_of_gain);
                    } else {
                        put(0, gate, da * load(&norm.g, gate));
                        put(3, gate, da);
                        put(6, gate, gradient_of_gain);
                    }
                }
                if norm.separate {
                    put(9, 0, da_hh);
                }
            }
            for i in 0..norm.sums() {
                let (normalised, scale) = recorded(i);
                let d = from_raw_parts_mut((*args.d.add(row)).add(i * 3 * hidden), 3 * hidden);
                normalise_backward(d, normalised, scale);
            }
        }
    }
}
