// SPDX-License-Identifier: Apache-2.0 OR MIT
//! What libtss2 hands over.

use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use tss_esapi::tss2_esys::Esys_Free;

use super::Code;

/// Something that libtss2 allocated and left to us.
pub(crate) struct Owned<T>(pub(super) NonNull<T>);

impl<T> Owned<T> {
    pub(super) fn new(pointer: *mut T) -> Result<Self, Code> {
        /// TSS2_ESYS_RC_GENERAL_FAILURE.
        const GENERAL_FAILURE: Code = 0x0007_0001;
        NonNull::new(pointer).map(Self).ok_or(GENERAL_FAILURE)
    }
}

impl<T> Deref for Owned<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: it points to an initialised T (ESYS allocates it zeroed and
        // fills it in), which nobody else has.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Owned<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as for `deref`.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: libtss2 allocated it, and it is freed once. No T has anything
        // to drop.
        unsafe { Esys_Free(self.0.as_ptr().cast()) }
    }
}
