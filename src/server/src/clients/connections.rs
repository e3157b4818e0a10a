//! How many connections each address has open.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::block::Block;

/// Addresses with connections; as many as there are connections at most.
#[derive(Clone, Debug, Default)]
pub(super) struct Connections(Arc<Mutex<HashMap<Block, u32>>>);

/// The right of one connection, given back by drop.
#[derive(Debug)]
pub(crate) struct Place(Option<(Connections, Block)>);

impl Connections {
    /// One more connection of `block`, if it has less than `limit`.
    pub(super) fn take(&self, block: Block, limit: u32) -> Option<Place> {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = open.entry(block).or_default();
        if limit <= *count {
            return None;
        }
        *count += 1;
        drop(open);
        Some(Place(Some((self.clone(), block))))
    }

    fn give_back(&self, block: Block) {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = open.get_mut(&block) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                open.remove(&block);
            }
        }
    }
}

impl Place {
    /// Of a client that may have any number.
    pub(super) fn uncounted() -> Self {
        Self(None)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((connections, block)) = self.0.take() {
            connections.give_back(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_without_connections_takes_no_memory() {
        let connections = Connections::default();
        let (one, two) = (Block::V4(1), Block::V4(2));
        let places = [one, one, two].map(|block| connections.take(block, 2).unwrap());
        assert!(connections.take(one, 2).is_none());
        assert_eq!(connections.0.lock().unwrap().len(), 2);
        drop(places);
        assert!(connections.0.lock().unwrap().is_empty());
    }
}
