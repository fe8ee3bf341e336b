//! A slab with generations: small keys, O(1) lookup, an order that does not depend on a hash.

use crate::transaction::limits::PLACES;

/// Names one entry of a [`Slots`]; a key of an entry that has gone finds nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot {
    /// Place in the slab.
    pub index: u32,
    /// How many entries had this place before.
    pub generation: u32,
}

#[derive(Debug)]
struct Place<T> {
    generation: u32,
    entry: Option<T>,
}

/// Places of a page.
const PAGE: usize = 256;

/// Entries by [`Slot`].
///
/// They stand in pages: what grows by doubling takes twice what it needs, and the engine would
/// stand still while tens of thousands move.
#[derive(Debug)]
pub struct Slots<T> {
    pages: Vec<Vec<Place<T>>>,
    places: usize,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), places: 0, free: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// How many entries there are.
    pub const fn len(&self) -> usize {
        self.places - self.free.len()
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The key that the next [`Slots::insert`] will give.
    pub fn next(&self) -> Slot {
        match self.free.last() {
            Some(&index) => {
                let place = self.place(index);
                Slot { index, generation: place.map_or(0, |p| p.generation) }
            }
            None => Slot { index: u32::try_from(self.places).unwrap_or(u32::MAX), generation: 0 },
        }
    }

    /// Makes the place `index` the one that the next entry gets; `false`: it is taken, or too far.
    pub fn prefer(&mut self, index: u32) -> bool {
        if index >= PLACES {
            return false;
        }
        while self.places <= index as usize {
            self.free.push(u32::try_from(self.places).unwrap_or(u32::MAX));
            self.push(Place { generation: 0, entry: None });
        }
        let Some(at) = self.free.iter().rposition(|&free| free == index) else { return false };
        let last = self.free.len() - 1;
        self.free.swap(at, last);
        true
    }

    /// Adds an entry.
    pub fn insert(&mut self, entry: T) -> Slot {
        let slot = self.next();
        let entry = Some(entry);
        match self.free.pop().and_then(|index| self.place_mut(index)) {
            Some(place) => place.entry = entry,
            None => self.push(Place { generation: 0, entry }),
        }
        slot
    }

    fn push(&mut self, place: Place<T>) {
        match self.pages.last_mut().filter(|page| page.len() < PAGE) {
            Some(page) => page.push(place),
            None => {
                let mut page = Vec::with_capacity(PAGE);
                page.push(place);
                self.pages.push(page);
            }
        }
        self.places += 1;
    }

    fn place(&self, index: u32) -> Option<&Place<T>> {
        self.pages.get(index as usize / PAGE)?.get(index as usize % PAGE)
    }

    fn place_mut(&mut self, index: u32) -> Option<&mut Place<T>> {
        self.pages.get_mut(index as usize / PAGE)?.get_mut(index as usize % PAGE)
    }

    /// The entry at `slot`.
    pub fn get(&self, slot: Slot) -> Option<&T> {
        let place = self.place(slot.index)?;
        if place.generation == slot.generation { place.entry.as_ref() } else { None }
    }

    /// The entry at `slot`, to change.
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let place = self.place_mut(slot.index)?;
        if place.generation == slot.generation { place.entry.as_mut() } else { None }
    }

    /// The entry at a place whatever its generation, with its key.
    pub fn at(&self, index: u32) -> Option<(Slot, &T)> {
        let place = self.place(index)?;
        let slot = Slot { index, generation: place.generation };
        place.entry.as_ref().map(|entry| (slot, entry))
    }

    /// Takes an entry out.
    pub fn remove(&mut self, slot: Slot) -> Option<T> {
        let place = self.place_mut(slot.index)?;
        if place.generation != slot.generation {
            return None;
        }
        let entry = place.entry.take()?;
        place.generation = place.generation.wrapping_add(1);
        self.free.push(slot.index);
        Some(entry)
    }

    /// All entries in the order of their places.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0_u32..).zip(self.pages.iter().flatten()).filter_map(|(index, place)| {
            let slot = Slot { index, generation: place.generation };
            place.entry.as_ref().map(|entry| (slot, entry))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_outlives_its_entry_without_harm() {
        let mut slots = Slots::default();
        let first = slots.insert("a");
        assert_eq!(slots.remove(first), Some("a"));
        assert_eq!(slots.next(), Slot { index: 0, generation: 1 });
        let second = slots.insert("b");
        assert_eq!((first.index, slots.get(first), slots.get(second)), (0, None, Some(&"b")));
        assert_eq!(slots.remove(first), None);
        assert_eq!((slots.len(), slots.iter().count()), (1, 1));
    }

    #[test]
    fn places_go_on_over_pages_and_are_used_again() {
        let mut slots = Slots::default();
        let all: Vec<_> = (0..3 * PAGE).map(|n| slots.insert(n)).collect();
        assert!(all.iter().enumerate().all(|(n, slot)| slots.get(*slot) == Some(&n)));
        assert!(slots.iter().map(|(_, n)| *n).eq(0..3 * PAGE));
        all.iter().rev().for_each(|slot| _ = slots.remove(*slot));
        assert!(slots.is_empty());
        assert!((0..3 * PAGE).all(|n| slots.insert(n).index as usize == n));
        assert_eq!(slots.pages.len(), 3);
    }

    #[test]
    fn a_place_can_be_named_once() {
        let mut slots = Slots::default();
        assert!(slots.prefer(3));
        assert_eq!(slots.insert("d"), Slot { index: 3, generation: 0 });
        assert!(!slots.prefer(3) && !slots.prefer(u32::MAX));
        assert!(slots.prefer(1));
        assert_eq!(slots.insert("b").index, 1);
        let mut rest = [slots.insert("x").index, slots.insert("y").index];
        rest.sort_unstable();
        assert_eq!((rest, slots.next().index, slots.len()), ([0, 2], 4, 4));
    }
}
