//! Vector instructions: the only file of the workspace with `unsafe`.
//!
//! A kernel is written once, against [`Lanes`], and compiled twice: for AVX2 + FMA and for whatever the target
//! guarantees. [`run`] picks at run time. A value of [`Avx2`] exists only where the processor was asked first,
//! which is what makes its methods safe to call.
//!
//! Both versions give the same result up to rounding (one fuses multiply and add, the other does not); one
//! processor always gives the same bits.

/// Eight `f32` at a time.
pub trait Lanes: Copy {
    /// Eight numbers.
    type Vector: Copy;

    /// Eight zeros.
    fn zero(self) -> Self::Vector;
    /// The same number eight times.
    fn splat(self, value: f32) -> Self::Vector;
    /// Reads eight numbers.
    fn load(self, values: &[f32; 8]) -> Self::Vector;
    /// Writes eight numbers.
    fn store(self, vector: Self::Vector, into: &mut [f32; 8]);
    /// `a + b`
    fn add(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a - b`
    fn sub(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b`
    fn mul(self, a: Self::Vector, b: Self::Vector) -> Self::Vector;
    /// `a · b + c`
    fn mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// `c - a · b`
    fn neg_mul_add(self, a: Self::Vector, b: Self::Vector, c: Self::Vector) -> Self::Vector;
    /// The eight numbers added up.
    fn sum(self, vector: Self::Vector) -> f32;
    /// Whether any number is greater than the bound in its lane; NaN is not.
    fn any_greater(self, a: Self::Vector, bound: Self::Vector) -> bool;
}

/// A computation that [`run`] compiles for each instruction set.
///
/// `run` and everything it calls should be `#[inline(always)]`, and closures should not hold vector operations: what is
/// not inlined is compiled for the target's base instruction set, where each operation becomes a call.
pub trait Kernel {
    /// What it returns.
    type Output;

    /// Does the work with these lanes.
    fn run<L: Lanes>(self, lanes: L) -> Self::Output;
}

/// Runs the kernel with the best instructions this processor has.
#[inline]
pub fn run<K: Kernel>(kernel: K) -> K::Output {
    #[cfg(target_arch = "x86_64")]
    if let Some(lanes) = Avx2::detect() {
        return lanes.run(kernel);
    }
    kernel.run(Portable)
}

/// Plain arrays; what the compiler makes of them depends on the target.
#[derive(Clone, Copy, Debug)]
pub struct Portable;

impl Lanes for Portable {
    type Vector = [f32; 8];

    #[inline(always)]
    fn zero(self) -> [f32; 8] {
        [0.0; 8]
    }
    #[inline(always)]
    fn splat(self, value: f32) -> [f32; 8] {
        [value; 8]
    }
    #[inline(always)]
    fn load(self, values: &[f32; 8]) -> [f32; 8] {
        *values
    }
    #[inline(always)]
    fn store(self, vector: [f32; 8], into: &mut [f32; 8]) {
        *into = vector;
    }
    #[inline(always)]
    fn add(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    fn sub(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| a[lane] - b[lane])
    }
    #[inline(always)]
    fn mul(self, a: [f32; 8], b: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| a[lane] * b[lane])
    }
    #[inline(always)]
    fn mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| a[lane] * b[lane] + c[lane])
    }
    #[inline(always)]
    fn neg_mul_add(self, a: [f32; 8], b: [f32; 8], c: [f32; 8]) -> [f32; 8] {
        std::array::from_fn(|lane| c[lane] - a[lane] * b[lane])
    }
    #[inline(always)]
    fn sum(self, v: [f32; 8]) -> f32 {
        ((v[0] + v[4]) + (v[2] + v[6])) + ((v[1] + v[5]) + (v[3] + v[7]))
    }
    #[inline(always)]
    fn any_greater(self, a: [f32; 8], bound: [f32; 8]) -> bool {
        a.iter().zip(bound).fold(false, |any, (&value, bound)| any | (value > bound))
    }
}

#[cfg(target_arch = "x86_64")]
pub use x86::Avx2;

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m256, _CMP_GT_OQ, _mm_add_ps, _mm_add_ss, _mm_cvtss_f32, _mm_movehl_ps, _mm_shuffle_ps,
        _mm256_add_ps, _mm256_castps256_ps128, _mm256_cmp_ps, _mm256_extractf128_ps, _mm256_fmadd_ps,
        _mm256_fnmadd_ps, _mm256_loadu_ps, _mm256_movemask_ps, _mm256_mul_ps, _mm256_set1_ps,
        _mm256_setzero_ps, _mm256_storeu_ps, _mm256_sub_ps,
    };

    use super::{Kernel, Lanes};

    /// Proof that this processor has AVX2 and FMA.
    #[derive(Clone, Copy, Debug)]
    pub struct Avx2(());

    impl Avx2 {
        /// The proof, if the processor has them.
        #[must_use]
        #[inline]
        pub fn detect() -> Option<Self> {
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Self(()))
        }

        #[inline]
        pub(super) fn run<K: Kernel>(self, kernel: K) -> K::Output {
            #[target_feature(enable = "avx2,fma")]
            fn compiled_for_avx2<K: Kernel>(lanes: Avx2, kernel: K) -> K::Output {
                kernel.run(lanes)
            }
            // SAFETY: `self` exists only if `detect` found both features.
            #[expect(unsafe_code, reason = "entry into code compiled for a detected feature")]
            unsafe {
                compiled_for_avx2(self, kernel)
            }
        }
    }

    #[expect(unsafe_code, reason = "every method is one vector instruction of a detected feature")]
    impl Lanes for Avx2 {
        type Vector = __m256;

        #[inline(always)]
        fn zero(self) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_setzero_ps() }
        }
        #[inline(always)]
        fn splat(self, value: f32) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_set1_ps(value) }
        }
        #[inline(always)]
        fn load(self, values: &[f32; 8]) -> __m256 {
            // SAFETY: `self` proves AVX2, and the reference covers the 32 bytes; they need no alignment.
            unsafe { _mm256_loadu_ps(values.as_ptr()) }
        }
        #[inline(always)]
        fn store(self, vector: __m256, into: &mut [f32; 8]) {
            // SAFETY: `self` proves AVX2, and the reference covers the 32 bytes; they need no alignment.
            unsafe { _mm256_storeu_ps(into.as_mut_ptr(), vector) }
        }
        #[inline(always)]
        fn add(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_add_ps(a, b) }
        }
        #[inline(always)]
        fn sub(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_sub_ps(a, b) }
        }
        #[inline(always)]
        fn mul(self, a: __m256, b: __m256) -> __m256 {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_mul_ps(a, b) }
        }
        #[inline(always)]
        fn mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: `self` proves FMA.
            unsafe { _mm256_fmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn neg_mul_add(self, a: __m256, b: __m256, c: __m256) -> __m256 {
            // SAFETY: `self` proves FMA.
            unsafe { _mm256_fnmadd_ps(a, b, c) }
        }
        #[inline(always)]
        fn sum(self, vector: __m256) -> f32 {
            // SAFETY: `self` proves AVX2, which includes the 128-bit instructions.
            unsafe {
                let four = _mm_add_ps(_mm256_castps256_ps128(vector), _mm256_extractf128_ps::<1>(vector));
                let two = _mm_add_ps(four, _mm_movehl_ps(four, four));
                _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps::<1>(two, two)))
            }
        }
        #[inline(always)]
        fn any_greater(self, a: __m256, bound: __m256) -> bool {
            // SAFETY: `self` proves AVX2.
            unsafe { _mm256_movemask_ps(_mm256_cmp_ps::<_CMP_GT_OQ>(a, bound)) != 0 }
        }
    }
}

/// `Σ a[i] · b[i]` over the shorter length.
#[must_use]
#[inline]
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    run(Dot(a, b))
}

struct Dot<'a>(&'a [f32], &'a [f32]);

impl Kernel for Dot<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) -> f32 {
        dot_lanes(lanes, self.0, self.1)
    }
}

/// [`dot`] for use inside a kernel.
#[inline(always)]
pub fn dot_lanes<L: Lanes>(lanes: L, a: &[f32], b: &[f32]) -> f32 {
    let length = a.len().min(b.len());
    let (a, b) = (&a[..length], &b[..length]);
    let (a_wide, a_rest) = a.as_chunks::<32>();
    let (b_wide, b_rest) = b.as_chunks::<32>();
    let mut sums = [lanes.zero(); 4];
    for (a, b) in a_wide.iter().zip(b_wide) {
        for (sum, (a, b)) in sums.iter_mut().zip(a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0)) {
            *sum = lanes.mul_add(lanes.load(a), lanes.load(b), *sum);
        }
    }
    let (a_eight, a_rest) = a_rest.as_chunks::<8>();
    let (b_eight, b_rest) = b_rest.as_chunks::<8>();
    for (a, b) in a_eight.iter().zip(b_eight) {
        sums[0] = lanes.mul_add(lanes.load(a), lanes.load(b), sums[0]);
    }
    let sum = lanes.add(lanes.add(sums[0], sums[1]), lanes.add(sums[2], sums[3]));
    let rest: f32 = a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum();
    lanes.sum(sum) + rest
}

/// `y[i] += scale · x[i]` over the shorter length.
#[inline]
pub fn axpy(scale: f32, x: &[f32], y: &mut [f32]) {
    run(Axpy(scale, x, y));
}

struct Axpy<'a>(f32, &'a [f32], &'a mut [f32]);

impl Kernel for Axpy<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        axpy_lanes(lanes, self.0, self.1, self.2);
    }
}

/// [`axpy`] for use inside a kernel.
#[inline(always)]
pub fn axpy_lanes<L: Lanes>(lanes: L, scale: f32, x: &[f32], y: &mut [f32]) {
    let length = x.len().min(y.len());
    let (x_wide, x_rest) = x[..length].as_chunks::<8>();
    let (y_wide, y_rest) = y[..length].as_chunks_mut::<8>();
    let scales = lanes.splat(scale);
    for (x, y) in x_wide.iter().zip(y_wide) {
        lanes.store(lanes.mul_add(scales, lanes.load(x), lanes.load(y)), y);
    }
    for (x, y) in x_rest.iter().zip(y_rest) {
        *y += scale * x;
    }
}

/// `out[r] = Σ_c matrix[r][c] · x[c]`: the matrix is row-major with rows as long as `x`.
pub fn matrix_vector(matrix: &[f32], x: &[f32], out: &mut [f32]) {
    run(MatrixVector(matrix, x, out));
}

struct MatrixVector<'a>(&'a [f32], &'a [f32], &'a mut [f32]);

impl Kernel for MatrixVector<'_> {
    type Output = ();

    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self(matrix, x, out) = self;
        if x.is_empty() {
            out.fill(0.0);
            return;
        }
        for (row, out) in matrix.chunks_exact(x.len()).zip(out) {
            *out = dot_lanes(lanes, row, x);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn values(length: usize) -> impl Strategy<Value = Vec<f32>> {
        proptest::collection::vec(-4.0_f32..4.0, length)
    }

    fn close(a: f32, b: f64) -> bool {
        (f64::from(a) - b).abs() < 1e-3
    }

    proptest! {
        #[test]
        fn both_instruction_sets_agree_with_double_precision((a, b) in (0_usize..150).prop_flat_map(|n| (values(n), values(n)))) {
            let exact: f64 = a.iter().zip(&b).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum();
            prop_assert!(close(dot(&a, &b), exact));
            prop_assert!(close(dot_lanes(Portable, &a, &b), exact));
            let (mut fast, mut plain) = (b.clone(), b.clone());
            axpy(0.5, &a, &mut fast);
            axpy_lanes(Portable, 0.5, &a, &mut plain);
            for index in 0..a.len() {
                let exact = f64::from(b[index]) + 0.5 * f64::from(a[index]);
                prop_assert!(close(fast[index], exact) && close(plain[index], exact));
            }
        }
    }

    #[test]
    fn comparisons_ignore_nan() {
        struct Compare;
        impl Kernel for Compare {
            type Output = (bool, bool);
            fn run<L: Lanes>(self, lanes: L) -> (bool, bool) {
                let mut values = [1.0; 8];
                values[3] = f32::NAN;
                let low = lanes.any_greater(lanes.load(&values), lanes.splat(1.0));
                values[5] = 1.5;
                (low, lanes.any_greater(lanes.load(&values), lanes.splat(1.0)))
            }
        }
        assert_eq!(run(Compare), (false, true));
        assert_eq!(Compare.run(Portable), (false, true));
    }

    #[test]
    fn a_matrix_times_a_vector_is_one_dot_per_row() {
        let mut out = [0.0; 2];
        matrix_vector(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 0.0, 2.0], &mut out);
        assert_eq!(out, [7.0, 16.0]);
        matrix_vector(&[], &[], &mut out);
        assert_eq!(out, [0.0, 0.0]);
    }
}
