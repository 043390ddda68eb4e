// SPDX-License-Identifier: Apache-2.0 OR MIT
//! AWS-LC's big numbers, as far as they are needed. The only module with
//! `unsafe` code.
//!
//! Why the calls are sound: every pointer handed to AWS-LC is that of an object
//! which one of the types below owns, made by AWS-LC's constructor, checked not
//! to be null, and freed once, by the owner's `drop`. Output objects are
//! borrowed mutably for the call, so that none is read and written at once but
//! where AWS-LC allows it. No object leaves its thread: the types are neither
//! Send nor Sync, since they hold raw pointers.
#![allow(unsafe_code)]

use std::ptr::{self, NonNull};

use aws_lc_sys as sys;

use crate::Power;

/// A BIGNUM, wiped when dropped.
struct Number(NonNull<sys::BIGNUM>);

impl Number {
    fn zero() -> Option<Self> {
        // SAFETY: it takes nothing and returns an object of its own, or null.
        NonNull::new(unsafe { sys::BN_new() }).map(Self)
    }

    fn from_be_bytes(bytes: &[u8]) -> Option<Self> {
        // SAFETY: it reads `len` bytes at the pointer, which are the slice, and
        // with a null result pointer it returns an object of its own, or null.
        let number = unsafe { sys::BN_bin2bn(bytes.as_ptr(), bytes.len(), ptr::null_mut()) };
        NonNull::new(number).map(Self)
    }

    /// In as many bytes as asked for; None if they are too few.
    fn to_be_bytes(&self, length: usize) -> Option<Vec<u8>> {
        let mut bytes = vec![0; length];
        // SAFETY: it writes exactly `length` bytes, of which there are that
        // many, and reads a number that lives.
        let done = unsafe { sys::BN_bn2bin_padded(bytes.as_mut_ptr(), length, self.0.as_ptr()) };
        (done == 1).then_some(bytes)
    }

    fn less_than(&self, other: &Self) -> bool {
        // SAFETY: it reads two numbers that live.
        unsafe { sys::BN_ucmp(self.0.as_ptr(), other.0.as_ptr()) < 0 }
    }

    /// Whether it can be a modulus of Montgomery's multiplication.
    fn is_odd_above_one(&self) -> bool {
        // SAFETY: they read a number that lives.
        unsafe { sys::BN_is_odd(self.0.as_ptr()) == 1 && sys::BN_is_one(self.0.as_ptr()) == 0 }
    }
}

impl Drop for Number {
    fn drop(&mut self) {
        // SAFETY: the object is ours and not used again.
        unsafe { sys::BN_clear_free(self.0.as_ptr()) }
    }
}

/// A BN_CTX: room for intermediate results.
struct Scratch(NonNull<sys::BN_CTX>);

impl Scratch {
    fn new() -> Option<Self> {
        // SAFETY: it takes nothing and returns an object of its own, or null.
        NonNull::new(unsafe { sys::BN_CTX_new() }).map(Self)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // SAFETY: the object is ours and not used again.
        unsafe { sys::BN_CTX_free(self.0.as_ptr()) }
    }
}

/// A BN_MONT_CTX: what is computed of a modulus beforehand.
struct Montgomery(NonNull<sys::BN_MONT_CTX>);

impl Montgomery {
    fn new(modulus: &Number, scratch: &mut Scratch) -> Option<Self> {
        // SAFETY: it reads a number that lives, works in a scratch that is ours
        // alone, and returns an object of its own, or null. (The variant
        // without `consttime` is for moduli that are public.)
        let context =
            unsafe { sys::BN_MONT_CTX_new_consttime(modulus.0.as_ptr(), scratch.0.as_ptr()) };
        NonNull::new(context).map(Self)
    }
}

impl Drop for Montgomery {
    fn drop(&mut self) {
        // SAFETY: the object is ours and not used again.
        unsafe { sys::BN_MONT_CTX_free(self.0.as_ptr()) }
    }
}

/// One of the two.
struct Operands {
    base: Number,
    exponent: Number,
    modulus: Number,
    montgomery: Montgomery,
    result: Number,
}

impl Operands {
    fn new((base, exponent, modulus): Power<'_>, scratch: &mut Scratch) -> Option<Self> {
        let base = Number::from_be_bytes(base)?;
        let modulus = Number::from_be_bytes(modulus)?;
        if !modulus.is_odd_above_one() || !base.less_than(&modulus) {
            return None;
        }
        Some(Self {
            base,
            exponent: Number::from_be_bytes(exponent)?,
            montgomery: Montgomery::new(&modulus, scratch)?,
            modulus,
            result: Number::zero()?,
        })
    }
}

/// See [`crate::pow_mod`].
pub(crate) fn pow_mod(powers: [Power<'_>; 2]) -> Option<[Vec<u8>; 2]> {
    let mut scratch = Scratch::new()?;
    let lengths = powers.map(|(_, _, modulus)| modulus.len());
    let one = Operands::new(powers[0], &mut scratch)?;
    let two = Operands::new(powers[1], &mut scratch)?;
    // SAFETY: all are objects that live; the two results and the scratch are
    // ours alone and not among the inputs; each Montgomery context was made for
    // the modulus beside it, each base is smaller than it.
    let done = unsafe {
        sys::BN_mod_exp_mont_consttime_x2(
            one.result.0.as_ptr(),
            one.base.0.as_ptr(),
            one.exponent.0.as_ptr(),
            one.modulus.0.as_ptr(),
            one.montgomery.0.as_ptr(),
            two.result.0.as_ptr(),
            two.base.0.as_ptr(),
            two.exponent.0.as_ptr(),
            two.modulus.0.as_ptr(),
            two.montgomery.0.as_ptr(),
            scratch.0.as_ptr(),
        )
    };
    if done != 1 {
        return None;
    }
    Some([
        one.result.to_be_bytes(lengths[0])?,
        two.result.to_be_bytes(lengths[1])?,
    ])
}
