//! The room of a file system, and the floors below which it counts as full.

use crate::limits::{
    FREE_SPACE_ENOUGH_BYTES, FREE_SPACE_ENOUGH_INODES, FREE_SPACE_FLOOR_PERCENT, LANE_ENOUGH_BYTES,
    LANE_ENOUGH_INODES, LANE_FLOOR_PERCENT,
};

/// Room of a file system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Space {
    /// Bytes, all and free for us.
    pub bytes: (u64, u64),
    /// Inodes, all and free for us; zero where the file system does not count them.
    pub inodes: (u64, u64),
}

/// How much must be free, of bytes as well as of inodes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Floor {
    percent: u64,
    enough_bytes: u64,
    enough_inodes: u64,
}

impl Floor {
    /// Of the state directory, where less lets no task be taken, and of the memory of lanes, where less lets no
    /// new lane be made.
    pub const USABLE: Self = Self {
        percent: FREE_SPACE_FLOOR_PERCENT,
        enough_bytes: FREE_SPACE_ENOUGH_BYTES,
        enough_inodes: FREE_SPACE_ENOUGH_INODES,
    };
    /// Of the memory of lanes, where less lets new calls go through the disk: results need room, too.
    pub const LANE: Self = Self {
        percent: LANE_FLOOR_PERCENT,
        enough_bytes: LANE_ENOUGH_BYTES,
        enough_inodes: LANE_ENOUGH_INODES,
    };

    /// How much of `all` must be free, where `enough` always is.
    fn of(self, all: u64, enough: u64) -> u64 {
        let share = (u128::from(all) * u128::from(self.percent)).div_ceil(100);
        u64::try_from(share).unwrap_or(u64::MAX).min(enough)
    }
}

impl Space {
    /// From what statvfs(3) tells: all blocks and the free ones, the bytes of each, all inodes and the free ones.
    pub fn of(blocks: (u64, u64), block_bytes: u64, inodes: (u64, u64)) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(block_bytes);
        Self { bytes: (bytes(blocks.0), bytes(blocks.1)), inodes }
    }

    /// Whether less is free than the floor says.
    pub fn is_below(&self, floor: Floor) -> bool {
        let Self { bytes: (all_bytes, free_bytes), inodes: (all_inodes, free_inodes) } = *self;
        free_bytes < floor.of(all_bytes, floor.enough_bytes)
            || free_inodes < floor.of(all_inodes, floor.enough_inodes)
    }

    /// Bytes that may be written before less is free than the floor says; none where it is so by now.
    pub fn above(&self, floor: Floor) -> u64 {
        if self.is_below(floor) {
            return 0;
        }
        let (all, free) = self.bytes;
        free.saturating_sub(floor.of(all, floor.enough_bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_holds_for_bytes_and_inodes_unless_there_is_enough() {
        let below = |floor, bytes, inodes| Space { bytes, inodes }.is_below(floor);
        let (enough, many) = (LANE_ENOUGH_BYTES, LANE_ENOUGH_INODES);
        for (floor, bytes, inodes) in [
            (Floor::USABLE, (1_000, 49), (100, 100)),
            (Floor::USABLE, (1_000, 900), (100, 4)),
            (Floor::USABLE, (u64::MAX, FREE_SPACE_ENOUGH_BYTES - 1), (0, 0)),
            (Floor::USABLE, (1_000, 900), (u64::MAX, FREE_SPACE_ENOUGH_INODES - 1)),
            (Floor::LANE, (1_000, 249), (0, 0)),
            (Floor::LANE, (8 * enough, enough - 1), (0, 0)),
            (Floor::LANE, (8 * enough, enough), (8 * many, many - 1)),
        ] {
            assert!(below(floor, bytes, inodes), "{floor:?} {bytes:?} {inodes:?}");
        }
        for (floor, bytes, inodes) in [
            (Floor::USABLE, (1_000, 50), (100, 5)),
            (Floor::USABLE, (0, 0), (0, 0)),
            (Floor::USABLE, (u64::MAX, FREE_SPACE_ENOUGH_BYTES), (0, 0)),
            (Floor::USABLE, (1_000, 900), (u64::MAX, FREE_SPACE_ENOUGH_INODES)),
            (Floor::LANE, (1_000, 250), (100, 25)),
            (Floor::LANE, (8 * enough, enough), (8 * many, many)),
        ] {
            assert!(!below(floor, bytes, inodes), "{floor:?} {bytes:?} {inodes:?}");
        }
    }

    #[test]
    fn what_may_be_written_ends_at_the_floor() {
        let above = |bytes, inodes| Space { bytes, inodes }.above(Floor::USABLE);
        assert_eq!(above((1_000, 49), (0, 0)), 0);
        assert_eq!(above((1_000, 900), (100, 4)), 0);
        assert_eq!(above((1_000, 50), (0, 0)), 0);
        assert_eq!(above((1_000, 60), (100, 5)), 10);
        assert_eq!(above((u64::MAX, FREE_SPACE_ENOUGH_BYTES + 7), (0, 0)), 7);
    }

    #[test]
    fn blocks_are_told_in_bytes() {
        let found = Space::of((10, u64::MAX), 4096, (7, 6));
        assert_eq!(found, Space { bytes: (40_960, u64::MAX), inodes: (7, 6) });
    }
}
