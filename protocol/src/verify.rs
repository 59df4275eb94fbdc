//! The one door: bytes from outside are [`Unverified`] until their id and signature are
//! recomputed, and only this crate makes a [`Verified`].

use std::ops::Deref;

/// A well-formed value whose signature nobody has checked yet.
#[derive(Debug, Clone)]
pub struct Unverified<T>(pub(crate) T);

impl<T> Unverified<T> {
    /// Looks at the claims without believing them: for routing, sizes and cheap refusals only.
    pub const fn claims(&self) -> &T {
        &self.0
    }
}

/// A value whose id and signature were recomputed from its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(pub(crate) T);

impl<T> Verified<T> {
    /// Takes the value out; what it is stays proven only as long as the caller keeps it so.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
