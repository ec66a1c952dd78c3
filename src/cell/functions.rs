//! The functions in a cell's equations: those of the plain cell, known to the compiler, or any others from a table.

use crate::cell::activation::{elu, hard_sigmoid, relu, sigmoid, softsign, tanh};
use crate::shape::{Activation, CellOptions};
use crate::simd::float::Float;
use crate::simd::lanes::Lanes;

/// The functions in the equations of a cell. The backward functions take the value of the function, not its argument,
/// and multiply the gradient `d` of that value by the derivative.
pub trait Functions<T: Float>: Copy {
    /// Returns the functions of a cell, whose table is null for the plain one.
    ///
    /// # Safety
    /// The table is that of a cell with such functions.
    unsafe fn of(table: *const Custom<T>) -> Self;
    /// A gate from its pre-activation.
    fn gate<L: Lanes<Elem = T>>(self, a: L) -> L;
    /// The update gate, multiplied by what zoneout leaves of it: the factors at `kept`, or if that is null the share of
    /// steps that are not zoned out.
    ///
    /// # Safety
    /// `kept` is null or has a vector of numbers.
    unsafe fn kept<L: Lanes<Elem = T>>(self, z: L, kept: *const T) -> L;
    /// The candidate from its pre-activation.
    fn candidate<L: Lanes<Elem = T>>(self, a: L) -> L;
    /// The new state, clipped.
    fn state<L: Lanes<Elem = T>>(self, h: L) -> L;
    /// The backward pass of [`Functions::gate`].
    fn gate_backward<L: Lanes<Elem = T>>(self, gate: L, d: L) -> L;
    /// The backward pass of [`Functions::candidate`].
    fn candidate_backward<L: Lanes<Elem = T>>(self, c: L, d: L) -> L;
    /// The backward pass of [`Functions::state`], for the new state that `unclipped` computes.
    fn state_backward<L: Lanes<Elem = T>>(self, unclipped: impl FnOnce() -> L, d: L) -> L;
}

/// Sigmoid and tanh, without clips.
#[derive(Clone, Copy)]
pub struct Plain;

impl<T: Float> Functions<T> for Plain {
    #[inline(always)]
    unsafe fn of(_table: *const Custom<T>) -> Self {
        Self
    }
    #[inline(always)]
    fn gate<L: Lanes<Elem = T>>(self, a: L) -> L {
        sigmoid(a)
    }
    #[inline(always)]
    unsafe fn kept<L: Lanes<Elem = T>>(self, z: L, _kept: *const T) -> L {
        z
    }
    #[inline(always)]
    fn candidate<L: Lanes<Elem = T>>(self, a: L) -> L {
        tanh(a)
    }
    #[inline(always)]
    fn state<L: Lanes<Elem = T>>(self, h: L) -> L {
        h
    }
    #[inline(always)]
    fn gate_backward<L: Lanes<Elem = T>>(self, gate: L, d: L) -> L {
        sigmoid_backward(gate, d)
    }
    #[inline(always)]
    fn candidate_backward<L: Lanes<Elem = T>>(self, c: L, d: L) -> L {
        tanh_backward(c, d)
    }
    #[inline(always)]
    fn state_backward<L: Lanes<Elem = T>>(self, _unclipped: impl FnOnce() -> L, d: L) -> L {
        d
    }
}

#[inline(always)]
fn sigmoid_backward<L: Lanes>(s: L, d: L) -> L {
    d * s * (s.splat(L::Elem::ONE) - s)
}

#[inline(always)]
fn tanh_backward<L: Lanes>(c: L, d: L) -> L {
    d * (c.splat(L::Elem::ONE) - c * c)
}

/// Functions from a table, chosen when the kernel runs.
#[derive(Clone, Copy)]
pub struct Custom<T> {
    gate: Function<T>,
    candidate: Function<T>,
    /// Infinite for none; likewise below.
    clip: T,
    state_clip: T,
    /// The share of steps that zoneout does not touch.
    kept: T,
}

/// An activation with its parameters. Where its value is `low` or less, or `high` or more, the derivative is 0: there
/// it is constant, or its argument is clipped.
#[derive(Clone, Copy)]
pub struct Function<T> {
    kind: Kind,
    alpha: T,
    beta: T,
    low: T,
    high: T,
}

#[derive(Clone, Copy)]
enum Kind {
    Sigmoid,
    HardSigmoid,
    Tanh,
    Relu,
    Linear,
    Softsign,
    Elu,
}

impl<T: Float> Custom<T> {
    /// Returns the functions of a cell, or `None` if they are those of [`Plain`]. `activate` applies a function.
    pub fn new(options: &CellOptions, activate: impl Fn(&Function<T>, &mut [T])) -> Option<Self> {
        if *options == CellOptions::default() {
            return None;
        }
        let clip = options.clip.map_or(T::INFINITY, T::from_f64);
        let clipped = |activation| {
            let mut function = Function::new(activation);
            if options.clip.is_some() {
                let mut ends = [-clip, clip];
                activate(&function, &mut ends);
                (function.low, function.high) = (ends[0], ends[1]);
            }
            function
        };
        Some(Self {
            gate: clipped(options.gate_activation),
            candidate: clipped(options.activation),
            clip,
            kept: T::from_f64(1.0 - options.zoneout),
            state_clip: options.state_clip.map_or(T::INFINITY, T::from_f64),
        })
    }

    #[inline(always)]
    fn clipped<L: Lanes<Elem = T>>(&self, a: L) -> L {
        a.max(a.splat(-self.clip)).min(a.splat(self.clip))
    }
}

impl<T: Float> Functions<T> for &Custom<T> {
    #[inline(always)]
    unsafe fn of(table: *const Custom<T>) -> Self {
        // SAFETY: the caller's promise.
        unsafe { &*table }
    }
    #[inline(always)]
    fn gate<L: Lanes<Elem = T>>(self, a: L) -> L {
        self.gate.value(self.clipped(a))
    }
    #[inline(always)]
    unsafe fn kept<L: Lanes<Elem = T>>(self, z: L, kept: *const T) -> L {
        // SAFETY: the caller's promise.
        z * if kept.is_null() { z.splat(self.kept) } else { unsafe { L::load(kept) } }
    }
    #[inline(always)]
    fn candidate<L: Lanes<Elem = T>>(self, a: L) -> L {
        self.candidate.value(self.clipped(a))
    }
    #[inline(always)]
    fn state<L: Lanes<Elem = T>>(self, h: L) -> L {
        h.max(h.splat(-self.state_clip)).min(h.splat(self.state_clip))
    }
    #[inline(always)]
    fn gate_backward<L: Lanes<Elem = T>>(self, gate: L, d: L) -> L {
        self.gate.backward(gate, d)
    }
    #[inline(always)]
    fn candidate_backward<L: Lanes<Elem = T>>(self, c: L, d: L) -> L {
        self.candidate.backward(c, d)
    }
    #[inline(always)]
    fn state_backward<L: Lanes<Elem = T>>(self, unclipped: impl FnOnce() -> L, d: L) -> L {
        d.splat(self.state_clip).if_below(unclipped().abs(), d.splat(T::ZERO), d)
    }
}

impl<T: Float> Function<T> {
    /// Returns the table's entry of an activation.
    pub fn new(activation: Activation) -> Self {
        let (zero, one, infinity) = (T::ZERO, T::ONE, T::INFINITY);
        let (kind, alpha, beta, low, high) = match activation {
            Activation::Sigmoid => (Kind::Sigmoid, zero, zero, -infinity, infinity),
            Activation::HardSigmoid { alpha, beta } => {
                (Kind::HardSigmoid, T::from_f64(alpha), T::from_f64(beta), zero, one)
            }
            Activation::Tanh => (Kind::Tanh, zero, zero, -infinity, infinity),
            Activation::Relu => (Kind::Relu, zero, zero, zero, infinity),
            Activation::Linear => (Kind::Linear, zero, zero, -infinity, infinity),
            Activation::Softsign => (Kind::Softsign, zero, zero, -infinity, infinity),
            Activation::Elu { alpha } => (Kind::Elu, T::from_f64(alpha), zero, -infinity, infinity),
        };
        Self { kind, alpha, beta, low, high }
    }

    /// Computes the activation.
    #[inline(always)]
    fn value<L: Lanes<Elem = T>>(&self, a: L) -> L {
        match self.kind {
            Kind::Sigmoid => sigmoid(a),
            Kind::HardSigmoid => hard_sigmoid(a, self.alpha, self.beta),
            Kind::Tanh => tanh(a),
            Kind::Relu => relu(a),
            Kind::Linear => a,
            Kind::Softsign => softsign(a),
            Kind::Elu => elu(a, self.alpha),
        }
    }

    /// Multiplies the gradient `d` of the activation's `value` by the derivative.
    #[inline(always)]
    fn backward<L: Lanes<Elem = T>>(&self, value: L, d: L) -> L {
        let (zero, one) = (d.splat(T::ZERO), d.splat(T::ONE));
        let product = match self.kind {
            Kind::Sigmoid => sigmoid_backward(value, d),
            Kind::HardSigmoid => d * d.splat(self.alpha),
            Kind::Tanh => tanh_backward(value, d),
            Kind::Relu | Kind::Linear => d,
            Kind::Softsign => {
                let rest = one - value.abs();
                d * rest * rest
            }
            Kind::Elu => d * zero.if_below(value, one, value + d.splat(self.alpha)),
        };
        let product = value.if_below(d.splat(self.high), product, zero);
        d.splat(self.low).if_below(value, product, zero)
    }
}

/// Applies a function to every element.
///
/// # Safety
/// The instruction set of `L` is present.
#[inline(always)]
pub unsafe fn activate_slice<L: Lanes>(function: &Function<L::Elem>, x: &mut [L::Elem]) {
    for chunk in x.chunks_mut(L::COUNT) {
        // SAFETY: the caller's promise; loads and stores stay within the chunk.
        unsafe {
            let value = function.value(L::load_first(chunk.as_ptr(), chunk.len()));
            value.store_first(chunk.as_mut_ptr(), chunk.len());
        }
    }
}
