//! `Seldom`: a value that most of its owners never have.
//!
//! Duty: cost eight bytes while it is empty, be read as an empty one, be made when it is first changed. Must not: know what it
//! holds. Neighbours: the records of idle clients, of which there may be a million.
//!
//! To change it is to make it, so whoever would only find it empty looks first.

use std::collections::{BTreeMap, VecDeque};
use std::ops::{Deref, DerefMut};

/// A value that most of its owners never have.
#[derive(Debug, Default)]
pub struct Seldom<T>(Option<Box<T>>);

/// What has an empty value that nobody needs to make.
pub trait Empty: Default + 'static {
    /// That value.
    const EMPTY: &'static Self;
}

impl<T: 'static> Empty for Vec<T> {
    const EMPTY: &'static Self = &Self::new();
}

impl<T: 'static> Empty for VecDeque<T> {
    const EMPTY: &'static Self = &Self::new();
}

impl<K: 'static, V: 'static> Empty for BTreeMap<K, V> {
    const EMPTY: &'static Self = &Self::new();
}

impl<T> Seldom<T> {
    /// None.
    pub const fn new() -> Self {
        Self(None)
    }

    /// Whether it was made and not given up since.
    pub fn is_made(&self) -> bool {
        self.0.is_some()
    }

    /// Gives it up, memory and all; whoever takes it may give it to another owner.
    pub fn give_up(&mut self) -> Self {
        Self(self.0.take())
    }
}

impl<T: Empty> Deref for Seldom<T> {
    type Target = T;

    fn deref(&self) -> &T {
        self.0.as_deref().unwrap_or(T::EMPTY)
    }
}

impl<T: Empty> DerefMut for Seldom<T> {
    fn deref_mut(&mut self) -> &mut T {
        match self.0 {
            Some(ref mut made) => made,
            None => make(&mut self.0),
        }
    }
}

/// Apart, so that the way of what is there is short.
#[cold]
#[inline(never)]
fn make<T: Default>(place: &mut Option<Box<T>>) -> &mut T {
    place.get_or_insert_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_made_by_reading_and_nothing_is_left_when_it_is_given_up() {
        let mut list = Seldom::<VecDeque<u32>>::new();
        assert!(list.is_empty() && list.front().is_none() && !list.is_made());
        list.push_back(7);
        assert_eq!((list.len(), list.is_made()), (1, true));
        let mut other = list.give_up();
        assert!(list.is_empty() && !list.is_made());
        assert_eq!(other.pop_front(), Some(7));
        assert_eq!(size_of::<Seldom<VecDeque<u32>>>(), 8);
    }
}
