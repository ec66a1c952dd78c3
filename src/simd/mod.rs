//! Number types, SIMD registers, and the instruction sets that this machine may have.
//!
//! Kernels are written once, generic over [`lanes::Lanes`], in `gemm` and `cell`. A file for each instruction set here
//! implements the trait for its registers, and the macro `instantiate` defines a table of kernels for each. All tables
//! compute the same bits.

#[forbid(unsafe_code)]
pub mod float;
#[forbid(unsafe_code)]
pub mod half;
#[allow(unsafe_code)]
pub mod lanes;

#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub(crate) mod avx512;
#[cfg(target_arch = "aarch64")]
#[allow(unsafe_code)]
pub(crate) mod neon;
#[allow(unsafe_code)]
pub(crate) mod portable;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
mod x86;

use std::fmt;
use std::sync::OnceLock;

use crate::error::Error;

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
    /// Returns the instruction sets of this machine, fastest first.
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

    /// Returns the instruction set in use: the fastest one of this machine, or that of the environment variable
    /// `RGRU_ISA`, which is read once.
    ///
    /// # Errors
    /// [`Error::Value`] if `RGRU_ISA` does not name an instruction set of this machine.
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

    /// Checks that this machine has the instruction set.
    ///
    /// # Errors
    /// [`Error::Value`] if it does not.
    pub fn check(self) -> Result<Self, Error> {
        if Isa::available().contains(&self) {
            Ok(self)
        } else {
            Err(Error::value("isa", "an instruction set of this machine", self.name()))
        }
    }

    /// Returns its name, as in `RGRU_ISA` and in reports.
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

/// Calls a macro as `table!(instruction set, element, register type, "target features")` for every register type, in
/// one module per instruction set. `gemm` and `cell` instantiate their kernels with it.
macro_rules! instantiate {
    ($table:ident) => {
        #[cfg(target_arch = "x86_64")]
        pub(crate) mod avx512 {
            $table!(avx512, f32, crate::simd::avx512::F32x16, "avx512f");
            $table!(avx512, f64, crate::simd::avx512::F64x8, "avx512f");
        }
        #[cfg(target_arch = "x86_64")]
        pub(crate) mod avx2 {
            $table!(avx2, f32, crate::simd::avx2::F32x8, "avx2,fma");
            $table!(avx2, f64, crate::simd::avx2::F64x4, "avx2,fma");
        }
        #[cfg(target_arch = "aarch64")]
        pub(crate) mod neon {
            $table!(neon, f32, crate::simd::neon::F32x8);
            $table!(neon, f64, crate::simd::neon::F64x4);
        }
        pub(crate) mod portable {
            $table!(portable, f32, crate::simd::portable::F32x8);
            $table!(portable, f64, crate::simd::portable::F64x4);
        }
    };
}
pub(crate) use instantiate;

/// Returns the table that `instantiate` has defined for an instruction set and an element, in the calling module.
macro_rules! table_of {
    ($isa:expr, $element:ident) => {
        match $isa {
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Isa::Avx512 => &avx512::$element::KERNELS,
            #[cfg(target_arch = "x86_64")]
            $crate::simd::Isa::Avx2 => &avx2::$element::KERNELS,
            #[cfg(target_arch = "aarch64")]
            $crate::simd::Isa::Neon => &neon::$element::KERNELS,
            $crate::simd::Isa::Portable => &portable::$element::KERNELS,
        }
    };
}
pub(crate) use table_of;

/// Defines the entry points of an instruction set's kernels. Only they have its target features; all they call is
/// inlined.
macro_rules! entries {
    ([$($features:literal)?]) => {};
    ([$($features:literal)?] $name:ident($($args:ident: $type:ty),+) = $kernel:expr; $($rest:tt)*) => {
        $(#[target_feature(enable = $features)])?
        unsafe fn $name($($args: $type),+) {
            // SAFETY: the caller's promise, which is also that of the kernel.
            unsafe { $kernel($($args),+) }
        }
        crate::simd::entries! { [$($features)?] $($rest)* }
    };
}
pub(crate) use entries;
