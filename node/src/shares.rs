//! Places that many share, of which one may hold only some: whoever asks for too much waits for
//! himself, and the others do not notice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::metrics::Level;

/// So many places in all, and so many of them for each key at most.
#[derive(Debug)]
pub struct Shares<K: Ord> {
    places: Arc<Semaphore>,
    limit: usize,
    each_max: usize,
    /// Places held by each key that holds any.
    held: Arc<Mutex<BTreeMap<K, usize>>>,
}

impl<K: Ord> Clone for Shares<K> {
    fn clone(&self) -> Self {
        let (places, held) = (Arc::clone(&self.places), Arc::clone(&self.held));
        Self { places, limit: self.limit, each_max: self.each_max, held }
    }
}

/// A place, free again when this is dropped.
#[derive(Debug)]
pub struct Share<K: Ord> {
    held: Arc<Mutex<BTreeMap<K, usize>>>,
    key: K,
    _place: OwnedSemaphorePermit,
}

/// Why there is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoShare {
    /// All places are taken, by whomever.
    #[error("every place is taken")]
    Full,
    /// This key holds as many as it may.
    #[error("its share of the places is taken")]
    Own,
}

impl<K: Ord + Clone> Shares<K> {
    /// So many places; a key may hold `each_max` of them.
    pub fn new(places: usize, each_max: usize) -> Self {
        let limit = places;
        Self { places: Arc::new(Semaphore::new(limit)), limit, each_max, held: Arc::default() }
    }

    /// How many places are taken.
    pub fn level(&self, role: &'static str, name: &'static str) -> Level {
        Level::permits(role, name, &self.places, self.limit)
    }

    /// A place for this key. Never waits.
    ///
    /// # Errors
    /// Why there is none.
    pub fn take(&self, key: K) -> Result<Share<K>, NoShare> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let count = held.get(&key).copied().unwrap_or_default();
        if count >= self.each_max {
            return Err(NoShare::Own);
        }
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| NoShare::Full)?;
        held.insert(key.clone(), count + 1);
        Ok(Share { held: Arc::clone(&self.held), key, _place: place })
    }
}

impl<K: Ord> Drop for Share<K> {
    fn drop(&mut self) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match held.get_mut(&self.key) {
            Some(count) if *count > 1 => *count -= 1,
            _ => {
                held.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn one_key_cannot_take_what_the_others_need() {
        let shares = Shares::new(5, 3);
        let mut flood: Vec<_> = (0..3).map(|_| shares.take("flooder").unwrap()).collect();
        assert_eq!(shares.take("flooder").unwrap_err(), NoShare::Own);
        let one = shares.take("one").unwrap();
        let two = shares.take("two").unwrap();
        assert_eq!(shares.take("three").unwrap_err(), NoShare::Full);
        // Whoever gives a place back makes room for any other.
        drop(one);
        let three = shares.take("three").unwrap();
        flood.pop();
        assert!(shares.take("flooder").is_ok());
        drop((two, three, flood));
        assert!(shares.held.lock().unwrap().is_empty());
        assert_eq!(shares.places.available_permits(), 5);
    }
}
