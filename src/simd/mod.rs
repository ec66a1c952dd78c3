//! How numbers are computed; nothing here knows of sequences.
//!
//! The algorithms are written once, generic over [`lanes::Lanes`]; a file per instruction set instantiates them into a
//! [`Kernels`] table. All tables give the same bits. Here is all the `unsafe` but that of Arrow's structs.

pub mod float;
pub mod half;
pub mod lanes;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod portable;
#[cfg(target_arch = "x86_64")]
mod x86;

use std::fmt;
use std::ops::Range;
use std::sync::OnceLock;

use crate::cell::backward::BackwardArgs;
use crate::cell::forward::StepArgs;
use crate::error::Error;
use crate::gemm::matmul::MatmulArgs;

/// An instruction set that the kernels are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isa {
    /// AVX-512 foundation.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// AVX2 and FMA.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon,
    /// Plain Rust.
    Portable,
}

impl Isa {
    /// The instruction sets of this machine, best first.
    pub fn available() -> Vec<Isa> {
        let known = [
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx512, is_x86_feature_detected!("avx512f")),
            #[cfg(target_arch = "x86_64")]
            (Isa::Avx2, is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")),
            #[cfg(target_arch = "aarch64")]
            (Isa::Neon, true), // part of the architecture
            (Isa::Portable, true),
        ];
        known.into_iter().filter_map(|(isa, here)| here.then_some(isa)).collect()
    }

    /// The one in use: the best available, or what the environment variable `RGRU_ISA` forces. Decided once.
    ///
    /// # Errors
    /// `RGRU_ISA` names none that this machine has.
    pub fn active() -> Result<Isa, Error> {
        static ACTIVE: OnceLock<Result<Isa, String>> = OnceLock::new();
        let choose = || {
            let available = Isa::available();
            let Ok(wanted) = std::env::var("RGRU_ISA") else { return Ok(available[0]) };
            available.iter().find(|isa| isa.name() == wanted).copied().ok_or(wanted)
        };
        ACTIVE.get_or_init(choose).clone().map_err(|wanted| {
            let names: Vec<_> = Isa::available().iter().map(|isa| isa.name()).collect();
            Error::value("RGRU_ISA", format!("one of {}", names.join(", ")), format!("{wanted:?}"))
        })
    }

    /// Its name in `RGRU_ISA` and in reports.
    pub fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => "avx512",
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => "avx2",
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => "neon",
            Isa::Portable => "portable",
        }
    }
}

impl fmt::Display for Isa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The kernels of one instruction set and precision.
pub struct Kernels<T> {
    /// Numbers in a register.
    pub lanes: usize,
    pub(crate) matmul: unsafe fn(&MatmulArgs<T>, Range<usize>),
    pub(crate) reset_after: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(crate) reset_before_gates: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(crate) reset_before_candidate: unsafe fn(&StepArgs<T>, Range<usize>),
    pub(crate) backward_after: unsafe fn(&BackwardArgs<T>, Range<usize>),
    pub(crate) backward_before_update: unsafe fn(&BackwardArgs<T>, Range<usize>),
    pub(crate) backward_before_reset: unsafe fn(&BackwardArgs<T>, Range<usize>),
    pub(crate) add_rows: unsafe fn(&[*const T], &mut [T]),
    sigmoid: unsafe fn(&mut [T]),
    tanh: unsafe fn(&mut [T]),
}

impl<T: float::Real> Kernels<T> {
    /// Those of an instruction set.
    ///
    /// # Errors
    /// This machine does not have it.
    pub fn of(isa: Isa) -> Result<&'static Self, Error> {
        if Isa::available().contains(&isa) {
            Ok(T::kernels(isa))
        } else {
            Err(Error::value("isa", "an instruction set of this machine", isa.name()))
        }
    }

    /// Logistic sigmoid of every element.
    pub fn sigmoid(&self, x: &mut [T]) {
        // SAFETY: tables are handed out only for instruction sets of this machine.
        unsafe { (self.sigmoid)(x) }
    }

    /// tanh of every element.
    pub fn tanh(&self, x: &mut [T]) {
        // SAFETY: tables are handed out only for instruction sets of this machine.
        unsafe { (self.tanh)(x) }
    }
}

/// Instantiates all kernels for a register type, in a module named after its element, with the target features that
/// the outermost functions alone carry.
macro_rules! table {
    ($elem:ident, $lanes:ident $(, $features:literal)?) => {
        #[doc = concat!("Kernels of `", stringify!($elem), "`.")]
        pub mod $elem {
            use std::ops::Range;

            use super::$lanes as L;
            use crate::cell::{activation, backward, forward};
            use crate::gemm::{matmul, weight_grad};
            use crate::simd::Kernels;

            /// The table.
            pub static KERNELS: Kernels<$elem> = Kernels {
                lanes: <L as crate::simd::lanes::Lanes>::COUNT,
                matmul: entry_matmul,
                reset_after: entry_reset_after,
                reset_before_gates: entry_reset_before_gates,
                reset_before_candidate: entry_reset_before_candidate,
                backward_after: entry_backward_after,
                backward_before_update: entry_backward_before_update,
                backward_before_reset: entry_backward_before_reset,
                add_rows: entry_add_rows,
                sigmoid: entry_sigmoid,
                tanh: entry_tanh,
            };

            crate::simd::entries! {
                [$($features)?]
                entry_matmul(args: &matmul::MatmulArgs<$elem>, panels: Range<usize>) = matmul::run::<L>;
                entry_reset_after(args: &forward::StepArgs<$elem>, panels: Range<usize>) = forward::reset_after::<L>;
                entry_reset_before_gates(args: &forward::StepArgs<$elem>, panels: Range<usize>) = forward::reset_before_gates::<L>;
                entry_reset_before_candidate(args: &forward::StepArgs<$elem>, panels: Range<usize>) = forward::reset_before_candidate::<L>;
                entry_backward_after(args: &backward::BackwardArgs<$elem>, panels: Range<usize>) = backward::after::<L>;
                entry_backward_before_update(args: &backward::BackwardArgs<$elem>, panels: Range<usize>) = backward::before_update::<L>;
                entry_backward_before_reset(args: &backward::BackwardArgs<$elem>, panels: Range<usize>) = backward::before_reset::<L>;
                entry_add_rows(starts: &[*const $elem], out: &mut [$elem]) = weight_grad::add_block::<L>;
                entry_sigmoid(args: &mut [$elem]) = activation::sigmoid_slice::<L>;
                entry_tanh(args: &mut [$elem]) = activation::tanh_slice::<L>;
            }
        }
    };
}
use table;

/// Outermost functions of an instruction set.
macro_rules! entries {
    ([$($features:literal)?]) => {};
    ([$($features:literal)?] $name:ident($($args:ident: $type:ty),+) = $kernel:expr; $($rest:tt)*) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $name($($args: $type),+) {
            // SAFETY: the caller's promise, which is that of the kernel.
            unsafe { $kernel($($args),+) }
        }
        crate::simd::entries! { [$($features)?] $($rest)* }
    };
}
use entries;
