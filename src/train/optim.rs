//! Adam, with clipping by the global norm.

use crate::cell::Real;
use crate::error::Error;
use crate::gemm::dot::dot;
use crate::memory::aligned::zeros;
use crate::shape::expect_shape;

/// Settings of [`Adam`] (Kingma & Ba 2015, algorithm 1).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamSettings {
    /// Learning rate.
    pub lr: f64,
    /// Decay of the first moment.
    pub beta1: f64,
    /// Decay of the second moment.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub eps: f64,
}

impl AdamSettings {
    /// Validates the settings and returns them.
    ///
    /// # Errors
    /// [`Error::Value`] if a setting is out of its range.
    pub fn check(self) -> Result<Self, Error> {
        let settings = [
            ("lr", self.lr, self.lr > 0.0 && self.lr.is_finite(), "a positive number"),
            ("beta1", self.beta1, (0.0..1.0).contains(&self.beta1), "a number in [0, 1)"),
            ("beta2", self.beta2, (0.0..1.0).contains(&self.beta2), "a number in [0, 1)"),
            ("eps", self.eps, self.eps >= 1e-30 && self.eps.is_finite(), "a number of at least 1e-30"),
        ];
        for (name, value, fits, expected) in settings {
            if !fits {
                return Err(Error::value(name, expected, value.to_string()));
            }
        }
        Ok(self)
    }
}

/// Returns the factor of the learning rate after a fraction `done` of the training: half a cosine, from 1 to 0.
pub fn cosine_decay(done: f64) -> f64 {
    f64::midpoint(1.0, libm::cos(std::f64::consts::PI * done))
}

/// The moments of a list of arrays.
#[derive(Default)]
pub struct Adam<T> {
    steps: i32,
    moments: Vec<[Vec<T>; 2]>,
}

impl<T: Real> Adam<T> {
    /// Updates the parameters by one step. Returns the global L2 norm of the gradients before they are clipped to
    /// `max_norm`.
    ///
    /// Nothing changes if the norm is not finite, which the caller can see from the result.
    ///
    /// # Errors
    /// [`Error::Value`] if the size of an array differs from that of its gradient or from the first step, or `max_norm`
    /// is not positive; [`Error::Memory`].
    pub fn step(
        &mut self,
        settings: AdamSettings,
        params: &mut [&mut [T]],
        grads: &[&[T]],
        max_norm: Option<f64>,
    ) -> Result<f64, Error> {
        expect_shape("grads", &[params.len()], &[grads.len()])?;
        for (i, (p, g)) in params.iter().zip(grads).enumerate() {
            expect_shape(&format!("grads[{i}]"), &[p.len()], &[g.len()])?;
        }
        if self.moments.is_empty() {
            let moments = |p: &&mut [T]| Ok([zeros(p.len())?, zeros(p.len())?]);
            self.moments = params.iter().map(moments).collect::<Result<_, Error>>()?;
        }
        if max_norm.is_some_and(|max| max.is_nan() || max <= 0.0) {
            return Err(Error::value("max_norm", "a positive number", format!("{max_norm:?}")));
        }
        expect_shape("params", &[self.moments.len()], &[params.len()])?;
        for (i, (p, m)) in params.iter().zip(&self.moments).enumerate() {
            expect_shape(&format!("params[{i}]"), &[m[0].len()], &[p.len()])?;
        }
        let norm = grads.iter().map(|g| dot(g, g)).sum::<f64>().sqrt();
        if !norm.is_finite() {
            return Ok(norm);
        }
        let clip = T::from_f64(max_norm.filter(|&max| norm > max).map_or(1.0, |max| max / norm));
        self.steps = self.steps.saturating_add(1);
        let AdamSettings { lr, beta1, beta2, eps } = settings;
        let steps = f64::from(self.steps);
        let rate = T::from_f64(lr / (1.0 - libm::pow(beta1, steps)));
        let correction = T::from_f64(1.0 / (1.0 - libm::pow(beta2, steps)));
        let (new1, new2) = (T::from_f64(1.0 - beta1), T::from_f64(1.0 - beta2));
        let (beta1, beta2, eps) = (T::from_f64(beta1), T::from_f64(beta2), T::from_f64(eps));
        for ((params, grads), [first, second]) in params.iter_mut().zip(grads).zip(&mut self.moments) {
            for (((p, &g), m), v) in params.iter_mut().zip(*grads).zip(first).zip(second) {
                let g = g * clip;
                *m = beta1 * *m + new1 * g;
                *v = beta2 * *v + new2 * g * g;
                *p += -rate * *m / ((*v * correction).sqrt() + eps);
            }
        }
        Ok(norm)
    }
}
